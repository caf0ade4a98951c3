//! Listings of objects and of open uploads.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{EncodingType, MultipartUpload};
use migration_core::config::STANDARD;
use migration_core::error::ServiceError;
use migration_core::object::ListedObject;
use migration_core::ports::{ListPage, ListRequest, OpenUpload};

use super::S3Store;
use super::encoding::{decode_key, version_id};
use super::fetch::{Kept, of_bucket, read, receive, some};
use super::page::{Entry, Listed, Page};
use crate::error::{Api, invalid_response, no_answer, service_error};

const LIST: &str = "list objects";
const LIST_UPLOADS: &str = "list uploads";

/// Decodes the keys of a response. Services that do not support `encoding-type` omit it and send keys as they are.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    encoded: bool,
    operation: &'static str,
}

impl Keys {
    pub(super) fn of(encoding: Option<&EncodingType>, operation: &'static str) -> Self {
        Self { encoded: encoding == Some(&EncodingType::Url), operation }
    }

    pub(super) fn of_page(page: &Page<'_>, operation: &'static str) -> Self {
        Self { encoded: page.is_encoded, operation }
    }

    /// Reads an entry.
    pub(super) fn entry(self, entry: Entry<'_>) -> Result<ListedObject, ServiceError> {
        let key = self.read(entry.key.as_deref())?;
        let missing = |what: &str| invalid_response(self.operation, format!("the entry of key {key:?} has no {what}"));
        let size = entry.size.and_then(|size| u64::try_from(size).ok()).ok_or_else(|| missing("size"))?;
        let modified = entry.modified.ok_or_else(|| missing("time of modification"))?;
        let version_id = version_id(entry.version_id.as_deref());
        let storage_class = entry.storage_class.as_deref().and_then(other_than_standard);
        let etag = entry.etag;
        Ok(ListedObject { key, size, etag, modified, version_id, storage_class })
    }

    pub(super) fn read(self, text: Option<&str>) -> Result<String, ServiceError> {
        let text = text.and_then(some).ok_or_else(|| invalid_response(self.operation, "an entry has no key"))?;
        if !self.encoded {
            return Ok(text.to_owned());
        }
        decode_key(text).ok_or_else(|| invalid_response(self.operation, format!("the key {text:?} is not UTF-8")))
    }
}

pub(super) async fn objects(store: &S3Store, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
    let max_keys = request.max_keys.map(|keys| keys.to_string());
    // A continuation token already implies the start.
    let start_after = request.start_after.filter(|_| request.continuation.is_none());
    let mut query = vec![("list-type", "2"), ("encoding-type", "url"), ("prefix", request.prefix)];
    query.extend(start_after.and_then(some).map(|key| ("start-after", key)));
    query.extend(request.continuation.map(|token| ("continuation-token", token)));
    query.extend(max_keys.as_deref().map(|keys| ("max-keys", keys)));
    let by_sdk = async |kept: Kept, learn| {
        let list = store
            .client
            .list_objects_v2()
            .bucket(request.bucket)
            .prefix(request.prefix)
            .encoding_type(EncodingType::Url)
            .set_start_after(start_after.and_then(some).map(ToOwned::to_owned))
            .set_continuation_token(request.continuation.map(ToOwned::to_owned))
            .set_max_keys(request.max_keys.map(i32::from));
        let sent = list.customize().interceptor(kept).interceptor(learn).send().await;
        sent.map(drop).map_err(|error| service_error(Api::S3, LIST, &error))
    };
    let received = receive(store, LIST, request.bucket, query, by_sdk).await?;
    listing(read(&received, Listed::Objects, LIST)?)
}

fn listing(page: Page<'_>) -> Result<ListPage, ServiceError> {
    let keys = Keys::of_page(&page, LIST);
    let is_truncated = page.is_truncated.ok_or_else(|| no_answer(LIST, "IsTruncated"))?;
    // A listing cut short would make objects look absent, and one without a token begins again.
    let continuation = match (is_truncated, page.next_token.filter(|token| !token.is_empty())) {
        (true, None) => return Err(invalid_response(LIST, "the page is not the last and has no continuation")),
        (true, token) => token,
        (false, _) => None,
    };
    let objects = page.entries.into_iter().map(|entry| keys.entry(entry)).collect::<Result<_, _>>()?;
    Ok(ListPage { objects, continuation })
}

/// Returns a storage class other than `STANDARD`, as records store it: nearly all objects have the standard class,
/// which thus takes no memory.
fn other_than_standard(class: &str) -> Option<String> {
    (class != STANDARD && !class.is_empty()).then(|| class.to_owned())
}

pub(super) async fn uploads(client: &Client, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
    let mut found = Vec::new();
    let mut marker: Option<(String, Option<String>)> = None;
    loop {
        let (key_marker, upload_marker) = marker.unzip();
        let page = client
            .list_multipart_uploads()
            .bucket(bucket)
            .prefix(key)
            .encoding_type(EncodingType::Url)
            .set_key_marker(key_marker)
            .set_upload_id_marker(upload_marker.flatten())
            .send()
            .await
            .map_err(|error| of_bucket(service_error(Api::S3, LIST_UPLOADS, &error)))?;
        let keys = Keys::of(page.encoding_type(), LIST_UPLOADS);
        for upload in page.uploads() {
            if keys.read(upload.key())? == key {
                found.push(open(upload)?);
            }
        }
        if page.is_truncated() != Some(true) {
            return Ok(found);
        }
        let Some(next) = page.next_key_marker().and_then(some) else { return Ok(found) };
        let next = keys.read(Some(next))?;
        // Uploads are sorted by key, and `key` sorts before every longer key that starts with it.
        if next != key {
            return Ok(found);
        }
        marker = Some((next, page.next_upload_id_marker().map(ToOwned::to_owned)));
    }
}

fn open(upload: &MultipartUpload) -> Result<OpenUpload, ServiceError> {
    let missing = |what: &str| invalid_response(LIST_UPLOADS, format!("an upload has no {what}"));
    let initiated = upload.initiated().and_then(|time| time.to_millis().ok());
    Ok(OpenUpload {
        upload_id: upload.upload_id().ok_or_else(|| missing("id"))?.to_owned(),
        initiated: initiated.ok_or_else(|| missing("time"))?,
        initiator: upload.initiator().and_then(|who| who.id()).map(ToOwned::to_owned),
    })
}

#[cfg(test)]
mod tests;
