//! The cost of a run by a price table, and its budget. Money is counted in whole numbers, so that sums don't drift.

mod money;

use crate::estimate::{Prices, SidePrices};
use crate::records::Spending;

pub use money::{Money, MoneyError};

/// Prices in whole numbers of the smallest unit in use; see [`Prices`] for what they are prices of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceTable {
    /// The currency, as a label only.
    pub currency: String,
    source: SideTable,
    destination: SideTable,
    /// Millionths of the currency for a million requests or units.
    queue: u64,
    ledger_writes: u64,
    ledger_reads: u64,
}

/// Prices of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SideTable {
    /// Millionths of the currency for a million requests.
    writes: u64,
    reads: u64,
    /// Millionths of the currency for a gigabyte (10⁹ bytes).
    out: u64,
}

impl Default for PriceTable {
    fn default() -> Self {
        Self::of(&Prices::default())
    }
}

/// The cost of a run. Each part is rounded up to a millionth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Requests to both sides.
    pub requests: Money,
    /// Data transfer out of both sides.
    pub transfer: Money,
    /// Queue and ledger.
    pub coordination: Money,
}

impl Bill {
    /// Returns the sum of the parts.
    pub const fn total(&self) -> Money {
        self.requests.plus(self.transfer).plus(self.coordination)
    }
}

impl PriceTable {
    /// Converts prices, each to the nearest millionth per million requests or per gigabyte. What is no price, such as a
    /// negative number, becomes 0.
    pub fn of(prices: &Prices) -> Self {
        let Prices {
            currency,
            source,
            destination,
            queue_per_million,
            ledger_writes_per_million,
            ledger_reads_per_million,
        } = prices;
        Self {
            currency: currency.clone(),
            source: SideTable::of(source),
            destination: SideTable::of(destination),
            queue: millionths(*queue_per_million),
            ledger_writes: millionths(*ledger_writes_per_million),
            ledger_reads: millionths(*ledger_reads_per_million),
        }
    }

    /// Returns the cost of what was sent.
    pub fn bill(&self, spent: &Spending) -> Bill {
        let (source, destination) = (&self.source, &self.destination);
        // A million times millionths: what a million requests cost in millionths, one costs in millionths of those.
        let sum = |parts: &[(u64, u64)]| {
            let each = parts.iter().map(|(number, price)| u128::from(*number) * u128::from(*price));
            each.fold(0, u128::saturating_add)
        };
        let requests = sum(&[
            (spent.source_writes, source.writes),
            (spent.source_reads, source.reads),
            (spent.destination_writes, destination.writes),
            (spent.destination_reads, destination.reads),
        ]);
        let transfer = sum(&[(spent.source_bytes, source.out), (spent.destination_bytes, destination.out)]);
        let coordination = sum(&[
            (spent.queue_requests, self.queue),
            (spent.ledger_writes, self.ledger_writes),
            (spent.ledger_reads, self.ledger_reads),
        ]);
        Bill {
            requests: Money::from_parts(requests, 1_000_000),
            transfer: Money::from_parts(transfer, 1_000_000_000),
            coordination: Money::from_parts(coordination, 1_000_000),
        }
    }
}

impl SideTable {
    fn of(prices: &SidePrices) -> Self {
        let SidePrices { writes_per_thousand, reads_per_thousand, out_per_gigabyte } = *prices;
        Self {
            writes: millionths(writes_per_thousand * 1e3),
            reads: millionths(reads_per_thousand * 1e3),
            out: millionths(out_per_gigabyte),
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float stays within bounds")]
fn millionths(price: f64) -> u64 {
    (price * 1e6).round() as u64
}

/// The facts about a run's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetInput {
    /// A run is live, or is not known to have ended.
    pub is_live: bool,
    /// What it has cost, by the ledger. `None` if the ledger did not answer.
    pub spent: Option<Money>,
    /// What it had cost when that was last known. `None` if it never was.
    pub spent_before: Option<Money>,
    /// What it may cost.
    pub limit: Option<Money>,
}

/// The decision about a run's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetDecision {
    /// The run may go on.
    Go,
    /// It has to pause until the limit is raised.
    Pause {
        /// What it has cost.
        spent: Money,
        /// What it may cost.
        limit: Money,
    },
}

/// Decides whether a run may go on.
///
/// | run | limit | what it has cost | decision |
/// |---|---|---|---|
/// | ended, or none | | | go |
/// | live | none | | go |
/// | live | any | unknown, and never was known | go |
/// | live | any | less than the limit | go |
/// | live | any | the limit, or more | pause |
///
/// While the ledger does not answer, what was known last counts. The cost of a run never falls by itself, so that a run
/// which pauses goes on only when the limit or the prices change.
pub fn decide(input: &BudgetInput) -> BudgetDecision {
    let spent = input.spent.or(input.spent_before);
    match (spent, input.limit) {
        (Some(spent), Some(limit)) if input.is_live && spent >= limit => BudgetDecision::Pause { spent, limit },
        _ => BudgetDecision::Go,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn the_bill_is_that_of_the_price_list() {
        let table = PriceTable::default();
        for (spent, expected) in [
            (Spending::default(), ["0.00", "0.00", "0.00"]),
            (Spending { source_writes: 1_000, ..Spending::default() }, ["0.005", "0.00", "0.00"]),
            (Spending { source_reads: 1_000, ..Spending::default() }, ["0.0004", "0.00", "0.00"]),
            (Spending { destination_writes: 2_000_000, ..Spending::default() }, ["10.00", "0.00", "0.00"]),
            (Spending { destination_reads: 1, ..Spending::default() }, ["0.000001", "0.00", "0.00"]),
            (Spending { source_bytes: 1_000_000_000, ..Spending::default() }, ["0.00", "0.09", "0.00"]),
            (Spending { destination_bytes: 10_000_000_000, ..Spending::default() }, ["0.00", "0.90", "0.00"]),
            (Spending { queue_requests: 1_000_000, ..Spending::default() }, ["0.00", "0.00", "0.40"]),
            (Spending { ledger_writes: 2_000_000, ..Spending::default() }, ["0.00", "0.00", "1.25"]),
            (Spending { ledger_reads: 8_000_000, ..Spending::default() }, ["0.00", "0.00", "1.00"]),
        ] {
            let bill = table.bill(&spent);
            let found = [bill.requests, bill.transfer, bill.coordination];
            assert_eq!(found.map(|part| part.to_string()), expected, "{spent:?}");
            assert_eq!(bill.total(), found.into_iter().fold(Money::default(), Money::plus));
        }
    }

    #[test]
    fn a_petabyte_costs_what_it_should_and_the_largest_numbers_stay_in_range() {
        let spent = Spending { source_bytes: 1_000_000_000_000_000, source_reads: 62_500_000, ..Spending::default() };
        let bill = PriceTable::default().bill(&spent);
        assert_eq!((bill.transfer, bill.requests, bill.total()), (money("90000"), money("25"), money("90025")));
        let most = Spending {
            source_writes: u64::MAX,
            source_bytes: u64::MAX,
            destination_bytes: u64::MAX,
            queue_requests: u64::MAX,
            ..Spending::default()
        };
        let dear = SidePrices { writes_per_thousand: 1e30, reads_per_thousand: -1.0, out_per_gigabyte: f64::NAN };
        let table = PriceTable::of(&Prices { source: dear, queue_per_million: f64::INFINITY, ..Prices::default() });
        let bill = table.bill(&most);
        assert_eq!((bill.requests, bill.total()), (Money::MOST, Money::MOST));
        let nothing = Spending { source_reads: 5, source_bytes: 5, ..Spending::default() };
        assert_eq!(table.bill(&nothing).total(), Money::default(), "what is no price costs nothing");
    }

    #[test]
    fn a_run_pauses_as_the_table_says() {
        let (less, limit, more) = (money("9.999999"), money("10"), money("10.01"));
        let pause = |spent| BudgetDecision::Pause { spent, limit };
        for (is_live, spent, spent_before, limited, expected) in [
            (false, Some(more), Some(more), Some(limit), BudgetDecision::Go),
            (true, Some(more), Some(more), None, BudgetDecision::Go),
            (true, None, None, Some(limit), BudgetDecision::Go),
            (true, Some(less), None, Some(limit), BudgetDecision::Go),
            (true, Some(limit), None, Some(limit), pause(limit)),
            (true, Some(more), Some(less), Some(limit), pause(more)),
            (true, None, Some(more), Some(limit), pause(more)),
            (true, None, Some(less), Some(limit), BudgetDecision::Go),
            (true, Some(less), Some(more), Some(limit), BudgetDecision::Go),
        ] {
            let input = BudgetInput { is_live, spent, spent_before, limit: limited };
            assert_eq!(decide(&input), expected, "{input:?}");
        }
    }

    proptest! {
        /// A run that pauses stays paused whatever is added, until its limit is raised above that.
        #[test]
        fn the_cost_never_falls(
            before in prop::array::uniform9(0..1_u64 << 40),
            later in prop::array::uniform9(0..1_u64 << 40),
            limit in 1..1_u64 << 40,
        ) {
            let spent = |n: [u64; 9]| Spending {
                source_writes: n[0], source_reads: n[1], source_bytes: n[2], destination_writes: n[3],
                destination_reads: n[4], destination_bytes: n[5], queue_requests: n[6], ledger_writes: n[7],
                ledger_reads: n[8],
            };
            let table = PriceTable::default();
            let mut sum = spent(before);
            let first = table.bill(&sum).total();
            sum.add(&spent(later));
            let second = table.bill(&sum).total();
            prop_assert!(second >= first);
            let paused = |total: Money| {
                let limit = Some(Money::from_parts(u128::from(limit), 1));
                decide(&BudgetInput { is_live: true, spent: Some(total), spent_before: None, limit }) != BudgetDecision::Go
            };
            prop_assert!(!paused(first) || paused(second));
        }
    }
}
