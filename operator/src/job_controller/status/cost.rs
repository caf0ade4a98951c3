//! The cost of the live run, or of the last one.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use migration_api::status::{CostStatus, RunCost};
use migration_core::cost::{Bill, Money, PriceTable};
use migration_core::progress::Tally;

/// Returns what a run has cost by these prices.
pub fn of(run: &str, tally: &Tally, prices: &PriceTable, limit: Option<Money>) -> CostStatus {
    let bill = prices.bill(&tally.spent);
    let Bill { requests, transfer, coordination } = bill;
    let as_of = tally.spent_at.and_then(|at| Timestamp::from_millisecond(at).ok()).map(Time);
    let (run, currency) = (run.to_owned(), prices.currency.clone());
    CostStatus { run, currency, total: bill.total(), requests, transfer, coordination, limit, as_of }
}

/// Returns the cost of a run for the history, if that is the run's and something recorded it.
pub fn in_history(run: &str, cost: Option<&CostStatus>) -> Option<RunCost> {
    let cost = cost.filter(|cost| cost.run == run && cost.as_of.is_some())?;
    Some(RunCost { total: cost.total, currency: cost.currency.clone() })
}

#[cfg(test)]
mod tests {
    use migration_core::records::Spending;

    use super::*;

    #[test]
    fn the_history_has_what_was_recorded() {
        let spent = Spending { source_writes: 1_000, source_bytes: 10_000_000_000, ..Spending::default() };
        let tally = Tally { spent, spent_at: Some(1_000), ..Tally::default() };
        let limit = Some("5".parse().unwrap());
        let cost = of("r", &tally, &PriceTable::default(), limit);
        let [total, requests, transfer] = [cost.total, cost.requests, cost.transfer].map(|money| money.to_string());
        assert_eq!((total.as_str(), requests.as_str(), transfer.as_str()), ("0.905", "0.005", "0.90"));
        assert_eq!((cost.limit, cost.as_of.as_ref().map(|time| time.0.as_millisecond())), (limit, Some(1_000)));
        let expected = Some(RunCost { total: "0.905".parse().unwrap(), currency: "USD".into() });
        assert_eq!((in_history("r", Some(&cost)), in_history("s", Some(&cost))), (expected, None));
        let nothing = of("r", &Tally::default(), &PriceTable::default(), None);
        assert_eq!((nothing.as_of.clone(), in_history("r", Some(&nothing))), (None, None), "by an older version");
    }
}
