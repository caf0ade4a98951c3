//! The program `jobsender`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use migration_core::ignore::IgnoreList;
use migration_core::size;
use migration_engine::heartbeat;
use migration_engine::sender::{self, ManifestError, Purpose, SendError, SendOutcome, SenderName};
use migration_engine::uploads::{self, AbortError, AbortReport, LeftUpload};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::boot::{self, AwsProcess, Common};
use crate::plan::{self, PlanArgs};
use crate::report::{self, ReportArgs};
use crate::termination;
use crate::verify::{self, VerifyArgs};

/// Compares both sides of a job and sends what differs to its queue.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Scan both sides and send batches of what differs.
    Send,
    /// Say what a run would do and cost, without doing it.
    Plan(PlanArgs),
    /// Look at both sides after a run: what is missing, different or extra. Fails where the copy is not whole.
    Verify(VerifyArgs),
    /// Write what became of each object of a run to where the configuration says.
    Report(ReportArgs),
    /// Abort every multipart upload that the ledger has of this job.
    AbortUploads,
}

/// Runs the program. Exit code 1 = failed, may be tried again; 2 = the configuration, or the work list, can't be used; 3 = verified, and the
/// copy is not whole; 143 = told to end before it was done, which is no failure.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.common.start_logging();
    // A process that is the first of its container does not even end by a signal that it does not listen for.
    let told = CancellationToken::new();
    boot::stop_on_signals(&told);
    let (process, ignore) = match boot::boot(&cli.common).await {
        Ok(booted) => booted,
        Err(error) => {
            error!(%error, "the jobsender can't start");
            termination::write("ConfigInvalid", &error.to_string());
            return ExitCode::from(UNUSABLE);
        }
    };
    tokio::spawn({
        let (told, stop) = (told.clone(), process.stop.clone());
        async move {
            told.cancelled().await;
            stop.cancel();
        }
    });
    let end = tokio::select! {
        end = carry_out(cli, process, &ignore) => end,
        () = overdue(&told) => End::failed("Interrupted", "it did not end by itself in time"),
    };
    let end = end.after_signal(told.is_cancelled());
    termination::write(end.reason, &end.message);
    if end.code == 0 {
        info!(reason = end.reason, message = end.message, "ended");
    } else {
        error!(reason = end.reason, message = end.message, "failed");
    }
    ExitCode::from(end.code)
}

async fn carry_out(cli: Cli, process: AwsProcess, ignore: &IgnoreList) -> End {
    // In boxes: the compiler works out how large a future is by looking into all that it holds.
    match cli.command {
        Command::Send => report_send(Box::pin(send(process, ignore, &cli.common, &Purpose::default())).await),
        Command::Plan(args) => Box::pin(plan::plan(process, ignore, &args)).await,
        Command::Verify(args) => Box::pin(verify::verify(process, ignore, &cli.common, &args)).await,
        Command::Report(args) => Box::pin(report::report(process, &args)).await,
        Command::AbortUploads => {
            let process = Arc::new(process);
            report_abort(with_heartbeat(&process, uploads::abort_all(&process)).await)
        }
    }
}

/// Ends some time after the program was told to end: what is under way has had its chance.
async fn overdue(told: &CancellationToken) {
    told.cancelled().await;
    tokio::time::sleep(TIME_TO_END).await;
}

/// Scans both sides as a run, and sends what differs.
pub(crate) async fn send(
    process: AwsProcess,
    ignore: &IgnoreList,
    common: &Common,
    purpose: &Purpose,
) -> Result<SendOutcome, SendError> {
    let process = Arc::new(process);
    let name = sender_name(common, &process);
    with_heartbeat(&process, sender::send_for(process.clone(), ignore, &name, purpose)).await
}

/// Does a work and tells the ledger meanwhile that it is done.
pub(crate) async fn with_heartbeat<T>(process: &Arc<AwsProcess>, work: impl Future<Output = T>) -> T {
    let beats = CancellationToken::new();
    let beating = tokio::spawn({
        let (process, beats) = (process.clone(), beats.clone());
        async move { heartbeat::beat(&process, beats).await }
    });
    let done = work.await;
    beats.cancel();
    // It holds nothing that could be lost: a panic in it has been printed.
    let _ = beating.await;
    done
}

fn sender_name(common: &Common, process: &AwsProcess) -> SenderName {
    let now = jiff::Timestamp::now().strftime("%Y%m%dt%H%M%Sz");
    SenderName {
        started_by: common.job_name.clone().unwrap_or_else(|| process.name.clone()),
        new_run: format!("{now}-{:04x}", rand::random::<u16>()),
    }
}

/// How the program ends.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl End {
    fn failed(reason: &'static str, message: &str) -> Self {
        Self { reason, message: message.to_owned(), code: FAILED }
    }

    /// How it ends where a signal told it to, or not. What was cut short by that has not failed; it is never told as done
    /// either, since Kubernetes would take the scan for closed.
    fn after_signal(self, told: bool) -> Self {
        if !told || self.code != FAILED {
            return self;
        }
        let message =
            format!("told to end before it was done; the next pod goes on ({}: {})", self.reason, self.message);
        Self { reason: "Interrupted", message, code: INTERRUPTED }
    }
}

/// How long work under way may take to end after a signal: well within the grace of a pod.
const TIME_TO_END: Duration = Duration::from_secs(30);
/// Exit code where the program was told to end before it was done: 128 + SIGTERM. The Jobs' pod failure policy ignores it.
const INTERRUPTED: u8 = 143;

/// Exit code where what the program was given can't be used.
const UNUSABLE: u8 = 2;
/// Exit code of what may be tried again.
pub(crate) const FAILED: u8 = 1;

pub(crate) fn report_send(result: Result<SendOutcome, SendError>) -> End {
    let (reason, message, code) = match result {
        Ok(SendOutcome::Sent { run, counts }) => {
            let message = format!(
                "run {run}: {} objects of {} sent in {} batches; {} in place, {} ignored, {} failed",
                counts.objects,
                size::human(counts.bytes),
                counts.batches,
                counts.in_place,
                counts.ignored,
                counts.failed
            );
            ("Sent", message, 0)
        }
        Ok(SendOutcome::AlreadySent { run }) => ("AlreadySent", format!("run {run} was sent before"), 0),
        Ok(SendOutcome::RunIsLive { run }) => {
            ("RunIsLive", format!("run {run} is not over; the next one starts after it"), 0)
        }
        Ok(SendOutcome::OtherSides { run }) => {
            let message = format!(
                "run {run} is not over and keeps the source and the destination that it began with; the next one starts after it"
            );
            ("RunIsLive", message, 0)
        }
        // Another try would read the same list.
        Err(SendError::Manifest(error)) if !matches!(*error, ManifestError::Service { .. }) => {
            ("ManifestInvalid", error.to_string(), UNUSABLE)
        }
        Err(error) => ("ScanFailed", error.to_string(), FAILED),
    };
    End { reason, message, code }
}

fn report_abort(result: Result<AbortReport, AbortError>) -> End {
    match result {
        Ok(report) if report.left.is_empty() => {
            End { reason: "UploadsAborted", message: format!("{} uploads aborted", report.aborted), code: 0 }
        }
        Ok(report) => {
            for left in &report.left {
                warn!(
                    bucket = left.bucket,
                    key = left.key,
                    command = left.command,
                    "an upload that may be ours is left"
                );
            }
            let LeftUpload { bucket, key, command } = report.left.first().cloned().unwrap_or_default();
            let message = format!(
                "{} uploads aborted; {} that may be ours are left, the first in bucket {bucket} under key {key:?}: \
                 if nobody works on it, abort it with {command}",
                report.aborted,
                report.left.len()
            );
            End { reason: "UploadsLeft", message, code: FAILED }
        }
        Err(error) => End { reason: "UploadsLeft", message: error.to_string(), code: FAILED },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::{ErrorClass, ServiceError};

    #[test]
    fn what_a_signal_cut_short_has_not_failed_and_is_not_done() {
        let end = |code| End { reason: "ScanFailed", message: "told to stop".into(), code };
        for (code, told, expected) in [
            (FAILED, true, INTERRUPTED),
            (FAILED, false, FAILED),
            (0, true, 0),
            (UNUSABLE, true, UNUSABLE),
            (3, true, 3),
        ] {
            let end = end(code).after_signal(told);
            assert_eq!(end.code, expected, "{code} {told}");
            assert_eq!(end.reason == "Interrupted", end.code == INTERRUPTED, "{end:?}");
        }
    }

    #[test]
    fn a_list_that_can_not_be_used_is_not_tried_again() {
        let (bucket, key) = (String::from("b"), String::from("k"));
        let end = report_send(Err(ManifestError::Missing { bucket: bucket.clone(), key: key.clone() }.into()));
        assert_eq!((end.reason, end.code), ("ManifestInvalid", UNUSABLE));
        let source = ServiceError::new(ErrorClass::Transient, "get object", "InternalError", "later");
        let end = report_send(Err(ManifestError::Service { bucket, key, source }.into()));
        assert_eq!((end.reason, end.code), ("ScanFailed", FAILED));
    }
}
