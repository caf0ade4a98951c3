//! Listings of keys, versions and uploads.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use migration_core::config::STANDARD;
use migration_core::object::ListedObject;
use migration_local::store::{After, KeyPage, KeyQuery, ListedUpload, ListedVersion, LocalStore};
use s3s::S3Result;
use s3s::dto::{
    CommonPrefix, DeleteMarkerEntry, ETag, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, MultipartUpload, Object, ObjectStorageClass, ObjectVersion, ObjectVersionStorageClass,
};

use crate::error::{refused, s3_error};
use crate::objects::NULL;
use crate::time::timestamp;
use crate::xml::Keys;

/// Most entries of a page.
const PAGE: i32 = 1_000;

/// Returns the most entries of a page that was asked for.
fn most(asked: Option<i32>) -> S3Result<i32> {
    match asked {
        Some(most) if most < 0 => Err(refused("InvalidArgument", "argument maxKeys must be an integer from 0 on")),
        asked => Ok(asked.unwrap_or(PAGE).min(PAGE)),
    }
}

/// Encodes the place of a page, so that it can stand in XML and no caller takes it for a key.
fn encode(after: &After) -> String {
    let (kind, text) = match after {
        After::Key(key) => ("k", key),
        After::Prefix(prefix) => ("p", prefix),
    };
    format!("{kind}{}", URL_SAFE_NO_PAD.encode(text))
}

fn decode(token: &str) -> S3Result<After> {
    let incorrect = || refused("InvalidArgument", "the continuation token provided is incorrect");
    let text = |encoded| URL_SAFE_NO_PAD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (kind, encoded) = token.split_at_checked(1).ok_or_else(incorrect)?;
    let text = text(encoded).ok_or_else(incorrect)?;
    match kind {
        "k" => Ok(After::Key(text)),
        "p" => Ok(After::Prefix(text)),
        _ => Err(incorrect()),
    }
}

fn object(keys: Keys, object: ListedObject) -> S3Result<Object> {
    let class = object.storage_class.unwrap_or_else(|| STANDARD.to_owned());
    Ok(Object {
        e_tag: object.etag.map(|etag| ETag::Strong(etag.as_str().to_owned())),
        key: Some(keys.write(&object.key)?),
        last_modified: Some(timestamp(object.modified)),
        size: i64::try_from(object.size).ok(),
        storage_class: Some(ObjectStorageClass::from(class)),
        ..Default::default()
    })
}

fn prefixes(keys: Keys, prefixes: &[String]) -> S3Result<Vec<CommonPrefix>> {
    prefixes.iter().map(|prefix| Ok(CommonPrefix { prefix: Some(keys.write(prefix)?) })).collect()
}

pub(crate) async fn objects_v2(store: &LocalStore, input: ListObjectsV2Input) -> S3Result<ListObjectsV2Output> {
    let keys = Keys::of(input.encoding_type.as_ref())?;
    let most = most(input.max_keys)?;
    let after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => Some(decode(token)?),
        (None, Some(key)) if !key.is_empty() => Some(After::Key(key.clone())),
        (None, _) => None,
    };
    let page = page(store, &input.bucket, input.prefix.as_deref(), input.delimiter.as_deref(), after, most).await?;
    let contents: Vec<Object> = page.objects.into_iter().map(|o| object(keys, o)).collect::<S3Result<_>>()?;
    let common_prefixes = prefixes(keys, &page.prefixes)?;
    Ok(ListObjectsV2Output {
        prefix: keys.repeat(Some(input.prefix.as_deref().unwrap_or_default()))?,
        max_keys: Some(most),
        key_count: i32::try_from(contents.len() + common_prefixes.len()).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_ref().map(encode),
        contents: Some(contents),
        common_prefixes: Some(common_prefixes),
        delimiter: keys.repeat(input.delimiter.as_deref())?,
        start_after: keys.repeat(input.start_after.as_deref())?,
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..Default::default()
    })
}

pub(crate) async fn objects_v1(store: &LocalStore, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
    let keys = Keys::of(input.encoding_type.as_ref())?;
    let most = most(input.max_keys)?;
    let delimiter = input.delimiter.as_deref();
    let after = input.marker.as_deref().filter(|marker| !marker.is_empty()).map(|marker| {
        // A marker that ends like a common prefix is one.
        let is_prefix = delimiter.is_some_and(|delimiter| !delimiter.is_empty() && marker.ends_with(delimiter));
        if is_prefix { After::Prefix(marker.to_owned()) } else { After::Key(marker.to_owned()) }
    });
    let page = page(store, &input.bucket, input.prefix.as_deref(), delimiter, after, most).await?;
    let contents = page.objects.into_iter().map(|o| object(keys, o)).collect::<S3Result<_>>()?;
    let next_marker = match &page.next {
        Some(After::Key(next) | After::Prefix(next)) => Some(keys.write(next)?),
        None => None,
    };
    Ok(ListObjectsOutput {
        prefix: keys.repeat(Some(input.prefix.as_deref().unwrap_or_default()))?,
        marker: keys.repeat(Some(input.marker.as_deref().unwrap_or_default()))?,
        max_keys: Some(most),
        is_truncated: Some(page.next.is_some()),
        contents: Some(contents),
        common_prefixes: Some(prefixes(keys, &page.prefixes)?),
        delimiter: keys.repeat(delimiter)?,
        next_marker,
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..Default::default()
    })
}

/// Lists a page of keys. A page without entries is the last one, whatever follows.
async fn page(
    store: &LocalStore,
    bucket: &str,
    prefix: Option<&str>,
    delimiter: Option<&str>,
    after: Option<After>,
    most: i32,
) -> S3Result<KeyPage> {
    let page = usize::try_from(most).unwrap_or_default();
    let query = KeyQuery { prefix: prefix.unwrap_or_default(), delimiter, after: after.as_ref(), page };
    let found = store.list_keys(bucket, query).await.map_err(|error| s3_error(&error))?;
    Ok(if page == 0 { KeyPage::default() } else { found })
}

pub(crate) async fn versions(store: &LocalStore, input: ListObjectVersionsInput) -> S3Result<ListObjectVersionsOutput> {
    if input.delimiter.as_deref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(refused("NotImplemented", "a delimiter of a listing of versions is not implemented"));
    }
    let keys = Keys::of(input.encoding_type.as_ref())?;
    let most = most(input.max_keys)?.max(1);
    let key = input.key_marker.as_deref().filter(|key| !key.is_empty());
    let id = input.version_id_marker.as_deref().filter(|id| !id.is_empty());
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let page = usize::try_from(most).unwrap_or_default();
    let found = store.list_all_versions(&input.bucket, prefix, key.map(|key| (key, id)), page).await;
    let found = found.map_err(|error| s3_error(&error))?;
    let last = found.versions.last().filter(|_| found.next.is_some());
    let next_key_marker = last.map(|version| keys.write(&version.key)).transpose()?;
    let next_version_id_marker = last.map(id_of);
    let (versions, delete_markers) = entries(keys, found.versions)?;
    Ok(ListObjectVersionsOutput {
        is_truncated: Some(next_key_marker.is_some()),
        key_marker: keys.repeat(Some(key.unwrap_or_default()))?,
        max_keys: Some(most),
        next_key_marker,
        next_version_id_marker,
        prefix: keys.repeat(Some(prefix))?,
        version_id_marker: input.version_id_marker,
        versions: Some(versions),
        delete_markers: Some(delete_markers),
        encoding_type: input.encoding_type,
        name: Some(input.bucket),
        ..Default::default()
    })
}

/// Sorts the versions of a page into objects and delete markers.
fn entries(keys: Keys, page: Vec<ListedVersion>) -> S3Result<(Vec<ObjectVersion>, Vec<DeleteMarkerEntry>)> {
    let (mut versions, mut delete_markers) = (Vec::new(), Vec::new());
    for version in page {
        let (key, version_id) = (Some(keys.write(&version.key)?), Some(id_of(&version)));
        let (is_latest, last_modified) = (Some(version.is_latest), Some(timestamp(version.modified)));
        let Some(object) = version.object else {
            delete_markers.push(DeleteMarkerEntry { is_latest, key, last_modified, version_id, ..Default::default() });
            continue;
        };
        let class = object.storage_class.unwrap_or_else(|| STANDARD.to_owned());
        versions.push(ObjectVersion {
            e_tag: object.etag.map(|etag| ETag::Strong(etag.as_str().to_owned())),
            is_latest,
            key,
            last_modified,
            size: i64::try_from(object.size).ok(),
            storage_class: Some(ObjectVersionStorageClass::from(class)),
            version_id,
            ..Default::default()
        });
    }
    Ok((versions, delete_markers))
}

fn id_of(version: &ListedVersion) -> String {
    version.version_id.clone().unwrap_or_else(|| NULL.to_owned())
}

fn upload(keys: Keys, upload: ListedUpload) -> S3Result<MultipartUpload> {
    let initiator = Initiator { display_name: Some(upload.initiator.clone()), id: Some(upload.initiator) };
    Ok(MultipartUpload {
        initiated: Some(timestamp(upload.initiated)),
        initiator: Some(initiator),
        key: Some(keys.write(&upload.key)?),
        upload_id: Some(upload.upload_id),
        ..Default::default()
    })
}

pub(crate) async fn uploads(
    store: &LocalStore,
    input: ListMultipartUploadsInput,
) -> S3Result<ListMultipartUploadsOutput> {
    if input.delimiter.as_deref().is_some_and(|delimiter| !delimiter.is_empty()) {
        return Err(refused("NotImplemented", "a delimiter of a listing of uploads is not implemented"));
    }
    let keys = Keys::of(input.encoding_type.as_ref())?;
    let most = most(input.max_uploads)?.max(1);
    let key = input.key_marker.as_deref().filter(|key| !key.is_empty());
    let id = input.upload_id_marker.as_deref().filter(|id| !id.is_empty());
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let page = usize::try_from(most).unwrap_or_default();
    let found = store.list_all_uploads(&input.bucket, prefix, key.map(|key| (key, id)), page).await;
    let (found, is_truncated) = found.map_err(|error| s3_error(&error))?;
    let last = found.last().filter(|_| is_truncated);
    let next_key_marker = last.map(|upload| keys.write(&upload.key)).transpose()?;
    let next_upload_id_marker = last.map(|upload| upload.upload_id.clone());
    let uploads = found.into_iter().map(|found| upload(keys, found)).collect::<S3Result<_>>()?;
    Ok(ListMultipartUploadsOutput {
        is_truncated: Some(is_truncated),
        key_marker: keys.repeat(Some(key.unwrap_or_default()))?,
        max_uploads: Some(most),
        next_key_marker,
        next_upload_id_marker,
        prefix: keys.repeat(Some(prefix))?,
        upload_id_marker: input.upload_id_marker,
        uploads: Some(uploads),
        encoding_type: input.encoding_type,
        bucket: Some(input.bucket),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_whatever_the_key_holds() {
        for after in [After::Key("a\u{1}/ü".to_owned()), After::Prefix("a/".to_owned()), After::Key(String::new())] {
            assert_eq!(decode(&encode(&after)).unwrap(), after);
        }
        for wrong in ["", "kÿ", "x", "k*", "ü"] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }
}
