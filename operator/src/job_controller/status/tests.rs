mod budget;
mod failures;
mod followups;
mod history;
mod kstatus;

use super::*;
use crate::job_controller::dereference::cluster::JobState;
use crate::job_controller::runs::followups::FollowupState;
use crate::job_controller::runs::lifecycle::tests::{failed, job, run as record};
use migration_api::ConditionType;
use migration_api::status::{Counts, EventCounts, EventWork, Extraneous, NotPreserved, Phase};
use migration_core::error::{Blocked, Service, ServiceFault};
use migration_core::outcome::NotPreserved as NotPreservedCounts;
use migration_core::progress::Tally;
use migration_core::records::{
    Counters, EndCounts, Heartbeat, MirrorCounts, ReportRecord, RunRecord, RunResult, ScanCounts, VerificationRecord,
};
use migration_core::verification::Verification;
use migration_engine::run::look::RunView;

pub(super) fn input<'a>(ledger: Option<&'a LedgerView>, jobs: &'a [ObservedJob]) -> StatusInput<'a> {
    StatusInput {
        generation: Some(3),
        suspended: false,
        over_budget: None,
        prices: migration_core::cost::PriceTable::default(),
        cost_limit: None,
        buckets: &[],
        blocking: &[],
        nonblocking: &[],
        notes: &[],
        rate_limits: migration_core::config::RateLimits::default(),
        queue_and_table: None,
        depth: Some(QueueDepth { visible: 1, in_flight: 2, dead_letters: 0 }),
        ledger,
        jobs,
        verification: &FollowupState::None,
        report: &FollowupState::None,
        workers: Workers { desired: 2, ready: 1 },
        scaling: None,
        started: (1, Some("a")),
        edited: None,
        preflight: None,
        event_trigger: None,
        watching: false,
        schedule: None,
        is_number_skipped: false,
        start_pending: false,
        now: 100_000,
    }
}

fn view(mut record: RunRecord, done: u64) -> LedgerView {
    record.scan.counts = ScanCounts { batches: 2, objects: 4, bytes: 4 << 30, in_place: 3, ..ScanCounts::default() };
    let counts = EndCounts { done, done_bytes: done << 30, ..EndCounts::default() };
    let tally = Tally { ended: Counters { batches: 1, remainders: 0, counts }, ..Tally::default() };
    LedgerView {
        run: Some(RunView { record, tally: Some(tally) }),
        heartbeats: vec![beat(1 << 30)],
        ..LedgerView::default()
    }
}

fn beat(rate: u64) -> Heartbeat {
    Heartbeat {
        name: "w".into(),
        at: 0,
        messages: 1,
        rate,
        ranges: vec![],
        blocked: vec![],
        paused: None,
        runs: vec![],
        refused_algorithm: None,
    }
}

fn blocked_by(resource: &str, since: i64) -> Blocked {
    Blocked {
        side: Service::Destination,
        resource: resource.into(),
        fault: ServiceFault::CredentialsInvalid,
        message: "no".into(),
        since,
    }
}

fn conditions_of(status: &MigrationJobStatus) -> Vec<String> {
    let line = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        format!("{}={} {}", c.type_, c.status, c.reason)
    };
    status.conditions.iter().map(line).collect()
}

#[test]
#[allow(clippy::large_stack_arrays, reason = "a table")]
fn phases_follow_the_run() {
    let ended = |result| Some(view(record(true, Some(result)), 4));
    let (idle, busy, broken) = (vec![], vec![job("other", JobState::Unfinished)], vec![job("photos-run-9", failed())]);
    let own = vec![job("photos-run-1", JobState::Unfinished)];
    for (ledger, jobs, expected) in [
        (Some(LedgerView::default()), &idle, Phase::Pending),
        (Some(LedgerView::default()), &busy, Phase::Pending),
        (Some(LedgerView::default()), &broken, Phase::Failed),
        (Some(view(record(false, None), 0)), &busy, Phase::Scanning),
        (Some(view(record(true, None), 0)), &idle, Phase::Transferring),
        (ended(RunResult::Complete), &idle, Phase::Complete),
        (ended(RunResult::Complete), &own, Phase::Complete),
        (ended(RunResult::Complete), &busy, Phase::Pending),
        (ended(RunResult::PartiallyFailed), &idle, Phase::PartiallyFailed),
        (ended(RunResult::Failed), &idle, Phase::Failed),
        (None, &idle, Phase::Pending),
    ] {
        let status = compute(&MigrationJobStatus::default(), &input(ledger.as_ref(), jobs));
        assert_eq!(status.phase, Some(expected), "{ledger:?} {jobs:?}");
        let suspended = StatusInput { suspended: true, ..input(ledger.as_ref(), jobs) };
        assert_eq!(compute(&MigrationJobStatus::default(), &suspended).phase, Some(Phase::Suspended));
    }
}

#[test]
fn a_live_run_shows_its_numbers() {
    let ledger = view(record(true, None), 2);
    let status = compute(&MigrationJobStatus::default(), &input(Some(&ledger), &[]));
    let progress = status.progress.clone().unwrap();
    assert_eq!(progress.objects, Counts { total: 4, done: 2, skipped: 3, failed: 0 });
    assert_eq!((progress.rate_bytes_per_second, progress.eta_seconds), (Some(1 << 30), Some(2)));
    let display = status.display.clone().unwrap();
    assert_eq!(display.objects.as_deref(), Some("2/4"));
    assert_eq!(display.bytes.as_deref(), Some("2.0 GiB / 4.0 GiB"));
    assert_eq!((display.rate.as_deref(), display.eta.as_deref()), (Some("1.0 GiB/s"), Some("2s")));
    assert_eq!(display.workers.as_deref(), Some("1/2"));
    assert_eq!((status.current_run.as_deref(), status.last_run), (Some("r1"), None));
    assert_eq!((status.runs_started, status.last_manual_run.as_deref()), (1, Some("a")));
}

#[test]
fn a_run_that_ended_is_summed_up_and_stays_so() {
    let ledger = view(record(true, Some(RunResult::Complete)), 4);
    let ended = compute(&MigrationJobStatus::default(), &input(Some(&ledger), &[]));
    let last = ended.last_run.clone().unwrap();
    assert_eq!((last.id.as_str(), last.objects, last.skipped), ("r1", 4, 3));
    assert_eq!(ended.display.as_ref().unwrap().rate.as_deref(), Some("512.0 MiB/s"), "4 GiB in 8 s");
    // The next reconciliation does not read its batches again.
    let mut later = ledger;
    later.run.as_mut().unwrap().tally = None;
    let again = compute(&ended, &StatusInput { now: 900_000, ..input(Some(&later), &[]) });
    assert_eq!(again, ended);
    assert_eq!(compute(&again, &StatusInput { now: 990_000, ..input(Some(&later), &[]) }), again);
}

#[test]
fn an_edit_that_comes_too_late_for_a_run_is_reported() {
    let live = view(record(true, None), 2);
    let message = |input: &StatusInput<'_>| {
        let status = compute(&MigrationJobStatus::default(), input);
        status.condition(ConditionType::Progressing).unwrap().1.message.clone()
    };
    let edited = StatusInput { edited: Some("spec.source: region a became b"), ..input(Some(&live), &[]) };
    assert!(message(&edited).contains("region a became b) applies from the next run"), "{}", message(&edited));
    assert!(!message(&StatusInput { suspended: true, ..edited }).contains("region a"));
}

#[test]
fn conditions_say_what_is_so_and_why() {
    let none = MigrationJobStatus::default();
    let live = view(record(true, None), 2);
    let moving = compute(&none, &input(Some(&live), &[]));
    assert_eq!(
        conditions_of(&moving),
        [
            "Ready=True ResourcesApplied",
            "Progressing=True Transferring",
            "Degraded=False AsExpected",
            "Complete=False Transferring",
            "Suspended=False NotSuspended",
            "Failed=False Transferring",
            "Reconciling=False ResourcesApplied",
            "Stalled=False AsExpected",
        ]
    );
    let fault = [Problem::new(
        Reason::Service(Service::Destination, ServiceFault::CredentialsInvalid),
        "destination bucket b: no",
    )];
    let held = compute(&moving, &StatusInput { nonblocking: &fault, ..input(Some(&live), &[]) });
    assert_eq!(
        conditions_of(&held),
        [
            "Ready=True ResourcesApplied",
            "Progressing=False DestinationCredentialsInvalid",
            "Degraded=True DestinationCredentialsInvalid",
            "Complete=False Transferring",
            "Suspended=False NotSuspended",
            "Failed=False Transferring",
            "Reconciling=False ResourcesApplied",
            "Stalled=False AsExpected",
        ]
    );
    let missing = [
        Problem::new(Reason::SecretMissing, "Secret k"),
        Problem::new(Reason::Service(Service::Queue, ServiceFault::NotFound), "queue q"),
    ];
    let waits = compute(&none, &StatusInput { blocking: &missing, ledger: None, ..input(None, &[]) });
    assert_eq!(conditions_of(&waits)[0], "Ready=False PrerequisitesMissing");
    let (degraded, condition) = waits.condition(ConditionType::Degraded).unwrap();
    assert!(degraded && condition.message == "Secret k; also: queue q", "{}", condition.message);
    let ended = view(record(true, Some(RunResult::Complete)), 4);
    let done = compute(&none, &StatusInput { suspended: true, ..input(Some(&ended), &[]) });
    assert_eq!(conditions_of(&done)[3..5], ["Complete=True RunComplete", "Suspended=True SuspendedByUser"]);
    assert!(done.condition(ConditionType::Complete).unwrap().1.message.contains("4 objects moved, 3 skipped"));
}

#[test]
fn what_was_not_preserved_is_counted_and_named() {
    let losses = NotPreservedCounts { lost_tags: 2, lost_classes: 1, ..NotPreservedCounts::default() };
    let counted = NotPreserved { tags: 2, storage_classes: 1, ..NotPreserved::default() };
    let named = "; not preserved (see status.lastRun.notPreserved): tags of 2 objects, the storage class of 1 object";
    for (result, is_named) in
        [(None, false), (Some(RunResult::Complete), true), (Some(RunResult::PartiallyFailed), true)]
    {
        let mut ledger = view(record(true, result), 4);
        let whole = compute(&MigrationJobStatus::default(), &input(Some(&ledger), &[]));
        assert_eq!(whole.progress.as_ref().unwrap().not_preserved, None);
        assert!(!whole.condition(ConditionType::Complete).unwrap().1.message.contains("not preserved"));
        ledger.run.as_mut().unwrap().tally.as_mut().unwrap().ended.counts.losses = losses;
        let status = compute(&MigrationJobStatus::default(), &input(Some(&ledger), &[]));
        assert_eq!(status.progress.as_ref().unwrap().not_preserved, Some(counted));
        assert_eq!(status.last_run.as_ref().and_then(|run| run.not_preserved), result.map(|_| counted));
        assert_eq!(
            status.condition(ConditionType::Complete).unwrap().1.message.ends_with(named),
            is_named,
            "{result:?}"
        );
    }
}

#[test]
fn what_stale_batches_lost_does_not_count() {
    let mut ledger = view(record(true, None), 4);
    let tally = ledger.run.as_mut().unwrap().tally.as_mut().unwrap();
    tally.ended.counts.losses.lost_locks = 3;
    tally.stale.counts.losses.lost_locks = 3;
    let status = compute(&MigrationJobStatus::default(), &input(Some(&ledger), &[]));
    assert_eq!(status.progress.unwrap().not_preserved, None);
}

#[test]
fn work_of_no_run_is_shown_once_there_was_some() {
    let mut ledger = LedgerView::default();
    let none = compute(&MigrationJobStatus::default(), &input(Some(&ledger), &[]));
    assert_eq!(none.events, None);
    let losses = NotPreservedCounts { lost_metadata: 1, ..NotPreservedCounts::default() };
    let counts = EndCounts { done: 3, done_bytes: 30, failed: 1, gone: 2, losses, ..EndCounts::default() };
    ledger.events = Counters { batches: 4, remainders: 0, counts };
    let status = compute(&none, &input(Some(&ledger), &[]));
    let expected = EventWork {
        objects: EventCounts { done: 3, failed: 1, skipped: 2 },
        bytes: 30,
        not_preserved: Some(NotPreserved { metadata: 1, ..NotPreserved::default() }),
    };
    assert_eq!(status.events, Some(expected));
    let blind = compute(&status, &input(None, &[]));
    assert_eq!(blind.events, Some(expected), "a ledger that does not answer leaves what is known");
}

#[test]
fn the_time_of_a_transition_changes_with_the_status_only() {
    let live = view(record(true, None), 2);
    let first = compute(&MigrationJobStatus::default(), &input(Some(&live), &[]));
    let fault = [Problem::new(Reason::ApplyFailed, "y")];
    let later = StatusInput { now: 200_000, nonblocking: &fault, ..input(Some(&live), &[]) };
    let second = compute(&first, &later);
    let at =
        |status: &MigrationJobStatus, kind| status.condition(kind).unwrap().1.last_transition_time.0.as_millisecond();
    assert_eq!((at(&first, ConditionType::Ready), at(&second, ConditionType::Ready)), (100_000, 100_000));
    assert_eq!((at(&first, ConditionType::Degraded), at(&second, ConditionType::Degraded)), (100_000, 200_000));
    assert_eq!(second.condition(ConditionType::Ready).unwrap().1.observed_generation, Some(3));
}

#[test]
fn a_ledger_that_does_not_answer_leaves_what_is_known() {
    let live = view(record(true, None), 2);
    let known = compute(&MigrationJobStatus::default(), &input(Some(&live), &[]));
    let blind = compute(&known, &StatusInput { depth: None, ..input(None, &[]) });
    assert_eq!((blind.phase, &blind.progress, blind.queue), (known.phase, &known.progress, known.queue));
}

#[test]
fn a_run_that_is_reopened_and_one_that_is_out_of_time_say_so() {
    let reason = |record: RunRecord, kind: ConditionType| {
        let ledger = view(record, 1);
        let status = compute(&MigrationJobStatus::default(), &input(Some(&ledger), &[]));
        status.condition(kind).map(|(holds, condition)| (holds, condition.reason.clone())).unwrap()
    };
    let asked = migration_core::reopen::ask(&record(true, None), 90_000);
    assert_eq!(reason(asked, ConditionType::Progressing), (true, Reason::RunReopened.to_string()));
    let mut late = record(true, None);
    late.end = migration_core::progress::end_at_deadline(&late, &Tally::default(), 1_000, 90_000);
    for kind in [ConditionType::Progressing, ConditionType::Complete] {
        assert_eq!(reason(late.clone(), kind), (false, Reason::RunDeadlineExceeded.to_string()), "{kind}");
    }
    let status = compute(&MigrationJobStatus::default(), &input(Some(&view(late, 1)), &[]));
    assert_eq!(status.phase, Some(Phase::Failed));
    let message = status.last_run.unwrap().message.unwrap();
    assert!(message.contains("spec.limits.runDeadline"), "{message}");
}

#[test]
fn a_paused_side_is_reported_once() {
    let beats: Vec<_> = [("b", 9), ("a", 5), ("b", 7)]
        .map(|(resource, since)| Heartbeat { blocked: vec![blocked_by(resource, since)], ..beat(0) })
        .into();
    let found: Vec<_> = blocked(&beats).into_iter().map(|one| (one.resource, one.since)).collect();
    assert_eq!(found, [("a".to_owned(), 5), ("b".to_owned(), 7)]);
}

#[test]
fn what_a_mirror_did_stands_with_the_run() {
    let mut record = record(true, Some(RunResult::Complete));
    record.mirror = Some(MirrorCounts { deleted: 2, kept: 1, ..MirrorCounts::default() });
    let mut ended = view(record, 4);
    ended.run.as_mut().unwrap().record.scan.counts.extra = 3;
    let status = compute(&MigrationJobStatus::default(), &input(Some(&ended), &[]));
    assert_eq!(status.last_run.unwrap().extraneous, Some(Extraneous { found: 3, deleted: 2 }));
}

#[test]
fn a_reconciliation_that_failed_takes_nothing_back() {
    let ledger = view(record(true, None), 2);
    let before = compute(&MigrationJobStatus::default(), &input(Some(&ledger), &[]));
    let problem = Problem::new(Reason::ApplyFailed, "pods is forbidden");
    let after = with_problem(&before, &problem, Some(4), 200_000);
    assert_eq!((after.phase, &after.progress), (before.phase, &before.progress));
    let (holds, condition) = after.condition(ConditionType::Degraded).unwrap();
    assert!(holds && condition.reason == "ApplyFailed" && condition.message == "pods is forbidden");
    assert_eq!(after.conditions.len(), before.conditions.len());
    assert_eq!(with_problem(&after, &problem, Some(4), 300_000), after, "reported once");
    assert_eq!(with_problem(&MigrationJobStatus::default(), &problem, None, 1).phase, Some(Phase::Pending));
    // What was known of generation 3 is not claimed of generation 4.
    assert_eq!(after.observed_generation, Some(3));
    assert_eq!(after.condition(ConditionType::Ready).unwrap().1.observed_generation, Some(3));
    let (reconciling, condition) = after.condition(ConditionType::Reconciling).unwrap();
    assert!(reconciling && condition.observed_generation == Some(4), "{condition:?}");
    assert!(!after.condition(ConditionType::Stalled).unwrap().0);
}
