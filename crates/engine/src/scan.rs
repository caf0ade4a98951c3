//! The jobsender: takes a run, lists and compares both sides, sends the differences in batches, and closes the scan.

mod dry_run;
mod findings;
mod lanes;
mod last_scan;
mod listing;
mod manifest;
mod merge;
mod mirror;
mod pace;
mod purpose;
mod range;
mod records;
mod reopen;
mod run;
mod verdict;
mod versions;

use std::sync::Arc;

use migration_core::error::Service;
use migration_core::range::GapError;
use migration_core::records::{RecordError, ScanCounts};
use migration_ledger::ReadError;
use tokio_util::sync::CancellationToken;

use crate::log_context::{LogContext, inherit, within};
use crate::{Interruption, Process, Services};
use run::Taken;

pub use dry_run::{DryRunError, dry_run};
pub use manifest::ManifestError;
pub use purpose::{Observer, Purpose};

/// Result of a jobsender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanOutcome {
    /// The scan is closed.
    Sent {
        /// ID of the run.
        run: String,
        /// Counts of the scan.
        counts: ScanCounts,
    },
    /// The scan started by this Kubernetes Job was closed before.
    AlreadySent {
        /// ID of the run.
        run: String,
    },
    /// Another run is live.
    RunIsLive {
        /// ID of that run.
        run: String,
    },
    /// The live run has other sides: only a jobsender with the same sides continues it.
    OtherSides {
        /// ID of that run.
        run: String,
    },
}

/// Why a scan was not closed. Sent batches stay sent, and the next jobsender continues.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] ReadError),
    /// A service failed, or the process is stopping.
    #[error(transparent)]
    Interruption(#[from] Interruption),
    /// Another jobsender has the run now.
    #[error("failed to continue run {0}: another jobsender took it over")]
    TakenOver(String),
    /// Keys were not listed in the order of their bytes: a merge of such listings would find present objects missing
    /// and missing objects present.
    #[error(
        "failed to list {side} bucket {bucket}: the service does not list keys in the order of their UTF-8 bytes ({before:?} came before {after:?}); such buckets cannot be compared by listing"
    )]
    OutOfOrder {
        /// The side of the bucket.
        side: Service,
        /// The bucket.
        bucket: String,
        /// A key, or the start of the listing.
        before: String,
        /// The key listed after it.
        after: String,
    },
    /// A listing ended before its last page: the remaining keys are unknown.
    #[error("failed to list bucket {bucket}: the listing ended before its last page")]
    CutShort {
        /// The bucket.
        bucket: String,
    },
    /// The work list could not be read.
    #[error(transparent)]
    Manifest(Box<ManifestError>),
    /// A work list was added or removed during the run: what the run did so far belongs to another list.
    #[error("failed to continue run {0}: manifest was added or removed during the run; start a new run")]
    OtherWorkList(String),
    /// The ranges in the ledger do not cover a pair's keys.
    #[error(transparent)]
    Gap(#[from] GapError),
    /// A range could not be scanned.
    #[error("failed to scan range: {0}")]
    Broken(String),
}

impl From<ReadError<Interruption>> for ScanError {
    fn from(error: ReadError<Interruption>) -> Self {
        match error {
            ReadError::Request(error) => error.into(),
            ReadError::Record(error) => error.into(),
        }
    }
}

impl From<RecordError> for ScanError {
    fn from(error: RecordError) -> Self {
        Self::Ledger(error.into())
    }
}

impl From<ManifestError> for ScanError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Box::new(error))
    }
}

/// Identifies a jobsender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderName {
    /// The Kubernetes Job, or another name that stays the same when the jobsender is restarted.
    pub started_by: String,
    /// ID of a new run, if one is started; sorts by time.
    pub new_run: String,
}

/// Takes a run and scans it to its end.
pub async fn send<P: Services>(process: Arc<Process<P>>, name: &SenderName) -> Result<ScanOutcome, ScanError> {
    send_for(process, name, &Purpose::default()).await
}

/// Like [`send`], for another purpose.
pub async fn send_for<P: Services>(
    process: Arc<Process<P>>,
    name: &SenderName,
    purpose: &Purpose,
) -> Result<ScanOutcome, ScanError> {
    let run = match Box::pin(run::take(&process, name)).await? {
        Taken::Run(run) => Arc::new(*run),
        Taken::AlreadySent(run) => return Ok(ScanOutcome::AlreadySent { run }),
        Taken::Busy(run) => return Ok(ScanOutcome::RunIsLive { run }),
        Taken::OtherSides(run) => return Ok(ScanOutcome::OtherSides { run }),
    };
    let id = run.id().await;
    process.runtime.activity.scans(&id);
    let context = LogContext::Run(id.into());
    // Boxed, since the compiler computes the layout of a future from everything inside it, to a limited depth.
    within(context, Box::pin(scan_to_end(process, purpose, run))).await
}

/// Scans a run that was taken, and closes it.
async fn scan_to_end<P: Services>(
    process: Arc<Process<P>>,
    purpose: &Purpose,
    run: Arc<run::Run>,
) -> Result<ScanOutcome, ScanError> {
    let renewals = CancellationToken::new();
    let keeper = tokio::spawn(inherit({
        let (process, run, renewals) = (process.clone(), run.clone(), renewals.clone());
        async move { run.keep(&process, renewals).await }
    }));
    let scanned = tokio::select! {
        biased;
        () = run.lost() => Err(ScanError::TakenOver(run.id().await)),
        () = process.runtime.stop.cancelled() => Err(Interruption::Stopped.into()),
        scanned = scan(&process, purpose, &run) => scanned,
    };
    renewals.cancel();
    // The keeper ends by itself now; if it had panicked, the lease would be lost.
    let _ = keeper.await;
    if process.runtime.stop.is_cancelled() && scanned.is_err() {
        run.release(&process).await;
    }
    scanned?;
    let counts = run.close(&process).await?;
    Ok(ScanOutcome::Sent { run: run.id().await, counts })
}

/// Does everything of a run except closing it. Deletions come after the last listing of both sides.
async fn scan<P: Services>(process: &Arc<Process<P>>, purpose: &Purpose, run: &Arc<run::Run>) -> Result<(), ScanError> {
    let record = run.record().await;
    for pair in &record.pairs {
        // Cached here for the comparisons, which do not read the ledger.
        process.source_has_digests(&pair.source_bucket).await?;
    }
    if record.listed_by_manifest != process.config.manifest.is_some() {
        return Err(ScanError::OtherWorkList(record.run));
    }
    lanes::scan_all(process, purpose, run).await?;
    mirror::delete_extras(process, run).await
}
