//! A multipart upload's beginning.
//!
//! Every upload is announced in the ledger before it is created and recorded after it, so that whatever dies in
//! between, an upload of ours can be told from anybody else's, and no upload is bound to the wrong source.

use std::collections::BTreeSet;

use migration_core::error::ErrorClass;
use migration_core::fidelity::Carried;
use migration_core::mutants::{Mutant, is_active};
use migration_core::object::SourceIdentity;
use migration_core::operation::RequestInfo;
use migration_core::outcome::{Failure, FailureClass, NotPreserved};
use migration_core::part::{PartLayout, PartSize};
use migration_core::ports::{CreateUpload, ObjectStore, Operation, Span};
use migration_core::records::{self, Ability, Damage, Support, UploadRecord};

use super::fetch::Opened;
use super::upload::{Begun, Upload};
use super::{SourceSnapshot, Transfer, TransferError};
use crate::Services;
use crate::WriteOutcome;
use crate::uploads::{self, abort};

/// What was created at the destination.
struct Created {
    id: String,
    /// Requests made.
    tries: u32,
}

impl<P: Services> Transfer<'_, P> {
    /// Announces, creates and records an upload in place of the record that stands in the ledger. None where another
    /// worker was first with one of these.
    pub(super) async fn begin(
        &self,
        source: &SourceIdentity,
        snapshot: &SourceSnapshot,
        stands: Option<&UploadRecord>,
    ) -> Result<Option<Begun>, TransferError> {
        let revision = stands.map_or(0, |record| record.revision);
        let unfinished = stands.filter(|record| record.is_announcement());
        let (layout, first) = self.first_part(source, snapshot).await?;
        let mut carried = self.preserved_attributes(&first.head).await?;
        let known = self.process.support(&self.pair.destination_bucket, Ability::Checksums).await?;
        let mut record = UploadRecord {
            revision: revision + 1,
            checksum: known != Support::No,
            losses: carried.losses,
            ..self.announcement(source, layout, stands)
        };
        if !is_active(Mutant::NoIntent) && self.record(&record, revision).await? == WriteOutcome::Lost {
            return Ok(None);
        }
        let announced = record.clone();
        let created = match self.create(&mut record, &mut carried, known).await {
            Ok(created) => created,
            Err(error) => {
                // Nobody needs to wait for it. Where this is not written, they do.
                let over = UploadRecord { revision: revision + 2, wait_until: 0, ..announced };
                let _ = self.record(&over, revision + 1).await;
                return Err(error);
            }
        };
        self.written.with(&carried);
        let before = unfinished.or((created.tries > 1).then_some(&announced));
        record.upload_id = Some(created.id.clone());
        record.revision = revision + 2;
        if !self.bind(&created.id, &record, before).await? {
            return Ok(None);
        }
        let verified = self.verified(&record, 1..=layout.count());
        let (contested, there) = (record.contested, BTreeSet::new());
        let upload = Upload { id: created.id, layout, record, contested, there, verified, server_side: false };
        Ok(Some((upload, Some(first))))
    }

    /// The record of an upload that is to be created, in place of one that stands.
    pub(super) fn announcement(
        &self,
        source: &SourceIdentity,
        layout: PartLayout,
        stands: Option<&UploadRecord>,
    ) -> UploadRecord {
        let now = self.process.clock.now();
        let unfinished = stands.filter(|record| record.is_announcement());
        UploadRecord {
            revision: 1,
            destination_bucket: self.pair.destination_bucket.clone(),
            destination_key: self.destination_key.clone(),
            source: source.clone(),
            layout,
            // Two tasks of one process write at the same time, and each must know its own word.
            by: self.process.next_name(),
            // An earlier announcement's upload may still be to be found: this one stands for it too.
            intended: unfinished.map_or(now, |before| before.intended),
            wait_until: now + records::ANNOUNCED_MS,
            checksum: false,
            contested: unfinished.is_some(),
            losses: NotPreserved::default(),
            expected: None,
            // Until this one is completed and proves right.
            damaged: stands.and_then(|record| record.damaged).map(|_| Damage::Upload),
            upload_id: None,
        }
    }

    /// Records an upload that was created, in place of its announcement. False where another worker was first: then the
    /// upload is aborted. `before` is the announcement that may have left another upload: a try whose answer was lost, or
    /// a worker that died before it could record. That is looked for while the announcement stands: who dies here leaves
    /// it to the next.
    pub(super) async fn bind(
        &self,
        id: &str,
        record: &UploadRecord,
        before: Option<&UploadRecord>,
    ) -> Result<bool, TransferError> {
        let recorded = async {
            if let Some(before) = before {
                uploads::abort_unrecorded(self.process, before, id).await?;
            }
            let announced = record.revision - if is_active(Mutant::NoIntent) { 2 } else { 1 };
            self.record(record, announced).await
        };
        match recorded.await {
            Ok(WriteOutcome::Written) => Ok(true),
            Ok(WriteOutcome::Lost) => {
                abort(self.process, self.upload_ref(id)).await?;
                Ok(false)
            }
            Err(error) => {
                // Nothing may name it any more. Where the record was written all the same, whoever reads it finds that
                // the upload is gone; where this fails too, the announcement stands.
                let _ = abort(self.process, self.upload_ref(id)).await;
                Err(error)
            }
        }
    }

    /// The cut of the object, and the body of its first part, whose answer says what is known of the object. Where the
    /// part size is left to us, the source's own cut is kept if it can be told, and if memory has room for its parts where
    /// the service may want them to be held.
    async fn first_part(
        &self,
        source: &SourceIdentity,
        snapshot: &SourceSnapshot,
    ) -> Result<(PartLayout, Opened), TransferError> {
        let settings = &self.process.config.transfer;
        let version = source.version_id.as_deref();
        if settings.part_size == PartSize::Auto && source.etag.parts().is_some() {
            let opened = self.open_body(self.want_of(Some(&source.etag), version, Span::Part(1))).await;
            match opened {
                Ok(opened) if opened.head.size != snapshot.size => return Err(TransferError::SourceChanged),
                Ok(opened) => {
                    let parts = opened.head.parts.unwrap_or_default();
                    let longest = self.longest_part(snapshot.size);
                    if let Some(layout) = PartLayout::of_source(snapshot.size, opened.len, parts)
                        && layout.longest() <= longest
                    {
                        return Ok((layout, opened));
                    }
                }
                // Services that don't know parts of objects.
                Err(TransferError::Service(error)) if error.class == ErrorClass::Refused => {}
                Err(error) => return Err(error),
            }
        }
        let layout = PartLayout::new(snapshot.size, settings.part_size)
            .map_err(|e| TransferError::Failed(Failure::new(FailureClass::Refused, e.to_string())))?;
        let len = layout.part(1).map_or(snapshot.size, |part| part.len);
        let span = Span::Range { offset: 0, len };
        let opened = self.open_body(self.want_of(Some(&source.etag), version, span)).await?;
        let same = opened.head.size == snapshot.size && opened.len == len;
        if same { Ok((layout, opened)) } else { Err(TransferError::SourceChanged) }
    }

    /// Creates the upload: with a checksum named unless the service is known to refuse that, and with what the service
    /// takes of what travels with the object.
    async fn create(
        &self,
        record: &mut UploadRecord,
        carried: &mut Carried,
        known: Support,
    ) -> Result<Created, TransferError> {
        let mut tries = 0;
        loop {
            let error = match self.create_once(record.checksum, carried, &mut tries).await {
                Ok(id) => return Ok(Created { id, tries }),
                Err(error) => error,
            };
            let refused = matches!(&error, TransferError::Service(error) if error.class == ErrorClass::Refused);
            match self.leave_behind(carried, error) {
                Ok(()) => record.losses = carried.losses,
                Err(TransferError::Service(_)) if refused && record.checksum && known == Support::Unknown => {
                    // Whether it was refused for that shows when its parts go through.
                    record.checksum = false;
                    self.process.suspect(&self.pair.destination_bucket, Ability::Checksums);
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn create_once(
        &self,
        checksum: bool,
        carried: &Carried,
        tries: &mut u32,
    ) -> Result<String, TransferError> {
        let (bucket, key) = (&self.pair.destination_bucket, &self.destination_key);
        let store = &self.process.ports.destination;
        let Carried { attributes, tags, .. } = carried;
        let request = CreateUpload { bucket, key, attributes, tags, checksum };
        let create = || {
            *tries += 1;
            store.create_upload(request)
        };
        let access = RequestInfo::object(Operation::CreateUpload, bucket, key);
        Ok(self.process.destination(access, create).await?)
    }
}
