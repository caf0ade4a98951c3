//! Writes and deletions of objects.

use std::borrow::Cow;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::date_time::DateTimeFormatError;
use migration_core::error::{ContentHeader, ErrorClass, Rejected, ServiceError};
use migration_core::ports::{Attributes, CreateUpload, DeleteRequest, PutRequest, WriteCondition, Written};

use super::S3Store;
use super::direct::{Failed, Outgoing, Payload, Sender};
use super::encoding::{fits_header, md5, tagging};
use super::headers::Answered;
use super::settings::{Settings, with_settings};
use super::written::{Answer, sent_checksum, written};
use crate::error::words::OwnSuccess;
use crate::error::{Api, invalid_request, no_answer, service_error};
use crate::sdk::upload_time;

const PUT: &str = "put object";
const CREATE: &str = "create upload";
const DELETE: &str = "delete object";

/// Sets the attributes of both requests that create an object from bytes.
macro_rules! with_attributes {
    ($request:expr, $attributes:expr, $tags:expr, $settings:expr) => {{
        let attributes: &Attributes = $attributes;
        let request = $request
            .set_content_type(attributes.content_type.clone())
            .set_content_encoding(attributes.content_encoding.clone())
            .set_content_language(attributes.content_language.clone())
            .set_content_disposition(attributes.content_disposition.clone())
            .set_cache_control(attributes.cache_control.clone())
            .set_metadata((!attributes.metadata.is_empty()).then(|| attributes.metadata.clone().into_iter().collect()))
            .set_tagging(tagging($tags));
        with_settings!(request, attributes, $settings)
    }};
}

/// Sets the condition of a request that writes an object.
macro_rules! with_condition {
    ($request:expr, $condition:expr) => {{
        let request = $request;
        match $condition {
            migration_core::ports::WriteCondition::Any => request,
            migration_core::ports::WriteCondition::Absent => request.if_none_match("*"),
            migration_core::ports::WriteCondition::Matches(etag) => request.if_match(etag.quoted()),
        }
    }};
}
pub(super) use with_condition;

/// Sets headers that the SDK can't express: `Expires` as in the source, which need not be a date, and no `Content-Type`
/// if the source has none (the SDK would add one).
fn headers(
    operation: &str,
    attributes: &Attributes,
) -> Result<impl Fn(&mut HttpRequest) + Send + Sync + 'static + use<>, ServiceError> {
    let expires = attributes.expires.clone();
    if expires.as_deref().is_some_and(|text| !fits_header(text)) {
        let message = "the object's Expires has control characters";
        let error = ServiceError::new(ErrorClass::Refused, operation, "InvalidRequest", message);
        return Err(error.rejecting(Rejected::Header(ContentHeader::Expires)));
    }
    let untyped = attributes.content_type.is_none();
    Ok(move |request: &mut HttpRequest| {
        let headers = request.headers_mut();
        if let Some(expires) = &expires {
            headers.insert("expires", expires.clone());
        }
        if untyped {
            headers.remove("content-type");
        }
    })
}

pub(super) async fn put(store: &S3Store, request: PutRequest<'_>) -> Result<Written, ServiceError> {
    let headers = headers(PUT, request.attributes)?;
    if let Some(sender) = store.direct.sender(request.bucket) {
        let object = object_headers(request.attributes, request.tags, &store.settings).map_err(|error| {
            invalid_request(PUT, format!("the date of the object's lock: {error}")).rejecting(Rejected::Lock)
        })?;
        match direct_put(&sender, store, &request, &object).await {
            Err(failed) if failed.may_be_clock => {}
            Err(failed) => return Err(conditional(service_error(Api::S3, PUT, &failed.error), request.condition)),
            Ok(answered) => return written(&answered, PUT),
        }
    }
    let within = S3Store::within(upload_time(request.body.len()));
    let put = store
        .client
        .put_object()
        .bucket(request.bucket)
        .key(request.key)
        .content_md5(md5(&request.md5))
        .body(ByteStream::from(request.body));
    let put = with_attributes!(put, request.attributes, request.tags, &store.settings);
    let put = with_condition!(put, request.condition);
    let put = put.customize().config_override(within).interceptor(store.direct.learn(request.bucket));
    // The signed Content-MD5 protects the body, so it needs no SHA-256.
    let sent = put.mutate_request(headers).disable_payload_signing().send().await;
    let output = sent.map_err(|error| conditional(service_error(Api::S3, PUT, &error), request.condition))?;
    Answer {
        etag: output.e_tag(),
        encryption: output.server_side_encryption(),
        customer_key: output.sse_customer_algorithm(),
        checksum: sent_checksum(output.checksum_crc64_nvme(), output.checksum_type()),
        version_id: output.version_id(),
    }
    .written(PUT)
}

/// Returns the headers of an object, as the SDK writes those of [`with_attributes`].
fn object_headers(
    attributes: &Attributes,
    tags: &[(String, String)],
    settings: &Settings,
) -> Result<Vec<(Cow<'static, str>, String)>, DateTimeFormatError> {
    let own = [
        ("content-type", &attributes.content_type),
        ("content-encoding", &attributes.content_encoding),
        ("content-language", &attributes.content_language),
        ("content-disposition", &attributes.content_disposition),
        ("cache-control", &attributes.cache_control),
        ("expires", &attributes.expires),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let tags = tagging(tags).map(|tags| ("x-amz-tagging", tags));
    let metadata = attributes.metadata.iter();
    let metadata = metadata.map(|(name, value)| (Cow::Owned(format!("x-amz-meta-{name}")), value.clone()));
    let fixed = own.chain(tags).chain(settings.headers(attributes)?);
    Ok(fixed.map(|(name, value)| (Cow::Borrowed(name), value)).chain(metadata).collect())
}

async fn direct_put(
    sender: &Sender,
    store: &S3Store,
    request: &PutRequest<'_>,
    object: &[(Cow<'static, str>, String)],
) -> Result<Answered, Box<Failed>> {
    let (md5, length) = (md5(&request.md5), request.body.len().to_string());
    let mut headers = vec![("content-md5", md5.as_str()), ("content-length", &length)];
    headers.extend(object.iter().map(|(name, value)| (&**name, value.as_str())));
    let quoted;
    match request.condition {
        WriteCondition::Any => {}
        WriteCondition::Absent => headers.push(("if-none-match", "*")),
        WriteCondition::Matches(etag) => {
            quoted = etag.quoted();
            headers.push(("if-match", &quoted));
        }
    }
    let outgoing = Outgoing {
        method: "PUT",
        key: Some(request.key),
        query: vec![("x-id", "PutObject")],
        headers,
        unsigned: Vec::new(),
        body: SdkBody::from(request.body.clone()),
        payload: Payload::Unsigned,
    };
    sender.write(outgoing, &store.clock, Some(upload_time(request.body.len()))).await
}

pub(super) async fn create_upload(
    client: &Client,
    settings: &Settings,
    request: CreateUpload<'_>,
) -> Result<String, ServiceError> {
    let headers = headers(CREATE, request.attributes)?;
    let create = client
        .create_multipart_upload()
        .bucket(request.bucket)
        .key(request.key)
        .set_checksum_algorithm(request.checksum.then_some(ChecksumAlgorithm::Crc64Nvme))
        .set_checksum_type(request.checksum.then_some(ChecksumType::FullObject));
    let create = with_attributes!(create, request.attributes, request.tags, settings);
    // Sent once: if the response with the id is lost, the upload can't be told from others, and the caller must know.
    let once = Builder::new().retry_config(RetryConfig::disabled());
    let output = create.customize().config_override(once).mutate_request(headers).send().await;
    let output = output.map_err(|error| service_error(Api::S3, CREATE, &error))?;
    output.upload_id.ok_or_else(|| no_answer(CREATE, "upload id"))
}

/// Deletes an object. With a condition, an absent object is answered with 404, which counts as deleted.
/// Source: "How to perform conditional deletes", S3 User Guide.
pub(super) async fn delete(client: &Client, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
    let delete = client
        .delete_object()
        .bucket(request.bucket)
        .key(request.key)
        .set_if_match(request.if_match.map(migration_core::etag::ETag::quoted));
    let sent = delete.customize().interceptor(OwnSuccess::Empty).send().await;
    match sent.map_err(|error| service_error(Api::S3, DELETE, &error)) {
        // A deletion has no header that may be unknown but its condition.
        Err(error) if error.code == "NotImplemented" => Err(error.rejecting(Rejected::Condition)),
        Err(error) if error.class != ErrorClass::NoSuchKey => Err(error),
        _ => Ok(()),
    }
}

/// Maps the 404 of `If-Match` on an absent object to a failed condition. Source: "Conditional writes", S3 User Guide.
pub(super) fn conditional(error: ServiceError, condition: &WriteCondition) -> ServiceError {
    match (error.class, condition) {
        (ErrorClass::NoSuchKey, WriteCondition::Matches(_)) => {
            ServiceError { class: ErrorClass::PreconditionFailed, ..error }
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::etag::ETag;

    #[test]
    fn a_match_with_nothing_is_a_condition_that_does_not_hold() {
        let absent = || ServiceError::new(ErrorClass::NoSuchKey, PUT, "NoSuchKey", "");
        for (condition, expected) in [
            (WriteCondition::Matches(ETag::new("e")), ErrorClass::PreconditionFailed),
            (WriteCondition::Any, ErrorClass::NoSuchKey),
        ] {
            assert_eq!(conditional(absent(), &condition).class, expected);
        }
    }

    #[test]
    fn an_expires_that_no_header_can_carry_is_refused() {
        let attributes = Attributes { expires: Some("a\r\nx-amz-acl: public".into()), ..Attributes::default() };
        assert_eq!(headers(PUT, &attributes).err().map(|error| error.class), Some(ErrorClass::Refused));
    }

    #[test]
    fn headers_are_the_sources() {
        let attributes = Attributes { expires: Some("0".into()), ..Attributes::default() };
        let mut request = HttpRequest::empty();
        request.headers_mut().insert("content-type", "application/octet-stream");
        headers(PUT, &attributes).unwrap()(&mut request);
        assert_eq!(request.headers().get("expires"), Some("0"));
        assert_eq!(request.headers().get("content-type"), None);
    }
}
