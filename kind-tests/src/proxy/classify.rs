//! Classification of requests by S3 operation.

use hyper::Method;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

/// Operation and subject of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Name of the operation in S3's reference, or in that of the other service.
    pub operation: String,
    /// Bucket; empty if the operation has none.
    pub bucket: String,
    /// Decoded key; empty if the operation has none.
    pub key: String,
    /// Part number of operations on parts.
    pub part: Option<u32>,
    /// Names a version of the object.
    #[serde(default)]
    pub of_version: bool,
    /// Writes the object with tags.
    #[serde(default)]
    pub with_tags: bool,
    /// What the service copies from.
    #[serde(default)]
    pub copied_from: Option<CopySource>,
}

/// The source of a copy by the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySource {
    /// Decoded bucket and key, with a slash between them.
    pub object: String,
    /// Names a version of the object.
    pub of_version: bool,
}

impl CopySource {
    /// Reads the value of `x-amz-copy-source`.
    pub fn read(header: &str) -> Self {
        let (object, query) = header.split_once('?').unwrap_or((header, ""));
        let object = decode(object.strip_prefix('/').unwrap_or(object));
        Self { object, of_version: value(query, "versionId").is_some() }
    }
}

/// Determines the operation of a path-style request from method, path and query, and from whether it has a copy source.
///
/// `target` is the value of `x-amz-target`, by which SQS and DynamoDB name their operations.
pub fn classify(method: &Method, path: &str, query: &str, copy: bool, target: Option<&str>) -> Request {
    if let Some(target) = target {
        let operation = target.rsplit('.').next().unwrap_or(target).to_owned();
        return Request { operation, ..Request::default() };
    }
    let (bucket, key) = path.strip_prefix('/').unwrap_or(path).split_once('/').map_or_else(
        || (decode(path.strip_prefix('/').unwrap_or(path)), String::new()),
        |(bucket, key)| (decode(bucket), decode(key)),
    );
    let operation = match (bucket.is_empty(), key.is_empty()) {
        (true, _) => service_operation(method),
        (false, true) => bucket_operation(method, query),
        (false, false) => object_operation(method, query, copy),
    };
    let part = value(query, "partNumber").and_then(|n| n.parse().ok());
    let of_version = value(query, "versionId").is_some();
    Request { operation, bucket, key, part, of_version, ..Request::default() }
}

fn service_operation(method: &Method) -> String {
    if method == Method::GET { "ListBuckets".to_owned() } else { format!("{method} /") }
}

fn bucket_operation(method: &Method, query: &str) -> String {
    let name = match method.as_str() {
        "GET" if has(query, "uploads") => "ListMultipartUploads",
        "GET" if has(query, "versions") => "ListObjectVersions",
        "GET" if has(query, "location") => "GetBucketLocation",
        "GET" if has(query, "versioning") => "GetBucketVersioning",
        "GET" if value(query, "list-type") == Some("2") => "ListObjectsV2",
        "GET" => "ListObjects",
        "HEAD" => "HeadBucket",
        "PUT" => "CreateBucket",
        "DELETE" => "DeleteBucket",
        "POST" if has(query, "delete") => "DeleteObjects",
        _ => return format!("{method} bucket"),
    };
    name.to_owned()
}

fn object_operation(method: &Method, query: &str, copy: bool) -> String {
    let part = value(query, "partNumber").is_some();
    let upload = has(query, "uploadId");
    let name = match method.as_str() {
        "PUT" if part && upload && copy => "UploadPartCopy",
        "PUT" if part && upload => "UploadPart",
        "PUT" if has(query, "tagging") => "PutObjectTagging",
        "PUT" if copy => "CopyObject",
        "PUT" => "PutObject",
        "POST" if has(query, "uploads") => "CreateMultipartUpload",
        "POST" if upload => "CompleteMultipartUpload",
        "GET" if upload => "ListParts",
        "GET" if has(query, "tagging") => "GetObjectTagging",
        "GET" if has(query, "attributes") => "GetObjectAttributes",
        "GET" => "GetObject",
        "HEAD" => "HeadObject",
        "DELETE" if upload => "AbortMultipartUpload",
        "DELETE" if has(query, "tagging") => "DeleteObjectTagging",
        "DELETE" => "DeleteObject",
        _ => return format!("{method} object"),
    };
    name.to_owned()
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn has(query: &str, name: &str) -> bool {
    pairs(query).any(|(n, _)| n == name)
}

fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    pairs(query).find(|(n, _)| *n == name).map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_told_apart() {
        for (method, path, query, copy, operation, key) in [
            ("GET", "/", "x-id=ListBuckets", false, "ListBuckets", ""),
            ("GET", "/b", "list-type=2&prefix=a", false, "ListObjectsV2", ""),
            ("GET", "/b/", "list-type=2&prefix=a", false, "ListObjectsV2", ""),
            ("GET", "/b/", "prefix=a", false, "ListObjects", ""),
            ("GET", "/b/", "uploads", false, "ListMultipartUploads", ""),
            ("HEAD", "/b", "", false, "HeadBucket", ""),
            ("PUT", "/b", "", false, "CreateBucket", ""),
            ("GET", "/b/a/b", "x-id=GetObject", false, "GetObject", "a/b"),
            ("GET", "/b/a", "partNumber=1&x-id=GetObject", false, "GetObject", "a"),
            ("HEAD", "/b/a", "", false, "HeadObject", "a"),
            ("PUT", "/b/a", "x-id=PutObject", false, "PutObject", "a"),
            ("PUT", "/b/a", "x-id=CopyObject", true, "CopyObject", "a"),
            ("POST", "/b/a", "uploads", false, "CreateMultipartUpload", "a"),
            ("PUT", "/b/a", "x-id=UploadPart&partNumber=7&uploadId=u", false, "UploadPart", "a"),
            ("GET", "/b/a", "x-id=ListParts&uploadId=u", false, "ListParts", "a"),
            ("POST", "/b/a", "uploadId=u", false, "CompleteMultipartUpload", "a"),
            ("DELETE", "/b/a", "uploadId=u", false, "AbortMultipartUpload", "a"),
            ("DELETE", "/b/a", "", false, "DeleteObject", "a"),
            ("GET", "/b/a", "tagging", false, "GetObjectTagging", "a"),
            ("PUT", "/b/a", "tagging", false, "PutObjectTagging", "a"),
            ("PATCH", "/b/a", "", false, "PATCH object", "a"),
        ] {
            let found = classify(&method.parse().unwrap(), path, query, copy, None);
            assert_eq!((found.operation.as_str(), found.key.as_str()), (operation, key), "{method} {path}?{query}");
        }
    }

    #[test]
    fn keys_are_decoded_and_otherwise_left_alone() {
        for (path, key) in [
            ("/b//a//b/", "/a//b/"),
            ("/b/a/./../b", "a/./../b"),
            ("/b/%2541%20%2B", "%41 +"),
            ("/b/%F0%9F%98%80", "\u{1f600}"),
        ] {
            assert_eq!(classify(&Method::GET, path, "", false, None).key, key);
        }
    }

    #[test]
    fn parts_and_targets_are_named() {
        let part = classify(&Method::PUT, "/b/k", "partNumber=12&uploadId=u", false, None);
        assert_eq!(part.part, Some(12));
        let queue = classify(&Method::POST, "/", "", false, Some("AmazonSQS.ReceiveMessage"));
        assert_eq!(queue.operation, "ReceiveMessage");
    }

    #[test]
    fn versions_are_noticed() {
        for (query, expected) in [("versionId=v", true), ("tagging&versionId=v", true), ("tagging", false)] {
            assert_eq!(classify(&Method::GET, "/b/k", query, false, None).of_version, expected, "{query}");
        }
        for (header, object, of_version) in [
            ("b/a%20b", "b/a b", false),
            ("/b/k?versionId=v", "b/k", true),
            ("b/a%3FversionId", "b/a?versionId", false),
        ] {
            assert_eq!(CopySource::read(header), CopySource { object: object.into(), of_version }, "{header}");
        }
    }
}
