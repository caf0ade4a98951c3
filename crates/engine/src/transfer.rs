//! Moves one object: plans, moves, verifies, and says what became of it.

mod attempt;
mod carried;
mod cleanup;
mod complete;
mod conditional;
mod copy;
mod create_upload;
mod distributed;
mod fetch;
mod hashing_body;
mod multipart;
mod parts;
mod preserved;
mod probe;
mod range;
mod readback;
mod single_put;
mod upload;
mod verified;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::message::{Batch, Entry};
use migration_core::outcome::{Cause, EntryOutcome, Failure, FailureClass, of_error};
use migration_core::pair::{BucketPair, MapKeyError};
use migration_core::retry::next_try;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

pub use range::{RangeEnd, carry};

use crate::admission::{ObjectPermit, ObjectPermits};
use crate::budget::{Budget, ReserveError};
use crate::{Interruption, Process, Services};

/// What the objects of one process share.
#[derive(Debug)]
pub struct Limits {
    /// Bytes in memory.
    pub budget: Budget,
    /// Objects at once.
    pub permits: Arc<ObjectPermits>,
    /// Destination buckets that were seen to keep the tags of uploads, and to tell HEAD nothing of them.
    quiet_of_tags: Mutex<HashSet<String>>,
}

impl Limits {
    fn quiet_of_tags(&self) -> MutexGuard<'_, HashSet<String>> {
        self.quiet_of_tags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One object's transfer.
pub struct Transfer<'a, P: Services> {
    process: &'a Process<P>,
    limits: &'a Limits,
    pair: &'a BucketPair,
    key: &'a str,
    destination_key: String,
    progress: Progress,
    /// An upload was opened here, and is not completed.
    has_upload: AtomicBool,
    /// What an upload was begun with, and what came of it.
    written: preserved::Written,
    /// Most parts of the object that were seen at the destination.
    in_place: AtomicU32,
}

/// When the work of a message last moved; its lease is renewed by that. Clones are the same.
#[derive(Clone, Debug)]
pub struct Progress {
    began: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { began: Instant::now(), last: Arc::default() }
    }
}

impl Progress {
    /// Something moved.
    pub fn touch(&self) {
        // 0 stands for never.
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// How long nothing has moved.
    pub fn idle(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// Whether anything has moved at all.
    pub fn has_moved(&self) -> bool {
        self.last.load(Ordering::Relaxed) > 0
    }
}

/// The source content that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SourceSnapshot {
    size: u64,
    etag: Option<ETag>,
    version_id: Option<String>,
}

/// Why one pass over an object did not end with a verified copy.
#[derive(Debug)]
enum TransferError {
    /// The process is ending, or the lease is lost.
    Stopped,
    /// A service.
    Service(ServiceError),
    /// The source has another content than the one wanted.
    SourceChanged,
    /// The destination has another content than the one that the write asked for. Holds the ETag of what we meant to
    /// write, where it is known.
    DestinationChanged(Option<ETag>),
    /// The upload under way is not there any more.
    UploadGone,
    /// The object is not at the source any more.
    Gone,
    /// What arrived is not what was sent.
    Damaged(String),
    /// Tags could not be read, or the like: a failure with words of its own.
    Failed(Failure),
    /// The same, for now.
    Retry(Failure),
}

impl From<Interruption> for TransferError {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Stopped => Self::Stopped,
            Interruption::Service(error) => Self::Service(error),
        }
    }
}

impl From<ReserveError> for TransferError {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Closed => Self::Stopped,
            ReserveError::TooMany { .. } => Self::Failed(Failure::new(FailureClass::Refused, error.to_string())),
        }
    }
}

impl TransferError {
    /// What it means for the object.
    fn outcome(self) -> EntryOutcome {
        let retry = |class, message: &str| {
            EntryOutcome::Retry(Failure::new(class, format!("failed to move object: {message}")))
        };
        match self {
            Self::Stopped => EntryOutcome::Interrupted,
            Self::Service(error) => of_error(&error),
            Self::SourceChanged => retry(FailureClass::SourceChanging, "it changed at the source at every try"),
            Self::DestinationChanged(_) => {
                retry(FailureClass::DestinationChanging, "the destination was changed by someone else at every try")
            }
            Self::UploadGone => {
                retry(FailureClass::Exhausted, "its multipart upload was aborted by someone else at every try")
            }
            Self::Gone => EntryOutcome::Gone,
            Self::Damaged(what) => retry(FailureClass::ChecksumMismatch, &what),
            Self::Failed(failure) => EntryOutcome::Failed(failure),
            Self::Retry(failure) => EntryOutcome::Retry(failure),
        }
    }
}

/// What is known of the object's message.
#[derive(Clone, Copy, Debug)]
pub struct TransferTask<'a> {
    /// The batch.
    pub batch: &'a Batch,
    /// The object.
    pub entry: &'a Entry,
    /// Another delivery of the message may have moved the object already.
    pub redelivered: bool,
    /// Cancelled when the message's lease is lost.
    pub lost: &'a CancellationToken,
}

/// Moves an object and says what became of it. Keeps `permit` as long as it moves bytes itself.
pub async fn transfer<P: Services>(
    process: &Process<P>,
    limits: &Limits,
    task: TransferTask<'_>,
    progress: &Progress,
    permit: ObjectPermit,
) -> EntryOutcome {
    let (pair, key) = (&task.batch.pair, task.entry.key.as_str());
    let destination_key = match pair.map_key(key) {
        Ok(key) => key,
        Err(error @ (MapKeyError::OutsidePrefix | MapKeyError::Empty | MapKeyError::TooLong(_))) => {
            return EntryOutcome::Failed(Failure::new(FailureClass::KeyNotMappable, error.to_string()));
        }
    };
    let transfer = Transfer {
        process,
        limits,
        pair,
        key,
        destination_key,
        progress: progress.clone(),
        has_upload: AtomicBool::default(),
        written: preserved::Written::default(),
        in_place: AtomicU32::default(),
    };
    let begun = Instant::now();
    let mut outcome = tokio::select! {
        biased;
        () = task.lost.cancelled() => EntryOutcome::Interrupted,
        outcome = transfer.to_end(task, permit) => outcome,
    };
    progress.touch();
    if let EntryOutcome::Done(delivery) = &mut outcome {
        delivery.millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    }
    match &outcome {
        EntryOutcome::Failed(failure) => info!(key, reason = failure.message, "object failed"),
        outcome => debug!(key, ?outcome, "object"),
    }
    outcome
}

impl<P: Services> Transfer<'_, P> {
    async fn to_end(&self, task: TransferTask<'_>, permit: ObjectPermit) -> EntryOutcome {
        let outcome = self.run(task, permit).await.unwrap_or_else(TransferError::outcome);
        let outcome = match outcome {
            EntryOutcome::Retry(failure) => self.tried(task, failure),
            outcome => outcome,
        };
        // After it is known that no tries are left: an object that is given up is over, and leaves nothing open.
        self.clear_away(task, outcome).await
    }

    /// Another try, or a failure where none is left.
    fn tried(&self, task: TransferTask<'_>, failure: Failure) -> EntryOutcome {
        let before = task.entry.tried;
        let failure = self.with_progress(failure, before.parts);
        let most = self.process.config.transfer.max_attempts;
        let tries = task.batch.tries(task.entry);
        match next_try(failure.cause, before, tries, most, self.process.clock.now()) {
            Some(_) => EntryOutcome::Retry(failure),
            None => EntryOutcome::Failed(failure),
        }
    }

    /// Notes that so many parts of the object are at the destination, verified.
    fn has_in_place(&self, parts: usize) {
        self.in_place.fetch_max(u32::try_from(parts).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// A failure for now, as progress where more parts are in place than `before`.
    fn with_progress(&self, failure: Failure, before: u32) -> Failure {
        let parts = self.in_place.load(Ordering::Relaxed);
        let cause = if parts > before && failure.cause != Cause::Side { Cause::Progress(parts) } else { failure.cause };
        Failure { cause, ..failure }
    }
}

/// An answer to a conditional request, as what it means for the transfer.
fn transfer_error(error: Interruption, on_precondition: impl FnOnce() -> TransferError) -> TransferError {
    match error {
        Interruption::Service(error) if error.class == ErrorClass::PreconditionFailed => on_precondition(),
        Interruption::Service(error) if error.class == ErrorClass::NoSuchUpload => TransferError::UploadGone,
        other => other.into(),
    }
}

/// What a process needs for the transfers that its config allows.
pub fn limits(config: &migration_core::config::JobConfig) -> Arc<Limits> {
    Arc::new(Limits {
        budget: Budget::new(config.transfer.memory_limit.bytes()),
        permits: Arc::new(ObjectPermits::new(config.transfer.files_per_worker)),
        quiet_of_tags: Mutex::default(),
    })
}
