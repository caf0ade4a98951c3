//! `s3migrate cluster trigger`: starts a run, and waits for its end on request.

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use migration_api::status::{MigrationJobStatus, Phase, RunResult};
use migration_api::{ConditionType, MigrationJob, Reason};
use serde_json::json;

use super::ClusterError;
use super::jobs::{Jobs, RequestError};
use super::rows;
use crate::exit::Exit;

/// Arguments of `s3migrate cluster trigger`.
#[derive(Args, Clone, Debug)]
pub struct TriggerArgs {
    /// Name of the MigrationJob.
    #[arg(value_name = "NAME")]
    job: String,
    /// Wait until the run has ended. The exit code is then that of `s3migrate run`.
    #[arg(long)]
    wait: bool,
    /// Longest time to wait, such as 90m. By default there is no limit.
    #[arg(long, value_name = "TIME", requires = "wait")]
    timeout: Option<SignedDuration>,
}

/// Returns a value for spec.trigger.manual that differs from those before: the time.
pub fn fresh() -> String {
    Timestamp::now().strftime("%FT%T.%6fZ").to_string()
}

/// Sets spec.trigger.manual, prints the value, and waits on request.
pub async fn trigger(
    args: &TriggerArgs,
    jobs: &Jobs,
    value: &str,
    out: &mut (dyn Write + Send),
) -> Result<Exit, ClusterError> {
    let job = jobs.patch(&args.job, &json!({"spec": {"trigger": {"manual": value}}})).await?;
    writeln!(out, "{value}")?;
    if !args.wait {
        if job.spec.suspend {
            eprintln!("s3migrate: {0} is suspended; the run starts after `s3migrate cluster resume {0}`", args.job);
        }
        return Ok(Exit::Done);
    }
    if job.spec.suspend {
        return Err(ClusterError::Suspended { name: args.job.clone() });
    }
    let end = end(&args.job, jobs, value);
    let Some(timeout) = args.timeout else { return end.await };
    let limit = Duration::try_from(timeout).unwrap_or_default();
    tokio::time::timeout(limit, end).await.unwrap_or_else(|_| Err(ClusterError::TimedOut(format!("{timeout:#}"))))
}

/// Waits until the run that a trigger started has ended. Tells changes of the state on standard error.
async fn end(name: &str, jobs: &Jobs, value: &str) -> Result<Exit, ClusterError> {
    let mut changes = pin!(jobs.watch(Some(name)));
    let mut told = String::new();
    while let Some(found) = jobs.next_change(&mut changes, Some(name)).await? {
        let Some(found) = found.into_iter().next() else { continue };
        let job = found.0.map_err(|invalid| RequestError::Unreadable { name: name.to_owned(), why: invalid.error })?;
        let status = job.status.clone().unwrap_or_default();
        let state = format!("{}: {}", rows::phase(&status).as_str(), rows::message(&status));
        if state != told {
            eprintln!("{name}: {state}");
            told = state;
        }
        match look(&job, value) {
            Look::Waiting => {}
            Look::Ended(exit) => return Ok(exit),
            Look::Superseded(now) => return Err(ClusterError::Superseded { name: name.to_owned(), now }),
        }
    }
    Err(ClusterError::WatchEnded)
}

/// What a status says about the run of a trigger.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It has not started or not ended.
    Waiting,
    /// It ended.
    Ended(Exit),
    /// The trigger was replaced by this one.
    Superseded(String),
}

/// Decides whether the run of a trigger has ended.
///
/// | status.lastManualRun | spec.trigger.manual | the job | decision |
/// |---|---|---|---|
/// | is the trigger | | has a live run, or its phase is none of an end | wait |
/// | is the trigger | | otherwise | ended |
/// | is another | is the trigger | | wait |
/// | is another | is another | | superseded |
fn look(job: &MigrationJob, value: &str) -> Look {
    let status = job.status.clone().unwrap_or_default();
    let now = job.spec.trigger.manual.clone().unwrap_or_default();
    if status.last_manual_run.as_deref() != Some(value) {
        return if now == value { Look::Waiting } else { Look::Superseded(now) };
    }
    if status.current_run.is_some() {
        return Look::Waiting;
    }
    // The value is repeated by the status that also says that the run starts, so the phase is not the last run's.
    match rows::phase(&status) {
        Phase::Failed => Look::Ended(Exit::Failed),
        Phase::Complete | Phase::PartiallyFailed | Phase::Watching => Look::Ended(exit(&status)),
        Phase::Pending | Phase::Scanning | Phase::Transferring | Phase::Verifying | Phase::Suspended => Look::Waiting,
    }
}

fn exit(status: &MigrationJobStatus) -> Exit {
    let copied = match status.last_run.as_ref().map(|run| run.result) {
        Some(RunResult::Complete) => Exit::Done,
        Some(RunResult::PartiallyFailed) => Exit::SomeFailed,
        Some(RunResult::Failed) | None => Exit::Failed,
    };
    let verified = match status.condition(ConditionType::Verified) {
        Some((false, condition)) if condition.reason == Reason::CopyDiffers.to_string() => Exit::Different,
        Some((false, _)) => Exit::Failed,
        _ => Exit::Done,
    };
    copied.and(verified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::job;
    use serde_json::Value;

    #[test]
    fn a_fresh_value_fits_and_differs() {
        let (first, second) = (fresh(), fresh());
        assert!(first.len() <= 63 && first <= second, "{first} {second}");
    }

    #[test]
    fn the_end_of_a_run_is_found_in_the_status() {
        let last = |result: &str| {
            json!({
                "id": "r2", "startedAt": "2026-01-01T00:00:00Z", "endedAt": "2026-01-01T00:01:00Z", "result": result,
                "objects": 1, "bytes": 1, "failed": 0, "skipped": 0,
            })
        };
        let verified = |status: &str, reason: &str| {
            json!([{
                "type": "Verified", "status": status, "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }])
        };
        let ended = |phase: &str, result: &str| json!({"phase": phase, "lastManualRun": "t", "lastRun": last(result)});
        let with = |mut status: Value, member: &str, value: Value| {
            status[member] = value;
            status
        };
        let whole = with(ended("Complete", "Complete"), "conditions", verified("True", "CopyWhole"));
        let differs = with(ended("PartiallyFailed", "Complete"), "conditions", verified("False", "CopyDiffers"));
        let unknown = with(ended("Complete", "Complete"), "conditions", verified("False", "VerifyFailed"));
        for (manual, status, expected) in [
            ("t", json!({}), Look::Waiting),
            ("t", json!({"phase": "Complete", "lastManualRun": "s", "lastRun": last("Complete")}), Look::Waiting),
            ("t", json!({"phase": "Pending", "lastManualRun": "t", "lastRun": last("Complete")}), Look::Waiting),
            ("t", json!({"phase": "Scanning", "lastManualRun": "t", "currentRun": "r2"}), Look::Waiting),
            ("t", json!({"phase": "Complete", "lastManualRun": "t", "currentRun": "r3"}), Look::Waiting),
            ("t", json!({"phase": "Verifying", "lastManualRun": "t", "lastRun": last("Complete")}), Look::Waiting),
            ("t", json!({"phase": "Suspended", "lastManualRun": "t", "currentRun": "r2"}), Look::Waiting),
            ("t", ended("Complete", "Complete"), Look::Ended(Exit::Done)),
            ("t", whole, Look::Ended(Exit::Done)),
            ("t", ended("PartiallyFailed", "PartiallyFailed"), Look::Ended(Exit::SomeFailed)),
            ("t", differs, Look::Ended(Exit::Different)),
            ("t", unknown, Look::Ended(Exit::Failed)),
            ("t", ended("Failed", "Failed"), Look::Ended(Exit::Failed)),
            // The jobsender failed before it had a run: the last run is an older one.
            ("t", ended("Failed", "Complete"), Look::Ended(Exit::Failed)),
            ("u", ended("Complete", "Complete"), Look::Ended(Exit::Done)),
            ("u", json!({"phase": "Complete", "lastManualRun": "s"}), Look::Superseded("u".into())),
        ] {
            let shown = status.to_string();
            let job = job(&json!({"spec": {"trigger": {"manual": manual}}, "status": status}));
            assert_eq!(look(&job, "t"), expected, "{manual} {shown}");
        }
    }
}
