//! The program `jobsender`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use migration_core::size;
use migration_engine::heartbeat;
use migration_engine::sender::{self, SendError, SendOutcome, SenderName};
use migration_engine::uploads::{self, AbortError, AbortReport};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::boot::{self, AwsProcess, Common};
use crate::termination;

/// Compares both sides of a job and sends what differs to its queue.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Scan both sides and send batches of what differs.
    Send,
    /// Abort every multipart upload that the ledger has of this job.
    AbortUploads,
}

/// Runs the program. Exit code 1 = failed, may be tried again; 2 = the configuration can't be used.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.common.start_logging();
    let (process, ignore) = match boot::boot(&cli.common).await {
        Ok((process, ignore)) => (Arc::new(process), ignore),
        Err(error) => {
            error!(%error, "the jobsender can't start");
            termination::write("ConfigInvalid", &error.to_string());
            return ExitCode::from(2);
        }
    };
    boot::stop_on_signals(&process.stop);
    let beats = CancellationToken::new();
    let beating = tokio::spawn({
        let (process, beats) = (process.clone(), beats.clone());
        async move { heartbeat::beat(&process, beats).await }
    });
    let end = match cli.command {
        Command::Send => report_send(sender::send(process.clone(), &ignore, &sender_name(&cli.common, &process)).await),
        Command::AbortUploads => report_abort(uploads::abort_all(&process).await),
    };
    beats.cancel();
    // It holds nothing that could be lost: a panic in it has been printed.
    let _ = beating.await;
    termination::write(end.reason, &end.message);
    if end.failed {
        error!(reason = end.reason, message = end.message, "failed");
        ExitCode::FAILURE
    } else {
        info!(reason = end.reason, message = end.message, "ended");
        ExitCode::SUCCESS
    }
}

fn sender_name(common: &Common, process: &AwsProcess) -> SenderName {
    let now = jiff::Timestamp::now().strftime("%Y%m%dt%H%M%Sz");
    SenderName {
        started_by: common.job_name.clone().unwrap_or_else(|| process.name.clone()),
        new_run: format!("{now}-{:04x}", rand::random::<u16>()),
    }
}

/// How the program ends.
struct End {
    reason: &'static str,
    message: String,
    failed: bool,
}

fn report_send(result: Result<SendOutcome, SendError>) -> End {
    let (reason, message, failed) = match result {
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
            ("Sent", message, false)
        }
        Ok(SendOutcome::AlreadySent { run }) => ("AlreadySent", format!("run {run} was sent before"), false),
        Ok(SendOutcome::RunIsLive { run }) => {
            ("RunIsLive", format!("run {run} is not over; the next one starts after it"), false)
        }
        Err(error) => ("ScanFailed", error.to_string(), true),
    };
    End { reason, message, failed }
}

fn report_abort(result: Result<AbortReport, AbortError>) -> End {
    match result {
        Ok(report) if report.left.is_empty() => {
            End { reason: "UploadsAborted", message: format!("{} uploads aborted", report.aborted), failed: false }
        }
        Ok(report) => {
            let (bucket, key) = report.left.first().cloned().unwrap_or_default();
            let message = format!(
                "{} uploads aborted; {} that may be ours are left, the first in bucket {bucket} under key {key:?}",
                report.aborted,
                report.left.len()
            );
            End { reason: "UploadsLeft", message, failed: true }
        }
        Err(error) => End { reason: "UploadsLeft", message: error.to_string(), failed: true },
    }
}
