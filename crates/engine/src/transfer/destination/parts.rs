//! Requests of the object's multipart uploads, except for their completion.

use bytes::Bytes;
use migration_core::etag::Md5Digest;
use migration_core::fidelity::Carried;
use migration_core::object::ListedPart;
use migration_core::part::Part;
use migration_core::ports::{
    Body, CopyPart, CopySource, CreateUpload, ObjectStore, OpenUpload, Operation, PutPart, Written,
};

use super::DestinationObject;
use crate::transfer::error::{TransferError, transfer_error, write_error};
use crate::transfer::hashing_body::HashingBody;
use crate::uploads::abort;
use crate::{Interruption, Services};

impl<P: Services> DestinationObject<'_, P> {
    /// Creates an upload and returns its ID. `tries` counts the requests, since each lost response may leave an upload
    /// behind.
    pub(in crate::transfer) async fn create_upload(
        &self,
        checksum: bool,
        carried: &Carried,
        tries: &mut u32,
    ) -> Result<String, TransferError> {
        let store = &self.process.ports.destination;
        let Carried { attributes, tags, .. } = carried;
        let request = CreateUpload { bucket: self.bucket, key: self.key, attributes, tags, checksum };
        let create = || {
            *tries += 1;
            store.create_upload(request)
        };
        Ok(self.process.destination(self.access(Operation::CreateUpload), create).await?)
    }

    /// Sends a part by one request without retries, for a test of the service.
    pub(in crate::transfer) async fn put_part_once(
        &self,
        upload_id: &str,
        number: u32,
        body: Body,
        checksum: bool,
    ) -> Result<Written, Interruption> {
        let bytes = body.len();
        let access = self.access(Operation::PutPart).carrying(bytes);
        let request = PutPart { upload: self.upload(upload_id), number, body, checksum };
        let put = self.process.ports.destination.put_part(request);
        self.uploaded(bytes, self.process.destination_once(access, put).await)
    }

    /// Sends a part once, since a streamed body cannot be sent twice. Its error tells nothing of the destination if the
    /// body broke at the source.
    pub(in crate::transfer) async fn stream_part_once(
        &self,
        upload_id: &str,
        number: u32,
        (body, source): (Body, &HashingBody),
        checksum: bool,
    ) -> Result<Written, Interruption> {
        let bytes = body.len();
        let access = self.access(Operation::PutPart).carrying(bytes);
        let request = PutPart { upload: self.upload(upload_id), number, body, checksum };
        let put = async {
            let answer = self.process.ports.destination.put_part(request).await;
            answer.map_err(|error| source.reader_error(error))
        };
        self.uploaded(bytes, self.process.destination_once(access, put).await)
    }

    /// Sends a part held in memory, with this Content-MD5.
    pub(in crate::transfer) async fn put_part_held(
        &self,
        upload_id: &str,
        number: u32,
        (bytes, md5): (&Bytes, Md5Digest),
        checksum: bool,
    ) -> Result<Written, Interruption> {
        let request = || {
            let body = Body::Held { bytes: bytes.clone(), md5 };
            self.process.ports.destination.put_part(PutPart { upload: self.upload(upload_id), number, body, checksum })
        };
        let access = self.access(Operation::PutPart).carrying(bytes.len() as u64);
        self.uploaded(bytes.len() as u64, self.process.destination(access, request).await)
    }

    /// Has the service copy a part.
    pub(in crate::transfer) async fn copy_part(
        &self,
        upload_id: &str,
        part: Part,
        source: CopySource<'_>,
    ) -> Result<Written, TransferError> {
        let Part { number, offset, len } = part;
        let request = CopyPart { source, upload: self.upload(upload_id), number, offset, len };
        let store = &self.process.ports.destination;
        let copied = self.process.destination(self.access(Operation::CopyPart), || store.copy_part(request)).await;
        copied.map_err(|error| write_error(error, || TransferError::SourceChanged))
    }

    /// Lists the parts of an upload: all, or those in a range of part numbers.
    pub(in crate::transfer) async fn list_parts(
        &self,
        upload_id: &str,
        span: Option<(u32, u32)>,
    ) -> Result<Vec<ListedPart>, TransferError> {
        let (store, upload) = (&self.process.ports.destination, self.upload(upload_id));
        let mut parts: Vec<ListedPart> = Vec::new();
        let mut after = span.map(|(first, _)| first - 1).filter(|after| *after > 0);
        loop {
            let access = self.access(Operation::ListParts);
            let page = self.process.destination(access, || store.list_parts(upload, after)).await;
            let page = page.map_err(|error| transfer_error(error, || TransferError::UploadGone))?;
            parts.extend(page.parts);
            after = page.next;
            let enough = span.is_some_and(|(_, last)| parts.last().is_some_and(|part| part.number >= last));
            if after.is_none() || enough {
                parts.retain(|part| span.is_none_or(|(first, last)| (first..=last).contains(&part.number)));
                return Ok(parts);
            }
        }
    }

    /// Lists the open uploads of the object, of all initiators.
    pub(in crate::transfer) async fn list_uploads(&self) -> Result<Vec<OpenUpload>, TransferError> {
        let store = &self.process.ports.destination;
        let list = || store.list_uploads(self.bucket, self.key);
        Ok(self.process.destination(self.access(Operation::ListUploads), list).await?)
    }

    /// Aborts an upload, repeatedly until the destination says that it does not exist.
    pub(in crate::transfer) async fn abort(&self, upload_id: &str) -> Result<(), Interruption> {
        abort(self.process, self.upload(upload_id)).await
    }

    /// Aborts an upload by one request.
    pub(in crate::transfer) async fn abort_once(&self, upload_id: &str) -> Result<(), Interruption> {
        let abort = self.process.ports.destination.abort_upload(self.upload(upload_id));
        self.process.destination_once(self.access(Operation::AbortUpload), abort).await
    }
}
