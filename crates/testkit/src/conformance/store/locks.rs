//! Rules of object locks.

use bytes::Bytes;
use migration_core::ports::{
    Attributes, CompleteUpload, CompletedPart, CopyRequest, CopySource, CreateUpload, HeadRequest, ObjectLock,
    ObjectStore, PutPart, PutRequest, Retention, RetentionMode, Tags, UploadRef, WriteCondition, Written,
};

use super::owner::{BucketOwner, OwnedBucket};
use super::{held, md5};
use crate::conformance::ensure_eq;
use crate::conformance::report::{CaseResult, Failure};

const KEY: &str = "k";
/// 2099-01-01T00:00:00Z, in milliseconds since 1970.
const FAR: i64 = 4_070_908_800_000;

/// Locks that their owner can still remove, so that no case leaves undeletable objects.
fn locks() -> [ObjectLock; 3] {
    let retention = Some(Retention { mode: RetentionMode::Governance, until: FAR });
    [
        ObjectLock { retention, legal_hold: false },
        ObjectLock { retention: None, legal_hold: true },
        ObjectLock { retention, legal_hold: true },
    ]
}

fn locked(lock: ObjectLock) -> Attributes {
    Attributes { lock, ..Attributes::default() }
}

async fn put<S: ObjectStore>(store: &S, bucket: &str, key: &str, attributes: &Attributes) -> Result<Written, Failure> {
    let request = PutRequest {
        bucket,
        key,
        body: Bytes::from("body"),
        md5: md5(b"body"),
        attributes,
        tags: &Tags::new(),
        condition: &WriteCondition::Any,
    };
    Ok(store.put(request).await?)
}

async fn lock_of<S: ObjectStore>(store: &S, bucket: &str, key: &str) -> Result<Option<ObjectLock>, Failure> {
    Ok(store.head(HeadRequest::new(bucket, key)).await?.map(|head| head.attributes.lock))
}

pub(super) async fn locks_travel_along<S: ObjectStore, O: BucketOwner>(o: &OwnedBucket<S, O>) -> CaseResult {
    let (store, bucket) = (&o.under_test.store, o.owner.new_locked_bucket().await?);
    for lock in locks() {
        put(store, &bucket, KEY, &locked(lock.clone())).await?;
        ensure_eq!(lock_of(store, &bucket, KEY).await?, Some(lock), "lock");
    }
    put(store, &bucket, "free", &Attributes::default()).await?;
    ensure_eq!(lock_of(store, &bucket, "free").await?, Some(ObjectLock::default()), "lock that nobody gave");
    Ok(())
}

pub(super) async fn locks_of_uploads_travel_along<S: ObjectStore, O: BucketOwner>(o: &OwnedBucket<S, O>) -> CaseResult {
    let (store, bucket) = (&o.under_test.store, o.owner.new_locked_bucket().await?);
    for lock in locks() {
        let (attributes, tags) = (locked(lock.clone()), Tags::new());
        let create = CreateUpload { bucket: &bucket, key: KEY, attributes: &attributes, tags: &tags, checksum: false };
        let id = store.create_upload(create).await?;
        let upload = UploadRef { bucket: &bucket, key: KEY, upload_id: &id };
        let body = held(&Bytes::from("body"));
        let written = store.put_part(PutPart { upload, number: 1, body, checksum: false }).await?;
        let parts = [CompletedPart { number: 1, etag: written.etag, checksum: None }];
        let condition = WriteCondition::Any;
        store.complete_upload(CompleteUpload { upload, parts: &parts, condition: &condition }).await?;
        ensure_eq!(lock_of(store, &bucket, KEY).await?, Some(lock), "lock of an upload");
    }
    Ok(())
}

pub(super) async fn a_copy_has_the_lock_asked_for<S: ObjectStore, O: BucketOwner>(o: &OwnedBucket<S, O>) -> CaseResult {
    let (store, bucket) = (&o.under_test.store, o.owner.new_locked_bucket().await?);
    for lock in locks().into_iter().chain([ObjectLock::default()]) {
        let etag = put(store, &bucket, KEY, &locked(lock.clone())).await?.etag;
        for given in [lock, ObjectLock::default()] {
            let source = CopySource { bucket: &bucket, key: KEY, version_id: None, if_match: &etag };
            let (attributes, condition) = (locked(given.clone()), WriteCondition::Any);
            let copy =
                CopyRequest { source, bucket: &bucket, key: "copy", attributes: &attributes, condition: &condition };
            store.copy(copy).await?;
            ensure_eq!(lock_of(store, &bucket, "copy").await?, Some(given), "lock of a copy");
        }
    }
    Ok(())
}
