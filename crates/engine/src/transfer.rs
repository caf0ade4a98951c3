//! Moves one object: plans, moves, verifies, and says what became of it.

mod fetch;
mod large;
mod parts;
mod small;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::{ETag, ETagComparison};
use migration_core::message::Entry;
use migration_core::outcome::{EntryOutcome, Failure, FailureClass, of_error};
use migration_core::pair::{BucketPair, MapKeyError};
use migration_core::ports::{Ledger, ObjectHead, ObjectStore, Queue, WriteCondition};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::budget::Budget;
use crate::gate::Access;
use crate::{Interruption, Process};

/// How often an object is looked at anew within one delivery, because it changed at either side under way.
const LOOKS: u32 = 5;

/// What the objects of one process share.
#[derive(Debug)]
pub struct Limits {
    /// Bytes in memory.
    pub budget: Budget,
    /// Objects at once.
    pub files: Semaphore,
}

/// One object's transfer.
pub struct Transfer<'a, S, Q, L> {
    process: &'a Process<S, Q, L>,
    limits: &'a Limits,
    pair: &'a BucketPair,
    key: &'a str,
    destination_key: String,
    progress: &'a Progress,
}

/// When the work of a message last moved; its lease is renewed by that.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    last: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0) }
    }
}

impl Progress {
    /// Something moved.
    pub fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// How long nothing has moved.
    pub fn idle(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// The source content that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    size: u64,
    etag: Option<ETag>,
    version_id: Option<String>,
}

/// Why one pass over an object did not end with a verified copy.
#[derive(Debug)]
enum Halt {
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
    /// What arrived is not what was sent.
    Damaged(String),
    /// Tags could not be read, or the like: a failure with words of its own.
    Failed(Failure),
}

impl From<Interruption> for Halt {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Stopped => Self::Stopped,
            Interruption::Service(error) => Self::Service(error),
        }
    }
}

/// Moves an object and says what became of it. `redelivered` means that another delivery of its message may have moved
/// it already; `lost` is cancelled when the message's lease is lost.
pub async fn transfer<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    limits: &Limits,
    pair: &BucketPair,
    entry: &Entry,
    redelivered: bool,
    progress: &Progress,
    lost: &CancellationToken,
) -> EntryOutcome {
    let destination_key = match pair.map_key(&entry.key) {
        Ok(key) => key,
        Err(error @ (MapKeyError::OutsidePrefix | MapKeyError::Empty | MapKeyError::TooLong(_))) => {
            return EntryOutcome::Failed(Failure::new(FailureClass::KeyNotMappable, error.to_string()));
        }
    };
    let transfer = Transfer { process, limits, pair, key: &entry.key, destination_key, progress };
    let outcome = tokio::select! {
        biased;
        () = lost.cancelled() => EntryOutcome::Interrupted,
        outcome = transfer.run(entry, redelivered) => outcome,
    };
    progress.touch();
    match &outcome {
        EntryOutcome::Failed(failure) => info!(key = entry.key, reason = failure.message, "object failed"),
        outcome => debug!(key = entry.key, ?outcome, "object"),
    }
    outcome
}

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    async fn run(&self, entry: &Entry, redelivered: bool) -> EntryOutcome {
        match self.try_run(entry, redelivered).await {
            Ok(outcome) => outcome,
            Err(Halt::Stopped) => EntryOutcome::Interrupted,
            Err(Halt::Service(error)) => of_error(&error),
            Err(Halt::SourceChanged) => retry(FailureClass::SourceChanging, "it changed at the source at every try"),
            Err(Halt::DestinationChanged(_)) => {
                retry(FailureClass::DestinationChanging, "the destination was changed by someone else at every try")
            }
            Err(Halt::UploadGone) => {
                retry(FailureClass::Exhausted, "its multipart upload was aborted by someone else at every try")
            }
            Err(Halt::Damaged(what)) => retry(FailureClass::ChecksumMismatch, &what),
            Err(Halt::Failed(failure)) => EntryOutcome::Failed(failure),
        }
    }

    /// Passes over the object until it is verified at the destination; each pass that met a change looks again at both
    /// sides, the destination first: what is then read from the source is not older than what is replaced.
    async fn try_run(&self, entry: &Entry, redelivered: bool) -> Result<EntryOutcome, Halt> {
        let listed = entry.destination.as_ref().and_then(|state| state.etag.clone());
        let mut wanted = Wanted { size: entry.size, etag: entry.etag.clone(), version_id: entry.version_id.clone() };
        let mut condition = match (&entry.destination, &listed) {
            (None, _) => WriteCondition::Absent,
            (Some(_), Some(etag)) => WriteCondition::Matches(etag.clone()),
            (Some(_), None) => WriteCondition::Any,
        };
        // For a large object the look costs nothing beside its parts, and saves them all where a duplicate of the message,
        // or one of a killed sender, was faster.
        if redelivered || self.is_large(&wanted) {
            let found = self.look_at_destination().await?;
            if let Some(done) = already_done(&wanted, found.as_ref(), listed.as_ref()) {
                return Ok(done);
            }
            condition = condition_of(found.as_ref());
        }
        let mut last = Halt::SourceChanged;
        for _ in 0..LOOKS {
            last = match self.pass(&wanted, &condition).await {
                Ok(bytes) => return Ok(EntryOutcome::Done { bytes }),
                Err(halt @ (Halt::SourceChanged | Halt::DestinationChanged(_) | Halt::UploadGone)) => halt,
                Err(halt) => return Err(halt),
            };
            let found = self.look_at_destination().await?;
            let meant = match &last {
                Halt::DestinationChanged(etag) => etag.as_ref(),
                _ => None,
            };
            if found
                .as_ref()
                .is_some_and(|head| head.size == wanted.size && meant.is_some() && head.etag.as_ref() == meant)
            {
                return Ok(EntryOutcome::Done { bytes: wanted.size });
            }
            if let Some(done) = already_done(&wanted, found.as_ref(), listed.as_ref()) {
                return Ok(done);
            }
            condition = condition_of(found.as_ref());
            match self.look_at_source().await? {
                None => return Ok(EntryOutcome::Gone),
                Some(head) => wanted = Wanted { size: head.size, etag: head.etag, version_id: wanted.version_id },
            }
        }
        Err(last)
    }

    /// One pass: small or large, by size.
    async fn pass(&self, wanted: &Wanted, condition: &WriteCondition) -> Result<u64, Halt> {
        if self.is_large(wanted) { self.large(wanted, condition).await } else { self.small(wanted, condition).await }
    }

    fn is_large(&self, wanted: &Wanted) -> bool {
        wanted.size > self.process.config.transfer.multipart_threshold.bytes()
    }

    async fn look_at_destination(&self) -> Result<Option<ObjectHead>, Halt> {
        let bucket = &self.pair.destination_bucket;
        let store = &self.process.ports.destination;
        let access = Access::object(bucket, &self.destination_key);
        Ok(self.process.destination(access, || store.head(bucket, &self.destination_key)).await?)
    }

    async fn look_at_source(&self) -> Result<Option<ObjectHead>, Halt> {
        let bucket = &self.pair.source_bucket;
        let store = &self.process.ports.source;
        Ok(self.process.source(Access::object(bucket, self.key), || store.head(bucket, self.key)).await?)
    }
}

fn retry(class: FailureClass, message: &str) -> EntryOutcome {
    EntryOutcome::Retry(Failure::new(class, format!("failed to move object: {message}")))
}

/// What to ask of the destination after having looked at it.
fn condition_of(found: Option<&ObjectHead>) -> WriteCondition {
    match found.map(|head| head.etag.clone()) {
        None => WriteCondition::Absent,
        Some(Some(etag)) => WriteCondition::Matches(etag),
        Some(None) => WriteCondition::Any,
    }
}

/// Whether what is at the destination proves that the object was moved since it was listed: its ETag is the source's,
/// or it is not what was listed there and of the right size.
///
/// | destination now | ETags | changed since the listing | size | done |
/// |---|---|---|---|---|
/// | absent | | | | no |
/// | there | same | any | same | yes |
/// | there | both MD5, differ | any | any | no |
/// | there | not comparable | no | any | no |
/// | there | not comparable | yes | same | yes |
fn already_done(wanted: &Wanted, found: Option<&ObjectHead>, listed: Option<&ETag>) -> Option<EntryOutcome> {
    let found = found?;
    if found.size != wanted.size {
        return None;
    }
    let tags = match (&wanted.etag, &found.etag) {
        (Some(a), Some(b)) => a.compare(b),
        _ => ETagComparison::NotComparable,
    };
    let done = match tags {
        ETagComparison::Same => true,
        ETagComparison::Different => false,
        ETagComparison::NotComparable => found.etag.is_some() && found.etag.as_ref() != listed,
    };
    done.then_some(EntryOutcome::Done { bytes: wanted.size })
}

/// An answer to a conditional request, as what it means for the transfer.
fn halt_of(error: Interruption, on_precondition: impl FnOnce() -> Halt) -> Halt {
    match error {
        Interruption::Service(error) if error.class == ErrorClass::PreconditionFailed => on_precondition(),
        Interruption::Service(error) if error.class == ErrorClass::NoSuchUpload => Halt::UploadGone,
        other => other.into(),
    }
}

/// What a process needs for the transfers that its config allows.
pub fn limits(config: &migration_core::config::JobConfig) -> Arc<Limits> {
    Arc::new(Limits {
        budget: Budget::new(config.transfer.memory_limit.bytes()),
        files: Semaphore::new(config.transfer.files_per_worker as usize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::ports::Attributes;

    const A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const B: &str = "92eb5ffee6ae2fec3ad71c777531578f";

    #[test]
    fn what_is_at_the_destination_proves_what_the_table_says() {
        let head = |etag: &str, size| ObjectHead {
            size,
            etag: Some(ETag::new(etag)),
            version_id: None,
            tag_count: 0,
            attributes: Attributes::default(),
        };
        let wanted = |etag: &str| Wanted { size: 1, etag: Some(ETag::new(etag)), version_id: None };
        for (source, found, listed, expected) in [
            (A, None, None, false),
            (A, Some(head(A, 1)), Some(A), true),
            (A, Some(head(A, 2)), None, false),
            (A, Some(head(B, 1)), None, false),
            ("x-2", Some(head("y-3", 1)), Some("y-3"), false),
            ("x-2", Some(head("y-3", 1)), None, true),
            ("x-2", Some(head("y-3", 1)), Some("z-1"), true),
            ("x-2", Some(head("y-3", 2)), None, false),
        ] {
            let done = already_done(&wanted(source), found.as_ref(), listed.map(ETag::new).as_ref());
            assert_eq!(done.is_some(), expected, "{source} {found:?} {listed:?}");
        }
    }
}
