//! When messages are lost: a run that gets no further has what it lacks sent anew.
//!
//! Queues forget. SQS keeps a message for at most 14 days, and a job may be suspended, or without workers, for longer. Then
//! batches never end, and their run with them. Such a run is *quiet*: it is live, lacks ends, and none was recorded for
//! [`QUIET_MS`]. It is reopened:
//!
//! 1. The operator asks for it in the run's record ([`ask`]), which opens the scan again and gives the lease up.
//! 2. The next sender takes the run under a new epoch and reads the ends of all batches. Ranges that lack none are *kept*:
//!    their sums, which can't change any more, go into the run's record ([`reopen`]). All others begin again at their
//!    start; what ends under earlier epochs of theirs, now or later, is stale.
//! 3. From then on counters of earlier epochs say nothing: [`crate::progress::Tally`].
//!
//! All of that is one write of one item, so that a sender that dies before it has changed nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::progress::{Tally, progress};
use crate::records::{Counters, Heartbeat, RangeRecord, Reopening, RunRecord};

/// A run is quiet when no end was recorded for so long, in milliseconds.
pub const QUIET_MS: i64 = 7 * 24 * 3600 * 1000;
/// No queue keeps a message for longer, in milliseconds. Source: `MessageRetentionPeriod` of `CreateQueue` in the SQS API
/// reference.
pub const QUEUE_FORGETS_MS: i64 = 14 * 24 * 3600 * 1000;
/// How long after a suspended job goes on its workers may take to show that the queue still has what it had, in
/// milliseconds.
pub const RESUMED_MS: i64 = 3600 * 1000;

/// What is known of a live run when it is decided whether it is quiet.
#[derive(Clone, Copy, Debug)]
pub struct QuietInput<'a> {
    /// The run.
    pub run: &'a RunRecord,
    /// Its batches.
    pub tally: &'a Tally,
    /// Heartbeats of the job, old ones too: they tell when a side was paused.
    pub heartbeats: &'a [Heartbeat],
    /// When the job went on after it was suspended, in milliseconds since 1970; none where it never was.
    pub resumed: Option<i64>,
    /// How long is quiet, in milliseconds: [`QUIET_MS`].
    pub quiet_ms: i64,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// Whether a run is to be reopened.
///
/// | run | reopen |
/// |---|---|
/// | has ended, lacks no end, or is being reopened | no |
/// | a worker has work of it in hand, or a side is paused | no: that moves, or waits for a person |
/// | last end, pause, reopening, end of its scan or start less than 7 days ago | no |
/// | the same 7 to 14 days ago, and went on less than an hour ago after it was suspended | no: the queue may still have all |
/// | otherwise | yes |
pub fn is_quiet(input: &QuietInput<'_>) -> bool {
    let QuietInput { run, tally, heartbeats, resumed, quiet_ms, now } = *input;
    let lacks_ends = progress(run, tally).open_batches > 0;
    if run.end.is_some() || run.reopen.is_some() || !lacks_ends {
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

/// The record of a run that the next sender is to reopen.
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

/// Ends of batches, summed by range; those that are stale are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    by_range: BTreeMap<u32, Counters>,
}

impl Ends {
    /// Takes an end of a range that counts.
    pub fn add(&mut self, range: u32, end: &Counters) {
        self.by_range.entry(range).or_default().add(end);
    }

    fn of(&self, range: u32) -> Counters {
        self.by_range.get(&range).copied().unwrap_or_default()
    }
}

/// The record of a run that a sender has just taken, under its new epoch, where reopening is asked for; `ranges` are as they
/// were found, and `ends` those that count. Ranges that lack an end begin again: see [`crate::progress::ranges_of`].
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
    // What this reopening says of a range says all that earlier ones and senders' deaths said.
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
