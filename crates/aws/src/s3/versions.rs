//! Listings of versions.

use aws_sdk_s3::types::EncodingType;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{ListPage, ListRequest};

use super::S3Store;
use super::fetch::{Kept, read, receive, some};
use super::list::Keys;
use super::page::{Listed, Page};
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
pub(super) async fn newest(store: &S3Store, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
    // An unknown continuation must not restart the listing.
    let foreign = || ServiceError::new(ErrorClass::Refused, LIST, "InvalidArgument", "the continuation is unknown");
    let marker = match (request.continuation, request.start_after) {
        (Some(text), _) => Some(Marker::parse(text).ok_or_else(foreign)?),
        (None, Some(key)) => Some(Marker { key, version_id: None }),
        (None, None) => None,
    };
    let key_marker = marker.as_ref().and_then(|marker| some(marker.key));
    let id_marker = marker.as_ref().and_then(|marker| marker.version_id);
    let max_keys = request.max_keys.map(|keys| keys.to_string());
    let mut query = vec![("versions", ""), ("encoding-type", "url"), ("prefix", request.prefix)];
    query.extend(key_marker.map(|key| ("key-marker", key)));
    query.extend(id_marker.map(|id| ("version-id-marker", id)));
    query.extend(max_keys.as_deref().map(|keys| ("max-keys", keys)));
    let by_sdk = async |kept: Kept, learn| {
        let list = store
            .client
            .list_object_versions()
            .bucket(request.bucket)
            .prefix(request.prefix)
            .encoding_type(EncodingType::Url)
            .set_key_marker(key_marker.map(ToOwned::to_owned))
            .set_version_id_marker(id_marker.map(ToOwned::to_owned))
            .set_max_keys(request.max_keys.map(i32::from));
        let sent = list.customize().interceptor(kept).interceptor(learn).send().await;
        sent.map(drop).map_err(|error| service_error(Api::S3, LIST, &error))
    };
    let received = receive(store, LIST, request.bucket, query, by_sdk).await?;
    let page = read(&received, Listed::Versions, LIST)?;
    let keys = Keys::of_page(&page, LIST);
    let continuation = continuation(keys, &page)?;
    let newest = page.entries.into_iter().filter(|version| version.is_latest == Some(true));
    let objects = newest.map(|version| keys.entry(version)).collect::<Result<_, _>>()?;
    if continuation.is_some() && continuation.as_deref() == request.continuation {
        return Err(invalid_response(LIST, "the page ends where the one before ended"));
    }
    Ok(ListPage { objects, continuation })
}

/// Returns where the next page starts. A listing cut short would make objects look absent.
fn continuation(keys: Keys, page: &Page<'_>) -> Result<Option<String>, ServiceError> {
    if !page.is_truncated.ok_or_else(|| no_answer(LIST, "IsTruncated"))? {
        return Ok(None);
    }
    if page.next_key.is_none() {
        return Err(invalid_response(LIST, "the page is not the last and has no next key"));
    }
    let key = keys.read(page.next_key.as_deref())?;
    Ok(Some(Marker { key: &key, version_id: page.next_version.as_deref() }.encode()))
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
