//! Requests as a server receives them. The port's are made of these.

use migration_core::error::ServiceError;
use migration_core::ports::{
    Attributes, ByteStream, CopyPart, CopyRequest, DeleteRequest, Operation, PartsPage, Tags, UploadRef,
    WriteCondition, Written,
};

use super::content::Content;
use super::listing::{KeyPage, KeyQuery, ListedUpload, VersionPage, VersionPlace};
use super::object::StoredObject;
use super::read::body;
use super::receive::{Incoming, Received, disk_error, hash, receive};
use super::settings::BucketSettings;
use super::state::{Bucket, NewObject, StoreState, check_checksum, known};
use super::traffic::Ticket;
use super::upload::copied_range;
use super::{LocalStore, Shared};

/// A request to write a whole object.
#[derive(Clone, Copy, Debug)]
pub struct PutObject<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Headers, metadata, storage class and lock to write.
    pub attributes: &'a Attributes,
    /// The tags.
    pub tags: &'a Tags,
    /// Required state of the object.
    pub condition: &'a WriteCondition,
}

/// What of an object a copy replaces. [`Default`] copies all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replaced<'a> {
    /// Headers and metadata of the copy.
    pub attributes: Option<&'a Attributes>,
    /// Tags of the copy.
    pub tags: Option<&'a Tags>,
}

/// What a deletion did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Id of the delete marker that was made, or of the version that was removed; `None` for the version `null`.
    pub version_id: Option<String>,
    /// True if a delete marker was made or removed.
    pub is_marker: bool,
}

/// An object that is being read. The request counts as running until this and all bodies are dropped.
#[derive(Debug)]
pub struct OpenObject {
    /// The object, as it was when it was opened.
    pub object: StoredObject,
    /// Settings of its bucket.
    pub bucket: BucketSettings,
    piece: usize,
    ticket: Ticket,
}

impl OpenObject {
    /// Returns at most `len` bytes from `offset` on, in pieces.
    pub fn body(self, offset: u64, len: u64) -> ByteStream {
        body(Operation::GetObject, self.object.content.slice(offset, len), self.piece, self.ticket)
    }
}

impl LocalStore {
    /// Starts a request on a bucket, unless the bucket throttles it.
    pub(super) async fn enter(&self, operation: Operation, bucket: &str) -> Result<Ticket, ServiceError> {
        self.shared.check_index(operation.as_str())?;
        let settings = &self.shared.settings;
        let ticket = self.shared.traffic.enter(operation, bucket, settings.throttle_over)?;
        if !settings.latency.is_zero() {
            tokio::time::sleep(settings.latency).await;
        }
        Ok(ticket)
    }

    /// Runs a request that reads a bucket.
    pub(super) async fn read_bucket<T>(
        &self,
        operation: Operation,
        bucket: &str,
        request: impl FnOnce(&mut Bucket) -> Result<T, ServiceError> + Send,
    ) -> Result<T, ServiceError> {
        let _ticket = self.enter(operation, bucket).await?;
        self.read(|state| request(state.bucket(operation, bucket)?))
    }

    /// Runs a request that changes a bucket.
    pub(super) async fn change_bucket<T>(
        &self,
        operation: Operation,
        bucket: &str,
        request: impl FnOnce(&mut Bucket) -> Result<T, ServiceError> + Send,
    ) -> Result<T, ServiceError> {
        let _ticket = self.enter(operation, bucket).await?;
        let done = self.change(|state| request(state.bucket(operation, bucket)?))?;
        self.committed(operation.as_str()).await?;
        Ok(done)
    }

    /// Opens an object for reading. Conditions and archives are the caller's to check.
    pub async fn open_object(
        &self,
        operation: Operation,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<OpenObject, ServiceError> {
        let ticket = self.enter(operation, bucket).await?;
        let (object, bucket) = self.read(|state| {
            let bucket = state.bucket(operation, bucket)?;
            Ok((bucket.find(operation, key, version_id)?.clone(), bucket.settings))
        })?;
        Ok(OpenObject { object, bucket, piece: self.shared.settings.chunk, ticket })
    }

    /// Writes a whole object.
    pub async fn put_object(&self, request: PutObject<'_>, body: Incoming) -> Result<Written, ServiceError> {
        const PUT: Operation = Operation::PutObject;
        let PutObject { bucket, key, attributes, tags, condition } = request;
        let _ticket = self.enter(PUT, bucket).await?;
        let new = NewObject { key, attributes, tags, condition };
        self.read(|state| state.bucket(PUT, bucket)?.check_put(new, self.shared.clock.now()))?;
        let received = self.receive(PUT, body).await?;
        let now = self.shared.clock.now();
        let written = self.change(|state| state.bucket(PUT, bucket)?.put(new, received, &self.shared.settings, now))?;
        self.committed(PUT.as_str()).await?;
        Ok(written)
    }

    /// Copies a whole object, except what is replaced of it.
    pub async fn copy_object(&self, request: CopyRequest<'_>, replaced: Replaced<'_>) -> Result<Written, ServiceError> {
        const COPY: Operation = Operation::CopyObject;
        let settings = &self.shared.settings;
        let _ticket = self.enter(COPY, request.bucket).await?;
        let (source, attributes, tags) =
            self.read(|state| state.check_copy(request, replaced, settings, self.shared.clock.now()))?;
        let received = match known(&source) {
            Some(received) => received,
            None => self.hashed(COPY, source.content).await?,
        };
        let CopyRequest { key, condition, .. } = request;
        let new = NewObject { key, attributes: &attributes, tags: &tags, condition };
        let now = self.shared.clock.now();
        let written = self.change(|state| state.bucket(COPY, request.bucket)?.copy(new, received, settings, now))?;
        self.committed(COPY.as_str()).await?;
        Ok(written)
    }

    async fn receive(&self, operation: Operation, body: Incoming) -> Result<Received, ServiceError> {
        let Shared { directory, settings, .. } = &*self.shared;
        receive(operation, body, directory.as_ref(), settings.streamed_bodies).await
    }

    async fn hashed(&self, operation: Operation, content: Content) -> Result<Received, ServiceError> {
        let hashed = hash(content, self.shared.settings.chunk).await;
        hashed.map_err(|io| disk_error(operation, "read body", &io))
    }

    /// Deletes a key, which makes a delete marker where the bucket has versions, even of an absent object. With a
    /// condition, an absent object is an error.
    pub async fn delete_object(&self, request: DeleteRequest<'_>) -> Result<Deleted, ServiceError> {
        const DELETE: Operation = Operation::DeleteObject;
        let (support, clock) = (self.shared.settings.conditional_writes, &self.shared.clock);
        let delete = |bucket: &mut Bucket| {
            if request.if_match.is_none() {
                return Ok(bucket.delete(request.key, clock.now()));
            }
            bucket.find(DELETE, request.key, None)?;
            bucket.delete_if(request, support, clock.now())
        };
        let marker = self.change_bucket(DELETE, request.bucket, delete).await?;
        Ok(Deleted { is_marker: marker.is_some(), version_id: marker })
    }

    /// Permanently removes a version or delete marker; `null` names the one without an id. One that is not there
    /// counts as removed.
    pub async fn delete_version(&self, bucket: &str, key: &str, version_id: &str) -> Result<Deleted, ServiceError> {
        let delete = |bucket: &mut Bucket| Ok(bucket.delete_version(key, version_id));
        let is_marker = self.change_bucket(Operation::DeleteObject, bucket, delete).await?;
        Ok(Deleted { version_id: Some(version_id.to_owned()), is_marker })
    }

    /// Uploads a part. `checksum` says that the request names a CRC-64/NVME.
    pub async fn put_upload_part(
        &self,
        upload: UploadRef<'_>,
        number: u32,
        body: Incoming,
        checksum: bool,
    ) -> Result<Written, ServiceError> {
        const PART: Operation = Operation::PutPart;
        let settings = &self.shared.settings;
        let _ticket = self.enter(PART, upload.bucket).await?;
        check_checksum(PART, checksum, settings)?;
        self.read(|state| state.bucket(PART, upload.bucket)?.check_upload(PART, upload))?;
        let received = self.receive(PART, body).await?;
        let part = |state: &mut StoreState| {
            state.bucket(PART, upload.bucket)?.put_part(upload, number, received, checksum, settings)
        };
        let written = self.change(part)?;
        self.committed(PART.as_str()).await?;
        Ok(written)
    }

    pub(super) async fn copy_upload_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        const COPY: Operation = Operation::CopyPart;
        let CopyPart { source, upload, number, .. } = request;
        let _ticket = self.enter(COPY, upload.bucket).await?;
        let content = self.read(|state| {
            let source = state.copy_source(COPY, source)?;
            state.bucket(COPY, upload.bucket)?;
            copied_range(&source, request, &self.shared.settings)
        })?;
        let received = self.hashed(COPY, content).await?;
        let part =
            |state: &mut StoreState| state.bucket(COPY, upload.bucket)?.keep_part(COPY, upload, number, received);
        let written = self.change(part)?;
        self.committed(COPY.as_str()).await?;
        Ok(written)
    }

    /// Lists a page of at most `most` parts, and of no more than the settings say.
    pub async fn list_upload_parts(
        &self,
        upload: UploadRef<'_>,
        after: Option<u32>,
        most: usize,
    ) -> Result<PartsPage, ServiceError> {
        let page = self.shared.settings.parts_page.min(most);
        self.read_bucket(Operation::ListParts, upload.bucket, |bucket| bucket.list_parts(upload, after, page)).await
    }

    /// Lists a page of keys and common prefixes, of no more entries than the settings say.
    pub async fn list_keys(&self, bucket: &str, query: KeyQuery<'_>) -> Result<KeyPage, ServiceError> {
        let page = query.page.min(self.shared.settings.list_page);
        let list = |bucket: &mut Bucket| Ok(bucket.keys_page(KeyQuery { page, ..query }));
        self.read_bucket(Operation::ListObjects, bucket, list).await
    }

    /// Lists a page of versions and delete markers, after all versions of a key or after one of them, of no more than
    /// the settings say.
    pub async fn list_all_versions(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<(&str, Option<&str>)>,
        most: usize,
    ) -> Result<VersionPage, ServiceError> {
        let page = self.shared.settings.list_page.min(most);
        let list = |bucket: &mut Bucket| {
            let from: Option<VersionPlace> = after.map(|(key, id)| bucket.place_after(key, id));
            Ok(bucket.versions_page(prefix, from.as_ref(), page))
        };
        self.read_bucket(Operation::ListVersions, bucket, list).await
    }

    /// Lists a page of open uploads, ordered by key and age, after a key or after one of its uploads; and tells
    /// whether there are more.
    pub async fn list_all_uploads(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<(&str, Option<&str>)>,
        most: usize,
    ) -> Result<(Vec<ListedUpload>, bool), ServiceError> {
        let list = |bucket: &mut Bucket| Ok(bucket.uploads_page(prefix, after, most));
        self.read_bucket(Operation::ListUploads, bucket, list).await
    }
}
