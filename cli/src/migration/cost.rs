//! The cost of a run, and its budget.

use migration_core::cost::{Bill, BudgetDecision, BudgetInput, decide};
use migration_core::ports::ObjectStore;
use migration_engine::run::look::{self, RunView};
use tracing::warn;

use super::{Budget, Migration, MigrationError};
use crate::display::Display;
use crate::event::Event;

impl<S, D> Migration<S, D>
where
    S: ObjectStore + Clone,
    D: ObjectStore + Clone,
{
    /// Fails if the run has cost what it may, by what its processes have recorded.
    pub(super) fn check_budget(&self, run: &RunView) -> Result<(), MigrationError> {
        let Some(Budget { prices, limit }) = &self.budget else { return Ok(()) };
        let spent = run.tally.as_ref().map(|tally| prices.bill(&tally.spent).total());
        let input = BudgetInput { is_live: run.is_live(), spent, spent_before: None, limit: *limit };
        match decide(&input) {
            BudgetDecision::Go => Ok(()),
            BudgetDecision::Pause { spent, limit } => {
                Err(MigrationError::OverBudget { spent, limit, currency: prices.currency.clone() })
            }
        }
    }

    /// Shows what the last run has cost, once its processes have ended.
    pub(super) async fn show_cost(&self, display: &dyn Display) {
        let Some(Budget { prices, .. }) = &self.budget else { return };
        let run = match look::last(&self.ledger(), self.job(), None).await {
            Ok(run) => run,
            Err(error) => return warn!(%error, "failed to read the cost of the run"),
        };
        let Some(tally) = run.and_then(|run| run.tally) else { return };
        let bill = prices.bill(&tally.spent);
        let Bill { requests, transfer, .. } = bill;
        let message = format!(
            "cost of the run: {} {} ({} for requests, {} for data transfer out)",
            bill.total(),
            prices.currency,
            requests,
            transfer
        );
        display.show(&Event::Notice { message });
    }
}
