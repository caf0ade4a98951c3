//! Rules of buckets with versioning.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::object::ListedObject;
use migration_core::ports::{
    Attributes, CopyRequest, CopySource, GetRequest, HeadRequest, ListRequest, ObjectHead, ObjectStore, Tags,
    WriteCondition,
};

use super::owner::{BucketOwner, OwnedBucket};
use super::{StoreUnderTest, read};
use crate::conformance::report::{CaseResult, Failure};
use crate::conformance::{ensure, ensure_class, ensure_eq};

/// Keys with two versions each: more than a page of 1,000 in total.
const MANY: usize = 601;

impl<S: ObjectStore, O: BucketOwner> OwnedBucket<S, O> {
    async fn keep_versions(&self, enabled: bool) -> Result<(), Failure> {
        self.owner.set_versioning(&self.under_test.bucket, enabled).await
    }

    async fn delete(&self, key: &str) -> Result<Option<String>, Failure> {
        self.owner.delete(&self.under_test.bucket, key).await
    }
}

/// Puts an object and returns its version id.
async fn put<S: ObjectStore>(t: &StoreUnderTest<S>, key: &str, body: &'static str) -> Result<String, Failure> {
    let written = t.put(key, body).await?;
    written.version_id.ok_or_else(|| Failure::new(format!("{key} was written without a version")))
}

async fn content_of<S: ObjectStore>(t: &StoreUnderTest<S>, key: &str, version: &str) -> Result<Bytes, ServiceError> {
    read(t.store.get(GetRequest { version_id: Some(version), ..t.get_request(key) }).await?).await
}

async fn head_of<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    key: &str,
    version: &str,
) -> Result<Option<ObjectHead>, ServiceError> {
    t.store.head(HeadRequest { version_id: Some(version), ..HeadRequest::new(&t.bucket, key) }).await
}

/// Reads all pages of a version listing.
async fn pages<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    request: ListRequest<'_>,
) -> Result<Vec<Vec<ListedObject>>, Failure> {
    let mut pages = Vec::new();
    let mut continuation = None;
    loop {
        let request = ListRequest { continuation: continuation.as_deref(), ..request };
        let page = t.store.list_versions(request).await?;
        pages.push(page.objects);
        continuation = page.continuation;
        if continuation.is_none() {
            return Ok(pages);
        }
        ensure!(pages.len() < 100, "the listing of versions does not end");
    }
}

/// Lists keys with their version ids.
async fn listed<S: ObjectStore>(t: &StoreUnderTest<S>) -> Result<Vec<(String, Option<String>)>, Failure> {
    let objects = pages(t, t.list_request()).await?.concat();
    Ok(objects.into_iter().map(|object| (object.key, object.version_id)).collect())
}

pub(super) async fn each_write_makes_a_version<S: ObjectStore, O: BucketOwner>(o: &OwnedBucket<S, O>) -> CaseResult {
    o.keep_versions(true).await?;
    let t = &o.under_test;
    let first = put(t, "k", "first").await?;
    let second = put(t, "k", "second, longer").await?;
    ensure!(first != second, "two versions have the id {first}");
    ensure_eq!(t.content("k").await?, Bytes::from("second, longer"), "content of the newest");
    ensure_eq!(t.get("k").await?.head.version_id, Some(second.clone()), "version with the body");
    ensure_eq!(t.head("k").await?.and_then(|head| head.version_id), Some(second.clone()), "version of the head");
    for (version, body) in [(&first, "first"), (&second, "second, longer")] {
        ensure_eq!(content_of(t, "k", version).await?, Bytes::from(body), "content of a version");
        let head = head_of(t, "k", version).await?;
        let found = head.map(|head| (head.size, head.version_id));
        ensure_eq!(found, Some((body.len() as u64, Some(version.clone()))), "size and id of a version");
    }
    Ok(())
}

pub(super) async fn uploads_and_copies_make_versions<S: ObjectStore, O: BucketOwner>(
    o: &OwnedBucket<S, O>,
) -> CaseResult {
    o.keep_versions(true).await?;
    let t = &o.under_test;
    let id = t.create("k").await?;
    let upload = t.upload("k", &id);
    let parts = [(1, t.part(upload, 1, &Bytes::from("uploaded")).await?)];
    let written = t.complete(upload, &parts, &WriteCondition::Any).await?;
    let source = CopySource { bucket: &t.bucket, key: "k", version_id: None, if_match: &written.etag };
    let (attributes, condition) = (Attributes::default(), WriteCondition::Any);
    let request =
        CopyRequest { source, bucket: &t.bucket, key: "copy", attributes: &attributes, condition: &condition };
    let copied = t.store.copy(request).await?;
    ensure!(written.version_id.is_some() && copied.version_id.is_some(), "no version of an upload or a copy");
    let expected = [("copy".to_owned(), copied.version_id), ("k".to_owned(), written.version_id)];
    ensure_eq!(listed(t).await?, expected, "versions listed");
    Ok(())
}

pub(super) async fn the_newest_version_of_each_key_is_listed<S: ObjectStore, O: BucketOwner>(
    o: &OwnedBucket<S, O>,
) -> CaseResult {
    o.keep_versions(true).await?;
    let t = &o.under_test;
    let mut newest = BTreeMap::new();
    for (key, body) in [("b", "1"), ("a", "1"), ("é", "1"), ("b", "22"), ("a b+%41", "1"), ("a", "22"), ("b", "333")] {
        newest.insert(key.to_owned(), (put(t, key, body).await?, body.len() as u64));
    }
    let found = pages(t, t.list_request()).await?.concat();
    let found: Vec<_> = found.into_iter().map(|o| (o.key, (o.version_id.unwrap_or_default(), o.size))).collect();
    ensure_eq!(found, newest.into_iter().collect::<Vec<_>>(), "keys in order, versions and sizes");
    let some = pages(t, ListRequest { prefix: "a", start_after: Some("a"), ..t.list_request() }).await?.concat();
    ensure_eq!(some.into_iter().map(|o| o.key).collect::<Vec<_>>(), ["a b+%41"], "keys under a prefix after a key");
    Ok(())
}

pub(super) async fn pages_of_versions_hold_every_key_once<S: ObjectStore, O: BucketOwner>(
    o: &OwnedBucket<S, O>,
) -> CaseResult {
    o.keep_versions(true).await?;
    let t = &o.under_test;
    let keys: Vec<String> = (0..MANY).map(|number| format!("p/{number:04} +%41é")).collect();
    for _ in 0..2 {
        let puts = stream::iter(&keys).map(|key| t.put(key, "x")).buffer_unordered(16);
        puts.try_for_each(|_| async { Ok(()) }).await?;
    }
    let pages = pages(t, ListRequest { prefix: "p/", ..t.list_request() }).await?;
    ensure!(pages.len() > 1, "{} versions came in one page", 2 * MANY);
    let found: Vec<String> = pages.concat().into_iter().map(|object| object.key).collect();
    ensure!(found == keys, "keys are missing, doubled or out of order: {} found", found.len());
    Ok(())
}

pub(super) async fn a_deleted_key_is_not_listed<S: ObjectStore, O: BucketOwner>(o: &OwnedBucket<S, O>) -> CaseResult {
    o.keep_versions(true).await?;
    let t = &o.under_test;
    let old = put(t, "gone", "old").await?;
    let there = put(t, "there", "x").await?;
    let marker = o.delete("gone").await?;
    ensure_eq!(t.listed_keys(t.list_request()).await?, ["there"], "keys");
    ensure_eq!(listed(t).await?, [("there".to_owned(), Some(there))], "keys and versions");
    ensure_class!(t.get("gone").await, ErrorClass::NoSuchKey, "a deleted key");
    ensure_eq!(t.head("gone").await?, None, "head of a deleted key");
    ensure_eq!(content_of(t, "gone", &old).await?, Bytes::from("old"), "content of the version before");
    t.put_if("gone", "new", &WriteCondition::Absent).await?;
    ensure_eq!(t.listed_keys(t.list_request()).await?, ["gone", "there"], "keys after it was written anew");
    ensure!(marker.is_some(), "the delete marker has no id");
    Ok(())
}

pub(super) async fn a_delete_marker_can_be_removed<S: ObjectStore, O: BucketOwner>(
    o: &OwnedBucket<S, O>,
) -> CaseResult {
    o.keep_versions(true).await?;
    let t = &o.under_test;
    let old = put(t, "k", "old").await?;
    let marker = o.delete("k").await?.ok_or_else(|| Failure::new("the delete marker has no id"))?;
    o.owner.delete_version(&t.bucket, "k", &marker).await?;
    ensure_eq!(listed(t).await?, [("k".to_owned(), Some(old))], "keys and versions without the marker");
    ensure_eq!(t.content("k").await?, Bytes::from("old"), "content");
    Ok(())
}

pub(super) async fn a_removed_version_is_not_there<S: ObjectStore, O: BucketOwner>(
    o: &OwnedBucket<S, O>,
) -> CaseResult {
    o.keep_versions(true).await?;
    let t = &o.under_test;
    let first = put(t, "k", "first").await?;
    let second = put(t, "k", "second").await?;
    o.owner.delete_version(&t.bucket, "k", &second).await?;
    ensure_eq!(listed(t).await?, [("k".to_owned(), Some(first))], "keys and versions");
    ensure_eq!(t.content("k").await?, Bytes::from("first"), "content");
    ensure_class!(content_of(t, "k", &second).await, ErrorClass::NoSuchKey, "the version that was removed");
    ensure_eq!(head_of(t, "k", &second).await?, None, "its head");
    Ok(())
}

pub(super) async fn the_version_null_has_no_id<S: ObjectStore, O: BucketOwner>(o: &OwnedBucket<S, O>) -> CaseResult {
    let t = &o.under_test;
    let never = t.put("k", "before versions").await?;
    ensure_eq!(never.version_id, None, "version in a bucket that keeps none");
    ensure_eq!(listed(t).await?, [("k".to_owned(), None)], "versions of a bucket that keeps none");
    o.keep_versions(true).await?;
    ensure_eq!(listed(t).await?, [("k".to_owned(), None)], "versions of what was there before");
    ensure_eq!(t.get("k").await?.head.version_id, None, "version with the body");
    ensure_eq!(t.head("k").await?.and_then(|head| head.version_id), None, "version of the head");
    let kept = put(t, "k", "kept").await?;
    ensure_eq!(content_of(t, "k", "null").await?, Bytes::from("before versions"), "the version null");

    o.keep_versions(false).await?;
    let suspended = t.put("k", "suspended").await?;
    ensure_eq!(suspended.version_id, None, "version while they are suspended");
    ensure_eq!(listed(t).await?, [("k".to_owned(), None)], "versions while they are suspended");
    ensure_eq!(content_of(t, "k", "null").await?, Bytes::from("suspended"), "the version null is replaced");
    ensure_eq!(content_of(t, "k", &kept).await?, Bytes::from("kept"), "the version with an id stays");
    o.delete("k").await?;
    ensure_eq!(listed(t).await?, [], "versions after a deletion while they are suspended");
    ensure_eq!(content_of(t, "k", &kept).await?, Bytes::from("kept"), "the version with an id stays");
    Ok(())
}

pub(super) async fn tags_belong_to_versions<S: ObjectStore, O: BucketOwner>(o: &OwnedBucket<S, O>) -> CaseResult {
    o.keep_versions(true).await?;
    let t = &o.under_test;
    let tags: Tags = vec![("version".into(), "first".into())];
    let first = t.put_with("k", "x", &Attributes::default(), &tags, &WriteCondition::Any).await?;
    put(t, "k", "y").await?;
    ensure_eq!(t.store.tags(&t.bucket, "k", None).await?, [], "tags of the newest");
    ensure_eq!(t.store.tags(&t.bucket, "k", first.version_id.as_deref()).await?, tags, "tags of the first");
    Ok(())
}

pub(super) async fn a_version_is_copied<S: ObjectStore, O: BucketOwner>(o: &OwnedBucket<S, O>) -> CaseResult {
    o.keep_versions(true).await?;
    let t = &o.under_test;
    let first = t.put("k", "first").await?;
    put(t, "k", "second").await?;
    let version_id = first.version_id.as_deref();
    let source = CopySource { bucket: &t.bucket, key: "k", version_id, if_match: &first.etag };
    let (attributes, condition) = (Attributes::default(), WriteCondition::Any);
    let request =
        CopyRequest { source, bucket: &t.bucket, key: "copy", attributes: &attributes, condition: &condition };
    t.store.copy(request).await?;
    ensure_eq!(t.content("copy").await?, Bytes::from("first"), "content of the copy of the first version");
    Ok(())
}
