//! Answers with an error, and those whose content is of no interest.

use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_xml::decode::{Document, XmlDecodeError, try_data};
use bytes::Bytes;

use super::DirectError;
use crate::sdk::STALLED;

/// Bytes of an error that are read; S3's are shorter than 2 KiB. Those of a proxy may be longer.
const LONGEST_ERROR: usize = 64 << 10;
/// Bytes of a body that is held in memory. A page of a listing has 1,000 keys of at most 1,024 bytes, which are longest
/// encoded as in URLs, at three bytes for one: about 4 MiB.
const LONGEST_PAGE: usize = 16 << 20;
/// Longest wait for the end of a body that nobody needs, before its connection is given up instead.
const DRAIN: Duration = Duration::from_secs(1);

/// Codes by which services reject the time of a signature, or a signature because of its time. Sources: "Error
/// responses" in the S3 API reference; the SDK's list of codes after which it corrects its clock.
const OF_CLOCK: &[&str] =
    &["RequestTimeTooSkewed", "RequestExpired", "SignatureDoesNotMatch", "InvalidSignatureException", "AuthFailure"];

/// Reads an answer with an error. One that is cut off says nothing: its code may be the beginning of another.
pub(super) async fn error(mut answer: HttpResponse) -> DirectError {
    let (body, is_whole) = beginning(answer.take_body()).await;
    let metadata = if is_whole { parse(&body).unwrap_or_default() } else { ErrorMetadata::default() };
    *answer.body_mut() = SdkBody::from(body);
    SdkError::service_error(metadata, answer)
}

/// An answer with its whole body.
#[derive(Debug)]
pub(in crate::s3) struct Received {
    /// Status and headers.
    pub head: HttpResponse,
    pub body: Bytes,
}

impl Received {
    /// Copies the head of an answer.
    pub(in crate::s3) fn new(answer: &HttpResponse, body: Bytes) -> Self {
        Self { head: copied(answer, SdkBody::empty()), body }
    }

    /// Returns the error that this answer is, whatever its status says.
    pub(in crate::s3) fn error(&self) -> DirectError {
        let metadata = parse(&self.body).unwrap_or_default();
        SdkError::service_error(metadata, copied(&self.head, SdkBody::from(self.body.clone())))
    }
}

fn copied(answer: &HttpResponse, body: SdkBody) -> HttpResponse {
    let mut copy = HttpResponse::new(answer.status(), body);
    copy.headers_mut().clone_from(answer.headers());
    copy
}

/// Reads the whole body of an answer that is held in memory.
pub(super) async fn whole(mut answer: HttpResponse) -> Result<Received, DirectError> {
    let body = answer.take_body();
    let announced = body.content_length().and_then(|len| usize::try_from(len).ok()).unwrap_or_default();
    let mut read = Vec::with_capacity(announced.min(LONGEST_PAGE));
    let mut body = ByteStream::new(body);
    loop {
        match tokio::time::timeout(STALLED, body.next()).await {
            Ok(Some(Ok(chunk))) if read.len() + chunk.len() <= LONGEST_PAGE => read.extend_from_slice(&chunk),
            Ok(Some(Ok(_))) => {
                let message = format!("the body is longer than {LONGEST_PAGE} bytes");
                return Err(SdkError::response_error(message, answer));
            }
            Ok(Some(Err(error))) => return Err(SdkError::response_error(error, answer)),
            Ok(None) => return Ok(Received { head: answer, body: read.into() }),
            Err(_) => return Err(SdkError::timeout_error(format!("no more of the body came within {STALLED:?}"))),
        }
    }
}

/// Returns true if a service with another time may answer so. An answer to HEAD has no code.
pub(super) fn may_be_of_clock(error: &DirectError) -> bool {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    let code = error.as_service_error().and_then(ErrorMetadata::code);
    status == Some(403) && code.is_none_or(|code| OF_CLOCK.contains(&code))
}

/// Reads a body up to a limit, or up to where it breaks or stalls: a proxy's words are of use even then. Returns whether
/// it is whole.
async fn beginning(body: SdkBody) -> (Vec<u8>, bool) {
    let mut body = ByteStream::new(body);
    let mut read = Vec::new();
    while read.len() < LONGEST_ERROR {
        match tokio::time::timeout(STALLED, body.next()).await {
            Ok(Some(Ok(chunk))) => read.extend_from_slice(&chunk),
            Ok(None) => return (read, true),
            Ok(Some(Err(_))) | Err(_) => return (read, false),
        }
    }
    (read, false)
}

/// Reads an error document. Source: "REST error responses", S3 API reference. Spaces may come first, by which services
/// keep a connection while they work.
fn parse(body: &[u8]) -> Result<ErrorMetadata, XmlDecodeError> {
    let mut document = Document::try_from(body.trim_ascii_start())?;
    let mut root = document.root_element()?;
    let mut metadata = ErrorMetadata::builder();
    while let Some(mut tag) = root.next_tag() {
        match tag.start_el().local() {
            "Code" => metadata = metadata.code(try_data(&mut tag)?),
            "Message" => metadata = metadata.message(try_data(&mut tag)?),
            _ => {}
        }
    }
    Ok(metadata.build())
}

/// Reads a body to its end, so that its connection can serve further requests.
pub(super) async fn drain(body: SdkBody) {
    if body.content_length() == Some(0) {
        return;
    }
    // A body that does not end costs a new connection.
    let _ = tokio::time::timeout(DRAIN, beginning(body)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_as_s3_writes_them() {
        let body =
            b"<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code><Message>a &amp; b</Message><Key>k</Key></Error>";
        let metadata = parse(body).unwrap();
        assert_eq!((metadata.code(), metadata.message()), (Some("NoSuchKey"), Some("a & b")));
        assert!(parse(b"404 page not found").is_err() && parse(b"").is_err());
    }
}
