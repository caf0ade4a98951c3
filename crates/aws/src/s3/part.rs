//! Uploads of parts.

use std::future::Future;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::upload_part::UploadPartOutput;
use aws_sdk_s3::operation::upload_part::builders::UploadPartFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::Md5Digest;
use migration_core::ports::{Body, ByteStream as Stream, Checksum, PutPart, Written};

use super::S3Store;
use super::encoding::{encode_checksum, md5};
use super::streamed::{self, ChecksumTrailer, Sending};
use super::written::{Answer, sent_checksum};
use crate::error::{Api, invalid_response, service_error};
use crate::sdk::{timeouts_of_streams, upload_time};

const PUT_PART: &str = "put part";

pub(super) async fn put_part(client: &Client, request: PutPart<'_>) -> Result<Written, ServiceError> {
    let put = client
        .upload_part()
        .bucket(request.upload.bucket)
        .key(request.upload.key)
        .upload_id(request.upload.upload_id)
        .part_number(i32::try_from(request.number).unwrap_or(i32::MAX));
    let sent = match request.body {
        Body::Held { bytes, md5 } => held(put, bytes, &md5, request.checksum).await,
        Body::Streamed { stream, len } => streamed(put, stream, len, request.checksum).await.map_err(unframed),
    };
    let output = sent.map_err(unsigned)?;
    Answer {
        etag: output.e_tag(),
        encryption: output.server_side_encryption(),
        customer_key: output.sse_customer_algorithm(),
        checksum: sent_checksum(output.checksum_crc64_nvme(), None),
        version_id: None,
    }
    .written(PUT_PART)
}

/// Sends a part from memory. The signed Content-MD5 protects the body, so it needs no SHA-256.
async fn held(
    put: UploadPartFluentBuilder,
    bytes: Bytes,
    digest: &Md5Digest,
    checksum: bool,
) -> Result<UploadPartOutput, ServiceError> {
    let within = S3Store::within(upload_time(bytes.len()));
    let sum = checksum.then(|| encode_checksum(Checksum(crc_fast::crc64_nvme(&bytes))));
    let put = put.content_md5(md5(digest)).set_checksum_crc64_nvme(sum).body(ByteStream::from(bytes));
    let sent = put.customize().config_override(within).disable_payload_signing().send().await;
    sent.map_err(|error| service_error(Api::S3, PUT_PART, &error))
}

/// Sends a streamed part once, without a time limit as long as bytes move.
async fn streamed(
    put: UploadPartFluentBuilder,
    stream: Stream,
    len: u64,
    checksum: bool,
) -> Result<UploadPartOutput, ServiceError> {
    let (body, sending) = streamed::body(stream, len, checksum);
    let once = Builder::new().retry_config(RetryConfig::disabled()).timeout_config(timeouts_of_streams());
    let put = put.body(body).set_checksum_algorithm(checksum.then_some(ChecksumAlgorithm::Crc64Nvme));
    let put = put.customize().config_override(once);
    if checksum {
        watched(put.interceptor(ChecksumTrailer { len }).send(), sending).await
    } else {
        watched(put.disable_payload_signing().send(), sending).await
    }
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
