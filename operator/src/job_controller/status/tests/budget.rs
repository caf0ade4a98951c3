//! What the status says of the cost of a run and of its budget.

use migration_core::records::Spending;

use super::*;

/// A run that has sent so many million GET requests, which cost 0.40 USD each.
fn spent(record: RunRecord, millions: u64) -> LedgerView {
    let mut view = view(record, 1);
    if let Some(tally) = view.run.as_mut().and_then(|run| run.tally.as_mut()) {
        tally.spent = Spending { source_reads: millions * 1_000_000, ..Spending::default() };
        tally.spent_at = Some(50_000);
    }
    view
}

fn total(status: &MigrationJobStatus) -> Option<String> {
    status.cost.as_ref().map(|cost| format!("{} {} {}", cost.run, cost.total, cost.currency))
}

#[test]
fn the_cost_is_that_of_the_live_run_and_of_the_last_one_and_stays_in_the_history() {
    let live = spent(record(true, None), 2);
    let limited = StatusInput { cost_limit: Some("5".parse().unwrap()), ..input(Some(&live), &[]) };
    let status = compute(&MigrationJobStatus::default(), &limited);
    assert_eq!(total(&status).as_deref(), Some("r1 0.80 USD"));
    assert_eq!(status.display.as_ref().and_then(|display| display.cost.as_deref()), Some("0.8000 USD"));
    assert_eq!(
        status.cost.as_ref().and_then(|cost| cost.limit).map(|limit| limit.to_string()).as_deref(),
        Some("5.00")
    );
    // A worker records what it sent last after the end.
    let mut status = status;
    for (millions, expected) in [(3, "1.20"), (5, "2.00")] {
        let ended = spent(record(true, Some(RunResult::Complete)), millions);
        status = compute(&status, &input(Some(&ended), &[]));
        let kept: Vec<_> = status.runs.iter().map(|run| run.cost.as_ref().unwrap().total.to_string()).collect();
        assert_eq!((kept, total(&status)), (vec![expected.to_owned()], Some(format!("r1 {expected} USD"))));
    }
    // Its numbers are final, and not read again; then the ledger does not answer.
    let mut known = spent(record(true, Some(RunResult::Complete)), 9);
    known.run.as_mut().unwrap().tally = None;
    status = compute(&status, &input(Some(&known), &[]));
    status = compute(&status, &input(None, &[]));
    assert_eq!(total(&status).as_deref(), Some("r1 2.00 USD"));
}

#[test]
fn a_run_of_an_older_version_has_no_cost_to_show() {
    let live = view(record(true, None), 1);
    let status = compute(&MigrationJobStatus::default(), &input(Some(&live), &[]));
    assert_eq!(total(&status).as_deref(), Some("r1 0.00 USD"));
    assert_eq!(status.display.unwrap().cost, None);
    let ended = view(record(true, Some(RunResult::Complete)), 4);
    let status = compute(&MigrationJobStatus::default(), &input(Some(&ended), &[]));
    assert_eq!(status.runs[0].cost, None);
}

#[test]
fn a_run_that_is_over_its_budget_says_so_in_every_condition() {
    let live = spent(record(false, None), 2);
    let problem = Problem::new(Reason::OverBudget, "0.80 USD; raise it");
    let problems = [problem.clone()];
    let schedule = Some(("0 3 * * *", None));
    let paused =
        StatusInput { over_budget: Some(&problem), nonblocking: &problems, schedule, ..input(Some(&live), &[]) };
    let status = compute(&MigrationJobStatus::default(), &paused);
    assert_eq!((&status.phase, &status.next_schedule_time), (&Some(Phase::Suspended), &None));
    let conditions = conditions_of(&status);
    for expected in [
        "Progressing=False OverBudget",
        "Degraded=True OverBudget",
        "Suspended=True OverBudget",
        "Stalled=True OverBudget",
        "Ready=True ResourcesApplied",
        "Reconciling=False ResourcesApplied",
    ] {
        assert!(conditions.iter().any(|line| line == expected), "{expected} is not in {conditions:?}");
    }
    let message = &status.condition(ConditionType::Suspended).unwrap().1.message;
    assert_eq!(message, "0.80 USD; raise it");
    // A person who suspends the job besides has the last word.
    let both = compute(&status, &StatusInput { suspended: true, ..paused });
    assert!(conditions_of(&both).iter().any(|line| line == "Suspended=True SuspendedByUser"));
    let on = compute(&status, &StatusInput { schedule, ..input(Some(&live), &[]) });
    assert_eq!((&on.phase, on.next_schedule_time.is_some()), (&Some(Phase::Scanning), true));
    let conditions = conditions_of(&on);
    for expected in ["Suspended=False NotSuspended", "Degraded=False AsExpected", "Stalled=False AsExpected"] {
        assert!(conditions.iter().any(|line| line == expected), "{expected} is not in {conditions:?}");
    }
}
