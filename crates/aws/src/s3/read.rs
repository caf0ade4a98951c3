//! Objects and what is known of them.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::{ByteStream as SdkStream, DateTime};
use aws_sdk_s3::types::{ChecksumMode, ObjectLockLegalHoldStatus, ObjectLockMode};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use futures::stream;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::ports::{
    Attributes, ByteStream, GetRequest, GetResponse, HeadRequest, ObjectHead, ObjectLock, Retention, RetentionMode,
    Span, Tags,
};

use super::encoding::{ContentRange, range, version_id};
use super::written::{etag_is_md5, whole_checksum};
use crate::error::{Service, causes, invalid_response, service_error};

const GET: &str = "get object";
const HEAD: &str = "head object";

/// The outputs of GET and HEAD are two types with the same members.
macro_rules! object_head {
    ($output:expr, $size:expr, $checksum:expr) => {{
        let output = $output;
        ObjectHead {
            size: $size,
            etag: output.e_tag().map(ETag::new),
            etag_is_md5: etag_is_md5(output.server_side_encryption(), output.sse_customer_algorithm()),
            version_id: version_id(output.version_id()),
            modified: output.last_modified().and_then(|time| time.to_millis().ok()).unwrap_or_default(),
            tag_count: count(output.tag_count()),
            parts: output.parts_count().and_then(|count| u32::try_from(count).ok()),
            checksum: $checksum,
            attributes: Attributes {
                content_type: output.content_type().map(ToOwned::to_owned),
                content_encoding: output.content_encoding().map(ToOwned::to_owned),
                content_language: output.content_language().map(ToOwned::to_owned),
                content_disposition: output.content_disposition().map(ToOwned::to_owned),
                cache_control: output.cache_control().map(ToOwned::to_owned),
                expires: output.expires_string().map(ToOwned::to_owned),
                website_redirect: output.website_redirect_location().map(ToOwned::to_owned),
                metadata: output.metadata().cloned().unwrap_or_default().into_iter().collect(),
                missing_metadata: count(output.missing_meta()),
                storage_class: output.storage_class().map(|class| class.as_str().to_owned()),
                lock: lock(
                    output.object_lock_mode(),
                    output.object_lock_retain_until_date(),
                    output.object_lock_legal_hold_status(),
                ),
            },
        }
    }};
}

fn count(count: Option<i32>) -> u32 {
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

/// A mode that is not known binds everybody: it must not be taken for the weaker one.
fn lock(
    mode: Option<&ObjectLockMode>,
    until: Option<&DateTime>,
    legal_hold: Option<&ObjectLockLegalHoldStatus>,
) -> ObjectLock {
    let mode = mode.map(|mode| match mode {
        ObjectLockMode::Governance => RetentionMode::Governance,
        _ => RetentionMode::Compliance,
    });
    let until = until.and_then(|until| until.to_millis().ok());
    ObjectLock {
        retention: mode.zip(until).map(|(mode, until)| Retention { mode, until }),
        legal_hold: legal_hold == Some(&ObjectLockLegalHoldStatus::On),
    }
}

/// Asks for the checksums that the service keeps. The SDK's own member for this makes it compute the checksum of every
/// body again, with whatever algorithm the object was written with: SHA-256 is slower than the network.
fn ask_for_checksums(request: &mut HttpRequest) {
    request.headers_mut().insert("x-amz-checksum-mode", "ENABLED");
}

pub(super) async fn get(client: &Client, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
    let get = client
        .get_object()
        .bucket(request.bucket)
        .key(request.key)
        .set_if_match(request.if_match.map(ETag::quoted))
        .set_version_id(request.version_id.map(ToOwned::to_owned));
    let sent = match request.span {
        Span::Whole => get.customize().mutate_request(ask_for_checksums).send().await,
        Span::Range { offset, len } => get.range(range(offset, len)).send().await,
        Span::Part(number) => get.part_number(i32::try_from(number).unwrap_or(i32::MAX)).send().await,
    };
    let output = sent.map_err(|error| service_error(Service::S3, GET, &error))?;
    let (len, size) = lengths(&output, request.span)?;
    // Of spans the service may say the checksum of the span.
    let checksum = match request.span {
        Span::Whole => whole_checksum(output.checksum_crc64_nvme(), output.checksum_type()),
        Span::Range { .. } | Span::Part(_) => None,
    };
    let head = object_head!(&output, size, checksum);
    Ok(GetResponse { head, len, body: chunks(output.body) })
}

/// Bytes of the answer and of the whole object, once it is sure that the answer is what was asked for.
///
/// | asked for | answer without `Content-Range` | answer with |
/// |---|---|---|
/// | whole | the object | error |
/// | range | the object, if the range covers it | the same start, and not more than was asked for |
/// | part 1 | the object: it has no parts | starts at 0 |
/// | part n | error | starts after 0 |
fn lengths(output: &GetObjectOutput, span: Span) -> Result<(u64, u64), ServiceError> {
    let len = output.content_length().and_then(|len| u64::try_from(len).ok());
    let len = len.ok_or_else(|| invalid_response(GET, "the answer has no length"))?;
    let another = || invalid_response(GET, "the answer holds another range than the one asked for");
    let Some(found) = output.content_range() else {
        let whole = match span {
            Span::Whole | Span::Part(1) => true,
            Span::Range { offset, len: wanted } => offset == 0 && wanted >= len,
            Span::Part(_) => false,
        };
        return whole.then_some((len, len)).ok_or_else(another);
    };
    let found = ContentRange::parse(found).filter(|found| found.len == len).ok_or_else(another)?;
    let asked = match span {
        Span::Whole => false,
        Span::Range { offset, len: wanted } => found.first == offset && len <= wanted,
        Span::Part(number) => (found.first == 0) == (number == 1),
    };
    asked.then_some((len, found.size)).ok_or_else(another)
}

/// The chunks as they come off the network, not copied.
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

pub(super) async fn head(client: &Client, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
    let head = client
        .head_object()
        .bucket(request.bucket)
        .key(request.key)
        .set_version_id(request.version_id.map(ToOwned::to_owned))
        .set_checksum_mode(request.checksum.then_some(ChecksumMode::Enabled));
    let output = match head.send().await {
        Ok(output) => output,
        Err(error) => return unanswered_head(client, request, &error).await,
    };
    let size = output.content_length().and_then(|length| u64::try_from(length).ok());
    let size = size.ok_or_else(|| invalid_response(HEAD, "the answer has no length"))?;
    let checksum = whole_checksum(output.checksum_crc64_nvme(), output.checksum_type());
    Ok(Some(object_head!(&output, size, checksum)))
}

/// The answer to HEAD has no body, so that an expired token is a bare 400: a GET of one byte says what it is.
async fn unanswered_head(
    client: &Client,
    request: HeadRequest<'_>,
    error: &SdkError<HeadObjectError, HttpResponse>,
) -> Result<Option<ObjectHead>, ServiceError> {
    let own = service_error(Service::S3, HEAD, error);
    match own.class {
        ErrorClass::NoSuchKey => return Ok(None),
        ErrorClass::Refused | ErrorClass::AccessDenied if error.raw_response().is_some() => {}
        _ => return Err(own),
    }
    let HeadRequest { bucket, key, version_id, .. } = request;
    let span = Span::Range { offset: 0, len: 1 };
    match get(client, GetRequest { bucket, key, span, if_match: None, version_id }).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_need_mode_and_date() {
        let until = DateTime::from_millis(1_767_225_600_000);
        let retention = |mode| Some(Retention { mode, until: 1_767_225_600_000 });
        let unknown = ObjectLockMode::from("NEW");
        for (mode, date, expected) in [
            (None, None, None),
            (Some(&ObjectLockMode::Governance), Some(&until), retention(RetentionMode::Governance)),
            (Some(&ObjectLockMode::Compliance), Some(&until), retention(RetentionMode::Compliance)),
            (Some(&unknown), Some(&until), retention(RetentionMode::Compliance)),
            (Some(&ObjectLockMode::Compliance), None, None),
            (None, Some(&until), None),
        ] {
            assert_eq!(lock(mode, date, None), ObjectLock { retention: expected, legal_hold: false });
        }
        let hold = |status| lock(None, None, Some(&status)).legal_hold;
        assert!(hold(ObjectLockLegalHoldStatus::On) && !hold(ObjectLockLegalHoldStatus::Off));
    }
}
