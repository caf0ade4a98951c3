//! Requests about tags of existing objects.

use migration_core::ports::{ObjectStore, PutTags, Tags};
use migration_local::store::LocalStore;
use s3s::S3Result;
use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
    PutObjectTaggingInput, PutObjectTaggingOutput, Tag,
};

use crate::error::s3_error;

pub(crate) async fn get(store: &LocalStore, input: GetObjectTaggingInput) -> S3Result<GetObjectTaggingOutput> {
    let tags = store.tags(&input.bucket, &input.key, input.version_id.as_deref()).await;
    let tags = tags.map_err(|error| s3_error(&error))?;
    let tag_set = tags.into_iter().map(|(key, value)| Tag { key: Some(key), value: Some(value) }).collect();
    Ok(GetObjectTaggingOutput { tag_set, version_id: input.version_id })
}

async fn replace(store: &LocalStore, bucket: &str, key: &str, version_id: Option<&str>, tags: &Tags) -> S3Result<()> {
    store.put_tags(PutTags { bucket, key, version_id, tags }).await.map_err(|error| s3_error(&error))
}

pub(crate) async fn put(store: &LocalStore, input: PutObjectTaggingInput) -> S3Result<PutObjectTaggingOutput> {
    let tags = input.tagging.tag_set.into_iter();
    let tags = tags.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect();
    replace(store, &input.bucket, &input.key, input.version_id.as_deref(), &tags).await?;
    Ok(PutObjectTaggingOutput { version_id: input.version_id })
}

pub(crate) async fn delete(store: &LocalStore, input: DeleteObjectTaggingInput) -> S3Result<DeleteObjectTaggingOutput> {
    replace(store, &input.bucket, &input.key, input.version_id.as_deref(), &Tags::new()).await?;
    Ok(DeleteObjectTaggingOutput { version_id: input.version_id })
}
