//! The conditions that `kubectl wait`, kstatus and Argo CD look at.

use super::*;

fn is(status: &MigrationJobStatus, kind: ConditionType) -> bool {
    status.condition(kind).unwrap().0
}

/// Returns what kstatus makes of a status of this generation. Source: `checkGeneration`, `checkGenericProperties` and
/// `GetObjectWithConditions` in kubernetes-sigs/cli-utils, `pkg/kstatus/status`.
fn kstatus(status: &MigrationJobStatus, generation: i64) -> &'static str {
    if status.observed_generation != Some(generation) || is(status, ConditionType::Reconciling) {
        return "InProgress";
    }
    if is(status, ConditionType::Stalled) {
        return "Failed";
    }
    if is(status, ConditionType::Ready) { "Current" } else { "InProgress" }
}

#[test]
#[allow(clippy::large_stack_arrays, reason = "a table")]
fn what_tools_see_follows_run_and_problems() {
    let ended = |result| view(record(true, Some(result)), 4);
    let (live, complete, partly, failed_run) = (
        view(record(false, None), 0),
        ended(RunResult::Complete),
        ended(RunResult::PartiallyFailed),
        ended(RunResult::Failed),
    );
    let none = LedgerView::default();
    let (idle, broken) = (vec![], vec![job("photos-run-9", failed())]);
    let late = [Problem::new(Reason::SecretMissing, "Secret k")];
    let wrong = [Problem::new(Reason::SecretMissing, "Secret k"), Problem::new(Reason::SpecInvalid, "no")];
    let taken = [Problem::new(Reason::NameTaken, "x")];
    let daily = Some(("@daily", None));
    // The run, the Jobs, what blocks, schedule, suspended → Complete, Failed, Reconciling, Stalled, kstatus.
    for (ledger, jobs, blocking, schedule, suspended, expected) in [
        (&none, &idle, &[][..], None, false, (false, false, false, false, "Current")),
        (&live, &idle, &[][..], None, false, (false, false, false, false, "Current")),
        (&complete, &idle, &[][..], None, false, (true, false, false, false, "Current")),
        (&partly, &idle, &[][..], None, false, (false, true, false, true, "Failed")),
        (&failed_run, &idle, &[][..], None, false, (false, true, false, true, "Failed")),
        (&none, &broken, &[][..], None, false, (false, true, false, true, "Failed")),
        (&failed_run, &idle, &[][..], daily, false, (false, true, false, false, "Current")),
        (&failed_run, &idle, &[][..], None, true, (false, true, false, false, "Current")),
        (&none, &idle, &late[..], None, false, (false, false, true, false, "InProgress")),
        (&complete, &idle, &late[..], daily, false, (true, false, true, false, "InProgress")),
        (&none, &idle, &wrong[..], None, false, (false, false, false, true, "Failed")),
        (&complete, &idle, &taken[..], daily, true, (true, false, false, true, "Failed")),
        (&failed_run, &idle, &late[..], None, false, (false, true, false, true, "Failed")),
    ] {
        let input = StatusInput { suspended, blocking, schedule, ..input(Some(ledger), jobs) };
        let status = compute(&MigrationJobStatus::default(), &input);
        let found = (
            is(&status, ConditionType::Complete),
            is(&status, ConditionType::Failed),
            is(&status, ConditionType::Reconciling),
            is(&status, ConditionType::Stalled),
            kstatus(&status, 3),
        );
        assert_eq!(found, expected, "{ledger:?} {jobs:?} {blocking:?} {schedule:?} {suspended}");
        assert_eq!(kstatus(&status, 4), "InProgress", "an edit that was not seen yet");
    }
}

#[test]
fn conditions_never_contradict_each_other_and_name_their_generation() {
    let results = [None, Some(RunResult::Complete), Some(RunResult::PartiallyFailed), Some(RunResult::Failed)];
    let views: Vec<_> = results.into_iter().map(|result| view(record(true, result), 2)).collect();
    let ledgers = views.iter().map(Some).chain([None]);
    let problems =
        [Reason::SecretMissing, Reason::SpecInvalid, Reason::ApplyFailed, Reason::NotAllowed, Reason::QueueShared];
    let sets: Vec<Vec<Problem>> = (0..32_u32)
        .map(|set| {
            let chosen = problems.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0);
            chosen.map(|(_, reason)| Problem::new(reason.clone(), "why")).collect()
        })
        .collect();
    let mut before = MigrationJobStatus::default();
    let mut number = 0;
    for ledger in ledgers {
        for blocking in &sets {
            for flags in 0..8_u32 {
                let (suspended, watching) = (flags & 1 != 0, flags & 2 != 0);
                let schedule = (flags & 4 != 0).then_some(("@daily", None));
                number += 1;
                let generation = Some(number);
                let input = StatusInput { generation, suspended, blocking, watching, schedule, ..input(ledger, &[]) };
                // What stood there before does not matter.
                let status = compute(&before, &input);
                assert!(!(is(&status, ConditionType::Reconciling) && is(&status, ConditionType::Stalled)), "{input:?}");
                assert!(!(is(&status, ConditionType::Complete) && is(&status, ConditionType::Failed)), "{input:?}");
                assert_eq!(is(&status, ConditionType::Ready), blocking.is_empty(), "{input:?}");
                assert_eq!(kstatus(&status, number) == "Current", {
                    is(&status, ConditionType::Ready) && !is(&status, ConditionType::Stalled)
                });
                assert_eq!(status.observed_generation, generation);
                assert!(status.conditions.iter().all(|condition| condition.observed_generation == generation));
                let broken = with_problem(&status, &Problem::new(Reason::ApplyFailed, "no"), Some(number + 1), 1);
                assert!(is(&broken, ConditionType::Reconciling) && !is(&broken, ConditionType::Stalled));
                assert_eq!(kstatus(&broken, number + 1), "InProgress");
                let (ready, condition) = broken.condition(ConditionType::Ready).unwrap();
                assert!(!ready || condition.observed_generation == generation, "Ready of an older generation only");
                before = status;
            }
        }
    }
    assert_eq!(number, 5 * 32 * 8);
}
