//! What the page shows of a job, by its status.

use kube::ResourceExt;
use migration_api::status::{Phase as StatusPhase, RunSummary, VerificationStatus};
use migration_api::{ConditionType, MigrationJob, MigrationJobStatus};
use migration_core::verification::Verification;
use migration_web::view::{
    JobName, JobView, MOST_PAIRS, MOST_RUNS, Numbers, PairLine, Phase, QueueLine, RunLine, VerificationLine,
    WorkersLine,
};

use crate::job_controller::watched::WatchedJob;

/// Returns the view of a job that is watched. One that does not match the schema says so.
pub fn watched(job: &WatchedJob) -> JobView {
    match &job.0 {
        Ok(job) => view(job),
        Err(invalid) => {
            let of = &invalid.metadata;
            let (namespace, name) = (of.namespace.clone().unwrap_or_default(), of.name.clone().unwrap_or_default());
            JobView::unreadable(JobName { namespace, name }, &invalid.error)
        }
    }
}

/// Returns the view of a job.
fn view(job: &MigrationJob) -> JobView {
    let nothing = MigrationJobStatus::default();
    let status = job.status.as_ref().unwrap_or(&nothing);
    let progress = status.progress.as_ref();
    let pairs = &job.spec.buckets;
    JobView {
        name: JobName { namespace: job.namespace().unwrap_or_default(), name: job.name_any() },
        phase: phase(status.phase.unwrap_or(StatusPhase::Pending)),
        message: message(status),
        pairs: pairs
            .iter()
            .take(MOST_PAIRS)
            .map(|pair| PairLine {
                from: format!("{}/{}", pair.source_bucket, pair.source_prefix),
                to: format!("{}/{}", pair.destination_bucket, pair.destination_prefix),
            })
            .collect(),
        more_pairs: pairs.len().saturating_sub(MOST_PAIRS),
        run: status.current_run.clone().or_else(|| status.last_run.as_ref().map(|run| run.id.clone())),
        numbers: progress.map(|progress| Numbers {
            objects: progress.objects.total,
            bytes: progress.bytes.total,
            done: progress.objects.done,
            done_bytes: progress.bytes.done,
            skipped: progress.objects.skipped,
            failed: progress.objects.failed,
            failed_bytes: progress.bytes.failed,
        }),
        rate: progress.and_then(|progress| progress.rate_bytes_per_second).unwrap_or_default(),
        eta_seconds: progress.and_then(|progress| progress.eta_seconds),
        queue: status.queue.map(|queue| QueueLine {
            visible: queue.visible,
            in_flight: queue.in_flight,
            dead_letters: queue.dead_letters,
        }),
        workers: status.workers.map(|workers| WorkersLine { desired: workers.desired, ready: workers.ready }),
        runs: status.runs.iter().take(MOST_RUNS).map(|run| run_line(run, status)).collect(),
        verification: status.verification.as_ref().map(verification),
        // A plan is made by s3migrate and kept where that runs.
        plan: None,
    }
}

fn phase(phase: StatusPhase) -> Phase {
    match phase {
        StatusPhase::Pending => Phase::Pending,
        StatusPhase::Scanning => Phase::Scanning,
        StatusPhase::Transferring => Phase::Transferring,
        StatusPhase::Verifying => Phase::Verifying,
        StatusPhase::Complete => Phase::Complete,
        StatusPhase::PartiallyFailed => Phase::PartiallyFailed,
        StatusPhase::Failed => Phase::Failed,
        StatusPhase::Watching => Phase::Watching,
        StatusPhase::Suspended => Phase::Suspended,
    }
}

/// Returns what is wrong; otherwise what is going on.
fn message(status: &MigrationJobStatus) -> Option<String> {
    if let Some((true, degraded)) = status.condition(ConditionType::Degraded) {
        return Some(format!("{}: {}", degraded.reason, degraded.message));
    }
    let (_, progressing) = status.condition(ConditionType::Progressing)?;
    Some(progressing.message.clone()).filter(|message| !message.is_empty())
}

/// The status has more about the last run than about those before it.
fn run_line(run: &RunSummary, status: &MigrationJobStatus) -> RunLine {
    let last = status.last_run.as_ref().filter(|last| last.id == run.id);
    RunLine {
        run: run.id.clone(),
        started: run.started_at.0.as_millisecond(),
        ended: run.ended_at.0.as_millisecond(),
        result: run.result,
        done: run.objects,
        done_bytes: run.bytes,
        skipped: last.map(|last| last.skipped),
        failed: run.failed,
        message: last.and_then(|last| last.message.clone()),
    }
}

fn verification(found: &VerificationStatus) -> VerificationLine {
    let VerificationStatus { run, ended_at, method, proven, by_size, missing, different, newer, unmappable, extra } =
        found;
    let found = Verification {
        proven: *proven,
        by_size: *by_size,
        missing: *missing,
        different: *different,
        newer: *newer,
        unmappable: *unmappable,
        extra: *extra,
        ignored: 0,
    };
    let (run, at) = (run.clone(), ended_at.0.as_millisecond());
    VerificationLine { run, at, method: *method, whole: found.is_whole(), found }
}
