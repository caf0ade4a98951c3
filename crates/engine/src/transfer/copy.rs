//! An object that the service copies by itself: no byte of it passes through here.

use migration_core::object::SourceIdentity;
use migration_core::operation::RequestInfo;
use migration_core::outcome::{Delivery, Fingerprint};
use migration_core::part::Part;
use migration_core::ports::{
    CompletedPart, CopyPart, CopyRequest, CopySource, HeadRequest, Ledger, ObjectHead, ObjectStore, Operation,
    WriteCondition,
};

use super::attempt::Moved;
use super::conditional::{Landed, write_error};
use super::upload::Upload;
use super::{SourceSnapshot, Transfer, TransferError};
use crate::Services;

impl<P: Services> Transfer<'_, P> {
    /// Has the object copied in one request.
    pub(super) async fn copy_whole(
        &self,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
    ) -> Result<Moved, TransferError> {
        let source = self.identity(snapshot).await?;
        let head = self.head_of(&source, snapshot).await?;
        let mut carried = self.attributes_of_head(&head).await?;
        let store = &self.process.ports.destination;
        let Landed { written, guarded } = loop {
            let copy = |condition: WriteCondition| {
                let (attributes, source) = (&carried.attributes, self.copy_source(&source));
                let (bucket, key) = (&self.pair.destination_bucket, &self.destination_key);
                async move { store.copy(CopyRequest { source, bucket, key, attributes, condition: &condition }).await }
            };
            match self.write(Operation::CopyObject, condition, None, copy).await {
                // A copy is refused for either side's condition: the passes look at both.
                Err(error) => self.leave_behind(&mut carried, error)?,
                Ok(written) => break written,
            }
        };
        let losses = carried.losses;
        self.process.activity.moved(snapshot.size);
        let source = Fingerprint { etag: head.etag, checksum: head.checksum };
        let destination = Fingerprint { etag: None, checksum: written.checksum };
        let version_id = head.version_id;
        let delivery =
            Delivery { bytes: snapshot.size, version_id, losses, source, destination, ..Delivery::default() };
        Ok(Moved { delivery, etag: written.etag, guarded })
    }

    /// Has the object copied part by part.
    pub(super) async fn copy_parts(
        &self,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
    ) -> Result<Moved, TransferError> {
        let source = self.identity(snapshot).await?;
        // The first part was opened for what is known of the object; its bytes are not wanted here.
        let (mut upload, _) = self.open(snapshot, &source).await?;
        upload.server_side = true;
        self.send_parts(&upload, &source, upload.missing(1..=upload.layout.count()), None).await?;
        let completed = self.complete(&upload, &source, condition).await?;
        Ok(completed.moved(source, &upload))
    }

    pub(super) async fn copy_part(
        &self,
        upload: &Upload,
        part: Part,
        source: &SourceIdentity,
    ) -> Result<CompletedPart, TransferError> {
        let request = CopyPart {
            source: self.copy_source(source),
            upload: self.upload_ref(&upload.id),
            number: part.number,
            offset: part.offset,
            len: part.len,
        };
        let store = &self.process.ports.destination;
        let access = RequestInfo::object(Operation::CopyPart, &self.pair.destination_bucket, &self.destination_key);
        let copied = self.process.destination(access, || store.copy_part(request)).await;
        let written = copied.map_err(|error| write_error(error, || TransferError::SourceChanged))?;
        self.progress.touch();
        self.process.activity.moved(part.len);
        Ok(CompletedPart { number: part.number, etag: written.etag, checksum: written.checksum })
    }

    fn copy_source<'b>(&'b self, source: &'b SourceIdentity) -> CopySource<'b> {
        let pinned = self.process.config.versioning.get_object_with_version_id;
        CopySource {
            bucket: &source.bucket,
            key: &source.key,
            version_id: source.version_id.as_deref().filter(|_| pinned),
            if_match: &source.etag,
        }
    }

    /// What is known of the content that is wanted.
    async fn head_of(&self, source: &SourceIdentity, snapshot: &SourceSnapshot) -> Result<ObjectHead, TransferError> {
        let copied = self.copy_source(source);
        let request = HeadRequest { version_id: copied.version_id, ..HeadRequest::new(&source.bucket, &source.key) };
        // A version that is gone leaves the question what the source has now.
        let gone = if copied.version_id.is_some() { TransferError::SourceChanged } else { TransferError::Gone };
        let head = self.process.look_at_source(request).await?.ok_or(gone)?;
        let same = head.etag.as_ref() == Some(&source.etag) && head.size == snapshot.size;
        if same { Ok(head) } else { Err(TransferError::SourceChanged) }
    }
}
