//! Objects and what is known of them.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::ByteStream as SdkStream;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::stream;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::ports::{Attributes, ByteStream, GetRequest, GetResponse, ObjectHead, Tags};

use super::encoding::{content_range, range};
use crate::error::{Service, causes, invalid_response, service_error};

const GET: &str = "get object";
const HEAD: &str = "head object";

/// The outputs of GET and HEAD are two types with the same members.
macro_rules! object_head {
    ($output:expr, $size:expr, $tag_count:expr) => {{
        let output = $output;
        ObjectHead {
            size: $size,
            etag: output.e_tag().map(ETag::new),
            version_id: output.version_id().map(ToOwned::to_owned),
            tag_count: $tag_count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
            attributes: Attributes {
                content_type: output.content_type().map(ToOwned::to_owned),
                content_encoding: output.content_encoding().map(ToOwned::to_owned),
                content_language: output.content_language().map(ToOwned::to_owned),
                content_disposition: output.content_disposition().map(ToOwned::to_owned),
                cache_control: output.cache_control().map(ToOwned::to_owned),
                expires: output.expires_string().map(ToOwned::to_owned),
                website_redirect: output.website_redirect_location().map(ToOwned::to_owned),
                metadata: output.metadata().cloned().unwrap_or_default().into_iter().collect(),
                storage_class: output.storage_class().map(|class| class.as_str().to_owned()),
            },
        }
    }};
}

pub(super) async fn get(client: &Client, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
    let output = client
        .get_object()
        .bucket(request.bucket)
        .key(request.key)
        .set_range(request.range.map(|(first, length)| range(first, length)))
        .set_if_match(request.if_match.map(ETag::quoted))
        .set_version_id(request.version_id.map(ToOwned::to_owned))
        .send()
        .await
        .map_err(|error| service_error(Service::S3, GET, &error))?;
    let size = whole_size(&output, request.range)?;
    let head = object_head!(&output, size, output.tag_count());
    Ok(GetResponse { head, body: chunks(output.body) })
}

/// The size of the whole object, once it is sure that the answer starts where it was asked to.
fn whole_size(output: &GetObjectOutput, asked: Option<(u64, u64)>) -> Result<u64, ServiceError> {
    let length = output.content_length().and_then(|length| u64::try_from(length).ok());
    let length = length.ok_or_else(|| invalid_response(GET, "the answer has no length"))?;
    match (asked, output.content_range().map(content_range)) {
        (None, None) => Ok(length),
        (Some((first, _)), Some(Some((start, size)))) if first == start => Ok(size),
        // The whole object is what was asked for.
        (Some((0, wanted)), None) if wanted >= length => Ok(length),
        _ => Err(invalid_response(GET, "the answer holds another range than the one asked for")),
    }
}

fn chunks(body: SdkStream) -> ByteStream {
    Box::pin(stream::unfold(Some(body), |body| async {
        let mut body = body?;
        match body.next().await? {
            Ok(chunk) => Some((Ok(chunk), Some(body))),
            Err(error) => {
                let message = causes(&error);
                let broken = ServiceError::new(ErrorClass::Transient, "read object body", "BodyBroken", message);
                Some((Err(broken), None))
            }
        }
    }))
}

pub(super) async fn head(client: &Client, bucket: &str, key: &str) -> Result<Option<ObjectHead>, ServiceError> {
    let output = match client.head_object().bucket(bucket).key(key).send().await {
        Ok(output) => output,
        Err(error) => return unanswered_head(client, bucket, key, &error).await,
    };
    let size = output.content_length().and_then(|length| u64::try_from(length).ok());
    let size = size.ok_or_else(|| invalid_response(HEAD, "the answer has no length"))?;
    Ok(Some(object_head!(&output, size, output.tag_count())))
}

/// The answer to HEAD has no body, so that an expired token is a bare 400: a GET of one byte says what it is.
async fn unanswered_head(
    client: &Client,
    bucket: &str,
    key: &str,
    error: &SdkError<HeadObjectError, HttpResponse>,
) -> Result<Option<ObjectHead>, ServiceError> {
    let own = service_error(Service::S3, HEAD, error);
    match own.class {
        ErrorClass::NoSuchKey => return Ok(None),
        ErrorClass::Refused | ErrorClass::AccessDenied if error.raw_response().is_some() => {}
        _ => return Err(own),
    }
    let range = Some((0, 1));
    let told = get(client, GetRequest { bucket, key, range, if_match: None, version_id: None }).await;
    match told {
        Err(told) if told.class != ErrorClass::Refused => Err(ServiceError { operation: own.operation, ..told }),
        _ => Err(own),
    }
}

pub(super) async fn tags(
    client: &Client,
    bucket: &str,
    key: &str,
    version_id: Option<&str>,
) -> Result<Tags, ServiceError> {
    let request = client.get_object_tagging().bucket(bucket).key(key);
    match request.set_version_id(version_id.map(ToOwned::to_owned)).send().await {
        Ok(output) => Ok(output.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()),
        // Said by some services in place of an empty set.
        Err(error) if matches!(error.code(), Some("NoSuchTagSet" | "NoSuchTagSetError")) => Ok(Tags::new()),
        Err(error) => Err(service_error(Service::S3, "get object tags", &error)),
    }
}
