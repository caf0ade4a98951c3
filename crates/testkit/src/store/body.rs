//! Bodies as the service receives them.

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{Body, ByteStream};

use super::checks::{check_md5, copied, error, not_implemented};
use super::settings::StreamedBodies;
use crate::Operation;

/// Receives a body. Nothing is stored before its end.
pub(super) async fn receive(operation: Operation, body: Body, streamed: StreamedBodies) -> Result<Bytes, ServiceError> {
    match body {
        Body::Held { bytes, md5 } => {
            check_md5(operation, &bytes, &md5)?;
            Ok(copied(&bytes))
        }
        Body::Streamed { stream, len } => match streamed {
            StreamedBodies::Refused => Err(not_implemented(operation)),
            StreamedBodies::Taken => collect(operation, stream, len).await,
            StreamedBodies::Mangled => collect(operation, stream, len).await.map(|bytes| framed(&bytes)),
        },
    }
}

async fn collect(operation: Operation, mut stream: ByteStream, len: u64) -> Result<Bytes, ServiceError> {
    let incomplete = |message: &str| error(operation, ErrorClass::Transient, "IncompleteBody", message);
    let mut received = BytesMut::new();
    while let Some(piece) = stream.next().await {
        received.extend_from_slice(&piece.map_err(|error| incomplete(&format!("the body broke: {error}")))?);
        if received.len() as u64 > len {
            return Err(incomplete("the body has more bytes than its Content-Length says"));
        }
        // A body takes time: other requests are served between its pieces.
        tokio::task::yield_now().await;
    }
    if (received.len() as u64) < len {
        return Err(incomplete("you did not provide the number of bytes specified by the Content-Length header"));
    }
    Ok(received.freeze())
}

/// Returns the bytes that a service without support for `aws-chunked` stores.
/// Source: "Signature calculations with multiple chunks" in the S3 API reference.
fn framed(bytes: &Bytes) -> Bytes {
    let mut frame = BytesMut::with_capacity(bytes.len() + 32);
    frame.put_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
    frame.put_slice(bytes);
    frame.put_slice(b"\r\n0\r\n\r\n");
    frame.freeze()
}
