//! Listings of objects and of open uploads.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{EncodingType, MultipartUpload, Object, ObjectStorageClass};
use migration_core::config::STANDARD;
use migration_core::error::{ErrorClass, ServiceError, ServiceFault};
use migration_core::etag::ETag;
use migration_core::object::ListedObject;
use migration_core::ports::{ListPage, ListRequest, OpenUpload};

use super::encoding::decode_key;
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

    pub(super) fn read(self, text: Option<&str>) -> Result<String, ServiceError> {
        let text = text.ok_or_else(|| invalid_response(self.operation, "an entry has no key"))?;
        if !self.encoded {
            return Ok(text.to_owned());
        }
        decode_key(text).ok_or_else(|| invalid_response(self.operation, format!("the key {text:?} is not UTF-8")))
    }
}

/// Maps the error of a request without a key: "not found" then means the bucket.
pub(super) fn of_bucket(error: ServiceError) -> ServiceError {
    match error.class {
        ErrorClass::NoSuchKey => ServiceError { class: ErrorClass::Service(ServiceFault::NotFound), ..error },
        _ => error,
    }
}

pub(super) async fn objects(client: &Client, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
    let page = client
        .list_objects_v2()
        .bucket(request.bucket)
        .prefix(request.prefix)
        .encoding_type(EncodingType::Url)
        // A continuation token already implies the start.
        .set_start_after(request.start_after.filter(|_| request.continuation.is_none()).map(ToOwned::to_owned))
        .set_continuation_token(request.continuation.map(ToOwned::to_owned))
        .set_max_keys(request.max_keys.map(i32::from))
        .send()
        .await
        .map_err(|error| of_bucket(service_error(Api::S3, LIST, &error)))?;
    let is_truncated = page.is_truncated().ok_or_else(|| no_answer(LIST, "IsTruncated"))?;
    let continuation = page.next_continuation_token().map(ToOwned::to_owned);
    // A listing cut short would make objects look absent.
    let continuation = match (is_truncated, continuation) {
        (true, None) => return Err(invalid_response(LIST, "the page is not the last and has no continuation")),
        (true, token) => token,
        (false, _) => None,
    };
    let keys = Keys::of(page.encoding_type(), LIST);
    let objects = page.contents().iter().map(|object| listed(keys, object)).collect::<Result<_, _>>()?;
    Ok(ListPage { objects, continuation })
}

fn listed(keys: Keys, object: &Object) -> Result<ListedObject, ServiceError> {
    let key = keys.read(object.key())?;
    let missing = |what: &str| invalid_response(LIST, format!("the entry of key {key:?} has no {what}"));
    let size = object.size().and_then(|size| u64::try_from(size).ok()).ok_or_else(|| missing("size"))?;
    let modified = object.last_modified().and_then(|time| time.to_millis().ok());
    let modified = modified.ok_or_else(|| missing("time of modification"))?;
    let storage_class = object.storage_class().map(ObjectStorageClass::as_str).and_then(other_than_standard);
    Ok(ListedObject { etag: object.e_tag().map(ETag::new), size, modified, key, version_id: None, storage_class })
}

/// Returns a storage class other than `STANDARD`, as records store it: nearly all objects have the standard class,
/// which thus takes no memory.
pub(super) fn other_than_standard(class: &str) -> Option<String> {
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
        let next = keys.read(page.next_key_marker())?;
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
