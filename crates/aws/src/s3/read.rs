//! Reads of objects, their attributes and their state.

use std::error::Error;
use std::task::Poll;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream as SdkStream, SdkBody};
use aws_sdk_s3::types::{ChecksumMode, ChecksumType, ServerSideEncryption};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use futures::{StreamExt, stream};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::object::EncryptionKind;
use migration_core::ports::{
    Attributes, ByteStream, Checksum, GetRequest, GetResponse, HeadRequest, ObjectHead, ObjectLock, Retention,
    RetentionMode, Span,
};

use super::S3Store;
use super::direct::{Failed, Outgoing, Payload, Sender};
use super::encoding::{ContentRange, fits_header, range, version_id};
use super::headers::{Answered, Kept};
use super::packing::{Accept, is_repacked, without_framing};
use super::written::{etag_is_md5, whole_checksum};
use crate::error::{Api, causes, head_error, invalid_response, no_answer, service_error};
use crate::sdk::{SMALL_REQUEST, STALLED};

const GET: &str = "get object";
const HEAD: &str = "head object";
const METADATA: &str = "x-amz-meta-";

/// Builds the state of an object from a response to GET or HEAD.
fn object_head(answered: &Answered, size: u64, checksum: Option<Checksum>) -> ObjectHead {
    let encryption = answered.text("x-amz-server-side-encryption");
    let customer_key = answered.text("x-amz-server-side-encryption-customer-algorithm");
    ObjectHead {
        size,
        etag: answered.text("etag").map(ETag::new),
        etag_is_md5: etag_is_md5(encryption.map(ServerSideEncryption::from).as_ref(), customer_key),
        version_id: version_id(answered.text("x-amz-version-id")),
        modified: answered.time("last-modified").unwrap_or_default(),
        tag_count: answered.number("x-amz-tagging-count").unwrap_or_default(),
        parts: answered.number("x-amz-mp-parts-count"),
        checksum,
        encryption: encryption.and_then(encryption_kind),
        attributes: attributes(answered),
    }
}

/// Returns the name used in the header `x-amz-server-side-encryption`.
fn encryption_kind(text: &str) -> Option<EncryptionKind> {
    match ServerSideEncryption::from(text) {
        ServerSideEncryption::Aes256 => Some(EncryptionKind::ServiceKeys),
        ServerSideEncryption::AwsKms => Some(EncryptionKind::ManagedKey),
        ServerSideEncryption::AwsKmsDsse => Some(EncryptionKind::ManagedKeyTwice),
        _ => None,
    }
}

/// Reads the attributes that are copied with an object, and counts those that can't be copied: values that are not
/// UTF-8 can't be signed, values with control characters can't be sent, and a lock without a readable date can't be
/// set.
fn attributes(answered: &Answered) -> Attributes {
    let mut missing = answered.number("x-amz-missing-meta").unwrap_or_default();
    let mut carried = |name: &str| match answered.value(name) {
        Ok(value) if value.as_deref().is_none_or(fits_header) => value,
        _ => {
            missing += 1;
            None
        }
    };
    let mut header = |name: &str| carried(name).filter(|value| !value.is_empty());
    let mut attributes = Attributes {
        content_type: header("content-type"),
        content_encoding: header("content-encoding").and_then(|encoding| without_framing(&encoding)),
        content_language: header("content-language"),
        content_disposition: header("content-disposition"),
        cache_control: header("cache-control"),
        expires: header("expires"),
        website_redirect: header("x-amz-website-redirect-location"),
        ..Attributes::default()
    };
    for name in answered.names(METADATA) {
        if let Some(value) = carried(&format!("{METADATA}{name}")) {
            attributes.metadata.insert(name.to_owned(), value);
        }
    }
    let (mode, until) = (answered.text("x-amz-object-lock-mode"), "x-amz-object-lock-retain-until-date");
    attributes.lock = lock(mode, answered.time(until), answered.text("x-amz-object-lock-legal-hold"));
    missing += u32::from(mode.is_some() && attributes.lock.retention.is_none());
    attributes.missing_metadata = missing;
    attributes.storage_class = answered.text("x-amz-storage-class").map(ToOwned::to_owned);
    attributes
}

/// Reads an object lock. An unknown mode counts as the strictest one, so that a lock is never weakened.
fn lock(mode: Option<&str>, until: Option<i64>, legal_hold: Option<&str>) -> ObjectLock {
    let mode = mode.map(|mode| match mode {
        "GOVERNANCE" => RetentionMode::Governance,
        _ => RetentionMode::Compliance,
    });
    ObjectLock {
        retention: mode.zip(until).map(|(mode, until)| Retention { mode, until }),
        legal_hold: legal_hold == Some("ON"),
    }
}

/// Returns the checksum that the service stores for the whole content.
fn kept_checksum(answered: &Answered) -> Option<Checksum> {
    let kind = answered.text("x-amz-checksum-type").map(ChecksumType::from);
    whole_checksum(answered.text("x-amz-checksum-crc64nvme"), kind.as_ref())
}

/// Requests the stored checksums by header. With the SDK's own parameter the SDK would verify every body with whatever
/// algorithm the object was written with, and SHA-256 is slower than the network.
fn ask_for_checksums(request: &mut HttpRequest) {
    request.headers_mut().insert("x-amz-checksum-mode", "ENABLED");
}

/// A response to a GET.
struct Received {
    answered: Answered,
    body: ByteStream,
}

/// Sends a GET. A weak ETag can't be a condition ([`ETag::condition`]); the caller checks the source again instead.
async fn send_get(store: &S3Store, request: GetRequest<'_>, accept: Accept) -> Result<Received, ServiceError> {
    if let Some(sender) = store.direct.sender(request.bucket) {
        match direct_get(&sender, store, request, accept).await {
            Err(failed) if failed.may_be_clock => {}
            sent => return sent.map_err(|failed| service_error(Api::S3, GET, &failed.error)),
        }
    }
    let kept = Kept::default();
    let get = store
        .client
        .get_object()
        .bucket(request.bucket)
        .key(request.key)
        .set_if_match(request.if_match.and_then(ETag::condition))
        .set_version_id(request.version_id.map(ToOwned::to_owned));
    let get = match request.span {
        Span::Whole => get.customize().mutate_request(ask_for_checksums),
        Span::Range { offset, len } => get.range(range(offset, len)).customize(),
        Span::Part(number) => get.part_number(i32::try_from(number).unwrap_or(i32::MAX)).customize(),
    };
    let learn = store.direct.learn(request.bucket);
    let sent = get.interceptor(kept.clone()).interceptor(accept).interceptor(learn).send().await;
    let output = sent.map_err(|error| service_error(Api::S3, GET, &error))?;
    Ok(Received { answered: kept.take(), body: chunks(output.body) })
}

async fn direct_get(
    sender: &Sender,
    store: &S3Store,
    request: GetRequest<'_>,
    accept: Accept,
) -> Result<Received, Box<Failed>> {
    let condition = request.if_match.and_then(ETag::condition);
    let (part, span);
    let mut query = vec![("x-id", "GetObject")];
    let mut headers = Vec::new();
    match request.span {
        Span::Whole => headers.push(("x-amz-checksum-mode", "ENABLED")),
        Span::Range { offset, len } => {
            span = range(offset, len);
            headers.push(("range", span.as_str()));
        }
        Span::Part(number) => {
            part = number.to_string();
            query.push(("partNumber", part.as_str()));
        }
    }
    headers.extend(condition.as_deref().map(|etag| ("if-match", etag)));
    query.extend(request.version_id.map(|id| ("versionId", id)));
    let outgoing = Outgoing {
        method: "GET",
        key: Some(request.key),
        query,
        headers,
        unsigned: vec![accept.header()],
        body: SdkBody::empty(),
        payload: Payload::Empty,
    };
    let mut answer = sender.send(outgoing, &store.clock, Some(SMALL_REQUEST)).await?;
    let answered = Answered::of(&mut answer);
    Ok(Received { answered, body: watched(answer.into_body()) })
}

pub(super) async fn get(store: &S3Store, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
    let packing = &store.packing;
    let [first, second] = packing.order();
    let mut received = send_get(store, request, first).await?;
    check_own(GET, &received.answered)?;
    if is_repacked(&received.answered) {
        received = send_get(store, request, second).await?;
        if is_repacked(&received.answered) {
            return Err(invalid_response(GET, "the response has no length, or was compressed or unpacked in transit"));
        }
        packing.honours(second);
    }
    let Received { answered, body } = received;
    let (len, size) = lengths(&answered, request.span)?;
    // For a range, the checksum may be that of the range.
    let checksum = if request.span == Span::Whole { kept_checksum(&answered) } else { None };
    Ok(GetResponse { head: object_head(&answered, size, checksum), len, body })
}

/// Returns the bytes in the response and in the whole object, after checking that the response matches the request.
///
/// | requested | without `Content-Range` | with `Content-Range` |
/// |---|---|---|
/// | whole | the object | error |
/// | range | the object, if the range covers it | the same start, and at most the requested length |
/// | part 1 | the object: it has no parts | starts at 0 |
/// | part n | error | starts after 0 |
fn lengths(answered: &Answered, span: Span) -> Result<(u64, u64), ServiceError> {
    let len = answered.number::<u64>("content-length");
    let len = len.ok_or_else(|| invalid_response(GET, "the response has no length"))?;
    let another = || invalid_response(GET, "the response holds another range than the requested one");
    let Some(found) = answered.text("content-range") else {
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

/// Error of a body that ended before its end.
fn broken(message: String) -> ServiceError {
    ServiceError::new(ErrorClass::Transient, "read object body", "BodyBroken", message)
}

/// Returns the chunks as they arrive, without copying.
fn chunks(body: SdkStream) -> ByteStream {
    Box::pin(stream::unfold(Some(body), |body| async {
        let mut body = body?;
        match body.next().await? {
            Ok(chunk) => Some((Ok(chunk), Some(body))),
            Err(error) => Some((Err(broken(causes(&error))), None)),
        }
    }))
}

/// As [`chunks`], for a body that the SDK does not watch: fails where none comes for 20 s.
fn watched(body: SdkBody) -> ByteStream {
    let mut chunks = chunks(SdkStream::new(body));
    let mut pause = None;
    Box::pin(stream::poll_fn(move |cx| {
        let next = chunks.poll_next_unpin(cx);
        if next.is_ready() {
            pause = None;
            return next;
        }
        let sleep = pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        chunks = Box::pin(stream::empty());
        Poll::Ready(Some(Err(broken(format!("no more of the body came within {STALLED:?}")))))
    }))
}

/// A HEAD that was answered with an error, or not at all.
struct Unanswered {
    /// Status of the answer.
    status: Option<u16>,
    error: ServiceError,
}

impl Unanswered {
    fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map(|answer| answer.status().as_u16());
        Self { status, error: head_error(HEAD, error) }
    }
}

async fn send_head(store: &S3Store, request: HeadRequest<'_>, accept: Accept) -> Result<Answered, Unanswered> {
    if let Some(sender) = store.direct.sender(request.bucket) {
        match direct_head(&sender, store, request, accept).await {
            Err(failed) if failed.may_be_clock => {}
            sent => return sent.map_err(|failed| Unanswered::of(&failed.error)),
        }
    }
    let kept = Kept::default();
    let head = store
        .client
        .head_object()
        .bucket(request.bucket)
        .key(request.key)
        .set_version_id(request.version_id.map(ToOwned::to_owned))
        .set_checksum_mode(request.checksum.then_some(ChecksumMode::Enabled));
    let learn = store.direct.learn(request.bucket);
    let sent = head.customize().interceptor(kept.clone()).interceptor(accept).interceptor(learn).send().await;
    sent.map(|_| kept.take()).map_err(|error| Unanswered::of(&error))
}

async fn direct_head(
    sender: &Sender,
    store: &S3Store,
    request: HeadRequest<'_>,
    accept: Accept,
) -> Result<Answered, Box<Failed>> {
    let outgoing = Outgoing {
        method: "HEAD",
        key: Some(request.key),
        query: request.version_id.map(|id| ("versionId", id)).into_iter().collect(),
        headers: request.checksum.then_some(("x-amz-checksum-mode", "ENABLED")).into_iter().collect(),
        unsigned: vec![accept.header()],
        body: SdkBody::empty(),
        payload: Payload::Empty,
    };
    let mut answer = sender.send(outgoing, &store.clock, Some(SMALL_REQUEST)).await?;
    Ok(Answered::of(&mut answer))
}

pub(super) async fn head(store: &S3Store, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
    let packing = &store.packing;
    let [first, second] = packing.order();
    let mut answered = match send_head(store, request, first).await {
        Ok(answered) => answered,
        Err(unanswered) => return unanswered_head(store, request, unanswered).await,
    };
    check_own(HEAD, &answered)?;
    if is_repacked(&answered) {
        answered = match send_head(store, request, second).await {
            Ok(again) => again,
            Err(unanswered) => return unanswered_head(store, request, unanswered).await,
        };
        if !is_repacked(&answered) {
            packing.honours(second);
        }
    }
    let size = answered.number::<u64>("content-length");
    let size = size.ok_or_else(|| invalid_response(HEAD, "the response has no length"))?;
    Ok(Some(object_head(&answered, size, kept_checksum(&answered))))
}

/// Checks that S3 sent the response: it has an ETag or, if a cache removed that, a request id.
fn check_own(operation: &str, answered: &Answered) -> Result<(), ServiceError> {
    let own = ["etag", "x-amz-request-id"].into_iter().any(|name| answered.text(name).is_some());
    if own { Ok(()) } else { Err(no_answer(operation, "ETag")) }
}

/// Handles an error of HEAD. A 404 returns `None`, although a proxy may have sent it. Other rejections have no body, so
/// that an expired token is a bare 400: a GET of one byte returns the cause.
async fn unanswered_head(
    store: &S3Store,
    request: HeadRequest<'_>,
    unanswered: Unanswered,
) -> Result<Option<ObjectHead>, ServiceError> {
    let Unanswered { status, error: own } = unanswered;
    if status == Some(404) {
        return Ok(None);
    }
    match own.class {
        ErrorClass::Refused | ErrorClass::AccessDenied if status.is_some() => {}
        _ => return Err(own),
    }
    let HeadRequest { bucket, key, version_id, .. } = request;
    let span = Span::Range { offset: 0, len: 1 };
    match get(store, GetRequest { bucket, key, span, if_match: None, version_id }).await {
        Err(told) if told.class != ErrorClass::Refused => Err(ServiceError { operation: own.operation, ..told }),
        _ => Err(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_need_mode_and_date() {
        let until = Some(1_767_225_600_000);
        let retention = |mode| Some(Retention { mode, until: 1_767_225_600_000 });
        for (mode, date, expected) in [
            (None, None, None),
            (Some("GOVERNANCE"), until, retention(RetentionMode::Governance)),
            (Some("COMPLIANCE"), until, retention(RetentionMode::Compliance)),
            (Some("NEW"), until, retention(RetentionMode::Compliance)),
            (Some("COMPLIANCE"), None, None),
            (None, until, None),
        ] {
            assert_eq!(lock(mode, date, None), ObjectLock { retention: expected, legal_hold: false });
        }
        assert!(lock(None, None, Some("ON")).legal_hold && !lock(None, None, Some("OFF")).legal_hold);
    }
}
