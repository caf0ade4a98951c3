//! Uploads of parts.

use std::future::Future;
use std::time::Duration;

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::upload_part::UploadPartOutput;
use aws_sdk_s3::operation::upload_part::builders::UploadPartFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::ChecksumAlgorithm;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::Md5Digest;
use migration_core::ports::{Body, ByteStream as Stream, Checksum, PutPart, UploadRef, Written};

use super::S3Store;
use super::direct::{Failed, Outgoing, Payload, Sender};
use super::encoding::{encode_checksum, md5};
use super::headers::Answered;
use super::streamed::{self, CHECKSUM, ChecksumTrailer, Sending};
use super::written::{Answer, sent_checksum, written};
use crate::error::{Api, invalid_response, service_error};
use crate::sdk::{timeouts_of_streams, upload_time};

const PUT_PART: &str = "put part";

pub(super) async fn put_part(store: &S3Store, request: PutPart<'_>) -> Result<Written, ServiceError> {
    let PutPart { upload, number, body, checksum } = request;
    let part = Part { store, upload, number, checksum, sender: store.direct.sender(upload.bucket) };
    let sent = match body {
        Body::Held { bytes, md5 } => part.held(bytes, &md5).await,
        Body::Streamed { stream, len } => part.streamed(stream, len).await.map_err(unframed),
    };
    sent.map_err(unsigned)
}

/// A part to be sent.
struct Part<'a> {
    store: &'a S3Store,
    upload: UploadRef<'a>,
    number: u32,
    checksum: bool,
    sender: Option<Sender>,
}

impl Part<'_> {
    /// Returns the request of the SDK.
    fn by_sdk(&self) -> UploadPartFluentBuilder {
        let put = self.store.client.upload_part().bucket(self.upload.bucket).key(self.upload.key);
        put.upload_id(self.upload.upload_id).part_number(i32::try_from(self.number).unwrap_or(i32::MAX))
    }

    /// Sends a part from memory. The signed Content-MD5 protects the body, so it needs no SHA-256.
    async fn held(&self, bytes: Bytes, digest: &Md5Digest) -> Result<Written, ServiceError> {
        let (digest, time) = (md5(digest), upload_time(bytes.len()));
        let sum = self.checksum.then(|| encode_checksum(Checksum(crc_fast::crc64_nvme(&bytes))));
        if let Some(sender) = &self.sender {
            let mut headers = vec![("content-md5", digest.as_str())];
            headers.extend(sum.as_deref().map(|sum| (CHECKSUM, sum)));
            let body = (SdkBody::from(bytes.clone()), bytes.len() as u64);
            match self.direct(sender, headers, body, Payload::Unsigned, Some(time)).await {
                Err(failed) if failed.may_be_clock => {}
                Err(failed) => return Err(service_error(Api::S3, PUT_PART, &failed.error)),
                Ok(answered) => return written_part(&answered),
            }
        }
        let put = self.by_sdk().content_md5(digest).set_checksum_crc64_nvme(sum).body(ByteStream::from(bytes));
        let put = put.customize().config_override(S3Store::within(time));
        let sent = put.interceptor(self.store.direct.learn(self.upload.bucket)).disable_payload_signing().send().await;
        written_by_sdk(&sent.map_err(|error| service_error(Api::S3, PUT_PART, &error))?)
    }

    /// Sends a streamed part once, without a time limit as long as bytes move.
    async fn streamed(&self, stream: Stream, len: u64) -> Result<Written, ServiceError> {
        let (body, sending) = streamed::body(stream, len, self.checksum);
        if let Some(sender) = &self.sender {
            let decoded = len.to_string();
            let framed = self.checksum.then(|| streamed::trailer_headers(&decoded));
            let headers = framed.iter().flatten().copied().collect();
            let (payload, length) =
                if self.checksum { (Payload::Trailer, streamed::framed_len(len)) } else { (Payload::Unsigned, len) };
            let sent = self.direct(sender, headers, (body.into_inner(), length), payload, None);
            let sent = async { sent.await.map_err(|failed| failed.error) };
            return written_part(&watched(sent, sending).await?);
        }
        let once = Builder::new().retry_config(RetryConfig::disabled()).timeout_config(timeouts_of_streams());
        let algorithm = self.checksum.then_some(ChecksumAlgorithm::Crc64Nvme);
        let put = self.by_sdk().body(body).set_checksum_algorithm(algorithm).customize().config_override(once);
        let put = put.interceptor(self.store.direct.learn(self.upload.bucket));
        let sent = if self.checksum {
            watched(put.interceptor(ChecksumTrailer { len }).send(), sending).await
        } else {
            watched(put.disable_payload_signing().send(), sending).await
        };
        written_by_sdk(&sent?)
    }

    /// Sends a body of this length.
    async fn direct(
        &self,
        sender: &Sender,
        mut headers: Vec<(&str, &str)>,
        (body, length): (SdkBody, u64),
        payload: Payload,
        within: Option<Duration>,
    ) -> Result<Answered, Box<Failed>> {
        let (number, length) = (self.number.to_string(), length.to_string());
        headers.extend([("content-length", length.as_str()), ("content-type", "application/octet-stream")]);
        let outgoing = Outgoing {
            method: "PUT",
            key: Some(self.upload.key),
            query: vec![("x-id", "UploadPart"), ("partNumber", &number), ("uploadId", self.upload.upload_id)],
            headers,
            unsigned: Vec::new(),
            body,
            payload,
        };
        sender.write(outgoing, &self.store.clock, within).await
    }
}

/// Reads the headers of a response. A part has no version.
fn written_part(answered: &Answered) -> Result<Written, ServiceError> {
    Ok(Written { version_id: None, ..written(answered, PUT_PART)? })
}

fn written_by_sdk(output: &UploadPartOutput) -> Result<Written, ServiceError> {
    Answer {
        etag: output.e_tag(),
        encryption: output.server_side_encryption(),
        customer_key: output.sse_customer_algorithm(),
        checksum: sent_checksum(output.checksum_crc64_nvme(), None),
        version_id: None,
    }
    .written(PUT_PART)
}

/// Waits for the response; fails when the body has stalled.
async fn watched<O, E>(
    request: impl Future<Output = Result<O, SdkError<E, HttpResponse>>>,
    sending: Sending,
) -> Result<O, ServiceError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let progress = &sending.progress;
    let sent = tokio::select! {
        sent = request => sent,
        why = progress.stalled() => return Err(ServiceError::new(ErrorClass::NoAnswer, PUT_PART, "Timeout", why)),
    };
    match (sent, progress.broken()) {
        (Ok(output), _) if progress.is_sent() => Ok(output),
        // The service's response takes precedence over a broken stream.
        (Err(error), _) if error.raw_response().is_some() => Err(service_error(Api::S3, PUT_PART, &error)),
        (_, Some(why)) => Err(ServiceError::new(ErrorClass::Transient, PUT_PART, "BodyBroken", why)),
        (Ok(_), None) => Err(invalid_response(PUT_PART, "the response came before the service had the whole body")),
        (Err(error), None) => Err(service_error(Api::S3, PUT_PART, &error)),
    }
}

/// Makes a SHA-256 mismatch permanent: no SHA-256 is sent for parts, so a service that reports one does not support
/// unsigned bodies, and a retry would fail too.
fn unsigned(error: ServiceError) -> ServiceError {
    match error.code.as_str() {
        "XAmzContentSHA256Mismatch" => ServiceError { class: ErrorClass::Refused, ..error },
        _ => error,
    }
}

/// Makes a signature mismatch of a streamed body permanent: a service that does not support unsigned or trailing
/// checksums computes another signature. A wrong secret shows when the same bytes are sent with Content-MD5.
fn unframed(error: ServiceError) -> ServiceError {
    match error.class {
        ErrorClass::SignatureMismatch => ServiceError { class: ErrorClass::Refused, ..error },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_a_streamed_body_that_does_not_fit_is_a_refusal() {
        let error = |class| unframed(ServiceError::new(class, PUT_PART, "SignatureDoesNotMatch", "")).class;
        assert_eq!(error(ErrorClass::SignatureMismatch), ErrorClass::Refused);
        assert_eq!(error(ErrorClass::Throttled), ErrorClass::Throttled);
    }

    #[test]
    fn a_wrong_hash_that_was_never_sent_is_a_refusal() {
        let error = |code| unsigned(ServiceError::new(ErrorClass::Transient, PUT_PART, code, "")).class;
        assert_eq!(error("XAmzContentSHA256Mismatch"), ErrorClass::Refused);
        assert_eq!(error("BadDigest"), ErrorClass::Transient);
    }
}
