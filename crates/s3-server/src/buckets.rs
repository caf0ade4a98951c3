//! Requests about buckets.

use migration_local::store::{BucketSettings, LocalStore, Versioning};
use s3s::S3Result;
use s3s::dto::{
    Bucket, BucketVersioningStatus, CreateBucketInput, CreateBucketOutput, DeleteBucketOutput, GetBucketLocationOutput,
    GetBucketVersioningOutput, HeadBucketOutput, ListBucketsInput, ListBucketsOutput, PutBucketVersioningInput,
    PutBucketVersioningOutput,
};

use crate::error::{refused, s3_error};
use crate::time::timestamp;

/// Returns the settings of a bucket, or the error that there is none.
fn settings(store: &LocalStore, bucket: &str) -> S3Result<BucketSettings> {
    let missing = || refused("NoSuchBucket", "the specified bucket does not exist");
    store.bucket_settings(bucket).ok_or_else(missing)
}

pub(crate) fn head(store: &LocalStore, bucket: &str) -> S3Result<HeadBucketOutput> {
    settings(store, bucket).map(|_| HeadBucketOutput::default())
}

/// Names no region: S3's first one has no name either, and any is accepted.
pub(crate) fn location(store: &LocalStore, bucket: &str) -> S3Result<GetBucketLocationOutput> {
    settings(store, bucket).map(|_| GetBucketLocationOutput::default())
}

async fn committed(store: &LocalStore, operation: &str) -> S3Result<()> {
    store.committed(operation).await.map_err(|error| s3_error(&error))
}

pub(crate) async fn create(store: &LocalStore, input: &CreateBucketInput) -> S3Result<CreateBucketOutput> {
    if store.bucket_settings(&input.bucket).is_some() {
        let message = "your previous request to create the named bucket succeeded and you already own it";
        return Err(refused("BucketAlreadyOwnedByYou", message));
    }
    let settings = match input.object_lock_enabled_for_bucket {
        Some(true) => BucketSettings { object_lock: true, ..BucketSettings::versioned() },
        _ => BucketSettings::default(),
    };
    store.create_bucket(&input.bucket, settings);
    committed(store, "create bucket").await?;
    Ok(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) })
}

pub(crate) fn list(store: &LocalStore, input: &ListBucketsInput) -> ListBucketsOutput {
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let buckets = store.buckets().into_iter().filter(|bucket| bucket.name.starts_with(prefix));
    let buckets = buckets.map(|bucket| Bucket {
        creation_date: Some(timestamp(bucket.created)),
        name: Some(bucket.name),
        ..Default::default()
    });
    ListBucketsOutput { buckets: Some(buckets.collect()), ..Default::default() }
}

pub(crate) async fn delete(store: &LocalStore, bucket: &str) -> S3Result<DeleteBucketOutput> {
    store.remove_empty_bucket(bucket).map_err(|error| s3_error(&error))?;
    committed(store, "delete bucket").await.map(|()| DeleteBucketOutput::default())
}

pub(crate) fn versioning(store: &LocalStore, bucket: &str) -> S3Result<GetBucketVersioningOutput> {
    let status = match settings(store, bucket)?.versioning {
        Versioning::Off => None,
        Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
        Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
    };
    let status = status.map(BucketVersioningStatus::from_static);
    Ok(GetBucketVersioningOutput { status, ..Default::default() })
}

pub(crate) async fn set_versioning(
    store: &LocalStore,
    input: &PutBucketVersioningInput,
) -> S3Result<PutBucketVersioningOutput> {
    let settings = settings(store, &input.bucket)?;
    let status = input.versioning_configuration.status.as_ref().map(BucketVersioningStatus::as_str);
    let versioning = match status {
        Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) if !settings.object_lock => Versioning::Suspended,
        Some(BucketVersioningStatus::SUSPENDED) => {
            let message = "an Object Lock configuration is present, so the versioning state cannot be changed";
            return Err(refused("InvalidBucketState", message));
        }
        _ => return Err(refused("MalformedXML", "the status is neither Enabled nor Suspended")),
    };
    store.set_versioning(&input.bucket, versioning);
    committed(store, "set versioning").await.map(|()| PutBucketVersioningOutput::default())
}
