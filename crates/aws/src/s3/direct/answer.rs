//! Answers with an error, and those whose content is of no interest.

use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_xml::decode::{Document, XmlDecodeError, try_data};

use super::DirectError;
use crate::sdk::STALLED;

/// Bytes of an error that are read; S3's are shorter than 2 KiB. Those of a proxy may be longer.
const LONGEST_ERROR: usize = 64 << 10;
/// Longest wait for the end of a body that nobody needs, before its connection is given up instead.
const DRAIN: Duration = Duration::from_secs(1);

/// Reads an answer with an error.
pub(super) async fn error(mut answer: HttpResponse) -> DirectError {
    let body = beginning(answer.take_body()).await;
    let metadata = parse(&body).unwrap_or_default();
    *answer.body_mut() = SdkBody::from(body);
    SdkError::service_error(metadata, answer)
}

/// Reads a body up to a limit, or up to where it breaks or stalls: a proxy's words are of use even then.
async fn beginning(body: SdkBody) -> Vec<u8> {
    let mut body = ByteStream::new(body);
    let mut read = Vec::new();
    while let Ok(Some(Ok(chunk))) = tokio::time::timeout(STALLED, body.next()).await {
        read.extend_from_slice(&chunk);
        if read.len() >= LONGEST_ERROR {
            break;
        }
    }
    read
}

/// Reads an error document. Source: "REST error responses", S3 API reference.
fn parse(body: &[u8]) -> Result<ErrorMetadata, XmlDecodeError> {
    let mut document = Document::try_from(body)?;
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
    let mut body = ByteStream::new(body);
    let rest = async {
        let mut read = 0;
        while let Some(Ok(chunk)) = body.next().await {
            read += chunk.len();
            if read > LONGEST_ERROR {
                break;
            }
        }
    };
    // A body that does not end costs a new connection.
    let _ = tokio::time::timeout(DRAIN, rest).await;
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
