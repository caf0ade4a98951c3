//! Rules of deletions.

use migration_core::error::ErrorClass;
use migration_core::etag::ETag;
use migration_core::ports::{DeleteRequest, ObjectStore};

use super::{StoreUnderTest, md5};
use crate::conformance::report::CaseResult;
use crate::conformance::{ensure_class, ensure_eq};

fn request<'a, S>(t: &'a StoreUnderTest<S>, key: &'a str) -> DeleteRequest<'a> {
    DeleteRequest { bucket: &t.bucket, key, if_match: None }
}

pub(super) async fn a_deleted_object_is_gone<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    for key in ["k", "folder/", "a b+c%41"] {
        t.put(key, "body").await?;
        t.store.delete(request(t, key)).await?;
        ensure_eq!(t.head(key).await?, None, "{key}");
    }
    ensure_eq!(t.listed_keys(t.list_request()).await?, [""; 0], "keys");
    Ok(())
}

pub(super) async fn deleting_nothing_changes_nothing<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    t.put("other", "body").await?;
    let etag = ETag::of_content(&md5(b"body"));
    t.store.delete(request(t, "k")).await?;
    t.store.delete(DeleteRequest { if_match: Some(&etag), ..request(t, "k") }).await?;
    ensure_eq!(t.listed_keys(t.list_request()).await?, ["other"], "keys");
    Ok(())
}

/// Source: "How to perform conditional deletes" in the S3 user guide.
pub(super) async fn a_deletion_can_ask_for_one_content<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    t.put("k", "old").await?;
    let old = ETag::of_content(&md5(b"old"));
    t.put("k", "new").await?;
    let deleted = t.store.delete(DeleteRequest { if_match: Some(&old), ..request(t, "k") }).await;
    ensure_class!(deleted, ErrorClass::PreconditionFailed, "deletion of another content");
    ensure_eq!(t.listed_keys(t.list_request()).await?, ["k"], "keys after a refused deletion");
    let new = ETag::of_content(&md5(b"new"));
    t.store.delete(DeleteRequest { if_match: Some(&new), ..request(t, "k") }).await?;
    ensure_eq!(t.head("k").await?, None, "the object");
    Ok(())
}
