//! Requests and bytes that a process sent for a run, from which the run's cost follows.

use serde::{Deserialize, Serialize};

use super::{RETENTION_MS, run_partition};
use crate::error::Service;
use crate::operation::{Operation, PriceClass};
use crate::ports::{Condition, Item, LedgerKey, Write};

/// Prefix of the sort keys of [`SpendingRecord`]s.
pub const SPENDING_PREFIX: &str = "cost/";
/// Prefix of the sort keys of [`Counters`](super::Counters) and [`SpendingRecord`]s of a run, and of nothing else there:
/// one query reads both.
pub const COUNTED_PREFIX: &str = "co";

/// Requests and bytes by price class. Sums stay at the largest number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spending {
    /// PUT, COPY, POST and LIST requests to the source.
    pub source_writes: u64,
    /// GET, HEAD and other requests to the source that cost something.
    pub source_reads: u64,
    /// Bytes of bodies that the source sent.
    pub source_bytes: u64,
    /// PUT, COPY, POST and LIST requests to the destination.
    pub destination_writes: u64,
    /// GET, HEAD and other requests to the destination that cost something.
    pub destination_reads: u64,
    /// Bytes of bodies that the destination sent.
    pub destination_bytes: u64,
    /// Requests to the queue.
    pub queue_requests: u64,
    /// Write units of the ledger.
    pub ledger_writes: u64,
    /// Read units of the ledger.
    pub ledger_reads: u64,
}

impl Spending {
    /// Adds requests of an operation to a service. Those to the ledger are counted in units instead.
    pub fn add_requests(&mut self, side: Service, operation: Operation, number: u64) {
        let sum = match (side, operation.price_class()) {
            (Service::Source, PriceClass::Write) => &mut self.source_writes,
            (Service::Source, PriceClass::Read) => &mut self.source_reads,
            (Service::Destination, PriceClass::Write) => &mut self.destination_writes,
            (Service::Destination, PriceClass::Read) => &mut self.destination_reads,
            (Service::Queue, PriceClass::Queue) => &mut self.queue_requests,
            _ => return,
        };
        *sum = sum.saturating_add(number);
    }

    /// Adds what another process, or this one at another time, sent.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.numbers_mut().into_iter().zip(other.numbers()) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// Returns what was sent since an earlier reading of the same counters.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        for (mine, before) in self.numbers_mut().into_iter().zip(earlier.numbers()) {
            *mine = mine.saturating_sub(before);
        }
        self
    }

    fn numbers(mut self) -> [u64; 9] {
        self.numbers_mut().map(|number| *number)
    }

    fn numbers_mut(&mut self) -> [&mut u64; 9] {
        [
            &mut self.source_writes,
            &mut self.source_reads,
            &mut self.source_bytes,
            &mut self.destination_writes,
            &mut self.destination_reads,
            &mut self.destination_bytes,
            &mut self.queue_requests,
            &mut self.ledger_writes,
            &mut self.ledger_reads,
        ]
    }
}

/// What a process sent for a run since it began to work for it. Written by that process only, each time as a whole, so
/// that a write which is repeated, or whose answer is lost, counts once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpendingRecord {
    /// Name of the process.
    pub name: String,
    /// When it was written, as Unix time in milliseconds.
    pub at: i64,
    /// What was sent until then.
    #[serde(flatten)]
    pub spent: Spending,
}

impl SpendingRecord {
    /// Returns the write of the record. `token` tells the process from others of its name: a pod keeps its name when
    /// its container is restarted, and counts from 0 again.
    pub fn write(&self, job: &str, run: &str, token: &str) -> Write {
        let item = Item::of(spending_key(job, run, &self.name, token), self).expiring(self.at + RETENTION_MS);
        Write::Put { item, condition: Condition::Always }
    }
}

/// Key of a [`SpendingRecord`].
pub fn spending_key(job: &str, run: &str, name: &str, token: &str) -> LedgerKey {
    LedgerKey::new(run_partition(job, run), format!("{SPENDING_PREFIX}{name}/{token}"))
}

#[cfg(test)]
mod tests {
    use super::super::{BATCH_PREFIX, COUNTER_PREFIX, RANGE_PREFIX};
    use super::*;

    fn counted(from: u64) -> Spending {
        let mut spent = Spending::default();
        for (number, place) in spent.numbers_mut().into_iter().zip(from..) {
            *number = place;
        }
        spent
    }

    #[test]
    fn sums_and_differences_take_every_number_and_stay_in_range() {
        let (mut sum, other) = (counted(1), counted(10));
        sum.add(&other);
        assert_eq!(sum.numbers(), [11, 13, 15, 17, 19, 21, 23, 25, 27]);
        assert_eq!(sum.since(&other), counted(1));
        assert_eq!(counted(1).since(&other), Spending::default(), "a reading is never negative");
        let most = Spending { source_bytes: u64::MAX, ..Spending::default() };
        sum.add(&most);
        assert_eq!(sum.source_bytes, u64::MAX);
        let json = serde_json::to_value(counted(1)).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 9, "{json}");
    }

    #[test]
    fn requests_have_the_classes_of_the_price_lists() {
        use Operation::{
            AbortUpload, CompleteUpload, CopyPart, CreateUpload, DeleteObject, GetItem, GetObject, GetTags, HeadObject,
            ListObjects, ListParts, PutObject, PutPart, PutTags, ReceiveMessages, WriteItems,
        };
        let class = |side, operation| {
            let mut spent = Spending::default();
            spent.add_requests(side, operation, 3);
            spent.numbers().into_iter().position(|number| number == 3)
        };
        let (source, destination) = (Service::Source, Service::Destination);
        for (side, operations, expected) in [
            (source, vec![ListObjects, ListParts], Some(0)),
            (source, vec![GetObject, HeadObject, GetTags], Some(1)),
            (
                destination,
                vec![PutObject, PutPart, CopyPart, CreateUpload, CompleteUpload, PutTags, ListParts],
                Some(3),
            ),
            (destination, vec![GetObject, HeadObject], Some(4)),
            (destination, vec![DeleteObject, AbortUpload], None),
            (Service::Queue, vec![ReceiveMessages], Some(6)),
            (Service::Ledger, vec![GetItem, WriteItems], None),
        ] {
            for operation in operations {
                assert_eq!(class(side, operation), expected, "{side} {operation}");
            }
        }
    }

    #[test]
    fn a_record_is_read_with_the_counters_and_with_nothing_else() {
        let record = SpendingRecord { name: "w".into(), at: 7, spent: counted(1) };
        let Write::Put { item, condition } = record.write("u", "r", "1-2") else { panic!("not a put") };
        assert_eq!((item.key.sort.as_str(), condition), ("cost/w/1-2", Condition::Always));
        assert_eq!(item.read::<SpendingRecord>(), Ok(record));
        let read = |prefix: &str| prefix.starts_with(COUNTED_PREFIX);
        assert_eq!([SPENDING_PREFIX, COUNTER_PREFIX, BATCH_PREFIX, RANGE_PREFIX].map(read), [true, true, false, false]);
        let newer = serde_json::json!({"name": "w", "at": 7, "sourceReads": 2, "glacierReads": 5});
        let newer = Item::of(spending_key("u", "r", "w", "1"), &newer).read::<SpendingRecord>().unwrap();
        assert_eq!(newer.spent, Spending { source_reads: 2, ..Spending::default() }, "what a newer version adds");
    }
}
