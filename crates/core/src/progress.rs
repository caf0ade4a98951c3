//! Decides who runs a scan, and computes the progress and end of a run.

use crate::pair::BucketPair;
use crate::range::{GapError, check_parts};
use crate::records::{
    Counters, RangeRecord, RunEnd, RunEndCause, RunRecord, RunResult, RunSides, ScanProgress, Spending, SpendingRecord,
    StaleRange,
};

/// Validity of a jobsender's lease on a run after each renewal, in milliseconds.
pub const RUN_LEASE_MS: i64 = 60_000;

/// A sender's request to take a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeRequest {
    /// ID for a new run.
    pub run: String,
    /// Name of the Kubernetes Job, or another name that survives restarts of the sender.
    pub started_by: String,
    /// Name of the sender.
    pub owner: String,
    /// Bucket pairs for a new run.
    pub pairs: Vec<BucketPair>,
    /// Source and destination of the sender, recorded in a new run.
    pub sides: RunSides,
    /// True if a new run covers only the objects of a work list.
    pub listed_by_manifest: bool,
    /// The current Unix time in milliseconds.
    pub now: i64,
}

/// The decision about a sender's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakeDecision {
    /// Write this record to start a new run.
    Start(RunRecord),
    /// Write this record, and continue the scan that the previous sender left.
    Resume(RunRecord),
    /// Another sender of the same Kubernetes Job may be alive: try again at this Unix time in milliseconds.
    WaitUntil(i64),
    /// This Kubernetes Job's scan is complete: exit successfully.
    AlreadySent,
    /// Another run is live: exit successfully with that message.
    Busy,
    /// The live run has another source or destination than the sender: exit successfully with that message. A sender
    /// with the run's own sides will continue it.
    OtherSides,
}

/// Decides whether a sender gets a run. "The same" is the Kubernetes Job that started the run, or that of its last sender.
///
/// | last run | its scan | its lease | started by | decision |
/// |---|---|---|---|---|
/// | ended at its deadline | | | the same | already sent: its time is up |
/// | none, or ended | | | | start |
/// | live | closed | | the same | already sent |
/// | live | closed | | another | busy |
/// | live | open | expired, or the sender's own | any | resume; other sides if the sender's source or destination differs from the run's |
/// | live | open | valid | the same | wait until it expires |
/// | live | open | valid | another | busy |
pub fn take(last: Option<&RunRecord>, request: &TakeRequest) -> TakeDecision {
    let Some(last) = last else { return TakeDecision::Start(first(request)) };
    // A pod's name begins with that of its Job, truncated to 58 characters, so the last owner shows the Job too.
    let base = format!("{}-", request.started_by);
    let same = last.started_by == request.started_by || last.owner.starts_with(base.get(..58).unwrap_or(&base));
    match &last.end {
        Some(end) if same && end.cause == Some(RunEndCause::Deadline) => return TakeDecision::AlreadySent,
        Some(_) => return TakeDecision::Start(first(request)),
        None => {}
    }
    if last.scan.closed {
        return if same { TakeDecision::AlreadySent } else { TakeDecision::Busy };
    }
    if last.lease_until > request.now && last.owner != request.owner {
        return if same { TakeDecision::WaitUntil(last.lease_until) } else { TakeDecision::Busy };
    }
    if last.sides.as_ref().is_some_and(|sides| !sides.are_same_places(&request.sides)) {
        return TakeDecision::OtherSides;
    }
    TakeDecision::Resume(RunRecord {
        // Records of older versions lack the sides; they get those of the sender that resumes the run.
        sides: last.sides.clone().or_else(|| Some(request.sides.clone())),
        revision: last.revision + 1,
        owner: request.owner.clone(),
        epoch: last.epoch + 1,
        lease_until: request.now + RUN_LEASE_MS,
        ..last.clone()
    })
}

fn first(request: &TakeRequest) -> RunRecord {
    RunRecord {
        run: request.run.clone(),
        revision: 1,
        started_by: request.started_by.clone(),
        owner: request.owner.clone(),
        epoch: 1,
        lease_until: request.now + RUN_LEASE_MS,
        started: request.now,
        pairs: request.pairs.clone(),
        sides: Some(request.sides.clone()),
        scan: ScanProgress::default(),
        stale: Vec::new(),
        mirror: None,
        listed_by_manifest: request.listed_by_manifest,
        list: None,
        reopen: None,
        reopened: Vec::new(),
        kept: Counters::default(),
        end: None,
    }
}

/// The totals of a run's batches in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sum of all workers' counters for the epochs since the run was last [reopened](crate::reopen), plus what was kept
    /// then. Read before `stale`.
    pub ended: Counters,
    /// The part of `ended` that does not count: batches of the run's stale ranges.
    pub stale: Counters,
    /// When a batch of the run last ended, counted or not, as Unix time in milliseconds. `None` if none has ended.
    pub last_end: Option<i64>,
    /// What all processes of the run sent, whether it counts or not.
    pub spent: Spending,
    /// When the latest of that was recorded, as Unix time in milliseconds. `None` if nothing was.
    pub spent_at: Option<i64>,
}

impl Tally {
    /// Adds what a process sent.
    pub fn add_spending(&mut self, record: &SpendingRecord) {
        self.spent.add(&record.spent);
        self.spent_at = self.spent_at.max(Some(record.at));
    }

    /// Returns the totals without the stale batches.
    pub fn counted(&self) -> Counters {
        let mut counted = self.ended;
        counted.subtract(&self.stale);
        counted
    }
}

/// Progress of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunProgress {
    /// Number of objects to transfer, as far as the scan has got.
    pub objects: u64,
    /// Their total size, in bytes.
    pub bytes: u64,
    /// Number of objects at the destination and verified.
    pub done: u64,
    /// Their total size, in bytes.
    pub done_bytes: u64,
    /// Number of objects found in place, ignored, or deleted at the source since they were listed.
    pub skipped: u64,
    /// Total size of those found in place or deleted, in bytes.
    pub skipped_bytes: u64,
    /// Number of skipped objects found in place by size, or by size and time, but not by content.
    pub weakly_compared: u64,
    /// Number of objects with a failure record.
    pub failed: u64,
    /// Their total size, in bytes.
    pub failed_bytes: u64,
    /// Number of batches that have not ended.
    pub open_batches: u64,
}

/// Computes the progress of a run.
pub fn progress(run: &RunRecord, tally: &Tally) -> RunProgress {
    let (scan, counted) = (&run.scan.counts, tally.counted());
    RunProgress {
        objects: scan.objects + scan.failed,
        bytes: scan.bytes + scan.failed_bytes,
        done: counted.counts.done,
        done_bytes: counted.counts.done_bytes,
        skipped: scan.in_place + scan.ignored + scan.gone + counted.counts.gone,
        skipped_bytes: scan.in_place_bytes + counted.counts.gone_bytes,
        weakly_compared: scan.in_place_by_time + scan.in_place_by_size,
        failed: scan.failed + counted.counts.failed,
        failed_bytes: scan.failed_bytes + counted.counts.failed_bytes,
        open_batches: (scan.batches + counted.remainders).saturating_sub(counted.batches),
    }
}

/// Returns the end of a run once its scan is closed and every batch that counts, remainders included, has its end in
/// the ledger. Returns `None` until then. Queue counts are approximate and not used.
pub fn end_of_run(run: &RunRecord, tally: &Tally, now: i64) -> Option<RunEnd> {
    let progress = progress(run, tally);
    if run.end.is_some() || !run.scan.closed || progress.open_batches > 0 {
        return None;
    }
    let message = run.mirror.filter(|mirror| mirror.refused).map(|_| {
        let extra = run.scan.counts.extra;
        format!("nothing was deleted: {extra} objects are extraneous at the destination, more than mirror.maxDeletes")
    });
    let whole = progress.failed == 0 && message.is_none();
    let result = if whole { RunResult::Complete } else { RunResult::PartiallyFailed };
    Some(RunEnd { at: now, result, message, cause: None })
}

/// Returns the end of a live run that has reached its deadline, `deadline_ms` milliseconds after its start. The result
/// is always `Failed`.
pub fn end_at_deadline(run: &RunRecord, tally: &Tally, deadline_ms: i64, now: i64) -> Option<RunEnd> {
    if run.end.is_some() || now.saturating_sub(run.started) < deadline_ms {
        return None;
    }
    let progress = progress(run, tally);
    let scan = if run.scan.closed { "the scan was complete" } else { "the scan was not complete" };
    let message = format!(
        "the run reached spec.limits.runDeadline: {scan}, and {} batches had not ended; {} of {} objects were done",
        progress.open_batches, progress.done, progress.objects
    );
    Some(RunEnd { at: now, result: RunResult::Failed, message: Some(message), cause: Some(RunEndCause::Deadline) })
}

/// Returns the stale ranges of a run after a new sender took it: for each open range, everything sent after its
/// checkpoint by the sender that wrote the checkpoint and all later ones.
pub fn stale_after_resume(run: &RunRecord, ranges: &[RangeRecord]) -> Vec<StaleRange> {
    let mut stale = run.stale.clone();
    for record in ranges.iter().filter(|record| !record.closed) {
        for epoch in record.epoch..run.epoch {
            if !stale.iter().any(|entry| entry.range == record.range && entry.epoch == epoch) {
                stale.push(StaleRange { range: record.range, epoch, from: record.counts.batches });
            }
        }
    }
    stale
}

/// Returns the ranges of a run: those recorded, and a whole range for each pair without a record. Ranges reopened since
/// they were recorded begin again. Fails if the ranges of a pair do not cover all its keys, which would leave keys out
/// of the scan.
pub fn ranges_of(run: &RunRecord, mut recorded: Vec<RangeRecord>) -> Result<Vec<RangeRecord>, GapError> {
    for record in &mut recorded {
        if let Some(epoch) = run.reopened_under(record.range, record.epoch) {
            let (range, pair, keys) = (record.range, record.pair, std::mem::take(&mut record.keys));
            *record = RangeRecord { range, epoch, keys, pair, ..RangeRecord::default() };
        }
    }
    for pair in 0..u32::try_from(run.pairs.len()).unwrap_or(u32::MAX) {
        if !recorded.iter().any(|record| record.pair == pair) {
            recorded.push(RangeRecord::whole(pair));
        }
        let keys = recorded.iter().filter(|record| record.pair == pair).map(|record| record.keys.clone());
        check_parts(&mut keys.collect::<Vec<_>>())?;
    }
    recorded.sort_by_key(|record| record.range);
    Ok(recorded)
}

/// Returns the seconds until the rest is moved at `rate` bytes per second, or `None` if the rate is 0.
pub fn eta_seconds(progress: &RunProgress, rate: u64) -> Option<u64> {
    let gone = progress.done_bytes + progress.failed_bytes;
    (rate > 0).then(|| progress.bytes.saturating_sub(gone) / rate)
}

#[cfg(test)]
mod tests;
