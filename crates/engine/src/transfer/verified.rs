//! Which parts of an upload were verified: kept in memory while parts are sent, and recorded now and then, so that
//! whoever carries the upload on knows which of the listed parts are the source's bytes.

use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use migration_core::etag::ETag;
use migration_core::ports::ObjectStore;
use migration_core::records::{UploadRecord, VERIFIED_EVERY_MS};
use migration_core::verified::VerifiedParts;
use tokio::time::Instant;

use super::Transfer;
use crate::Services;

/// Shortest time between two records of one upload's verified parts.
const EVERY: Duration = Duration::from_millis(VERIFIED_EVERY_MS);

/// The verified parts of an upload, as far as this worker knows them.
#[derive(Debug)]
pub(super) struct Verified {
    /// The parts that this worker sends, which are what it records.
    numbers: RangeInclusive<u32>,
    /// The service itself refuses parts that are not what their checksums say: nothing has to be recorded.
    enforced: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    parts: VerifiedParts,
    /// Something was verified that the ledger does not know.
    unrecorded: bool,
    /// When the ledger may be told next.
    next: Instant,
    /// Some ETags of parts were the MD5s of their bytes.
    digests: bool,
    /// Some were others, of parts that Content-MD5 proved.
    others: bool,
}

impl Verified {
    /// What is to be known of the parts `numbers` of an upload, none of which is sent yet.
    pub(super) fn of<P: Services>(
        transfer: &Transfer<'_, P>,
        record: &UploadRecord,
        numbers: RangeInclusive<u32>,
    ) -> Self {
        let capabilities = transfer.process.ports.destination.capabilities();
        Self::new(numbers, record.checksum && capabilities.enforces_checksums)
    }

    fn new(numbers: RangeInclusive<u32>, enforced: bool) -> Self {
        let next = Instant::now() + EVERY;
        let state = State { parts: VerifiedParts::default(), unrecorded: false, next, digests: false, others: false };
        Self { numbers, enforced, state: Mutex::new(state) }
    }

    /// Whether a listed checksum proves a part.
    pub(super) const fn enforced(&self) -> bool {
        self.enforced
    }

    /// What is known so far.
    pub(super) fn parts(&self) -> VerifiedParts {
        self.state().parts.clone()
    }

    pub(super) fn merge(&self, other: VerifiedParts) {
        self.state().parts.merge(other);
    }

    /// The ETag of a part is the MD5 of its bytes.
    pub(super) fn saw_digest(&self) {
        self.state().digests = true;
    }

    /// Whether that was seen: then one that looks like another digest is one.
    pub(super) fn has_digests(&self) -> bool {
        self.state().digests
    }

    /// The ETag of a part looks like another digest, and Content-MD5 proves it.
    pub(super) fn saw_other(&self) {
        self.state().others = true;
    }

    /// Whether a part may be damaged that was taken for one whose ETag is no digest.
    pub(super) fn is_contradictory(&self) -> bool {
        let state = self.state();
        state.digests && state.others
    }

    /// A part was verified.
    pub(super) fn insert(&self, number: u32, etag: &ETag) {
        let mut state = self.state();
        state.parts.insert(number, etag);
        state.unrecorded = !self.enforced;
    }

    /// What the ledger does not know, and knows from now on: the first of the parts that this worker sends, and the
    /// digests of all of them. None where it knows everything.
    pub(super) fn take_unrecorded(&self) -> Option<(u32, String)> {
        let mut state = self.state();
        if !state.unrecorded {
            return None;
        }
        state.unrecorded = false;
        state.next = Instant::now() + EVERY;
        Some((*self.numbers.start(), state.parts.encode(self.numbers.clone())))
    }

    /// The ledger could not be told.
    pub(super) fn put_back(&self) {
        self.state().unrecorded = true;
    }

    /// Waits until the ledger is to be told; for ever where there is nothing to tell.
    pub(super) async fn due(&self) {
        let next = {
            let state = self.state();
            state.unrecorded.then_some(state.next)
        };
        match next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a whole state behind, never half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
