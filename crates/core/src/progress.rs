//! Decides who runs a scan, and computes the progress and end of a run.

use crate::pair::BucketPair;
use crate::range::{GapError, check_parts};
use crate::records::{
    Counters, RangeRecord, RunEnd, RunEndCause, RunRecord, RunResult, RunSides, ScanProgress, StaleRange,
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

/// Decides whether a sender gets a run.
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
    let same = last.started_by == request.started_by;
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
}

impl Tally {
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
mod tests {
    use super::*;
    use crate::range::KeyRange;
    use crate::records::MirrorCounts;
    use crate::records::{EndCounts, ScanCounts};
    use proptest::prelude::*;

    fn sides(region: &str) -> RunSides {
        let side = format!(r#"{{"region":"{region}","credentials":{{"type":"pod"}}}}"#);
        serde_json::from_str(&format!(r#"{{"source":{side},"destination":{side}}}"#)).unwrap()
    }

    fn request(owner: &str, started_by: &str, now: i64) -> TakeRequest {
        TakeRequest {
            run: "r2".into(),
            started_by: started_by.into(),
            owner: owner.into(),
            pairs: vec![],
            sides: sides("r"),
            listed_by_manifest: false,
            now,
        }
    }

    fn live(closed: bool) -> RunRecord {
        let mut run = first(&request("pod-1", "job-1", 0));
        run.scan.closed = closed;
        run
    }

    #[test]
    fn a_run_is_taken_as_the_table_says() {
        assert!(matches!(take(None, &request("p", "j", 0)), TakeDecision::Start(run) if run.epoch == 1));
        let mut ended = live(true);
        ended.end = Some(RunEnd { at: 1, result: RunResult::Complete, message: None, cause: None });
        assert!(matches!(take(Some(&ended), &request("p", "job-1", 0)), TakeDecision::Start(_)));
        ended.end = end_at_deadline(&live(true), &Tally::default(), 5, 5);
        assert_eq!(take(Some(&ended), &request("p", "job-1", 9)), TakeDecision::AlreadySent);
        assert!(matches!(take(Some(&ended), &request("p", "job-2", 9)), TakeDecision::Start(_)));
        let kind = |run: &RunRecord, owner, by, now| match take(Some(run), &request(owner, by, now)) {
            TakeDecision::Start(_) => "start",
            TakeDecision::Resume(run) => {
                assert_eq!((run.epoch, run.revision, run.owner.as_str()), (2, 2, owner));
                "resume"
            }
            TakeDecision::WaitUntil(at) => {
                assert_eq!(at, RUN_LEASE_MS);
                "wait"
            }
            TakeDecision::AlreadySent => "already sent",
            TakeDecision::Busy => "busy",
            TakeDecision::OtherSides => "other sides",
        };
        for (closed, owner, by, now, expected) in [
            (true, "pod-2", "job-1", 0, "already sent"),
            (true, "pod-2", "job-2", 0, "busy"),
            (false, "pod-2", "job-2", RUN_LEASE_MS, "resume"),
            (false, "pod-1", "job-1", 0, "resume"),
            (false, "pod-2", "job-1", 0, "wait"),
            (false, "pod-2", "job-2", 0, "busy"),
        ] {
            assert_eq!(kind(&live(closed), owner, by, now), expected, "{closed} {owner} {by} {now}");
        }
    }

    #[test]
    fn a_run_is_gone_on_with_where_it_began_and_nowhere_else() {
        let elsewhere = TakeRequest { sides: sides("elsewhere"), ..request("pod-2", "job-2", RUN_LEASE_MS) };
        assert_eq!(take(Some(&live(false)), &elsewhere), TakeDecision::OtherSides);
        assert_eq!(take(Some(&live(true)), &elsewhere), TakeDecision::Busy);
        // A record of an older version lacks the sides; the sender that resumes the run adds its own.
        let old = RunRecord { sides: None, ..live(false) };
        let TakeDecision::Resume(taken) = take(Some(&old), &elsewhere) else { panic!("it is gone on with") };
        assert_eq!(taken.sides, Some(sides("elsewhere")));
        let mut ended = live(true);
        ended.end = Some(RunEnd { at: 1, result: RunResult::Complete, message: None, cause: None });
        let TakeDecision::Start(next) = take(Some(&ended), &elsewhere) else { panic!("the next run starts") };
        assert_eq!(next.sides, Some(sides("elsewhere")));
    }

    #[test]
    fn a_run_ends_at_its_deadline_whatever_it_is_doing() {
        let mut run = live(false);
        run.scan.counts = ScanCounts { batches: 2, objects: 3, ..ScanCounts::default() };
        let tally = Tally { ended: counters(1, 0, 1, 0), ..Tally::default() };
        assert_eq!(end_at_deadline(&run, &tally, 1_000, 999), None);
        let end = end_at_deadline(&run, &tally, 1_000, 1_000).unwrap();
        assert_eq!((end.result, end.cause), (RunResult::Failed, Some(RunEndCause::Deadline)));
        let message = end.message.clone().unwrap();
        assert!(message.contains("not complete, and 1 batches had not ended; 1 of 3 objects"), "{message}");
        run.end = Some(end);
        assert_eq!(end_at_deadline(&run, &tally, 1_000, 2_000), None);
    }

    fn counters(batches: u64, remainders: u64, done: u64, failed: u64) -> Counters {
        Counters { batches, remainders, counts: EndCounts { done, failed, ..EndCounts::default() } }
    }

    #[test]
    fn a_run_ends_when_every_batch_that_counts_has_ended() {
        let mut run = live(true);
        run.scan.counts = ScanCounts { batches: 2, objects: 3, ..ScanCounts::default() };
        let ended = |run: &RunRecord, ended, stale| {
            end_of_run(run, &Tally { ended, stale, ..Tally::default() }, 9).map(|e| e.result)
        };
        let none = Counters::default();
        assert_eq!(ended(&run, counters(1, 0, 2, 0), none), None);
        assert_eq!(ended(&run, counters(2, 0, 3, 0), none), Some(RunResult::Complete));
        assert_eq!(ended(&run, counters(2, 1, 2, 0), none), None, "a remainder is on its way");
        assert_eq!(ended(&run, counters(3, 1, 2, 1), none), Some(RunResult::PartiallyFailed));
        assert_eq!(ended(&run, counters(2, 0, 3, 0), counters(1, 0, 1, 0)), None, "one of them does not count");
        run.scan.counts.failed = 1;
        assert_eq!(ended(&run, counters(2, 0, 3, 0), none), Some(RunResult::PartiallyFailed));
        run.scan.closed = false;
        assert_eq!(ended(&run, counters(2, 0, 3, 0), none), None);
    }

    #[test]
    fn a_run_that_refused_to_delete_is_not_complete() {
        let mut run = live(true);
        for (refused, expected) in [(false, RunResult::Complete), (true, RunResult::PartiallyFailed)] {
            run.mirror = Some(MirrorCounts { refused, ..MirrorCounts::default() });
            let end = end_of_run(&run, &Tally::default(), 9).unwrap();
            assert_eq!((end.result, end.message.is_some()), (expected, refused));
        }
    }

    #[test]
    fn an_empty_run_ends_at_once() {
        assert_eq!(end_of_run(&live(true), &Tally::default(), 9).map(|e| e.result), Some(RunResult::Complete));
    }

    #[test]
    fn open_ranges_go_stale_behind_their_checkpoints_under_every_epoch_since() {
        let record = |range, epoch, closed, batches| RangeRecord {
            range,
            epoch,
            closed,
            counts: ScanCounts { batches, ..ScanCounts::default() },
            ..RangeRecord::default()
        };
        let stale = |range, epoch, from| StaleRange { range, epoch, from };
        let mut run = live(false);
        run.epoch = 3;
        run.stale = vec![stale(1, 1, 4)];
        let ranges = [record(0, 1, true, 9), record(1, 1, false, 5), record(2, 2, false, 6), record(3, 3, false, 0)];
        assert_eq!(stale_after_resume(&run, &ranges), [stale(1, 1, 4), stale(1, 2, 5), stale(2, 2, 6)]);
    }

    #[test]
    fn the_ranges_of_a_run_are_the_parts_of_its_pairs_keys() {
        let pair: BucketPair = serde_json::from_str(r#"{"sourceBucket":"a","destinationBucket":"b"}"#).unwrap();
        let run = RunRecord { pairs: vec![pair.clone(), pair], ..live(false) };
        let range = |range, after: Option<&str>, until: Option<&str>| RangeRecord {
            range,
            keys: KeyRange { after: after.map(Into::into), until: until.map(Into::into) },
            ..RangeRecord::whole(1)
        };
        assert_eq!(ranges_of(&run, vec![]), Ok(vec![RangeRecord::whole(0), RangeRecord::whole(1)]));
        let parts = vec![range(1, None, Some("m")), range(2, Some("m"), None)];
        let all: Vec<RangeRecord> = std::iter::once(RangeRecord::whole(0)).chain(parts.clone()).collect();
        assert_eq!(ranges_of(&run, parts), Ok(all));
        assert!(ranges_of(&run, vec![range(1, None, Some("m"))]).is_err());
    }

    proptest! {
        /// Ranges sent by killed senders, batches in any order, remainders: the run ends exactly with its last batch.
        #[test]
        fn the_end_is_seen_exactly_when_the_last_counted_batch_ends(
            batches in prop::collection::vec((0_u32..3, any::<bool>()), 1..20),
        ) {
            // Each batch: epoch 0 is a killed sender's, epoch 1 the live one's; every batch may leave one remainder.
            let mut run = live(true);
            let counted = batches.iter().filter(|(epoch, _)| *epoch == 2).count() as u64;
            run.scan.counts.batches = counted;
            let mut tally = Tally::default();
            let mut open: i64 = i64::try_from(counted).unwrap();
            let mut queue: std::collections::VecDeque<(u32, bool)> = batches.into_iter().collect();
            while let Some((epoch, remainder)) = queue.pop_front() {
                prop_assert_eq!(end_of_run(&run, &tally, 0).is_some(), open == 0);
                let one = counters(1, u64::from(remainder), 1, 0);
                tally.ended.add(&one);
                if epoch < 2 { tally.stale.add(&one); } else { open += i64::from(remainder) - 1; }
                if remainder { queue.push_back((epoch, false)); }
            }
            prop_assert_eq!(open, 0);
            prop_assert!(end_of_run(&run, &tally, 0).is_some());
        }
    }
}
