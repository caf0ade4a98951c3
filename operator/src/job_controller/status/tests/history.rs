use super::*;
use migration_api::trigger::EventTriggerStatus;

fn ended(id: usize, result: RunResult) -> LedgerView {
    let mut ended = record(true, Some(result));
    ended.run = format!("r{id}");
    view(ended, 4)
}

fn ids(status: &MigrationJobStatus) -> Vec<&str> {
    status.runs.iter().map(|run| run.id.as_str()).collect()
}

#[test]
fn the_last_ten_runs_are_listed_each_once_the_newest_first() {
    let mut status = MigrationJobStatus::default();
    for id in 1..=12 {
        let ledger = ended(id, RunResult::Complete);
        for _ in 0..2 {
            status = compute(&status, &input(Some(&ledger), &[]));
        }
    }
    assert_eq!(ids(&status), ["r12", "r11", "r10", "r9", "r8", "r7", "r6", "r5", "r4", "r3"]);
    let newest = &status.runs[0];
    assert_eq!((newest.result, newest.objects, newest.bytes), (RunResult::Complete, 4, 4 << 30));
    // A live run is not over, and the ledger of an ended one need not be read again.
    let live = view(record(false, None), 0);
    assert_eq!(ids(&compute(&status, &input(Some(&live), &[]))), ids(&status));
    let mut known = ended(12, RunResult::Complete);
    known.run.as_mut().unwrap().tally = None;
    assert_eq!(ids(&compute(&status, &input(Some(&known), &[]))), ids(&status));
}

#[test]
fn the_next_run_of_a_schedule_is_named_unless_the_job_is_suspended() {
    let ledger = LedgerView::default();
    let next = |schedule, suspended| {
        let input = StatusInput { suspended, schedule, ..input(Some(&ledger), &[]) };
        compute(&MigrationJobStatus::default(), &input).next_schedule_time.map(|time| time.0.to_string())
    };
    assert_eq!(next(Some(("0 3 * * *", None)), false).as_deref(), Some("1970-01-01T03:00:00Z"));
    assert_eq!(next(Some(("0 3 * * *", Some("Asia/Tokyo"))), false).as_deref(), Some("1970-01-01T18:00:00Z"));
    assert_eq!(next(Some(("0 3 * * *", None)), true), None);
    assert_eq!((next(None, false), next(Some(("0 0 31 4 *", None)), false)), (None, None));
}

#[test]
fn an_idle_job_with_events_watches() {
    let complete = ended(1, RunResult::Complete);
    let phase = |ledger: &LedgerView, watching| {
        let input = StatusInput { watching, ..input(Some(ledger), &[]) };
        compute(&MigrationJobStatus::default(), &input).phase
    };
    assert_eq!(phase(&complete, true), Some(Phase::Watching));
    assert_eq!(phase(&complete, false), Some(Phase::Complete));
    assert_eq!(phase(&LedgerView::default(), true), Some(Phase::Watching), "without a scan there may be no run");
    assert_eq!(phase(&ended(1, RunResult::PartiallyFailed), true), Some(Phase::PartiallyFailed));
}

#[test]
fn a_run_that_was_started_while_events_arrive_is_their_scan() {
    let (ledger, trigger) = (LedgerView::default(), EventTriggerStatus::default());
    let scanned = |number, watching, is_number_skipped| {
        let (event_trigger, started) = (Some(&trigger), (number, None));
        let input = StatusInput { event_trigger, watching, started, is_number_skipped, ..input(Some(&ledger), &[]) };
        let old = MigrationJobStatus { runs_started: 1, ..MigrationJobStatus::default() };
        compute(&old, &input).event_trigger.unwrap().scan_started
    };
    let started = |number, watching| scanned(number, watching, false);
    assert_eq!((started(1, true), started(2, true), started(2, false)), (false, true, false));
    assert!(!scanned(2, true, true), "the number's name is another's");
}
