//! Decides what a reconciliation reads. Each look has its price: a job that is idle costs no request to queue and
//! ledger, one that is active a bounded number.

use std::collections::VecDeque;

/// What the last reconciliation said about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Nothing is live, wanted or wrong, and the queue was empty.
    Settled,
    /// It is suspended in the middle of a run.
    Slow,
    /// Something moves.
    Active {
        /// A problem keeps something from being done: what may have removed it is read each time.
        blocked: bool,
    },
    /// Something is wanted that could not be done, or was done only now.
    Waiting,
}

/// The interval of looks at everything while something moves, in milliseconds. Between them only the queue is measured.
pub const LOOK_MS: i64 = 15_000;
/// The most ledger reads of a job in a minute, beside those that a change causes.
const MOST_READS: usize = 12;
/// The most ledger reads of a job in a minute while its run is about to end.
const MOST_CLOSING_READS: usize = 2 * MOST_READS;
/// What a look at the ledger costs: the run, its counters, the heartbeats.
pub const LOOK_READS: usize = 3;
/// How long after its queue became empty a run is looked at each time, in milliseconds.
const CLOSING_MS: i64 = 60_000;
const MINUTE_MS: i64 = 60_000;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What the specification names: Secrets, ignore list, certificates.
    pub named: bool,
    /// The job's objects in the cluster.
    pub cluster: bool,
    /// The depth of the queue.
    pub depth: bool,
}

impl Scope {
    /// Everything.
    pub const WHOLE: Self = Self { named: true, cluster: true, depth: true };
}

/// The facts that decide the scope.
#[derive(Clone, Copy, Debug)]
pub struct ScopeInput {
    /// What the last reconciliation said; none if there was none.
    pub pace: Option<Pace>,
    /// The specification or a child changed since everything was read, or nothing tells.
    pub changed: bool,
    /// Milliseconds since everything was read.
    pub since_whole: i64,
    /// Milliseconds since records of the ledger were read. Often everything is read since something changed in the
    /// cluster, and they are not.
    pub since_records: i64,
    /// Milliseconds since the queue was measured.
    pub since_depth: i64,
    /// The interval at which the queue is measured while the job is idle, in milliseconds; none if only the job itself
    /// changes it.
    pub poll: Option<i64>,
}

/// Decides what is read.
///
/// | last | changed | read |
/// |---|---|---|
/// | none | | everything |
/// | any | yes | everything |
/// | waiting, slow, or active with a problem | no | everything |
/// | active | no | everything if 15 s have passed since then, or since the ledger was read, else the queue's depth |
/// | settled | no | what the specification names; the queue's depth if it is polled and its interval has passed |
///
/// A queue is polled if others may send to it, or dead letters are known.
pub fn scope(input: &ScopeInput) -> Scope {
    let ScopeInput { pace, changed, since_whole, since_records, since_depth, poll } = *input;
    match pace {
        Some(Pace::Active { blocked: false }) if !changed && since_whole.max(since_records) < LOOK_MS => {
            Scope { named: false, cluster: false, depth: true }
        }
        Some(Pace::Settled) if !changed => {
            Scope { named: true, cluster: false, depth: poll.is_some_and(|poll| since_depth >= poll) }
        }
        _ => Scope::WHOLE,
    }
}

/// What is read from the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerLook {
    /// Nothing: the records that were read before stay.
    Keep,
    /// The counters of the live run.
    Tally,
    /// All records that the status and decisions need.
    Full,
}

/// The facts that decide a look at the ledger.
#[derive(Clone, Copy, Debug)]
pub struct LedgerInput {
    /// The records were never read, the specification or the Jobs changed since then, or something is wanted that
    /// depends on them.
    pub wanted: bool,
    /// Everything else is read.
    pub whole: bool,
    /// Milliseconds since all records were read.
    pub since_all: i64,
    /// The run has sent all its batches, and its queue became empty this many milliseconds ago.
    pub drained: Option<i64>,
    /// Reads in the last minute that were not wanted.
    pub reads: usize,
}

/// Decides what is read from the ledger.
///
/// | wanted | run | everything is read | look |
/// |---|---|---|---|
/// | yes | | | full |
/// | no | its queue became empty within a minute | no | its counters, up to 24 reads a minute |
/// | no | any | yes | full if 15 s have passed since then, up to 12 reads a minute |
/// | no | any | no | none |
pub fn ledger_look(input: &LedgerInput) -> LedgerLook {
    let LedgerInput { wanted, whole, since_all, drained, reads } = *input;
    if wanted {
        return LedgerLook::Full;
    }
    if whole && since_all >= LOOK_MS && reads + LOOK_READS <= MOST_READS {
        return LedgerLook::Full;
    }
    let closing = drained.is_some_and(|since| since < CLOSING_MS);
    if closing && reads < MOST_CLOSING_READS { LedgerLook::Tally } else { LedgerLook::Keep }
}

/// The ledger reads of a job in the last minute, without those that a change caused.
#[derive(Clone, Debug, Default)]
pub struct ReadLog(VecDeque<i64>);

impl ReadLog {
    /// Adds reads at a time in milliseconds since 1970.
    pub fn add(&mut self, number: usize, now: i64) {
        self.0.extend(std::iter::repeat_n(now, number));
    }

    /// Returns the number of reads in the minute before a time, and forgets older ones.
    pub fn in_last_minute(&mut self, now: i64) -> usize {
        while self.0.front().is_some_and(|at| now - at >= MINUTE_MS) {
            self.0.pop_front();
        }
        self.0.len()
    }

    /// Returns true if there is room for further reads beside those of the looks.
    pub fn has_room(&mut self, number: usize, now: i64) -> bool {
        self.in_last_minute(now) + number <= MOST_READS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: Scope = Scope { named: true, cluster: false, depth: false };
    const DEPTH: Scope = Scope { named: false, cluster: false, depth: true };

    #[test]
    fn what_is_read_is_as_the_table_says() {
        let active = Some(Pace::Active { blocked: false });
        let input = ScopeInput {
            pace: None,
            changed: false,
            since_whole: 5_000,
            since_records: 0,
            since_depth: 5_000,
            poll: None,
        };
        for (pace, changed, since_whole, since_records, poll, expected) in [
            (None, false, 0, 0, None, Scope::WHOLE),
            (Some(Pace::Waiting), false, 0, 0, None, Scope::WHOLE),
            (Some(Pace::Slow), false, 0, 0, None, Scope::WHOLE),
            (Some(Pace::Active { blocked: true }), false, 0, 0, None, Scope::WHOLE),
            (active, false, 5_000, LOOK_MS - 1, None, DEPTH),
            (active, true, 5_000, 0, None, Scope::WHOLE),
            (active, false, LOOK_MS, 0, None, Scope::WHOLE),
            (active, false, 0, LOOK_MS, None, Scope::WHOLE),
            (Some(Pace::Settled), false, i64::MAX, i64::MAX, None, NAMED),
            (Some(Pace::Settled), true, 0, 0, None, Scope::WHOLE),
            (Some(Pace::Settled), false, i64::MAX, 0, Some(5_000), Scope { depth: true, ..NAMED }),
            (Some(Pace::Settled), false, i64::MAX, 0, Some(5_001), NAMED),
        ] {
            let input = ScopeInput { pace, changed, since_whole, since_records, poll, ..input };
            assert_eq!(scope(&input), expected, "{input:?}");
        }
    }

    #[test]
    fn the_ledger_is_read_as_the_table_says() {
        use LedgerLook::{Full, Keep, Tally};
        for (wanted, whole, since_all, drained, reads, expected) in [
            (true, false, 0, None, 99, Full),
            (false, true, LOOK_MS, None, 9, Full),
            (false, true, LOOK_MS - 1, None, 0, Keep),
            (false, true, LOOK_MS, None, 10, Keep),
            (false, false, i64::MAX, None, 0, Keep),
            (false, false, 0, Some(59_999), 23, Tally),
            (false, true, 0, Some(0), 10, Tally),
            (false, false, 0, Some(59_999), 24, Keep),
            (false, false, 0, Some(60_000), 0, Keep),
        ] {
            let input = LedgerInput { wanted, whole, since_all, drained, reads };
            assert_eq!(ledger_look(&input), expected, "{input:?}");
        }
    }

    #[test]
    fn reads_are_forgotten_after_a_minute() {
        let mut log = ReadLog::default();
        log.add(3, 0);
        log.add(8, 30_000);
        assert_eq!((log.in_last_minute(59_999), log.has_room(1, 59_999)), (11, true));
        assert_eq!((log.has_room(2, 59_999), log.has_room(4, 60_000)), (false, true));
        assert_eq!(log.in_last_minute(90_000), 0);
    }
}
