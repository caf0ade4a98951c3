//! The jobsender: takes a run, lists and compares both sides, sends what differs in batches, closes the scan.

mod listing;
mod run;
mod scan;
mod versions;

use std::sync::Arc;

use migration_core::ignore::IgnoreList;
use migration_core::pair::BucketPair;
use migration_core::ports::{Ledger, ObjectStore, Queue};
use migration_core::records::{RangeRecord, ScanCounts};
use migration_core::view::{self, ViewError};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{Interruption, Process};
use run::{Run, Taken};

/// What came of a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
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
}

/// Why a scan could not be closed. What was sent stays sent; the next sender goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
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
        "failed to list {bucket}: the service does not list keys in the order of their UTF-8 bytes ({before:?} came before {after:?}); such buckets can't be compared by listing"
    )]
    OutOfOrder {
        /// The bucket.
        bucket: String,
        /// A key.
        before: String,
        /// The key that came after it.
        after: String,
    },
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
pub async fn send<S: ObjectStore, Q: Queue, L: Ledger>(
    process: Arc<Process<S, Q, L>>,
    ignore: &IgnoreList,
    name: &SenderName,
) -> Result<SendOutcome, SendError> {
    let run = match run::take(&process, name).await? {
        Taken::Run(run) => Arc::new(*run),
        Taken::AlreadySent(run) => return Ok(SendOutcome::AlreadySent { run }),
        Taken::Busy(run) => return Ok(SendOutcome::RunIsLive { run }),
    };
    let renewals = CancellationToken::new();
    let keeper = tokio::spawn({
        let (process, run, renewals) = (process.clone(), run.clone(), renewals.clone());
        async move { run.keep(&process, renewals).await }
    });
    let scanned = tokio::select! {
        biased;
        () = run.lost() => Err(SendError::TakenOver(run.id().await)),
        () = process.stop.cancelled() => Err(Interruption::Stopped.into()),
        scanned = scan_all(&process, ignore, &run) => scanned,
    };
    renewals.cancel();
    // The keeper ends by itself now; a panic in it would have shown as a lost lease.
    let _ = keeper.await;
    scanned?;
    let counts = run.close(&process).await?;
    Ok(SendOutcome::Sent { run: run.id().await, counts })
}

/// Scans every range that is not closed: one range a pair.
async fn scan_all<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Arc<Process<S, Q, L>>,
    ignore: &IgnoreList,
    run: &Run,
) -> Result<(), SendError> {
    let record = run.record().await;
    let known = view::ranges(&process.ports.ledger, &process.config.job.uid, &record.run).await?;
    let context = scan::context(process, &record).await?;
    for (pair, number) in record.pairs.iter().zip(0_u32..) {
        if known.iter().any(|range| range.range == number && range.closed) {
            continue;
        }
        let range = OpenRange { number, epoch: record.epoch, run: record.run.clone(), pair: pair.clone() };
        info!(range = number, source = pair.source_bucket, destination = pair.destination_bucket, "scanning");
        let counts = scan::scan_range(process, ignore, context, &range, run).await?;
        run.close_range(
            process,
            RangeRecord { range: number, epoch: record.epoch, closed: true, pair: number, counts },
        )
        .await?;
    }
    Ok(())
}

/// A range under work: all keys of a pair.
struct OpenRange {
    number: u32,
    epoch: u32,
    run: String,
    pair: BucketPair,
}
