//! The budget of a run: what it has cost, by the ledger, and what it may cost, by the resource.

use migration_api::{MigrationJob, Reason};
use migration_core::cost::{BudgetDecision, BudgetInput, Money, PriceTable, decide};

use super::ledger::LedgerView;
use crate::problem::Problem;

/// Returns the prices of a job.
pub fn prices(job: &MigrationJob) -> PriceTable {
    job.spec.prices.as_ref().map_or_else(PriceTable::default, |prices| PriceTable::of(&prices.into()))
}

/// Returns why the live run has to pause, or none if it may go on. `ledger`: none if the ledger did not answer; then what
/// the status says counts.
pub fn over_budget(job: &MigrationJob, ledger: Option<&LedgerView>) -> Option<Problem> {
    let limit = job.spec.limits.cost?;
    let prices = prices(job);
    let run = ledger.and_then(LedgerView::live);
    let spent = run.and_then(|run| run.tally.as_ref()).map(|tally| prices.bill(&tally.spent).total());
    let status = job.status.as_ref();
    let current = status.and_then(|status| status.current_run.as_ref());
    let is_live = if ledger.is_some() { run.is_some() } else { current.is_some() };
    let known = status.and_then(|status| status.cost.as_ref()).filter(|cost| {
        let id = run.map(|run| &run.record.run).or(current);
        id == Some(&cost.run) && cost.currency == prices.currency
    });
    let input = BudgetInput { is_live, spent, spent_before: known.map(|cost| cost.total), limit: Some(limit) };
    match decide(&input) {
        BudgetDecision::Go => None,
        BudgetDecision::Pause { spent, limit } => Some(problem(spent, limit, &prices.currency)),
    }
}

fn problem(spent: Money, limit: Money, currency: &str) -> Problem {
    let text = format!(
        "the run has cost {spent} {currency}, and spec.limits.cost is {limit}: jobsender and workers are stopped, and no \
         work is lost; raise spec.limits.cost, and the run goes on where it was"
    );
    Problem::new(Reason::OverBudget, text)
}

#[cfg(test)]
mod tests {
    use migration_api::status::{CostStatus, MigrationJobStatus};
    use migration_core::progress::Tally;
    use migration_core::records::{RunRecord, RunResult, Spending};
    use migration_engine::run::look::RunView;

    use super::*;
    use crate::job_controller::runs::lifecycle::tests::run as record;
    use crate::job_controller::validate::tests::resource;

    fn view(record: RunRecord, source_reads: u64) -> LedgerView {
        let tally = Tally { spent: Spending { source_reads, ..Spending::default() }, ..Tally::default() };
        LedgerView { run: Some(RunView { record, tally: Some(tally) }), ..LedgerView::default() }
    }

    fn job(limit: Option<&str>, known: Option<(&str, &str)>) -> MigrationJob {
        let mut job = resource();
        job.spec.limits.cost = limit.map(|limit| limit.parse().unwrap());
        let run = record(true, None).run;
        let cost = known.map(|(total, currency)| CostStatus {
            run: run.clone(),
            currency: currency.to_owned(),
            total: total.parse().unwrap(),
            requests: Money::default(),
            transfer: Money::default(),
            coordination: Money::default(),
            limit: None,
            as_of: None,
        });
        job.status = Some(MigrationJobStatus { cost, current_run: Some(run), ..MigrationJobStatus::default() });
        job
    }

    #[test]
    #[allow(clippy::large_stack_arrays, reason = "a table")]
    fn a_live_run_pauses_at_its_limit_and_at_no_other_time() {
        // A million reads cost 0.40 USD.
        let (live, ended) = (record(true, None), record(true, Some(RunResult::Complete)));
        for (limit, known, ledger, pauses) in [
            (None, None, Some(view(live.clone(), 9_000_000)), false),
            (Some("0.40"), None, Some(view(live.clone(), 999_990)), false),
            (Some("0.40"), None, Some(view(live.clone(), 1_000_000)), true),
            (Some("0.400001"), Some(("0.50", "USD")), Some(view(live.clone(), 1_000_000)), false),
            (Some("0.40"), None, Some(view(ended, 1_000_000)), false),
            (Some("0.40"), Some(("0.50", "USD")), Some(LedgerView::default()), false),
            (Some("0.40"), Some(("0.50", "USD")), None, true),
            (Some("0.60"), Some(("0.50", "USD")), None, false),
            (Some("0.40"), Some(("0.50", "EUR")), None, false),
            (Some("0.40"), None, None, false),
        ] {
            let found = over_budget(&job(limit, known), ledger.as_ref());
            assert_eq!(found.is_some(), pauses, "{limit:?} {known:?} {:?}", ledger.is_some());
        }
    }

    #[test]
    fn the_message_has_both_amounts_and_the_way_out() {
        let mut job = job(Some("1.50"), None);
        job.spec.prices = Some(serde_yaml::from_str("{currency: CNY, source: {readsPerThousand: 0.01}}").unwrap());
        let found = over_budget(&job, Some(&view(record(false, None), 200_000))).unwrap();
        assert_eq!(found.reason, Reason::OverBudget);
        let expected = "the run has cost 2.00 CNY, and spec.limits.cost is 1.50: ";
        assert!(found.message.starts_with(expected) && found.message.contains("raise"), "{}", found.message);
    }
}
