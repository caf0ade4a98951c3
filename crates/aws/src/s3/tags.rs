//! Tags of existing objects.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{Tag, Tagging};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use md5::{Digest, Md5};
use migration_core::error::ServiceError;
use migration_core::ports::{PutTags, Tags};

use super::encoding::md5;
use crate::error::{Api, invalid_request, service_error};

const GET: &str = "get object tags";
const PUT: &str = "put object tags";

pub(super) async fn get(
    client: &Client,
    bucket: &str,
    key: &str,
    version_id: Option<&str>,
) -> Result<Tags, ServiceError> {
    let request = client.get_object_tagging().bucket(bucket).key(key);
    match request.set_version_id(version_id.map(ToOwned::to_owned)).send().await {
        Ok(output) => Ok(output.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()),
        // Some services return this error for an empty set.
        Err(error) if matches!(error.code(), Some("NoSuchTagSet" | "NoSuchTagSetError")) => Ok(Tags::new()),
        Err(error) => Err(service_error(Api::S3, GET, &error)),
    }
}

/// Adds the required digest; all services support MD5. Source: `PutObjectTagging` in the S3 API reference.
fn with_md5(request: &mut HttpRequest) {
    if let Some(bytes) = request.body().bytes() {
        let digest = md5(&Md5::digest(bytes).into());
        request.headers_mut().insert("content-md5", digest);
    }
}

pub(super) async fn put(client: &Client, request: PutTags<'_>) -> Result<(), ServiceError> {
    let tags = request.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    let tags = tags.collect::<Result<Vec<_>, _>>().map_err(|error| invalid_request(PUT, error.to_string()))?;
    let tagging = Tagging::builder().set_tag_set(Some(tags)).build();
    let put = client
        .put_object_tagging()
        .bucket(request.bucket)
        .key(request.key)
        .set_version_id(request.version_id.map(ToOwned::to_owned))
        .tagging(tagging.map_err(|error| invalid_request(PUT, error.to_string()))?);
    let sent = put.customize().mutate_request(with_md5).send().await;
    sent.map(|_| ()).map_err(|error| service_error(Api::S3, PUT, &error))
}
