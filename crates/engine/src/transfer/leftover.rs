//! Uploads that nobody completes any more: their object went away, became small, was found in place, or failed for good.

use std::sync::atomic::Ordering;

use migration_core::fidelity::Carried;
use migration_core::message::Entry;
use migration_core::outcome::EntryOutcome;
use migration_core::ports::{Ledger, ObjectStore, Queue};
use migration_core::records::UploadRecord;
use tracing::{info, warn};

use super::{Errand, Halt, Transfer};
use crate::uploads::{self, abort};

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    /// Takes away what an object that is over has left open at the destination, before its message goes. The outcome is
    /// then as it was, or another try where that can't be done now.
    pub(super) async fn clear_away(&self, errand: Errand<'_>, outcome: EntryOutcome) -> EntryOutcome {
        let is_over = !matches!(outcome, EntryOutcome::Retry(_) | EntryOutcome::Interrupted);
        let earlier = errand.redelivered || errand.batch.attempts > 0;
        if !is_over || !(earlier || self.has_upload.load(Ordering::Relaxed)) {
            return outcome;
        }
        match self.abort_leftover(errand.entry).await {
            Ok(()) => outcome,
            Err(Halt::Stopped) => EntryOutcome::Interrupted,
            Err(halt) => match halt.outcome() {
                EntryOutcome::Retry(failure) => EntryOutcome::Retry(failure),
                other => {
                    warn!(key = self.key, ?other, "an upload is left open until the job goes away");
                    outcome
                }
            },
        }
    }

    /// Aborts the recorded upload, unless another message is about its content.
    ///
    /// | the upload carries | it is the source's content now | upload |
    /// |---|---|---|
    /// | what this message is about | any | aborted |
    /// | another content | no | aborted |
    /// | another content | yes | stays |
    async fn abort_leftover(&self, entry: &Entry) -> Result<(), Halt> {
        let Some(record) = self.upload_record().await? else { return Ok(()) };
        if entry.etag.as_ref() != Some(&record.source.etag) && !self.has_upload.load(Ordering::Relaxed) {
            let now = self.look_at_source(false).await?.and_then(|head| head.etag);
            if now.as_ref() == Some(&record.source.etag) {
                return Ok(());
            }
        }
        if record.upload_id.is_none() && record.wait_until > self.process.clock.now() {
            // Another worker is at it, whose message is not over.
            return Ok(());
        }
        info!(key = self.key, "aborting an upload that nobody completes any more");
        match &record.upload_id {
            Some(id) => abort(self.process, self.upload_ref(id)).await?,
            None => self.abort_announced(&record).await?,
        }
        self.forget(record.revision).await
    }

    /// Aborts what came of an announcement. Whose uploads are ours is told by one of our own.
    async fn abort_announced(&self, record: &UploadRecord) -> Result<(), Halt> {
        let own = self.create_once(false, &Carried::default(), &mut 0).await?;
        uploads::abort_unrecorded(self.process, record, &own).await?;
        Ok(abort(self.process, self.upload_ref(&own)).await?)
    }
}
