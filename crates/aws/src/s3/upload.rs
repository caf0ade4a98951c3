//! Listing of parts, completion and abortion of uploads.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{ChecksumType, CompletedMultipartUpload, CompletedPart as SdkPart, Part};
use migration_core::error::ServiceError;
use migration_core::etag::ETag;
use migration_core::object::ListedPart;
use migration_core::ports::{CompleteUpload, CompletedPart, PartsPage, UploadRef, Written};

use super::S3Store;
use super::encoding::{decode_checksum, encode_checksum};
use super::write::{conditional, with_condition};
use super::written::{Answer, whole_checksum};
use crate::error::words::OwnSuccess;
use crate::error::{Api, invalid_response, service_error};
use crate::sdk::LONG_REQUEST;

const LIST_PARTS: &str = "list parts";
const COMPLETE: &str = "complete upload";

pub(super) async fn parts(
    client: &Client,
    upload: UploadRef<'_>,
    after: Option<u32>,
) -> Result<PartsPage, ServiceError> {
    let page = client
        .list_parts()
        .bucket(upload.bucket)
        .key(upload.key)
        .upload_id(upload.upload_id)
        .set_part_number_marker(after.map(|number| number.to_string()))
        .send()
        .await
        .map_err(|error| service_error(Api::S3, LIST_PARTS, &error))?;
    let next = page.next_part_number_marker().and_then(|number| number.parse().ok());
    let next = match (page.is_truncated() == Some(true), next) {
        (true, None) => return Err(invalid_response(LIST_PARTS, "the page is not the last and names no next part")),
        (true, next) => next,
        (false, _) => None,
    };
    let parts = page.parts().iter().map(listed).collect::<Result<_, _>>()?;
    Ok(PartsPage { parts, next, initiator: page.initiator().and_then(|who| who.id()).map(ToOwned::to_owned) })
}

fn listed(part: &Part) -> Result<ListedPart, ServiceError> {
    let missing = |what: &str| invalid_response(LIST_PARTS, format!("a part has no {what}"));
    Ok(ListedPart {
        number: part.part_number().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| missing("number"))?,
        size: part.size().and_then(|size| u64::try_from(size).ok()).ok_or_else(|| missing("size"))?,
        etag: part.e_tag().map(ETag::new).ok_or_else(|| missing("ETag"))?,
        checksum: part.checksum_crc64_nvme().and_then(decode_checksum),
    })
}

fn completed(part: &CompletedPart) -> SdkPart {
    SdkPart::builder()
        .part_number(i32::try_from(part.number).unwrap_or(i32::MAX))
        .e_tag(part.etag.quoted())
        .set_checksum_crc64_nvme(part.checksum.map(encode_checksum))
        .build()
}

pub(super) async fn complete(client: &Client, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
    let checksums = request.parts.iter().any(|part| part.checksum.is_some());
    let parts = request.parts.iter().map(completed).collect();
    let complete = client
        .complete_multipart_upload()
        .bucket(request.upload.bucket)
        .key(request.upload.key)
        .upload_id(request.upload.upload_id)
        .set_checksum_type(checksums.then_some(ChecksumType::FullObject))
        .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
    let complete = with_condition!(complete, request.condition);
    // The SDK checks the body of a 200 for an error.
    let sent = complete.customize().config_override(S3Store::within(LONG_REQUEST)).send().await;
    let output = sent.map_err(|error| conditional(service_error(Api::S3, COMPLETE, &error), request.condition))?;
    Answer {
        etag: output.e_tag(),
        encryption: output.server_side_encryption(),
        customer_key: None,
        checksum: whole_checksum(output.checksum_crc64_nvme(), output.checksum_type()),
        version_id: output.version_id(),
    }
    .written(COMPLETE)
}

pub(super) async fn abort(client: &Client, upload: UploadRef<'_>) -> Result<(), ServiceError> {
    let abort = client.abort_multipart_upload().bucket(upload.bucket).key(upload.key).upload_id(upload.upload_id);
    let sent = abort.customize().interceptor(OwnSuccess::Empty).send().await;
    sent.map(|_| ()).map_err(|error| service_error(Api::S3, "abort upload", &error))
}
