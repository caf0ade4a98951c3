//! Copies of objects and of parts.

use hyper::HeaderMap;
use migration_core::ports::{CopyPart, CopyRequest, CopySource, ObjectStore, Operation, UploadRef, Written};
use migration_local::store::{LocalStore, Replaced, StoredObject};
use s3s::dto::{
    ChecksumType, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource as Source, ETag,
    MetadataDirective, Range, TaggingDirective, Timestamp, UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3Request, S3Response, S3Result};

use crate::attributes::{attributes, tags};
use crate::conditions::{ReadConditions, header, write_condition};
use crate::error::{refused, s3_error};
use crate::objects::{version_id, written_headers};
use crate::upload_body::encode;

/// The object that a copy reads.
struct Copied {
    bucket: String,
    key: String,
    version_id: Option<String>,
    object: StoredObject,
}

impl Copied {
    /// Looks the source up and checks its conditions. The copy then asks for exactly this content.
    async fn open(
        store: &LocalStore,
        operation: Operation,
        source: &Source,
        conditions: &ReadConditions,
    ) -> S3Result<Self> {
        let Source::Bucket { bucket, key, version_id } = source else {
            return Err(refused("NotImplemented", "access points are not implemented"));
        };
        let open = store.open_object(operation, bucket, key, version_id.as_deref()).await;
        let object = open.map_err(|error| s3_error(&error))?.object;
        conditions.check_source(&object)?;
        let (bucket, key) = (bucket.to_string(), key.to_string());
        Ok(Self { bucket, key, version_id: version_id.as_deref().map(ToOwned::to_owned), object })
    }

    fn source(&self) -> CopySource<'_> {
        CopySource {
            bucket: &self.bucket,
            key: &self.key,
            version_id: self.version_id.as_deref(),
            if_match: &self.object.etag,
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

fn is_replace(directive: Option<&str>) -> bool {
    directive == Some(MetadataDirective::REPLACE)
}

pub(crate) async fn object(
    store: &LocalStore,
    request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let (attributes, tags) = (attributes(&request.headers)?, tags(&request.headers)?);
    let input = request.input;
    let condition = write_condition(
        header(&request.headers, "if-match")?.as_ref(),
        header(&request.headers, "if-none-match")?.as_ref(),
    )?;
    let conditions = ReadConditions {
        matches: input.copy_source_if_match,
        matches_none: input.copy_source_if_none_match,
        modified_since: input.copy_source_if_modified_since,
        unmodified_since: input.copy_source_if_unmodified_since,
    };
    let source = Copied::open(store, Operation::CopyObject, &input.copy_source, &conditions).await?;
    let replaced = Replaced {
        attributes: is_replace(input.metadata_directive.as_ref().map(MetadataDirective::as_str)).then_some(&attributes),
        tags: is_replace(input.tagging_directive.as_ref().map(TaggingDirective::as_str)).then_some(&tags),
    };
    let (bucket, key) = (input.bucket.as_str(), input.key.as_str());
    let copy = CopyRequest { source: source.source(), bucket, key, attributes: &attributes, condition: &condition };
    let written = store.copy_object(copy, replaced).await.map_err(|error| s3_error(&error))?;
    let full = || ChecksumType::from_static(ChecksumType::FULL_OBJECT);
    let result = CopyObjectResult {
        checksum_crc64nvme: written.checksum.map(encode),
        checksum_type: written.checksum.map(|_| full()),
        e_tag: Some(ETag::Strong(written.etag.as_str().to_owned())),
        last_modified: Some(now()),
        ..Default::default()
    };
    let settings = store.bucket_settings(bucket).unwrap_or_default();
    let output = CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: source.version_id,
        version_id: version_id(written.version_id.clone(), &settings),
        ..Default::default()
    };
    Ok(S3Response { headers: copied_headers(&written), ..S3Response::new(output) })
}

/// Returns the headers of the answer to a copy, whose ETag is in the body.
fn copied_headers(written: &Written) -> HeaderMap {
    let mut headers = written_headers(written, HeaderMap::new());
    headers.remove("etag");
    headers
}

pub(crate) async fn part(store: &LocalStore, input: UploadPartCopyInput) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let conditions = ReadConditions {
        matches: input.copy_source_if_match,
        matches_none: input.copy_source_if_none_match,
        modified_since: input.copy_source_if_modified_since,
        unmodified_since: input.copy_source_if_unmodified_since,
    };
    let source = Copied::open(store, Operation::CopyPart, &input.copy_source, &conditions).await?;
    let (offset, len) = match &input.copy_source_range {
        None => (0, source.object.size()),
        Some(text) => match Range::parse(text) {
            Ok(Range::Int { first, last: Some(last) }) => (first, last - first + 1),
            _ => return Err(refused("InvalidArgument", "the x-amz-copy-source-range is not of the form bytes=n-m")),
        },
    };
    let upload = UploadRef { bucket: &input.bucket, key: &input.key, upload_id: &input.upload_id };
    let number = u32::try_from(input.part_number).unwrap_or_default();
    let copy = CopyPart { source: source.source(), upload, number, offset, len };
    let written = store.copy_part(copy).await.map_err(|error| s3_error(&error))?;
    let headers = copied_headers(&written);
    let result = CopyPartResult {
        checksum_crc64nvme: written.checksum.map(encode),
        e_tag: Some(ETag::Strong(written.etag.as_str().to_owned())),
        last_modified: Some(now()),
        ..Default::default()
    };
    let copy_source_version_id = source.version_id;
    let output = UploadPartCopyOutput { copy_part_result: Some(result), copy_source_version_id, ..Default::default() };
    Ok(S3Response { headers, ..S3Response::new(output) })
}
