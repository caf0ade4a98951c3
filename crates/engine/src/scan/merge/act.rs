//! Acts on findings: counts and tells them, gathers differences into batches, and sends these as they fill.

use std::sync::atomic::Ordering;

use migration_core::compare::{Difference, Evidence, Verdict};
use migration_core::finding::Finding;
use migration_core::message::{Batch, BatchId, DestinationState, Entry, MESSAGE_VERSION};
use migration_core::object::ListedObject;
use migration_core::outcome::Failure;
use migration_core::records::{self, ExtraneousRecord, FailureRecord, extraneous_write};
use migration_core::retry::Tried;

use super::super::ScanError;
use super::super::findings::Found;
use super::Scan;
use crate::Services;

/// Records of extraneous objects written at once.
const EXTRANEOUS_AT_ONCE: usize = 50;

impl<P: Services> Scan<'_, P> {
    /// Acts on a finding, once those before it were acted on.
    pub(super) async fn find(&mut self, found: Found) -> Result<(), ScanError> {
        match self.findings.known(found) {
            Some(found) => self.act_on(found).await,
            None => self.make_room().await,
        }
    }

    /// Waits for the first findings while too many wait.
    pub(super) async fn make_room(&mut self) -> Result<(), ScanError> {
        while self.findings.is_full() {
            self.act_on_first().await?;
        }
        Ok(())
    }

    /// Acts on the first findings, as far as they are known.
    pub(super) async fn act_on_ready(&mut self) -> Result<(), ScanError> {
        while let Some(found) = self.findings.ready().await? {
            self.act_on(found).await?;
        }
        Ok(())
    }

    /// Waits for all findings.
    pub(super) async fn act_on_all(&mut self) -> Result<(), ScanError> {
        while self.act_on_first().await? {}
        Ok(())
    }

    /// Waits for the first finding. Returns false if there is none.
    async fn act_on_first(&mut self) -> Result<bool, ScanError> {
        let Some(found) = self.findings.first().await? else { return Ok(false) };
        self.act_on(found).await?;
        Ok(true)
    }

    async fn act_on(&mut self, found: Found) -> Result<(), ScanError> {
        match found {
            Found::Compared { source, there, verdict } => self.act(source, there, verdict).await,
            Found::Hidden(object) => {
                self.hide(&object);
                Ok(())
            }
            Found::Extra(there) => {
                self.counts.extra += 1;
                self.tell(&Finding::Extraneous { destination: &there });
                self.doom(&there).await
            }
            Found::Unmovable(object, failure) => self.leave_out(&object, failure).await,
            Found::Checkpoint(position) => self.checkpoint(position).await,
        }
    }

    /// Counts an object hidden by the filters.
    pub(in super::super) fn hide(&mut self, object: &ListedObject) {
        self.counts.ignored += 1;
        self.tell(&Finding::Ignored { source: object });
    }

    /// Counts an object that was listed some time ago and has been deleted since.
    pub(in super::super) fn pass_over(&mut self, object: &ListedObject) {
        self.counts.gone += 1;
        self.tell(&Finding::Gone { source: object });
    }

    /// Records an object that cannot be transferred.
    pub(in super::super) async fn leave_out(
        &mut self,
        object: &ListedObject,
        failure: Failure,
    ) -> Result<(), ScanError> {
        self.counts.failed += 1;
        self.counts.failed_bytes += object.size;
        self.tell(&Finding::Unmovable { source: object, class: failure.class });
        let now = self.process.runtime.clock.now();
        let failure = FailureRecord::new(self.range.pair_number, &object.key, object.size, failure, now);
        let write = records::failure_write(&self.process.config.job.uid, &self.range.run, &failure);
        self.process.write(&[write]).await?;
        Ok(())
    }

    /// Acts on the verdict about an object.
    pub(in super::super) async fn act(
        &mut self,
        source: ListedObject,
        there: Option<ListedObject>,
        verdict: Verdict,
    ) -> Result<(), ScanError> {
        match verdict {
            Verdict::InPlace(evidence) => {
                self.counts.in_place += 1;
                self.counts.in_place_bytes += source.size;
                self.counts.in_place_by_time += u64::from(evidence == Evidence::SizeAndTime);
                self.counts.in_place_by_size += u64::from(evidence == Evidence::Size);
                self.tell(&Finding::InPlace { source: &source, evidence });
                Ok(())
            }
            Verdict::Transfer(difference) => self.transfer(source, there, difference).await,
            // Inconclusive: an unneeded copy does no harm.
            Verdict::AskForChecksums => self.transfer(source, there, Difference::MaybeNewer).await,
        }
    }

    async fn transfer(
        &mut self,
        source: ListedObject,
        there: Option<ListedObject>,
        difference: Difference,
    ) -> Result<(), ScanError> {
        self.tell(&Finding::Transfer { source: &source, destination: there.as_ref(), difference });
        let destination = there.map(|there| DestinationState { etag: there.etag });
        let ListedObject { key, size, etag, version_id, .. } = source;
        let entry = Entry { key, size, etag, version_id, destination, unlisted: false, tried: Tried::default() };
        for full in self.batcher.push(entry) {
            self.send(full).await?;
        }
        Ok(())
    }

    async fn send(&mut self, objects: Vec<Entry>) -> Result<(), ScanError> {
        let batch = Batch {
            version: MESSAGE_VERSION,
            job: self.process.config.job.uid.clone(),
            run: self.range.run.clone(),
            id: BatchId::new(self.range.number, self.range.epoch, self.counts.batches),
            scanned: self.process.runtime.clock.now(),
            pair: self.range.pair.clone(),
            attempts: 0,
            objects,
        };
        self.counts.batches += 1;
        self.scanner.run.pace.sent();
        self.counts.objects += batch.objects.len() as u64;
        self.counts.bytes += batch.bytes();
        Ok(self.send_buffer.push(self.process, batch.body()).await?)
    }

    /// Sends the open batch and the records not yet written.
    pub(super) async fn flush(&mut self) -> Result<(), ScanError> {
        if let Some(rest) = self.batcher.flush() {
            self.send(rest).await?;
        }
        self.write_extraneous().await?;
        Ok(self.send_buffer.flush(self.process).await?)
    }

    /// Records an extraneous object that the run may delete, up to the maximum of deletions.
    async fn doom(&mut self, there: &ListedObject) -> Result<(), ScanError> {
        let before = self.scanner.extras.fetch_add(1, Ordering::Relaxed);
        let config = &self.process.config;
        if config.mirror.is_none_or(|mirror| before >= mirror.max_deletes) {
            return Ok(());
        }
        let extra = ExtraneousRecord::of(self.range.pair_number, there);
        self.extraneous.push(extraneous_write(
            &config.job.uid,
            &self.range.run,
            &extra,
            self.process.runtime.clock.now(),
        ));
        if self.extraneous.len() == EXTRANEOUS_AT_ONCE { self.write_extraneous().await } else { Ok(()) }
    }

    async fn write_extraneous(&mut self) -> Result<(), ScanError> {
        for request in records::requests(std::mem::take(&mut self.extraneous)) {
            self.process.write(&request).await?;
        }
        Ok(())
    }
}
