//! Requests about multipart uploads.

use hyper::HeaderMap;
use migration_core::etag::ETag;
use migration_core::object::CompletedPart;
use migration_core::ports::{CompleteUpload, CreateUpload, ObjectStore, Operation, UploadRef};
use migration_local::store::LocalStore;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, ETag as Tag, Initiator, ListPartsInput, ListPartsOutput, Part, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3Request, S3Response, S3Result};

use crate::attributes::{attributes, tags};
use crate::conditions::write_condition;
use crate::error::{refused, s3_error};
use crate::objects::{version_id, written_headers};
use crate::upload_body::{UploadBody, decode, encode, verified};
use crate::xml::in_xml;

pub(crate) async fn create(
    store: &LocalStore,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<CreateMultipartUploadOutput> {
    let (attributes, tags) = (attributes(&request.headers)?, tags(&request.headers)?);
    let input = request.input;
    let algorithm = input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str);
    let checksum = algorithm == Some(ChecksumAlgorithm::CRC64NVME);
    let composite = input.checksum_type.as_ref().is_some_and(|kind| kind.as_str() == ChecksumType::COMPOSITE);
    if checksum && composite {
        return Err(refused("InvalidRequest", "the COMPOSITE checksum type cannot be used with CRC64NVME"));
    }
    let create =
        CreateUpload { bucket: &input.bucket, key: &input.key, attributes: &attributes, tags: &tags, checksum };
    let upload_id = store.create_upload(create).await.map_err(|error| s3_error(&error))?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: input.checksum_type,
        key: in_xml(input.key),
        upload_id: Some(upload_id),
        ..Default::default()
    })
}

pub(crate) async fn put_part(
    store: &LocalStore,
    mut request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let (body, len) = (request.input.body.take(), request.input.content_length);
    let body = UploadBody::of(Operation::PutPart, &request, body, len)?;
    let input = request.input;
    let upload = UploadRef { bucket: &input.bucket, key: &input.key, upload_id: &input.upload_id };
    let number = u32::try_from(input.part_number).unwrap_or_default();
    let written = store.put_upload_part(upload, number, body.incoming, body.has_crc64nvme).await;
    let written = written.map_err(|error| s3_error(&error))?;
    let headers = written_headers(&written, verified(&body.verified));
    Ok(S3Response { headers, ..S3Response::new(UploadPartOutput::default()) })
}

pub(crate) async fn list_parts(store: &LocalStore, input: ListPartsInput) -> S3Result<ListPartsOutput> {
    let upload = UploadRef { bucket: &input.bucket, key: &input.key, upload_id: &input.upload_id };
    let after = input.part_number_marker.and_then(|marker| u32::try_from(marker).ok());
    let most = input.max_parts.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or_default());
    let page = store.list_upload_parts(upload, after, most).await.map_err(|error| s3_error(&error))?;
    let parts: Vec<Part> = page
        .parts
        .into_iter()
        .map(|part| Part {
            checksum_crc64nvme: part.checksum.map(encode),
            e_tag: Some(Tag::Strong(part.etag.as_str().to_owned())),
            part_number: i32::try_from(part.number).ok(),
            size: i64::try_from(part.size).ok(),
            ..Default::default()
        })
        .collect();
    Ok(ListPartsOutput {
        initiator: page.initiator.map(|id| Initiator { display_name: Some(id.clone()), id: Some(id) }),
        is_truncated: Some(page.next.is_some()),
        key: in_xml(input.key),
        max_parts: input.max_parts.or(Some(1_000)),
        next_part_number_marker: page.next.and_then(|next| i32::try_from(next).ok()),
        part_number_marker: input.part_number_marker,
        parts: Some(parts),
        bucket: Some(input.bucket),
        upload_id: Some(input.upload_id),
        ..Default::default()
    })
}

/// Refuses checks of the whole object that the server does not make.
fn check_known(input: &CompleteMultipartUploadInput) -> S3Result<()> {
    let sums = [
        &input.checksum_crc32,
        &input.checksum_crc32c,
        &input.checksum_crc64nvme,
        &input.checksum_sha1,
        &input.checksum_sha256,
    ];
    if sums.into_iter().any(Option::is_some) || input.mpu_object_size.is_some() {
        let message = "a checksum or size of the whole object is not implemented: parts are checked one by one";
        return Err(refused("NotImplemented", message));
    }
    Ok(())
}

fn completed(input: &CompleteMultipartUploadInput) -> S3Result<Vec<CompletedPart>> {
    let malformed = || refused("MalformedXML", "a part needs a number, an ETag, and a checksum that is one");
    let parts = input.multipart_upload.iter().filter_map(|upload| upload.parts.as_ref()).flatten();
    let parts = parts.map(|part| {
        let number = part.part_number.and_then(|number| u32::try_from(number).ok()).ok_or_else(malformed)?;
        let etag = ETag::new(part.e_tag.as_ref().ok_or_else(malformed)?.value());
        let checksum = part.checksum_crc64nvme.as_deref().map(|text| decode(text).ok_or_else(malformed));
        Ok(CompletedPart { number, etag, checksum: checksum.transpose()? })
    });
    parts.collect()
}

pub(crate) async fn complete(
    store: &LocalStore,
    input: CompleteMultipartUploadInput,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    check_known(&input)?;
    let parts = completed(&input)?;
    let condition = write_condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let upload = UploadRef { bucket: &input.bucket, key: &input.key, upload_id: &input.upload_id };
    let request = CompleteUpload { upload, parts: &parts, condition: &condition };
    let written = store.complete_upload(request).await.map_err(|error| s3_error(&error))?;
    let settings = store.bucket_settings(&input.bucket).unwrap_or_default();
    let full = || ChecksumType::from_static(ChecksumType::FULL_OBJECT);
    let output = CompleteMultipartUploadOutput {
        checksum_crc64nvme: written.checksum.map(encode),
        checksum_type: written.checksum.map(|_| full()),
        e_tag: Some(Tag::Strong(written.etag.as_str().to_owned())),
        key: in_xml(input.key),
        bucket: Some(input.bucket),
        version_id: version_id(written.version_id.clone(), &settings),
        ..Default::default()
    };
    let mut headers = written_headers(&written, HeaderMap::new());
    for name in ["etag", "x-amz-checksum-crc64nvme"] {
        headers.remove(name);
    }
    Ok(S3Response { headers, ..S3Response::new(output) })
}

pub(crate) async fn abort(
    store: &LocalStore,
    input: AbortMultipartUploadInput,
) -> S3Result<AbortMultipartUploadOutput> {
    if input.if_match_initiated_time.is_some() {
        return Err(refused("NotImplemented", "a condition of an abort is not implemented"));
    }
    let upload = UploadRef { bucket: &input.bucket, key: &input.key, upload_id: &input.upload_id };
    store.abort_upload(upload).await.map_err(|error| s3_error(&error))?;
    Ok(AbortMultipartUploadOutput::default())
}
