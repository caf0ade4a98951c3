//! Recovers runs whose messages the queue has lost, by sending the affected ranges again.
//!
//! SQS keeps a message for at most 14 days, and a job may be suspended, or without workers, for longer. The batches
//! lost in this way never end, and neither does their run. Such a run is *quiet*: it is live, ends of batches are
//! missing, and none was recorded for [`QUIET_MS`]. It is reopened:
//!
//! 1. The operator requests this in the run's record ([`ask`]), which opens the scan again and releases the lease.
//! 2. The next sender takes the run under a new epoch and reads the ends of all batches. Ranges without missing ends
//!    are *kept*: their totals are final and go into the run's record ([`reopen`]). All others begin again; ends under
//!    their earlier epochs, whenever they are written, are stale.
//! 3. From then on, counters of earlier epochs are ignored: [`crate::progress::Tally`].
//!
//! All of this is one write of one item, so a sender that dies before it has changed nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::progress::{Tally, progress};
use crate::records::{Counters, Heartbeat, RangeRecord, Reopening, RunRecord};

/// Time without a recorded end after which a run is quiet, in milliseconds.
pub const QUIET_MS: i64 = 7 * 24 * 3600 * 1000;
/// Maximum retention of a queue, in milliseconds. Source: `MessageRetentionPeriod` of `CreateQueue` in the SQS API
/// reference.
pub const QUEUE_FORGETS_MS: i64 = 14 * 24 * 3600 * 1000;
/// Time that the workers of a resumed job get to show that the queue still has its messages, in milliseconds.
pub const RESUMED_MS: i64 = 3600 * 1000;

/// The inputs that decide whether a live run is quiet.
#[derive(Clone, Copy, Debug)]
pub struct QuietInput<'a> {
    /// The run.
    pub run: &'a RunRecord,
    /// Totals of its batches.
    pub tally: &'a Tally,
    /// Heartbeats of the job, including old ones, which tell when a side was paused.
    pub heartbeats: &'a [Heartbeat],
    /// True if there are heartbeats that cannot be read: their workers may have part of the run in progress.
    pub has_unreadable: bool,
    /// When the job was last resumed, as Unix time in milliseconds. `None` if it never was suspended.
    pub resumed: Option<i64>,
    /// Time after which a run is quiet, in milliseconds: [`QUIET_MS`].
    pub quiet_ms: i64,
    /// The current Unix time in milliseconds.
    pub now: i64,
}

/// Returns true if a run is to be reopened.
///
/// | run | reopen |
/// |---|---|
/// | has ended, lacks no end, or is being reopened | no |
/// | a worker has part of it in progress, or a side is paused | no: it moves, or waits for a person |
/// | a heartbeat cannot be read | no: its worker may have part of it in progress |
/// | last end, pause, reopening, end of its scan or start less than 7 days ago | no |
/// | the same 7 to 14 days ago, and the job was resumed less than an hour ago | no: the queue may still have all messages |
/// | otherwise | yes |
pub fn is_quiet(input: &QuietInput<'_>) -> bool {
    let QuietInput { run, tally, heartbeats, has_unreadable, resumed, quiet_ms, now } = *input;
    let lacks_ends = progress(run, tally).open_batches > 0;
    if run.end.is_some() || run.reopen.is_some() || !lacks_ends || has_unreadable {
        return false;
    }
    let mut fresh = heartbeats.iter().filter(|beat| beat.is_fresh(now));
    if fresh.any(|beat| !beat.blocked.is_empty() || beat.runs.contains(&run.run)) {
        return false;
    }
    let paused = heartbeats.iter().filter_map(Heartbeat::last_paused);
    let reopened = run.reopened.iter().map(|reopening| reopening.at);
    let moments = [Some(run.started), Some(run.scan.closed_at), tally.last_end];
    let last = moments.into_iter().flatten().chain(paused).chain(reopened).max().unwrap_or_default();
    let quiet = now.saturating_sub(last);
    let settled = resumed.is_none_or(|at| now.saturating_sub(at) >= RESUMED_MS);
    quiet >= quiet_ms && (settled || quiet >= QUEUE_FORGETS_MS)
}

/// Returns the run's record with a request that the next sender reopen it.
#[must_use]
pub fn ask(run: &RunRecord, now: i64) -> RunRecord {
    let mut asked = run.clone();
    asked.revision += 1;
    asked.reopen = Some(now);
    asked.lease_until = 0;
    asked.scan.closed = false;
    asked.scan.waiting = false;
    asked
}

/// Totals of the ends of batches by range, without stale ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    by_range: BTreeMap<u32, Counters>,
}

impl Ends {
    /// Adds the end of a batch that counts.
    pub fn add(&mut self, range: u32, end: &Counters) {
        self.by_range.entry(range).or_default().add(end);
    }

    fn of(&self, range: u32) -> Counters {
        self.by_range.get(&range).copied().unwrap_or_default()
    }
}

/// Returns the record of a run just taken under a new epoch, reopened if this was requested. `ranges` are the recorded
/// ranges, and `ends` the ends that count. Ranges that lack an end begin again: see [`crate::progress::ranges_of`].
#[must_use]
pub fn reopen(mut run: RunRecord, ranges: &[RangeRecord], ends: &Ends) -> RunRecord {
    let Some(at) = run.reopen.take() else { return run };
    let was_closed = run.scan.closed_at > 0;
    let (mut lacking, mut kept, mut extra) = (BTreeSet::new(), Counters::default(), 0);
    for range in ranges {
        let ended = ends.of(range.range);
        if ended.batches == range.counts.batches + ended.remainders {
            kept.add(&ended);
            extra += range.counts.extra;
        } else {
            lacking.insert(range.range);
        }
    }
    // For these ranges, this reopening supersedes earlier ones and the deaths of senders.
    run.stale.retain(|stale| !lacking.contains(&stale.range));
    for earlier in &mut run.reopened {
        earlier.ranges.retain(|range| !lacking.contains(range));
    }
    run.reopened.push(Reopening { at, epoch: run.epoch, ranges: lacking.into_iter().collect() });
    run.kept = kept;
    if let Some(mirror) = run.mirror.as_mut().filter(|_| was_closed) {
        (mirror.settled, mirror.deleted_before) = (extra, mirror.deleted);
    }
    run
}

#[cfg(test)]
mod tests;
