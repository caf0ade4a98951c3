//! Bodies sent once, as they arrive: not buffered, copied or signed.
//!
//! The SDK's trailing checksums are not used. Over plain HTTP the SDK signs each chunk of 64 KiB, which costs a SHA-256
//! of every byte; some services reject that, and one stores the signatures as content. Here the body is a single chunk,
//! framed alike over HTTP and HTTPS:
//!
//! | checksum | sent |
//! |---|---|
//! | no | the bytes; `x-amz-content-sha256: UNSIGNED-PAYLOAD` |
//! | yes | `LENGTH⏎`, the bytes, `⏎0⏎x-amz-checksum-crc64nvme:SUM⏎⏎`; `x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER`, `content-encoding: aws-chunked` |
//!
//! Source: "Signature calculations for the authorization header: including trailing headers", S3 API reference.

use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::primitives::{ByteStream as SdkStream, SdkBody};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use http_body::{Body, Frame, SizeHint};
use migration_core::ports::{ByteStream, Checksum};
use tokio::sync::oneshot;

use super::encoding::encode_checksum;
use super::progress::BodyProgress;

type BoxError = Box<dyn Error + Send + Sync>;

/// Header or trailer with the checksum of a body.
pub(super) const CHECKSUM: &str = "x-amz-checksum-crc64nvme";

/// A body for the HTTP client.
struct StreamedBody {
    /// The SDK requires `Sync`, which the mutex provides. It is never locked: all access is exclusive.
    source: Mutex<ByteStream>,
    /// Bytes that the source has yet to give.
    awaited: u64,
    /// Bytes that the HTTP client has yet to take, framing included.
    unsent: u64,
    /// Checksum so far, if one is sent.
    checksum: Option<Digest>,
    step: Step,
    /// Resolves when the caller has stopped waiting for the response.
    given_up: oneshot::Receiver<()>,
    progress: Arc<BodyProgress>,
}

/// Section of the body to send next.
enum Step {
    /// Length of the single chunk, if the body is framed.
    Head,
    /// Bytes of the source; the last chunk is held back until the source has ended without an error.
    Content(Option<Bytes>),
    /// End of the frame.
    Tail,
    /// Nothing is left.
    End,
}

/// Returns a body for the SDK and the caller's handle. Dropping the handle stops the body, so that the source is not
/// read on after an early response or a cancelled call.
pub(super) fn body(stream: ByteStream, len: u64, checksum: bool) -> (SdkStream, Sending) {
    let (waiting, given_up) = oneshot::channel();
    let unsent = if checksum { framed_len(len) } else { len };
    let progress = Arc::new(BodyProgress::new(unsent));
    let body = StreamedBody {
        source: Mutex::new(stream),
        awaited: len,
        unsent,
        checksum: checksum.then(|| Digest::new(CrcAlgorithm::Crc64Nvme)),
        step: Step::Head,
        given_up,
        progress: Arc::clone(&progress),
    };
    (SdkStream::new(SdkBody::from_body_1_x(body)), Sending { progress, _waiting: waiting })
}

/// Handle of a body's caller.
pub(super) struct Sending {
    pub progress: Arc<BodyProgress>,
    _waiting: oneshot::Sender<()>,
}

/// Returns the header of the chunk; an empty body has only the final chunk.
fn head(len: u64) -> String {
    if len == 0 { String::new() } else { format!("{len:x}\r\n") }
}

fn tail(len: u64, checksum: Checksum) -> String {
    let end_of_chunk = if len == 0 { "" } else { "\r\n" };
    format!("{end_of_chunk}0\r\n{CHECKSUM}:{}\r\n\r\n", encode_checksum(checksum))
}

fn tail_len(len: u64) -> u64 {
    tail(len, Checksum(0)).len() as u64
}

/// Returns the length of a framed body whose content has this length.
pub(super) fn framed_len(len: u64) -> u64 {
    head(len).len() as u64 + len + tail_len(len)
}

/// Returns the headers of a framed body. `len` is the length of its content.
pub(super) fn trailer_headers(len: &str) -> [(&'static str, &str); 4] {
    [
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", len),
        ("x-amz-sdk-checksum-algorithm", "CRC64NVME"),
        ("x-amz-trailer", CHECKSUM),
    ]
}

impl StreamedBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            match &mut self.step {
                Step::Head => {
                    self.step = Step::Content(None);
                    if self.checksum.is_some() && self.awaited > 0 {
                        return Poll::Ready(Some(Ok(head(self.awaited).into())));
                    }
                }
                Step::Content(_) => match ready!(self.poll_source(cx)) {
                    Ok(Some(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                    Ok(None) => {}
                    Err(error) => {
                        self.step = Step::End;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Step::Tail => {
                    self.step = Step::End;
                    if let Some(digest) = self.checksum.take() {
                        return Poll::Ready(Some(Ok(tail(digest.get_amount(), Checksum(digest.finalize())).into())));
                    }
                }
                Step::End => return Poll::Ready(None),
            }
        }
    }

    /// Returns the next chunk that may be sent; `None` if the step has changed.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BoxError>> {
        let source = self.source.get_mut().unwrap_or_else(PoisonError::into_inner);
        Poll::Ready(match ready!(source.as_mut().poll_next(cx)) {
            Some(Ok(chunk)) => self.take(chunk),
            Some(Err(error)) => Err(Box::new(error)),
            None if self.awaited > 0 => Err(format!("the stream ended {} bytes early", self.awaited).into()),
            None => match std::mem::replace(&mut self.step, Step::Tail) {
                Step::Content(held) => Ok(held),
                _ => Ok(None),
            },
        })
    }

    /// Counts a chunk; holds it back if it is the last.
    fn take(&mut self, chunk: Bytes) -> Result<Option<Bytes>, BoxError> {
        let Some(awaited) = self.awaited.checked_sub(chunk.len() as u64) else {
            return Err(format!("the stream is {} bytes too long", chunk.len() as u64 - self.awaited).into());
        };
        if chunk.is_empty() {
            return Ok(None);
        }
        self.awaited = awaited;
        if let Some(digest) = &mut self.checksum {
            digest.update(&chunk);
        }
        if awaited > 0 {
            return Ok(Some(chunk));
        }
        self.step = Step::Content(Some(chunk));
        Ok(None)
    }
}

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if !matches!(this.step, Step::End) && Pin::new(&mut this.given_up).poll(cx).is_ready() {
            this.step = Step::End;
            return Poll::Ready(Some(Err("the request was abandoned".into())));
        }
        let Poll::Ready(next) = this.poll_next(cx) else {
            this.progress.waits_for_source();
            return Poll::Pending;
        };
        match &next {
            Some(Ok(bytes)) => {
                this.unsent = this.unsent.saturating_sub(bytes.len() as u64);
                this.progress.handed_over(this.unsent);
            }
            Some(Err(error)) => this.progress.broke(error.to_string()),
            None => {}
        }
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.unsent == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.unsent)
    }
}

/// Interceptor that frames the body and announces a trailing checksum.
#[derive(Debug)]
pub(super) struct ChecksumTrailer {
    /// Bytes of the content, without framing.
    pub len: u64,
}

impl Intercept for ChecksumTrailer {
    fn name(&self) -> &'static str {
        "ChecksumTrailer"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        for (name, value) in trailer_headers(&self.len.to_string()) {
            headers.insert(name, value.to_owned());
        }
        // For signed requests the signer sets it too.
        headers.insert("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        config.interceptor_state().store_put(PayloadSigningOverride::StreamingUnsignedPayloadTrailer);
        Ok(())
    }
}

#[cfg(test)]
#[path = "streamed/tests.rs"]
mod tests;
