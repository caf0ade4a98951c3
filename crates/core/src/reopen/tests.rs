use super::*;
use crate::error::{Blocked, Service, ServiceFault};
use crate::message::BatchId;
use crate::progress::{TakeDecision, TakeRequest, end_of_run, ranges_of, stale_after_resume, take};
use crate::range::KeyRange;
use crate::records::{EndCounts, MirrorCounts, RunEnd, RunResult, ScanCounts, StaleRange};

const HOUR: i64 = 3600 * 1000;
const DAY: i64 = 24 * HOUR;

fn request(now: i64) -> TakeRequest {
    let pairs = vec![serde_json::from_str(r#"{"sourceBucket":"a","destinationBucket":"b"}"#).unwrap()];
    let (started_by, owner) = ("job-1".to_owned(), format!("pod-{now}"));
    let side = r#"{"region":"r","credentials":{"type":"pod"}}"#;
    let sides = serde_json::from_str(&format!(r#"{{"source":{side},"destination":{side}}}"#)).unwrap();
    TakeRequest { run: "r".into(), started_by, owner, pairs, sides, listed_by_manifest: false, now }
}

fn live() -> RunRecord {
    let TakeDecision::Start(mut run) = take(None, &request(0)) else { panic!("the first run starts") };
    run.scan.closed = true;
    run.scan.closed_at = 5;
    run.scan.counts.batches = 2;
    run
}

fn tally(batches: u64, last_end: Option<i64>) -> Tally {
    Tally { ended: counters(batches, 0), last_end, ..Tally::default() }
}

fn counters(batches: u64, remainders: u64) -> Counters {
    Counters { batches, remainders, counts: EndCounts { done: batches, ..EndCounts::default() } }
}

fn beat(at: i64) -> Heartbeat {
    let (name, ranges, blocked, runs) = ("w".into(), vec![], vec![], vec![]);
    Heartbeat { name, at, messages: 0, rate: 0, ranges, blocked, paused: None, runs, refused_algorithm: None }
}

fn paused(at: i64) -> Heartbeat {
    let (resource, message) = ("b".into(), "m".into());
    let fault = ServiceFault::CredentialsExpired;
    let blocked = vec![Blocked { side: Service::Source, resource, fault, message, since: 0 }];
    Heartbeat { blocked, ..beat(at) }
}

#[test]
#[allow(clippy::large_stack_arrays, reason = "a table")]
fn a_run_is_quiet_as_the_table_says() {
    let ended =
        RunRecord { end: Some(RunEnd { at: 1, result: RunResult::Complete, message: None, cause: None }), ..live() };
    let asked = ask(&live(), 1);
    let reopened = RunRecord { reopened: vec![Reopening { at: 3 * DAY, epoch: 2, ranges: vec![0] }], ..live() };
    let at_work = |run: &str| Heartbeat { runs: vec![run.to_owned()], ..beat(8 * DAY - 1) };
    let was_paused = Heartbeat { paused: Some(3 * DAY), ..beat(4 * DAY) };
    let none = tally(0, None);
    for (what, run, tally, beats, resumed, now, expected) in [
        ("no end for 7 days", live(), none, vec![], None, 7 * DAY + 5, true),
        ("less", live(), none, vec![], None, 7 * DAY + 4, false),
        ("some ends, the last one long ago", live(), tally(1, Some(DAY)), vec![], None, 8 * DAY, true),
        ("a late one", live(), tally(1, Some(3 * DAY)), vec![], None, 8 * DAY, false),
        ("nothing lacks", live(), tally(2, Some(DAY)), vec![], None, 20 * DAY, false),
        ("it has ended", ended, none, vec![], None, 20 * DAY, false),
        ("it is asked for", asked, none, vec![], None, 20 * DAY, false),
        ("reopened lately", reopened.clone(), none, vec![], None, 8 * DAY, false),
        ("reopened long ago", reopened, none, vec![], None, 10 * DAY, true),
        ("in hand", live(), none, vec![at_work("r")], None, 8 * DAY, false),
        ("another run in hand", live(), none, vec![at_work("events")], None, 8 * DAY, true),
        ("in hand of a worker that is gone", live(), none, vec![at_work("r")], None, 9 * DAY, true),
        ("a side is paused", live(), none, vec![paused(20 * DAY)], None, 20 * DAY, false),
        ("it was until 3 days ago", live(), none, vec![paused(17 * DAY)], None, 20 * DAY, false),
        ("it was until 8 days ago", live(), none, vec![paused(12 * DAY)], None, 20 * DAY, true),
        ("it was, as its worker still says", live(), none, vec![was_paused.clone()], None, 9 * DAY, false),
        ("and that is long ago", live(), none, vec![was_paused], None, 10 * DAY, true),
        ("suspended for 8 days until now", live(), none, vec![], Some(8 * DAY), 8 * DAY, false),
        ("and nothing came for an hour", live(), none, vec![], Some(8 * DAY), 8 * DAY + HOUR, true),
        ("suspended for longer than queues remember", live(), none, vec![], Some(15 * DAY), 15 * DAY, true),
    ] {
        let (quiet_ms, has_unreadable) = (QUIET_MS, false);
        let input = QuietInput { run: &run, tally: &tally, heartbeats: &beats, has_unreadable, resumed, quiet_ms, now };
        assert_eq!(is_quiet(&input), expected, "{what}");
        assert!(
            !is_quiet(&QuietInput { has_unreadable: true, ..input }),
            "{what}, and a heartbeat that cannot be read"
        );
    }
}

#[test]
fn a_run_that_is_asked_for_is_taken_by_any_sender_at_once() {
    let asked = ask(&live(), 9);
    assert_eq!((asked.revision, asked.scan.closed, asked.reopen), (live().revision + 1, false, Some(9)));
    let TakeDecision::Resume(run) = take(Some(&asked), &request(9)) else { panic!("it is taken") };
    assert_eq!((run.epoch, run.reopen), (2, Some(9)));
}

fn range(number: u32, after: Option<&str>, until: Option<&str>, batches: u64) -> RangeRecord {
    RangeRecord {
        range: number,
        epoch: 1,
        keys: KeyRange { after: after.map(Into::into), until: until.map(Into::into) },
        closed: true,
        counts: ScanCounts { batches, objects: batches, extra: 3, ..ScanCounts::default() },
        ..RangeRecord::default()
    }
}

#[test]
fn ranges_that_lack_an_end_begin_again_and_the_others_are_kept() {
    let recorded = vec![range(0, None, Some("m"), 2), range(1, Some("m"), Some("t"), 3), range(2, Some("t"), None, 0)];
    let mut run = RunRecord { epoch: 2, ..ask(&live(), 9) };
    run.stale = vec![StaleRange { range: 1, epoch: 1, from: 4 }, StaleRange { range: 0, epoch: 1, from: 7 }];
    run.mirror = Some(MirrorCounts { deleted: 5, ..MirrorCounts::default() });
    let mut ends = Ends::default();
    // Two batches, one with a remainder that has ended too; and three, one with a remainder that has not.
    ends.add(0, &counters(3, 1));
    ends.add(1, &counters(3, 1));
    let run = reopen(run, &recorded, &ends);
    assert_eq!(run.reopened, [Reopening { at: 9, epoch: 2, ranges: vec![1] }]);
    assert_eq!((run.reopen, run.kept), (None, counters(3, 1)));
    assert_eq!(run.stale, [StaleRange { range: 0, epoch: 1, from: 7 }], "the other one is said by the reopening");
    let mirror = run.mirror.unwrap();
    assert_eq!((mirror.settled, mirror.deleted_before), (6, 5));
    assert_eq!(mirror.deletions(8), 7, "two that were found since, and five before");
    for (range, epoch, stale) in [(0, 1, false), (1, 1, true), (1, 2, false), (2, 1, false)] {
        let id = BatchId::new(range, epoch, 0);
        assert_eq!((run.is_stale(&id), run.is_stale(&id.remainder())), (stale, stale), "{range} {epoch}");
    }
    let ranges = ranges_of(&run, recorded).unwrap();
    let open: Vec<_> = ranges.iter().filter(|range| !range.closed).collect();
    assert_eq!((open.len(), open[0].range, open[0].epoch, open[0].counts), (1, 1, 2, ScanCounts::default()));
    assert_eq!(open[0].keys.after.as_deref(), Some("m"));
    assert_eq!(stale_after_resume(&run, &ranges), run.stale, "its own epoch counts");
    let next = RunRecord { epoch: 3, ..run };
    let after = stale_after_resume(&next, &ranges);
    assert_eq!(after[1..], [StaleRange { range: 1, epoch: 2, from: 0 }], "of a sender that died before its checkpoint");
}

#[test]
fn a_second_reopening_says_what_the_first_one_said() {
    let recorded = vec![range(0, None, Some("m"), 1), range(1, Some("m"), None, 1)];
    let first = reopen(RunRecord { epoch: 2, ..ask(&live(), 1) }, &recorded, &Ends::default());
    assert_eq!((first.reopened[0].ranges.as_slice(), first.counted_from()), (&[0, 1][..], 2));
    // Range 0 was sent again and ended; range 1 lost its message again.
    let again = |number: usize| RangeRecord { epoch: 2, ..recorded[number].clone() };
    let mut ends = Ends::default();
    ends.add(0, &counters(1, 0));
    let second = reopen(RunRecord { epoch: 3, ..ask(&first, 5) }, &[again(0), again(1)], &ends);
    assert_eq!(
        second.reopened,
        [Reopening { at: 1, epoch: 2, ranges: vec![0] }, Reopening { at: 5, epoch: 3, ranges: vec![1] }]
    );
    assert_eq!((second.kept, second.counted_from()), (counters(1, 0), 3));
    assert!(second.is_stale(&BatchId::new(0, 1, 0)) && !second.is_stale(&BatchId::new(0, 2, 0)));
    assert!(second.is_stale(&BatchId::new(1, 2, 0)) && !second.is_stale(&BatchId::new(1, 3, 0)));
}

#[test]
fn the_equation_holds_for_what_was_kept_and_what_was_sent_anew() {
    let recorded = vec![range(0, None, Some("m"), 2), range(1, Some("m"), None, 3)];
    let mut ends = Ends::default();
    ends.add(0, &counters(3, 1));
    ends.add(1, &counters(1, 0));
    let mut run = reopen(RunRecord { epoch: 2, ..ask(&live(), 9) }, &recorded, &ends);
    // The second range is listed again: one batch remains, since the rest is in place.
    run.scan.closed = true;
    run.scan.counts = ScanCounts { batches: 2 + 1, objects: 3, in_place: 2, ..ScanCounts::default() };
    let ended = |new: u64| {
        let mut ended = run.kept;
        ended.add(&counters(new, 0));
        end_of_run(&run, &Tally { ended, ..Tally::default() }, 20).map(|end| end.result)
    };
    assert_eq!(ended(0), None);
    assert_eq!(ended(1), Some(RunResult::Complete));
}

#[test]
fn a_run_that_lacks_nothing_after_all_begins_nothing_again() {
    let recorded = [range(0, None, None, 1)];
    let mut ends = Ends::default();
    ends.add(0, &counters(1, 0));
    let run = reopen(RunRecord { epoch: 2, ..ask(&live(), 9) }, &recorded, &ends);
    assert!(run.reopened[0].ranges.is_empty() && run.reopen.is_none());
    assert_eq!(run.kept, counters(1, 0));
    let untouched = reopen(live(), &recorded, &ends);
    assert_eq!(untouched, live(), "nobody asked");
}
