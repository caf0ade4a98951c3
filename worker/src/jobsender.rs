//! The program `jobsender`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use migration_core::preflight::Report;
use migration_engine::Interruption;
use migration_engine::heartbeat;
use migration_engine::limits::Keeper;
use migration_engine::scan::Purpose;
use migration_engine::uploads::{self, AbortReport, LeftUpload};
use migration_program::plan::PlanArgs;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::exit::{End, FAILED, UNUSABLE};
use crate::metrics::{self, Sources};
use crate::notify::{self, NotifyArgs};
use crate::plan;
use crate::preflight;
use crate::report::{self, ReportArgs};
use crate::send::{report_send, send};
use crate::setup::{self, AwsProcess, Common, Pace};
use crate::termination;
use crate::verify;

/// Compares both sides of a job and sends the differences to its queue.
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
    /// List both sides and send the objects that differ to the queue, in batches.
    Send,
    /// Show what a run would do and cost, without doing it.
    Plan(PlanArgs),
    /// Compare both sides after a run and report what is missing, different or extra. Fails if the copy is incomplete.
    Verify(verify::Arguments),
    /// Write the completion report of a run to the configured bucket.
    Report(ReportArgs),
    /// Try the requests of the job on its buckets, without making anything visible, and report what is refused.
    Preflight,
    /// Configure the source buckets to send their events to the queue, leaving everything else in their configuration.
    Notify(NotifyArgs),
    /// Abort all multipart uploads that the ledger records for this job.
    AbortUploads,
}

impl Command {
    /// What others wait for, and judge by the time that it takes, is not limited.
    fn pace(&self) -> Pace {
        match self {
            Self::Send | Self::Plan(_) | Self::Verify(_) | Self::Report(_) => Pace::Limited,
            Self::Preflight | Self::Notify(_) | Self::AbortUploads => Pace::Unlimited,
        }
    }
}

/// Runs the program to its end. Exit codes: 1 = failed, a retry may succeed; 2 = the configuration or the work list
/// can't be used; 3 = verified, and the copy is incomplete; 143 = interrupted by a signal, which is no failure.
pub fn main() -> ExitCode {
    // Boxed: the future is as large as that of the largest subcommand.
    migration_program::run(Box::pin(program()))
}

async fn program() -> ExitCode {
    let cli = Cli::parse();
    let (told, config) = cli.common.begin(|| None);
    // What it reads when it has to stop would be read again: nothing waits for a limit then.
    let (process, keeper) = match setup::connect(&cli.common, config, cli.command.pace(), Duration::ZERO).await {
        Ok(connected) => connected,
        Err(error) => {
            error!(%error, "failed to start the jobsender");
            termination::write("ConfigInvalid", &error.to_string());
            return ExitCode::from(UNUSABLE);
        }
    };
    setup::stop_when_told(&process, &told);
    metrics::serve(cli.common.metrics_port, &process.config.job, Sources::of(&process, None)).await;
    let keeping = keeper.map(Keeper::start);
    let (end, report) = tokio::select! {
        ended = carry_out(cli, process) => ended,
        () = overdue(&told) => {
            (End::failed("Interrupted", "it did not stop in time after the signal"), Report::default())
        }
    };
    if let Some(keeping) = keeping {
        keeping.end().await;
    }
    let end = end.after_signal(told.is_cancelled());
    termination::write_report(end.reason, &end.message, &report);
    if end.code == 0 {
        info!(reason = end.reason, detail = end.message, "ended");
    } else {
        error!(reason = end.reason, detail = end.message, "failed");
    }
    ExitCode::from(end.code)
}

/// Returns how the program ends, and what a preflight found.
async fn carry_out(cli: Cli, process: AwsProcess) -> (End, Report) {
    // Boxed, since the compiler computes the size of a future from everything inside it.
    let end = match cli.command {
        Command::Preflight => return Box::pin(preflight::preflight(process)).await,
        Command::Send => report_send(Box::pin(send(process, &cli.common, &Purpose::default())).await),
        Command::Plan(args) => Box::pin(plan::plan(process, &args)).await,
        Command::Verify(args) => Box::pin(verify::verify(process, &cli.common, &args)).await,
        Command::Report(args) => Box::pin(report::report(process, &args)).await,
        Command::Notify(args) => Box::pin(notify::notify(process, &args)).await,
        Command::AbortUploads => {
            let process = Arc::new(process);
            report_abort(heartbeat::during(&process, uploads::abort_all(&process)).await)
        }
    };
    (end, Report::default())
}

/// Completes once work that was in progress at the signal has had its time to end.
async fn overdue(told: &CancellationToken) {
    told.cancelled().await;
    tokio::time::sleep(TIME_TO_END).await;
}

/// Time that work in progress has to end after a signal; well within the pod's grace period.
const TIME_TO_END: Duration = Duration::from_secs(30);

fn report_abort(result: Result<AbortReport, Interruption>) -> End {
    let report = match result {
        Ok(report) => report,
        Err(error) => return End { reason: "UploadsLeft", message: error.to_string(), code: FAILED },
    };
    for left in &report.left {
        warn!(
            bucket = left.bucket,
            key = left.key,
            command = left.command,
            "left an upload that may belong to this job"
        );
    }
    let is_clean = report.left.is_empty() && report.unreadable.is_none();
    let (reason, code) = if is_clean { ("UploadsAborted", 0) } else { ("UploadsLeft", FAILED) };
    let mut words = vec![format!("{} uploads aborted", report.aborted)];
    if let Some(LeftUpload { bucket, key, command }) = report.left.first() {
        words.push(format!(
            "{} more may belong to this job, the first in bucket {bucket} under key {key:?}: if it is not in use, abort it \
             with {command}",
            report.left.len()
        ));
    }
    if !report.unreadable.is_none() {
        words.push(format!("more may be open, since their ledger records can't be read: {}", report.unreadable));
    }
    End { reason, message: words.join("; "), code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::ports::LedgerKey;
    use migration_core::records::RecordError;

    #[test]
    fn what_others_wait_for_is_not_limited() {
        for (command, expected) in [
            (&["send"][..], Pace::Limited),
            (&["plan"], Pace::Limited),
            (&["preflight"], Pace::Unlimited),
            (&["notify", "--remove"], Pace::Unlimited),
            (&["abort-uploads"], Pace::Unlimited),
        ] {
            let cli = Cli::try_parse_from([&["jobsender", "--config", "c"], command].concat()).unwrap();
            assert_eq!(cli.command.pace(), expected, "{command:?}");
        }
    }

    #[test]
    fn what_is_left_is_named() {
        let aborted = AbortReport { aborted: 3, ..AbortReport::default() };
        let end = report_abort(Ok(aborted.clone()));
        assert_eq!((end.reason, end.code, end.message.as_str()), ("UploadsAborted", 0, "3 uploads aborted"));
        let left = LeftUpload { bucket: "b".into(), key: "k".into(), command: "aws".into() };
        let end = report_abort(Ok(AbortReport { left: vec![left], ..aborted.clone() }));
        assert_eq!((end.reason, end.code), ("UploadsLeft", FAILED));
        assert!(end.message.ends_with("abort it with aws"), "{}", end.message);
        let mut unreadable = aborted;
        let key = LedgerKey::new("upload/u/0", "h");
        unreadable.unreadable.add(RecordError { key, member: None, reason: "no".into() });
        let end = report_abort(Ok(unreadable));
        assert_eq!((end.reason, end.code), ("UploadsLeft", FAILED));
        assert!(end.message.contains("1 record: failed to read ledger record upload/u/0 h"), "{}", end.message);
    }
}
