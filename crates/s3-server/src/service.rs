//! The requests that the server answers; any other is "not implemented".

use async_trait::async_trait;
use migration_local::store::LocalStore;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CopyObjectInput, CopyObjectOutput, CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, DeleteBucketInput, DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, DeleteObjectsInput, DeleteObjectsOutput,
    GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput, GetBucketVersioningOutput,
    GetObjectInput, GetObjectOutput, GetObjectTaggingInput, GetObjectTaggingOutput, HeadBucketInput, HeadBucketOutput,
    HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput,
    ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, PutBucketVersioningInput,
    PutBucketVersioningOutput, PutObjectInput, PutObjectOutput, PutObjectTaggingInput, PutObjectTaggingOutput,
    UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::{buckets, copies, listings, objects, tagging, uploads};

/// S3's operations on a store.
pub(crate) struct Service {
    pub(crate) store: LocalStore,
}

impl Service {
    /// Returns the store as the caller of a request sees it. Uploads are told to be begun by the caller's access key.
    fn store<T>(&self, request: &S3Request<T>) -> LocalStore {
        match &request.credentials {
            Some(credentials) => self.store.as_principal(&credentials.access_key),
            None => self.store.clone(),
        }
    }
}

/// Answers operations with the output of a function of the store and the input.
macro_rules! answers {
    ($($name:ident($input:ident) -> $output:ident: |$store:ident, $request:ident| $answer:expr;)+) => {
        #[async_trait]
        impl S3 for Service {
            $(
                async fn $name(&self, $request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    let $store = &self.store(&$request);
                    $answer
                }
            )+
        }
    };
}

answers! {
    list_buckets(ListBucketsInput) -> ListBucketsOutput:
        |store, request| Ok(S3Response::new(buckets::list(store, &request.input)));
    create_bucket(CreateBucketInput) -> CreateBucketOutput:
        |store, request| buckets::create(store, &request.input).await.map(S3Response::new);
    head_bucket(HeadBucketInput) -> HeadBucketOutput:
        |store, request| buckets::head(store, &request.input.bucket).map(S3Response::new);
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput:
        |store, request| buckets::delete(store, &request.input.bucket).await.map(S3Response::new);
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput:
        |store, request| buckets::location(store, &request.input.bucket).map(S3Response::new);
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput:
        |store, request| buckets::versioning(store, &request.input.bucket).map(S3Response::new);
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput:
        |store, request| buckets::set_versioning(store, &request.input).await.map(S3Response::new);

    list_objects(ListObjectsInput) -> ListObjectsOutput:
        |store, request| listings::objects_v1(store, request.input).await.map(S3Response::new);
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output:
        |store, request| listings::objects_v2(store, request.input).await.map(S3Response::new);
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput:
        |store, request| listings::versions(store, request.input).await.map(S3Response::new);
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput:
        |store, request| listings::uploads(store, request.input).await.map(S3Response::new);

    get_object(GetObjectInput) -> GetObjectOutput: |store, request| objects::get(store, request).await;
    head_object(HeadObjectInput) -> HeadObjectOutput: |store, request| objects::head(store, request).await;
    put_object(PutObjectInput) -> PutObjectOutput: |store, request| objects::put(store, request).await;
    copy_object(CopyObjectInput) -> CopyObjectOutput: |store, request| copies::object(store, request).await;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput:
        |store, request| objects::delete(store, request.input).await.map(S3Response::new);
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput:
        |store, request| objects::delete_several(store, request.input).await.map(S3Response::new);

    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput:
        |store, request| tagging::get(store, request.input).await.map(S3Response::new);
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput:
        |store, request| tagging::put(store, request.input).await.map(S3Response::new);
    delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput:
        |store, request| tagging::delete(store, request.input).await.map(S3Response::new);

    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput:
        |store, request| uploads::create(store, request).await.map(S3Response::new);
    upload_part(UploadPartInput) -> UploadPartOutput: |store, request| uploads::put_part(store, request).await;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput:
        |store, request| copies::part(store, request.input).await;
    list_parts(ListPartsInput) -> ListPartsOutput:
        |store, request| uploads::list_parts(store, request.input).await.map(S3Response::new);
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput:
        |store, request| uploads::complete(store, request.input).await;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput:
        |store, request| uploads::abort(store, request.input).await.map(S3Response::new);
}
