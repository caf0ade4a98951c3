//! How many objects events may delete in a day.

use serde::{Deserialize, Serialize};

use super::job_partition;
use crate::ports::{Condition, Item, LedgerKey, Write};

const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// Most deletions that a worker reserves at a time.
const MOST_AT_ONCE: u64 = 100;

/// The deletions of a day that workers have reserved. What a worker reserved and did not use is lost when it stops, so
/// that a day has at most as many deletions as the job allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionsRecord {
    /// Increases with each write.
    pub revision: u64,
    /// The day (UTC), counted from 1970-01-01.
    pub day: i64,
    /// Deletions reserved on that day.
    pub reserved: u64,
}

/// Deletions that a worker may make on a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reservation {
    /// The day.
    pub day: i64,
    /// Their number.
    pub left: u64,
}

/// Returns the day (UTC) of a time in milliseconds since 1970.
pub const fn day_of(now: i64) -> i64 {
    now.div_euclid(DAY_MS)
}

impl DeletionsRecord {
    /// Reserves some of the `most` deletions of a day: a hundredth, so that workers seldom write this record, and what
    /// one of them does not use is little. Returns the record to write, or `None` if the day has none left. A day that
    /// another worker's clock has begun is the current one.
    pub fn reserve(self, now: i64, most: u64) -> Option<(Self, Reservation)> {
        let day = day_of(now).max(self.day);
        let before = if day == self.day { self.reserved } else { 0 };
        let number = (most / MOST_AT_ONCE).clamp(1, MOST_AT_ONCE).min(most.saturating_sub(before));
        let record = Self { revision: self.revision + 1, day, reserved: before + number };
        (number > 0).then_some((record, Reservation { day, left: number }))
    }

    /// Returns the write of the record, on the condition that it is still as it was read.
    pub fn write(&self, job: &str) -> Write {
        let condition = match self.revision {
            1 => Condition::Absent,
            revision => Condition::Revision(revision - 1),
        };
        Write::Put { item: Item::of(deletions_key(job), self), condition }
    }
}

/// Key of a job's [`DeletionsRecord`].
pub fn deletions_key(job: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), "deletions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_no_more_than_it_may() {
        for most in [1, 5, 99, 100, 250, 30_000] {
            let (mut record, mut total, mut writes) = (DeletionsRecord::default(), 0, 0);
            while let Some((next, reservation)) = record.reserve(5 * DAY_MS + 7, most) {
                assert!(reservation.left <= 100 && reservation.left * 100 <= most.max(100), "{most}: {reservation:?}");
                (record, total, writes) = (next, total + reservation.left, writes + 1);
                assert_eq!((record.day, record.revision), (5, writes));
            }
            assert_eq!(total, most);
            let (next, _) = record.reserve(6 * DAY_MS, most).unwrap();
            assert!(next.day == 6 && next.reserved <= 100, "a new day begins anew");
        }
    }

    #[test]
    fn a_clock_that_is_behind_does_not_begin_the_day_before() {
        let record = DeletionsRecord { revision: 3, day: 6, reserved: 2 };
        assert_eq!(record.reserve(6 * DAY_MS - 1, 2), None);
        assert_eq!(record.reserve(6 * DAY_MS - 1, 3).unwrap().1, Reservation { day: 6, left: 1 });
    }
}
