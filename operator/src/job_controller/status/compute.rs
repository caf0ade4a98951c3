//! Computes the status: a pure function of what the earlier steps returned.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use migration_api::config::QueueAndTable;
use migration_api::status::{
    CostStatus, Counts, EventCounts, EventWork, Extraneous, LastRun, MigrationJobStatus, NotPreserved, ObjectFailure,
    Phase, Progress, RecordKind, ReportStatus, Resources, RunResult, RunSummary, UnreadableRecords, VerificationStatus,
};
use migration_api::trigger::EventTriggerStatus;
use migration_core::error::Blocked;
use migration_core::outcome::NotPreserved as NotPreservedCounts;
use migration_core::printable::printable;
use migration_core::progress::{self, RunProgress};
use migration_core::records::{Counters, FailureRecord, Heartbeat, RunRecord};
use migration_core::verification;
use migration_engine::run::look::RunView;
use migration_ledger::Unreadable;
use migration_program::schedule::Schedule;

use super::{StatusInput, conditions, cost, display, limits};
use crate::job_controller::dereference::cluster::ObservedJob;
use crate::job_controller::dereference::ledger::LedgerView;
use crate::job_controller::runs::followups::{FollowupState, Report, Verification};
use crate::job_controller::runs::lifecycle;
use crate::problem::Problem;

/// The number of runs that the status lists.
const HISTORY: usize = 10;

/// The activity of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// There was no run, and none was requested.
    Never,
    /// A run was requested and has not started to list.
    Starting,
    /// The buckets are being listed.
    Scanning,
    /// The listing is complete; the remaining objects are being moved.
    Transferring,
    /// The last run ended with this result.
    Ended(RunResult),
    /// The Job that was to start a run failed.
    SenderFailed,
}

/// Computes the status.
pub fn compute(old: &MigrationJobStatus, input: &StatusInput<'_>) -> MigrationJobStatus {
    let activity = activity(old, input);
    let mut new = MigrationJobStatus {
        observed_generation: input.generation,
        phase: Some(phase(activity, input)),
        preflight: input.preflight.cloned(),
        event_trigger: event_trigger(old, input),
        next_schedule_time: next_schedule_time(input),
        workers: Some(input.workers),
        queue: input.depth.or(old.queue),
        runs_started: input.started.0,
        last_manual_run: input.started.1.map(ToOwned::to_owned),
        resources: input.queue_and_table.map(resources).or_else(|| old.resources.clone()),
        ..old.clone()
    };
    if let Some(ledger) = input.ledger {
        run(&mut new, ledger, input);
        new.verification = verification(ledger, input.verification);
        // While a run is live, the report of the run before it stays. It names its run.
        let before = || old.report.clone().filter(|_| ledger.live().is_some());
        new.report = report(ledger, input.report).or_else(before);
    }
    new.limits = limits::limits(input, old.limits.as_ref(), &new);
    new.display = Some(display::of(&new, input.buckets));
    new.conditions = conditions::compute(&old.conditions, input, activity, &new);
    new
}

/// Returns the old status with the condition Degraded for a problem that ended the reconciliation.
pub fn with_problem(
    old: &MigrationJobStatus,
    problem: &Problem,
    generation: Option<i64>,
    now: i64,
) -> MigrationJobStatus {
    MigrationJobStatus {
        phase: old.phase.or(Some(Phase::Pending)),
        conditions: conditions::with_problem(&old.conditions, problem, generation, now),
        ..old.clone()
    }
}

fn resources(queue_and_table: &QueueAndTable) -> Resources {
    let QueueAndTable { queue_url, dead_letter_url, table, queue_arn: _ } = queue_and_table.clone();
    Resources { queue_url: Some(queue_url), dead_letter_url: Some(dead_letter_url), table: Some(table) }
}

/// Returns what the run is doing: as the ledger says or, if it did not answer, as the old status says.
fn activity(old: &MigrationJobStatus, input: &StatusInput<'_>) -> Activity {
    let Some(ledger) = input.ledger else { return activity_before(old) };
    let last = ledger.run.as_ref().map(|run| &run.record);
    if let Some(live) = last.filter(|run| run.end.is_none()) {
        return if live.scan.closed { Activity::Transferring } else { Activity::Scanning };
    }
    // For a moment, the Job of a run that ended may still be seen as unfinished.
    let sends = |job: &&ObservedJob| job.is_unfinished() && last.is_none_or(|run| run.started_by != job.name);
    if input.start_pending || input.jobs.iter().any(|job| sends(&job)) {
        return Activity::Starting;
    }
    if lifecycle::failure(input.jobs, last).is_some() {
        return Activity::SenderFailed;
    }
    last.and_then(|run| run.end.as_ref()).map_or(Activity::Never, |end| Activity::Ended(end.result))
}

fn activity_before(old: &MigrationJobStatus) -> Activity {
    match old.phase {
        Some(Phase::Scanning) => Activity::Scanning,
        Some(Phase::Transferring) => Activity::Transferring,
        _ => old.last_run.as_ref().map_or(Activity::Never, |run| Activity::Ended(run.result)),
    }
}

fn phase(activity: Activity, input: &StatusInput<'_>) -> Phase {
    let verification = input.verification;
    match activity {
        _ if input.stops() => Phase::Suspended,
        Activity::Ended(_) if matches!(verification, FollowupState::Due | FollowupState::Running) => Phase::Verifying,
        Activity::Ended(RunResult::Complete) if is_not_whole(verification) => Phase::PartiallyFailed,
        Activity::Never | Activity::Ended(RunResult::Complete) if input.watching => Phase::Watching,
        Activity::Never | Activity::Starting => Phase::Pending,
        Activity::Scanning => Phase::Scanning,
        Activity::Transferring => Phase::Transferring,
        Activity::Ended(RunResult::Complete) => Phase::Complete,
        Activity::Ended(RunResult::PartiallyFailed) => Phase::PartiallyFailed,
        Activity::Ended(RunResult::Failed) | Activity::SenderFailed => Phase::Failed,
    }
}

/// Returns the state of the events. A run that was started since they are enabled is their initial scan.
fn event_trigger(old: &MigrationJobStatus, input: &StatusInput<'_>) -> Option<EventTriggerStatus> {
    let status = input.event_trigger?;
    let started = input.watching && input.started.0 > old.runs_started && !input.is_number_skipped;
    Some(EventTriggerStatus { scan_started: status.scan_started || started, ..status.clone() })
}

/// Returns when the next scheduled run is due; none while the schedule is suspended. Without a time zone that of
/// Kubernetes' controllers counts, usually UTC.
fn next_schedule_time(input: &StatusInput<'_>) -> Option<Time> {
    let (schedule, time_zone) = input.schedule.filter(|_| !input.stops())?;
    let schedule = Schedule::new(schedule, time_zone.or(Some("UTC"))).ok()?;
    let now = Timestamp::from_millisecond(input.now).ok()?;
    schedule.next(now).map(|next| Time(next.timestamp()))
}

/// Adds the last run to those that ended before it.
fn add_to_history(runs: &mut Vec<RunSummary>, last: &LastRun, cost: Option<&CostStatus>) {
    let LastRun { id, started_at, ended_at, result, objects, bytes, failed, .. } = last.clone();
    runs.retain(|run| run.id != id);
    let cost = cost::in_history(&id, cost);
    runs.insert(0, RunSummary { id, started_at, ended_at, result, objects, bytes, failed, cost });
    runs.truncate(HISTORY);
}

/// Returns true if the verification found that the copy is not whole.
fn is_not_whole(verification: &Verification) -> bool {
    matches!(verification, FollowupState::Ended(record) if !record.found.is_whole())
}

/// Returns what the verification of the last run found.
fn verification(ledger: &LedgerView, state: &Verification) -> Option<VerificationStatus> {
    let (FollowupState::Ended(record), Some(run)) = (state, &ledger.run) else { return None };
    let verification::Verification { proven, by_size, missing, different, newer, unmappable, ignored: _, extra } =
        record.found;
    Some(VerificationStatus {
        run: run.record.run.clone(),
        ended_at: Time(Timestamp::from_millisecond(record.at).ok()?),
        method: record.method,
        proven,
        by_size,
        missing,
        different,
        newer,
        unmappable,
        extra,
    })
}

/// Returns the report of the last run.
fn report(ledger: &LedgerView, state: &Report) -> Option<ReportStatus> {
    let (FollowupState::Ended(record), Some(run)) = (state, &ledger.run) else { return None };
    Some(ReportStatus {
        run: run.record.run.clone(),
        written_at: Time(Timestamp::from_millisecond(record.at).ok()?),
        manifest: format!("s3://{}/{}", record.bucket, record.key),
        succeeded: record.succeeded,
        failed: record.failed,
        unreported: record.unreported,
    })
}

/// Sets the parts of the status that describe a run.
fn run(new: &mut MigrationJobStatus, ledger: &LedgerView, input: &StatusInput<'_>) {
    new.events = event_work(&ledger.events);
    set_unreadable(new, RecordKind::Heartbeat, &ledger.unreadable_heartbeats);
    set_unreadable(new, RecordKind::Share, &ledger.unreadable_shares);
    let Some(RunView { record, tally }) = &ledger.run else { return };
    new.current_run = record.end.is_none().then(|| record.run.clone());
    // Without a tally the run has ended, and the status has its final numbers.
    let Some(tally) = tally else {
        if let Some(progress) = &mut new.progress {
            (progress.rate_bytes_per_second, progress.eta_seconds) = (None, None);
        }
        return;
    };
    let numbers = progress::progress(record, tally);
    let rate = record.end.is_none().then(|| ledger.heartbeats.iter().map(|beat| beat.rate).sum::<u64>());
    let losses = not_preserved(&tally.counted().counts.losses);
    new.progress = Some(progress_of(&numbers, losses, rate));
    new.cost = Some(cost::of(&record.run, tally, &input.prices, input.cost_limit));
    new.failures = ledger.failures.records.iter().map(|failure| failure_of(record, failure)).collect();
    set_unreadable(new, RecordKind::Failure, &ledger.failures.unreadable);
    if record.end.is_some() {
        new.last_run = last_run(record, &numbers, losses, input.now);
        if let Some(last) = &new.last_run {
            add_to_history(&mut new.runs, last, new.cost.as_ref());
        }
    }
}

/// Sets the number of records of a kind that cannot be read, and the error of the first one.
fn set_unreadable(new: &mut MigrationJobStatus, kind: RecordKind, found: &Unreadable) {
    new.unreadable.retain(|records| records.kind != kind);
    let first = found.first.as_ref();
    new.unreadable.extend(first.map(|error| UnreadableRecords {
        kind,
        number: found.count,
        message: error.to_string(),
    }));
}

fn progress_of(numbers: &RunProgress, not_preserved: Option<NotPreserved>, rate: Option<u64>) -> Progress {
    let eta_seconds = rate.and_then(|rate| progress::eta_seconds(numbers, rate));
    Progress {
        objects: Counts {
            total: numbers.objects,
            done: numbers.done,
            skipped: numbers.skipped,
            failed: numbers.failed,
        },
        bytes: Counts {
            total: numbers.bytes,
            done: numbers.done_bytes,
            skipped: numbers.skipped_bytes,
            failed: numbers.failed_bytes,
        },
        rate_bytes_per_second: rate,
        eta_seconds,
        not_preserved,
        not_compared_by_content: (numbers.weakly_compared > 0).then_some(numbers.weakly_compared),
    }
}

/// Returns what was not preserved, or none if everything was.
fn not_preserved(losses: &NotPreservedCounts) -> Option<NotPreserved> {
    let &NotPreservedCounts { lost_tags, lost_locks, lost_metadata, lost_classes, lost_encryption } = losses;
    let found = NotPreserved {
        tags: lost_tags,
        object_locks: lost_locks,
        metadata: lost_metadata,
        storage_classes: lost_classes,
        encryption: lost_encryption,
    };
    (found != NotPreserved::default()).then_some(found)
}

/// Returns the result of messages that belong to no run, or none if there was no such message.
fn event_work(events: &Counters) -> Option<EventWork> {
    (*events != Counters::default()).then(|| EventWork {
        objects: EventCounts { done: events.counts.done, failed: events.counts.failed, skipped: events.counts.gone },
        bytes: events.counts.done_bytes,
        not_preserved: not_preserved(&events.counts.losses),
    })
}

fn failure_of(run: &RunRecord, failure: &FailureRecord) -> ObjectFailure {
    let pair = usize::try_from(failure.pair).ok().and_then(|place| run.pairs.get(place));
    ObjectFailure {
        bucket: pair.map(|pair| pair.source_bucket.clone()).unwrap_or_default(),
        key: failure.key.clone(),
        class: failure.class.as_str().to_owned(),
        message: printable(&failure.message).into_owned(),
    }
}

fn last_run(
    record: &RunRecord,
    numbers: &RunProgress,
    not_preserved: Option<NotPreserved>,
    now: i64,
) -> Option<LastRun> {
    let end = record.end.as_ref()?;
    let time = |at: i64| Timestamp::from_millisecond(at).ok().map(Time);
    Some(LastRun {
        id: record.run.clone(),
        started_at: time(record.started).or_else(|| time(now))?,
        ended_at: time(end.at).or_else(|| time(now))?,
        result: end.result,
        objects: numbers.done,
        bytes: numbers.done_bytes,
        failed: numbers.failed,
        skipped: numbers.skipped,
        not_preserved,
        extraneous: record.mirror.map(|mirror| Extraneous { found: record.scan.counts.extra, deleted: mirror.deleted }),
        message: end.message.as_deref().map(|message| printable(message).into_owned()),
    })
}

/// Returns the services that workers and the jobsender have paused, each once, the longest pause first.
pub fn blocked(heartbeats: &[Heartbeat]) -> Vec<Blocked> {
    let mut all: Vec<Blocked> = heartbeats.iter().flat_map(|beat| beat.blocked.iter().cloned()).collect();
    all.sort_by(|a, b| (a.since, &a.resource).cmp(&(b.since, &b.resource)));
    let mut found: Vec<Blocked> = Vec::new();
    for one in all {
        if !found.iter().any(|other| (other.side, &other.resource, other.fault) == (one.side, &one.resource, one.fault))
        {
            found.push(one);
        }
    }
    found
}
