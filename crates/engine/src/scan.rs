//! The jobsender: takes a run, lists and compares both sides, sends what differs in batches, closes the scan.

mod dry_run;
mod lanes;
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

use migration_core::error::Side;
use migration_core::ignore::IgnoreList;
use migration_core::range::GapError;
use migration_core::records::ScanCounts;
use migration_core::view::ViewError;
use tokio_util::sync::CancellationToken;

use crate::{Interruption, Process, Services};
use run::Taken;

pub use dry_run::{DryRunError, dry_run};
pub use manifest::ManifestError;
pub use purpose::{Observer, Purpose};

/// What came of a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanOutcome {
    /// The scan is closed.
    Sent {
        /// The run.
        run: String,
        /// What was found.
        counts: ScanCounts,
    },
    /// This Kubernetes Job's scan was closed already.
    AlreadySent {
        /// The run.
        run: String,
    },
    /// Another run is live.
    RunIsLive {
        /// That run.
        run: String,
    },
    /// The run that is live reads or writes elsewhere: only a sender of its own sides goes on with it.
    OtherSides {
        /// That run.
        run: String,
    },
}

/// Why a scan could not be closed. What was sent stays sent; the next sender goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The ledger could not be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A service, or the end of the process.
    #[error(transparent)]
    Interruption(#[from] Interruption),
    /// Another sender has the run now.
    #[error("failed to go on with run {0}: another jobsender took it over")]
    TakenOver(String),
    /// Keys came in another order than that of their bytes: a merge of such listings would take what is there for
    /// missing and what is missing for there.
    #[error(
        "failed to list {side} bucket {bucket}: the service does not list keys in the order of their UTF-8 bytes ({before:?} came before {after:?}); such buckets can't be compared by listing"
    )]
    OutOfOrder {
        /// Whose service.
        side: Side,
        /// The bucket.
        bucket: String,
        /// A key, or what was asked to be listed after.
        before: String,
        /// The key that came after it.
        after: String,
    },
    /// A listing ended before its last page: what is behind is not known.
    #[error("failed to list bucket {bucket}: the listing ended before its last page")]
    CutShort {
        /// The bucket.
        bucket: String,
    },
    /// The work list.
    #[error(transparent)]
    Manifest(Box<ManifestError>),
    /// The resource was edited under way: what the run did so far is of another list.
    #[error("failed to go on with run {0}: manifest was added or removed while it was under way; start a new run")]
    OtherWorkList(String),
    /// The ranges in the ledger are not the parts of a pair's keys.
    #[error(transparent)]
    Gap(#[from] GapError),
    /// The work on a range broke down.
    #[error("failed to scan range: {0}")]
    Broken(String),
}

impl From<ManifestError> for ScanError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(Box::new(error))
    }
}

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderName {
    /// The Kubernetes Job, or another name that stays the same when the sender is started again.
    pub started_by: String,
    /// The id that a new run gets; sorts by time.
    pub new_run: String,
}

/// Takes a run and scans it to its end.
pub async fn send<P: Services>(
    process: Arc<Process<P>>,
    ignore: &IgnoreList,
    name: &SenderName,
) -> Result<ScanOutcome, ScanError> {
    send_for(process, ignore, name, &Purpose::default()).await
}

/// The same with a purpose of its own.
pub async fn send_for<P: Services>(
    process: Arc<Process<P>>,
    ignore: &IgnoreList,
    name: &SenderName,
    purpose: &Purpose,
) -> Result<ScanOutcome, ScanError> {
    let run = match Box::pin(run::take(&process, name)).await? {
        Taken::Run(run) => Arc::new(*run),
        Taken::AlreadySent(run) => return Ok(ScanOutcome::AlreadySent { run }),
        Taken::Busy(run) => return Ok(ScanOutcome::RunIsLive { run }),
        Taken::OtherSides(run) => return Ok(ScanOutcome::OtherSides { run }),
    };
    let renewals = CancellationToken::new();
    let keeper = tokio::spawn({
        let (process, run, renewals) = (process.clone(), run.clone(), renewals.clone());
        async move { run.keep(&process, renewals).await }
    });
    let scanned = tokio::select! {
        biased;
        () = run.lost() => Err(ScanError::TakenOver(run.id().await)),
        () = process.stop.cancelled() => Err(Interruption::Stopped.into()),
        scanned = scan(&process, ignore, purpose, &run) => scanned,
    };
    renewals.cancel();
    // The keeper ends by itself now; a panic in it would have shown as a lost lease.
    let _ = keeper.await;
    scanned?;
    let counts = run.close(&process).await?;
    Ok(ScanOutcome::Sent { run: run.id().await, counts })
}

/// Everything of a run but its closing: deletions come after the last listing of both sides.
async fn scan<P: Services>(
    process: &Arc<Process<P>>,
    ignore: &IgnoreList,
    purpose: &Purpose,
    run: &Arc<run::Run>,
) -> Result<(), ScanError> {
    let record = run.record().await;
    for pair in &record.pairs {
        // What comparisons then ask for without the ledger.
        process.source_has_digests(&pair.source_bucket).await?;
    }
    if record.listed_by_manifest != process.config.manifest.is_some() {
        return Err(ScanError::OtherWorkList(record.run));
    }
    lanes::scan_all(process, ignore, purpose, run).await?;
    mirror::delete_extras(process, ignore, run).await
}
