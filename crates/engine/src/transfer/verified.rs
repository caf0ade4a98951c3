//! Remembers which parts of an upload were verified, and records them at intervals, so that a worker that continues the
//! upload knows which listed parts hold the source's bytes.

use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use migration_core::ports::ObjectStore;
use migration_core::records::UploadRecord;
use migration_core::verified::{ETagKinds, EncodedParts, RecordPace, VerifiedParts};
use tokio::time::Instant;

use super::Transfer;
use super::part::SentPart;
use crate::Services;

/// Verified parts of an upload known to this worker.
#[derive(Debug)]
pub(super) struct Verified {
    /// Numbers of the parts that this worker sends and records.
    numbers: RangeInclusive<u32>,
    /// True if the service rejects parts that do not match their checksums. Nothing has to be recorded then.
    enforced: bool,
    /// When this worker began to send the parts.
    began: Instant,
    state: Mutex<VerifiedState>,
}

#[derive(Debug)]
struct VerifiedState {
    parts: VerifiedParts,
    /// True if there are verified parts that are not recorded.
    unrecorded: bool,
    pace: RecordPace,
}

impl Verified {
    /// Creates the state of parts `numbers` of an upload, none of which is sent yet.
    pub(super) fn of<P: Services>(
        transfer: &Transfer<'_, P>,
        record: &UploadRecord,
        numbers: RangeInclusive<u32>,
    ) -> Self {
        let capabilities = transfer.process.ports.destination.capabilities();
        let enforced = record.checksum && capabilities.enforces_checksums;
        Self::new(numbers, enforced, transfer.process.runtime.verified_every)
    }

    fn new(numbers: RangeInclusive<u32>, enforced: bool, longest: Duration) -> Self {
        let pace = RecordPace::new(longest);
        let state = VerifiedState { parts: VerifiedParts::default(), unrecorded: false, pace };
        Self { numbers, enforced, began: Instant::now(), state: Mutex::new(state) }
    }

    /// Returns true if a listed checksum proves a part.
    pub(super) const fn enforced(&self) -> bool {
        self.enforced
    }

    /// Returns the verified parts known so far.
    pub(super) fn parts(&self) -> VerifiedParts {
        self.state().parts.clone()
    }

    pub(super) fn merge(&self, other: VerifiedParts) {
        self.state().parts.merge(other);
    }

    /// Records that the ETag of a part is the MD5 of its bytes.
    pub(super) fn saw_digest(&self) {
        self.state().parts.add_kinds(ETagKinds { digests: true, others: false });
    }

    /// Returns true if this worker, or one whose parts were merged, saw such an ETag. An ETag that looks like another
    /// MD5 then is one.
    pub(super) fn has_digests(&self) -> bool {
        self.kinds().digests
    }

    /// Records that the ETag of a part looks like the MD5 of other bytes, although Content-MD5 verified the part.
    pub(super) fn saw_other(&self) {
        self.state().parts.add_kinds(ETagKinds { digests: false, others: true });
    }

    /// Returns the kinds of ETags that this worker, and those whose parts were merged, saw.
    pub(super) fn kinds(&self) -> ETagKinds {
        self.state().parts.kinds()
    }

    /// Records a verified part.
    pub(super) fn insert(&self, sent: &SentPart) {
        let mut state = self.state();
        state.parts.insert(sent.part.number, &sent.part.etag, sent.read);
        state.unrecorded = !self.enforced;
    }

    /// Takes what has to be recorded: the number of the first part that this worker sends, all of them, and the kinds
    /// of their ETags. Returns `None` if everything is recorded.
    pub(super) fn take_unrecorded(&self) -> Option<(u32, EncodedParts, ETagKinds)> {
        let mut state = self.state();
        if !state.unrecorded {
            return None;
        }
        state.unrecorded = false;
        state.pace.recorded(self.began.elapsed());
        Some((*self.numbers.start(), state.parts.encode(self.numbers.clone()), state.parts.kinds()))
    }

    /// Marks the verified parts as unrecorded, after the write failed.
    pub(super) fn put_back(&self) {
        self.state().unrecorded = true;
    }

    /// Waits until the next record is due; forever if there is nothing to record.
    pub(super) async fn due(&self) {
        let next = {
            let state = self.state();
            state.unrecorded.then_some(self.began + state.pace.next())
        };
        match next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    fn state(&self) -> MutexGuard<'_, VerifiedState> {
        // A panic of another holder cannot leave a partial state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
