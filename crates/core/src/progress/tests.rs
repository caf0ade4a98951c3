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
fn a_job_that_continues_a_run_waits_for_its_own_killed_pod() {
    let continued = RunRecord { owner: "job-2-abcde".into(), ..live(false) };
    let taken = |by| take(Some(&continued), &request("other", by, 0));
    for by in ["job-1", "job-2"] {
        assert_eq!(taken(by), TakeDecision::WaitUntil(RUN_LEASE_MS), "{by}");
    }
    assert_eq!(taken("job-3"), TakeDecision::Busy);
    let closed = RunRecord { scan: live(true).scan, ..continued.clone() };
    assert_eq!(take(Some(&closed), &request("other", "job-2", 0)), TakeDecision::AlreadySent);
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
