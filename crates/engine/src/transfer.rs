//! Copies one object: checks the destination, writes, verifies, and returns the outcome.
//!
//! | part | modules |
//! |---|---|
//! | an attempt, and its cleanup | this one, `attempt`, `listed`, `cleanup`, `preserved`, `loss` |
//! | transfer methods | `single_put`, `multipart`, `distributed` with `range`, `copy_object`, `copy_parts` |
//! | the source object | `source` |
//! | the destination object | `destination` |
//! | the ledger's records of the object's multipart uploads | `upload_records` |
//! | an open multipart upload | `upload`, `create_upload`, `parts`, `part`, `verified`, `complete` |
//! | a body streamed from source to destination | `hashing_body` |
//! | the write conditions that the destination's service honors | `probe` |

mod attempt;
mod cleanup;
mod complete;
mod copy_object;
mod copy_parts;
mod create_upload;
mod destination;
mod distributed;
mod error;
mod hashing_body;
mod listed;
mod loss;
mod multipart;
mod part;
mod parts;
mod preserved;
mod probe;
mod progress;
mod range;
mod single_put;
mod source;
mod upload;
mod upload_records;
mod verified;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use migration_core::message::{Batch, Entry};
use migration_core::outcome::{Cause, EntryOutcome, Failure, FailureClass};
use migration_core::pair::{BucketPair, MapKeyError};
use migration_core::retry::next_try;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug};

pub use progress::LastProgress;
pub use range::{RangeEnd, carry};

use self::destination::DestinationObject;
use self::error::TransferError;
use self::source::SourceObject;
use self::upload_records::UploadRecords;
use crate::admission::{ObjectClass, ObjectPermit, ObjectPermits};
use crate::budget::Budget;
use crate::{Process, Services, traces};

/// Distributed objects that one worker coordinates at once. Each has an open upload and reads its records every 2 s, but
/// up to 64 ranges that keep workers busy, of which one carries 16 at once.
const COORDINATORS: usize = 16;

/// Resources shared by the transfers of one process.
#[derive(Debug)]
pub struct TransferLimits {
    /// Memory budget, in bytes.
    pub budget: Budget,
    /// Permits that limit the number of concurrent objects.
    pub permits: Arc<ObjectPermits>,
    /// Places for messages whose objects are distributed.
    coordinators: Arc<Semaphore>,
    /// Size of the largest objects that are moved whole, in bytes.
    whole_up_to: u64,
    /// Destination buckets whose service was seen to keep the tags of uploads without reporting them in HEAD.
    quiet_of_tags: Mutex<HashSet<String>>,
}

impl TransferLimits {
    /// Returns the class of an object of so many bytes.
    pub(crate) fn class_of(&self, bytes: u64) -> ObjectClass {
        if bytes > self.whole_up_to { ObjectClass::InParts } else { ObjectClass::Whole }
    }

    /// Takes a place for a message whose objects are distributed. Returns `None` if all are taken.
    pub(crate) fn coordinate(&self) -> Option<OwnedSemaphorePermit> {
        self.coordinators.clone().try_acquire_owned().ok()
    }

    fn quiet_of_tags(&self) -> MutexGuard<'_, HashSet<String>> {
        self.quiet_of_tags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt to copy one object.
struct Transfer<'a, P: Services> {
    process: &'a Process<P>,
    limits: &'a TransferLimits,
    source: SourceObject<'a, P>,
    destination: DestinationObject<'a, P>,
    records: UploadRecords<'a, P>,
    progress: LastProgress,
    /// Attributes with which an upload was created, and the last HEAD of its object.
    written: preserved::Written,
    /// Highest number of verified parts seen at the destination during this attempt.
    in_place: AtomicU32,
}

/// An object to copy, and the message that contains it.
#[derive(Clone, Copy, Debug)]
pub struct TransferTask<'a> {
    /// Batch of the object.
    pub batch: &'a Batch,
    /// The object's entry in the batch.
    pub entry: &'a Entry,
    /// True if an earlier delivery of the message may have copied the object.
    pub redelivered: bool,
    /// Cancelled when the message's lease is lost.
    pub lost: &'a CancellationToken,
}

/// Copies an object and returns the outcome. Holds `permit` while it transfers bytes itself.
pub async fn transfer<P: Services>(
    process: &Process<P>,
    limits: &TransferLimits,
    task: TransferTask<'_>,
    progress: &LastProgress,
    permit: ObjectPermit,
) -> EntryOutcome {
    let (pair, key) = (&task.batch.pair, task.entry.key.as_str());
    let destination_key = match pair.map_key(key) {
        Ok(key) => key,
        Err(error @ (MapKeyError::OutsidePrefix | MapKeyError::Empty | MapKeyError::TooLong(_))) => {
            return EntryOutcome::Failed(Failure::new(FailureClass::KeyNotMappable, error.to_string()));
        }
    };
    let transfer = Transfer::new(process, limits, pair, (key, &destination_key), progress);
    let (name, observer) = (transfer.destination.name(), process.runtime.observer.as_deref());
    if let Some(observer) = observer {
        observer.began(name, task.entry.size);
    }
    let (begun, span) = (Instant::now(), traces::object(&process.config.job, pair, key, task.entry.size));
    let mut outcome = tokio::select! {
        biased;
        () = task.lost.cancelled() => EntryOutcome::Interrupted,
        outcome = transfer.to_end(task, permit).instrument(span.clone()) => outcome,
    };
    progress.touch();
    traces::object_ended(&span, &outcome);
    if let EntryOutcome::Done(delivery) = &mut outcome {
        delivery.millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    }
    debug!(?outcome, "object");
    if let Some(observer) = observer {
        observer.ended(name, &outcome);
    }
    outcome
}

impl<'a, P: Services> Transfer<'a, P> {
    /// Creates a transfer. The keys are the source key and the destination key.
    fn new(
        process: &'a Process<P>,
        limits: &'a TransferLimits,
        pair: &'a BucketPair,
        (source_key, destination_key): (&'a str, &'a str),
        progress: &LastProgress,
    ) -> Self {
        let (from, to) = ((&*pair.source_bucket, source_key), (&*pair.destination_bucket, destination_key));
        Self {
            process,
            limits,
            source: SourceObject::new(process, &limits.budget, from, progress.clone()),
            destination: DestinationObject::new(process, limits, to, progress.clone()),
            records: UploadRecords::new(process, to),
            progress: progress.clone(),
            written: preserved::Written::default(),
            in_place: AtomicU32::default(),
        }
    }

    async fn to_end(&self, task: TransferTask<'_>, permit: ObjectPermit) -> EntryOutcome {
        let outcome = self.run(task, permit).await.unwrap_or_else(TransferError::outcome);
        let outcome = match outcome {
            EntryOutcome::Retry(failure) => self.tried(task, failure),
            outcome => outcome,
        };
        // Runs after the number of remaining attempts is known: an object that is given up must not leave an upload
        // open.
        self.clear_away(task, outcome).await
    }

    /// Returns a retry if an attempt remains, else a permanent failure.
    fn tried(&self, task: TransferTask<'_>, failure: Failure) -> EntryOutcome {
        let before = task.entry.tried;
        let failure = self.with_progress(failure, before.parts);
        let most = self.process.config.transfer.max_attempts;
        let tries = task.batch.tries(task.entry);
        match next_try(failure.cause, before, tries, most, self.process.runtime.clock.now()) {
            Some(_) => EntryOutcome::Retry(failure),
            None => EntryOutcome::Failed(failure),
        }
    }

    /// Records that this many verified parts are at the destination.
    fn has_in_place(&self, parts: usize) {
        self.in_place.fetch_max(u32::try_from(parts).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Marks a retryable failure as progress if more parts are in place than `before`.
    fn with_progress(&self, failure: Failure, before: u32) -> Failure {
        let parts = self.in_place.load(Ordering::Relaxed);
        let cause =
            if parts > before && failure.cause != Cause::WholeService { Cause::Progress(parts) } else { failure.cause };
        Failure { cause, ..failure }
    }
}

/// Creates the limits given by the configuration.
pub fn limits(config: &migration_core::config::JobConfig) -> Arc<TransferLimits> {
    Arc::new(TransferLimits {
        budget: Budget::new(config.transfer.memory_limit.bytes()),
        permits: Arc::new(ObjectPermits::new(config.transfer.files_per_worker)),
        coordinators: Arc::new(Semaphore::new(COORDINATORS)),
        whole_up_to: config.transfer.multipart_threshold.bytes(),
        quiet_of_tags: Mutex::default(),
    })
}
