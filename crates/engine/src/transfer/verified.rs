//! Which parts of an upload were verified: kept in memory while parts are sent, and recorded now and then, so that
//! whoever carries the upload on knows which of the listed parts are the source's bytes.

use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use migration_core::etag::ETag;
use migration_core::ports::{CompletedPart, Ledger, Write};
use migration_core::records::{self, VERIFIED_EVERY_MS, VerifiedPartsRecord};
use migration_core::verified::VerifiedParts;
use tokio::time::Instant;
use tracing::warn;

use super::upload::Upload;
use super::{Transfer, TransferError};
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
    pub(super) fn new(numbers: RangeInclusive<u32>, enforced: bool) -> Self {
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

    fn insert(&self, number: u32, etag: &ETag) {
        let mut state = self.state();
        state.parts.insert(number, etag);
        state.unrecorded = !self.enforced;
    }

    fn is_unrecorded(&self) -> bool {
        self.state().unrecorded
    }

    /// Waits until the ledger is to be told; for ever where there is nothing to tell.
    async fn due(&self) {
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

impl<P: Services> Transfer<'_, P> {
    /// Does the work of parts, several at once, gives what the destination answered to each, and remembers which were
    /// verified. When one fails, or the process ends, no new ones are begun, those in flight are waited for, and what was
    /// verified is recorded: who comes next does not send it again.
    pub(super) async fn work_on_parts<F>(
        &self,
        upload: &Upload,
        mut next: impl FnMut() -> Option<F>,
    ) -> Result<Vec<CompletedPart>, TransferError>
    where
        F: Future<Output = Result<CompletedPart, TransferError>>,
    {
        let at_once = self.process.config.transfer.parts_per_file as usize;
        let (mut in_flight, mut recording) = (FuturesUnordered::new(), FuturesUnordered::new());
        let (mut sent, mut error) = (Vec::new(), None);
        loop {
            while error.is_none() && in_flight.len() < at_once {
                if self.process.stop.is_cancelled() {
                    error = Some(TransferError::Stopped);
                    break;
                }
                let Some(part) = next() else { break };
                in_flight.push(part);
            }
            if in_flight.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some(done) = in_flight.next() => match done {
                    Ok(part) => {
                        upload.verified.insert(part.number, &part.etag);
                        sent.push(part);
                        self.has_in_place(upload.there.len() + sent.len());
                    }
                    Err(next) => { error.get_or_insert(next); }
                },
                Some(()) = recording.next() => {}
                () = upload.verified.due(), if recording.is_empty() => recording.push(self.record_verified(upload)),
            }
        }
        while recording.next().await.is_some() {}
        let Some(error) = error else { return Ok(sent) };
        self.record_verified(upload).await;
        Err(error)
    }

    /// Tells the ledger which parts were verified, where it does not know. Where that fails, parts are sent again that
    /// need not be.
    async fn record_verified(&self, upload: &Upload) {
        let Some(write) = self.verified_write(upload) else { return };
        if let Err(error) = self.process.write(&[write]).await {
            warn!(key = self.key, %error, "the parts that were verified are not recorded");
            upload.verified.state().unrecorded = true;
        }
    }

    /// The write that tells the ledger which parts were verified; none where it knows.
    pub(super) fn verified_write(&self, upload: &Upload) -> Option<Write> {
        let verified = &upload.verified;
        if !verified.is_unrecorded() {
            return None;
        }
        let mut state = verified.state();
        state.unrecorded = false;
        state.next = Instant::now() + EVERY;
        let first = *verified.numbers.start();
        let record = VerifiedPartsRecord {
            upload_id: upload.id.clone(),
            first,
            digests: state.parts.encode(verified.numbers.clone()),
            by: self.process.name.clone(),
            at: self.process.clock.now(),
        };
        let (job, bucket) = (&self.process.config.job.uid, &self.pair.destination_bucket);
        let key = records::verified_key(job, bucket, &self.destination_key, &upload.id, first);
        Some(records::verified_write(key, &record))
    }

    /// What the ledger knows of the verified parts of an upload, whoever sent them. One query, and more where an object
    /// has thousands of parts.
    pub(super) async fn recorded_parts(&self, upload_id: &str) -> Result<VerifiedParts, TransferError> {
        let (job, bucket) = (&self.process.config.job.uid, &self.pair.destination_bucket);
        let partition = records::part_range_partition(job, bucket, &self.destination_key);
        let prefix = records::verified_prefix(upload_id);
        let (mut found, mut after) = (VerifiedParts::default(), None::<String>);
        loop {
            let query = || self.process.ports.ledger.query(&partition, &prefix, after.as_deref(), 100);
            let page = self.process.ledger(query).await?;
            let readable = page.items.iter().filter_map(|item| item.read::<VerifiedPartsRecord>().ok());
            readable.for_each(|record| found.merge(record.parts(upload_id)));
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }
}
