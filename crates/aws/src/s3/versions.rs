//! Listings of versions.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::types::{EncodingType, ObjectVersion};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::object::ListedObject;
use migration_core::ports::{ListPage, ListRequest};

use super::encoding::version_id;
use super::list::{Keys, of_bucket, other_than_standard};
use crate::error::{Api, invalid_response, no_answer, service_error};

const LIST: &str = "list object versions";

/// Position at the end of a page: after one version of a key, or after all of them.
///
/// Encoded as id, line feed, key. Version ids are printable, so the first line feed ends the id; keys may hold any
/// character.
#[derive(Debug, PartialEq, Eq)]
struct Marker<'a> {
    key: &'a str,
    version_id: Option<&'a str>,
}

impl<'a> Marker<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (id, key) = text.split_once('\n')?;
        Some(Self { key, version_id: Some(id).filter(|id| !id.is_empty()) })
    }

    fn encode(&self) -> String {
        format!("{}\n{}", self.version_id.unwrap_or_default(), self.key)
    }
}

/// Lists a page of the newest versions, delete markers included. Older versions are left out, so a page may be empty.
pub(super) async fn newest(client: &Client, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
    // An unknown continuation must not restart the listing.
    let foreign = || ServiceError::new(ErrorClass::Refused, LIST, "InvalidArgument", "the continuation is unknown");
    let marker = match (request.continuation, request.start_after) {
        (Some(text), _) => Some(Marker::parse(text).ok_or_else(foreign)?),
        (None, Some(key)) => Some(Marker { key, version_id: None }),
        (None, None) => None,
    };
    let page = client
        .list_object_versions()
        .bucket(request.bucket)
        .prefix(request.prefix)
        .encoding_type(EncodingType::Url)
        .set_key_marker(marker.as_ref().map(|marker| marker.key.to_owned()))
        .set_version_id_marker(marker.and_then(|marker| marker.version_id.map(ToOwned::to_owned)))
        .set_max_keys(request.max_keys.map(i32::from))
        .send()
        .await
        .map_err(|error| of_bucket(service_error(Api::S3, LIST, &error)))?;
    let keys = Keys::of(page.encoding_type(), LIST);
    let newest = page.versions().iter().filter(|version| version.is_latest() == Some(true));
    let objects = newest.map(|version| listed(keys, version)).collect::<Result<_, _>>()?;
    let continuation = continuation(keys, &page)?;
    if continuation.is_some() && continuation.as_deref() == request.continuation {
        return Err(invalid_response(LIST, "the page ends where the one before ended"));
    }
    Ok(ListPage { objects, continuation })
}

/// Returns where the next page starts. A listing cut short would make objects look absent.
fn continuation(keys: Keys, page: &ListObjectVersionsOutput) -> Result<Option<String>, ServiceError> {
    if !page.is_truncated().ok_or_else(|| no_answer(LIST, "IsTruncated"))? {
        return Ok(None);
    }
    if page.next_key_marker().is_none() {
        return Err(invalid_response(LIST, "the page is not the last and has no next key"));
    }
    let key = keys.read(page.next_key_marker())?;
    Ok(Some(Marker { key: &key, version_id: page.next_version_id_marker() }.encode()))
}

fn listed(keys: Keys, version: &ObjectVersion) -> Result<ListedObject, ServiceError> {
    let key = keys.read(version.key())?;
    let missing = |what: &str| invalid_response(LIST, format!("the entry of key {key:?} has no {what}"));
    let size = version.size().and_then(|size| u64::try_from(size).ok()).ok_or_else(|| missing("size"))?;
    let modified = version.last_modified().and_then(|time| time.to_millis().ok());
    let modified = modified.ok_or_else(|| missing("time of modification"))?;
    let etag = version.e_tag().map(ETag::new);
    let storage_class = version.storage_class().and_then(|class| other_than_standard(class.as_str()));
    Ok(ListedObject { etag, size, modified, version_id: version_id(version.version_id()), key, storage_class })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_come_back_whatever_the_key_holds() {
        for (key, version_id) in [("k", Some("v1")), ("a\nb\n", Some("null")), ("\nk", None), ("", None)] {
            let marker = Marker { key, version_id };
            assert_eq!(Marker::parse(&marker.encode()), Some(marker));
        }
        assert_eq!(Marker::parse("k"), None);
    }
}
