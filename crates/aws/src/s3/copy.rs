//! Server-side copies of objects and parts.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{MetadataDirective, TaggingDirective};
use migration_core::error::ServiceError;
use migration_core::ports::{CopyPart, CopyRequest, Written};

use super::S3Store;
use super::encoding::{copy_source, range};
use super::settings::{Settings, with_settings};
use super::write::{conditional, with_condition};
use super::written::{Answer, sent_checksum, whole_checksum};
use crate::error::{Api, no_answer, service_error};
use crate::sdk::LONG_REQUEST;

const COPY: &str = "copy object";
const COPY_PART: &str = "copy part";

/// Copies an object. The SDK checks the body of a 200 for an error, here and in [`part`].
///
/// A 404 of `If-Match` at the destination can't be told from an absent source. It is reported as a failed condition,
/// since reading the objects again tells them apart.
pub(super) async fn object(
    client: &Client,
    settings: &Settings,
    request: CopyRequest<'_>,
) -> Result<Written, ServiceError> {
    let copy = client
        .copy_object()
        .bucket(request.bucket)
        .key(request.key)
        .copy_source(copy_source(&request.source))
        .set_copy_source_if_match(request.source.if_match.condition())
        .metadata_directive(MetadataDirective::Copy)
        .tagging_directive(TaggingDirective::Copy);
    let copy = with_settings!(copy, request.attributes, settings);
    let copy = with_condition!(copy, request.condition);
    let sent = copy.customize().config_override(S3Store::within(LONG_REQUEST)).send().await;
    let output = sent.map_err(|error| conditional(service_error(Api::S3, COPY, &error), request.condition))?;
    let result = output.copy_object_result().ok_or_else(|| no_answer(COPY, "result"))?;
    Answer {
        etag: result.e_tag(),
        encryption: output.server_side_encryption(),
        customer_key: output.sse_customer_algorithm(),
        checksum: whole_checksum(result.checksum_crc64_nvme(), result.checksum_type()),
        version_id: output.version_id(),
    }
    .written(COPY)
}

pub(super) async fn part(client: &Client, request: CopyPart<'_>) -> Result<Written, ServiceError> {
    let sent = client
        .upload_part_copy()
        .bucket(request.upload.bucket)
        .key(request.upload.key)
        .upload_id(request.upload.upload_id)
        .part_number(i32::try_from(request.number).unwrap_or(i32::MAX))
        .copy_source(copy_source(&request.source))
        .set_copy_source_if_match(request.source.if_match.condition())
        .copy_source_range(range(request.offset, request.len))
        .customize()
        .config_override(S3Store::within(LONG_REQUEST))
        .send()
        .await;
    let output = sent.map_err(|error| service_error(Api::S3, COPY_PART, &error))?;
    let result = output.copy_part_result().ok_or_else(|| no_answer(COPY_PART, "result"))?;
    Answer {
        etag: result.e_tag(),
        encryption: output.server_side_encryption(),
        customer_key: output.sse_customer_algorithm(),
        checksum: sent_checksum(result.checksum_crc64_nvme(), None),
        version_id: None,
    }
    .written(COPY_PART)
}
