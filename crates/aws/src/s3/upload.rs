//! What becomes of an upload once its parts are sent.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Part};
use migration_core::error::ServiceError;
use migration_core::etag::ETag;
use migration_core::ports::{PartsPage, UploadRef, WriteCondition, Written};
use migration_core::resume::ListedPart;

use super::S3Store;
use super::write::{conditional, written};
use crate::error::{Service, invalid_response, service_error};
use crate::sdk::COMPLETE_REQUEST;

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
        .map_err(|error| service_error(Service::S3, LIST_PARTS, &error))?;
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
    })
}

pub(super) async fn complete(
    client: &Client,
    upload: UploadRef<'_>,
    parts: &[(u32, ETag)],
    condition: &WriteCondition,
) -> Result<Written, ServiceError> {
    let parts = parts.iter().map(|(number, etag)| {
        let number = i32::try_from(*number).unwrap_or(i32::MAX);
        CompletedPart::builder().part_number(number).e_tag(etag.quoted()).build()
    });
    let complete = client
        .complete_multipart_upload()
        .bucket(upload.bucket)
        .key(upload.key)
        .upload_id(upload.upload_id)
        .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build());
    let complete = match condition {
        WriteCondition::Any => complete,
        WriteCondition::Absent => complete.if_none_match("*"),
        WriteCondition::Matches(etag) => complete.if_match(etag.quoted()),
    };
    // The SDK looks for an error in the body of a 200 itself.
    let sent = complete.customize().config_override(S3Store::within(COMPLETE_REQUEST)).send().await;
    let output = sent.map_err(|error| conditional(service_error(Service::S3, COMPLETE, &error), condition))?;
    written(COMPLETE, output.e_tag(), output.server_side_encryption(), None)
}

pub(super) async fn abort(client: &Client, upload: UploadRef<'_>) -> Result<(), ServiceError> {
    let abort = client.abort_multipart_upload().bucket(upload.bucket).key(upload.key).upload_id(upload.upload_id);
    abort.send().await.map(|_| ()).map_err(|error| service_error(Service::S3, "abort upload", &error))
}
