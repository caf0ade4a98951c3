//! Classification of requests by S3 operation.

use std::collections::{BTreeMap, BTreeSet};

use hyper::header::HeaderMap;
use hyper::{Method, Request as HttpRequest};
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
    /// Headers of [`TELLING`].
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What the service copies from.
    #[serde(default)]
    pub copied_from: Option<CopySource>,
    /// Name of the queue or table; empty for S3.
    #[serde(default)]
    pub resource: String,
    /// What the body of a request to a queue or table has that needs actions of its own: the kinds of a transaction's
    /// writes, and `Tags`.
    #[serde(default)]
    pub members: BTreeSet<String>,
}

/// Header by which SQS and DynamoDB name their operations.
pub const TARGET: &str = "x-amz-target";
/// Header with the KMS key of an object.
pub const KMS_KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
/// Headers of requests and responses that need actions of their own.
pub const TELLING: [&str; 6] = [
    "x-amz-acl",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    KMS_KEY,
    "x-amz-tagging",
    "x-amz-tagging-count",
];

/// Returns the headers of [`TELLING`].
pub fn telling(headers: &HeaderMap) -> BTreeMap<String, String> {
    let value = |name: &str| Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned());
    TELLING.into_iter().filter_map(|name| Some((name.to_owned(), value(name)?))).collect()
}

/// Classifies a request. Without its body the resource is unknown.
pub fn of_request<B>(request: &HttpRequest<B>) -> Request {
    let headers = request.headers();
    let text = |name: &str| Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned());
    let copied_from = text("x-amz-copy-source").map(|source| CopySource::read(&source));
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let classified = classify(request.method(), path, query, copied_from.is_some(), text(TARGET).as_deref());
    Request { headers: telling(headers), copied_from, ..classified }
}

/// The members of a body that name what a request to SQS or DynamoDB is about.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Named {
    queue_url: String,
    queue_name: String,
    table_name: String,
    resource_arn: String,
    #[serde(alias = "tags")]
    tags: serde_json::Value,
    transact_items: Vec<BTreeMap<String, Named>>,
}

impl Request {
    /// Returns the request with what its body says, if it is one to SQS or DynamoDB.
    #[must_use]
    pub fn with_body(self, body: &[u8]) -> Self {
        let named: Named = serde_json::from_slice(body).unwrap_or_default();
        let writes = named.transact_items.iter().flatten();
        let mut members: BTreeSet<String> = writes.clone().map(|(kind, _)| kind.clone()).collect();
        if !named.tags.is_null() {
            members.insert("Tags".to_owned());
        }
        let tables = writes.map(|(_, write)| write.table_name.as_str());
        let given = [&named.queue_url, &named.queue_name, &named.table_name, &named.resource_arn].map(String::as_str);
        let name = given.into_iter().chain(tables).find(|name| !name.is_empty()).unwrap_or_default();
        let resource = name.rsplit('/').next().unwrap_or_default().to_owned();
        Self { resource, members, ..self }
    }
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
    fn bodies_name_queues_and_tables() {
        for (body, resource, members) in [
            (r#"{"QueueUrl": "http://host/1/q", "Entries": []}"#, "q", &[][..]),
            (r#"{"QueueName": "q", "tags": {"a": "b"}}"#, "q", &["Tags"]),
            (r#"{"TableName": "t", "Tags": []}"#, "t", &["Tags"]),
            (r#"{"ResourceArn": "arn:aws:dynamodb:r:1:table/t"}"#, "t", &[]),
            (
                r#"{"TransactItems": [{"Put": {"TableName": "t"}}, {"Update": {"TableName": "t"}}]}"#,
                "t",
                &["Put", "Update"],
            ),
            ("none", "", &[]),
        ] {
            let found = Request::default().with_body(body.as_bytes());
            let expected = members.iter().map(|member| (*member).to_owned()).collect();
            assert_eq!((found.resource.as_str(), found.members), (resource, expected), "{body}");
        }
    }

    #[test]
    fn headers_that_need_actions_are_kept() {
        let request = HttpRequest::put("/b/k").header("X-Amz-Tagging", "a=b").header("x-amz-copy-source", "/c/k");
        let found = of_request(&request.header("range", "bytes=0-").body(()).unwrap());
        assert_eq!(found.operation, "CopyObject");
        assert_eq!(found.headers, BTreeMap::from([("x-amz-tagging".to_owned(), "a=b".to_owned())]));
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
