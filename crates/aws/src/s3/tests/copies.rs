//! Tests of copy requests and of the settings of written objects.

use super::*;
use migration_core::config::Encryption;
use migration_core::ports::{ObjectLock, Retention, RetentionMode};

const COPIED: &str = "HTTP/1.1 200 OK\r\nx-amz-version-id: v2\r\nx-amz-server-side-encryption: aws:kms\r\n\r\n\
    <CopyObjectResult><ETag>\"e\"</ETag><ChecksumType>FULL_OBJECT</ChecksumType>\
    <ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME></CopyObjectResult>";

fn attributes() -> Attributes {
    let retention = Retention { mode: RetentionMode::Compliance, until: 1_798_761_600_000 };
    Attributes {
        content_type: Some("text/plain".into()),
        website_redirect: Some("/other".into()),
        storage_class: Some("STANDARD_IA".into()),
        lock: ObjectLock { retention: Some(retention), legal_hold: true },
        ..Attributes::default()
    }
}

#[tokio::test]
async fn a_copy_takes_along_what_the_service_would_not() {
    let (store, mut requests) = serve(COPIED).await;
    let (attributes, etag) = (attributes(), ETag::new("s"));
    let source = CopySource { bucket: "a", key: "x+y?é", version_id: Some("v1"), if_match: &etag };
    for condition in [&WriteCondition::Absent, &WriteCondition::Matches(ETag::new("d"))] {
        let copy = CopyRequest { source, bucket: "b", key: "k", attributes: &attributes, condition };
        let written = store.copy(copy).await.unwrap();
        assert_eq!((written.etag.as_str(), written.etag_is_md5), ("e", false));
        assert_eq!((written.checksum, written.version_id.as_deref()), (Some(CHECK), Some("v2")));
    }
    let sent = sent(&mut requests);
    sent[0].assert_headers(&[
        ("x-amz-copy-source", Some("a/x%2By%3F%C3%A9?versionId=v1")),
        ("x-amz-copy-source-if-match", Some("\"s\"")),
        ("x-amz-metadata-directive", Some("COPY")),
        ("x-amz-tagging-directive", Some("COPY")),
        ("x-amz-website-redirect-location", Some("/other")),
        ("x-amz-storage-class", Some("STANDARD_IA")),
        ("x-amz-object-lock-mode", Some("COMPLIANCE")),
        ("x-amz-object-lock-retain-until-date", Some("2027-01-01T00:00:00Z")),
        ("x-amz-object-lock-legal-hold", Some("ON")),
        ("if-none-match", Some("*")),
        ("if-match", None),
        ("content-type", None),
    ]);
    sent[1].assert_headers(&[("if-none-match", None), ("if-match", Some("\"d\""))]);
}

#[tokio::test]
async fn a_part_is_copied_by_its_range() {
    let answer = "HTTP/1.1 200 OK\r\n\r\n<CopyPartResult><ETag>\"e\"</ETag>\
                  <ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME></CopyPartResult>";
    let (store, mut requests) = serve(answer).await;
    let etag = ETag::new("s");
    let source = CopySource { bucket: "a", key: "k", version_id: None, if_match: &etag };
    let copy = CopyPart { source, upload: UPLOAD, number: 7, offset: 10, len: 5 };
    assert_eq!(store.copy_part(copy).await.unwrap().checksum, Some(CHECK));
    let sent = sent(&mut requests);
    assert!(sent[0].line().contains("partNumber=7") && sent[0].line().contains("uploadId=u"), "{}", sent[0].line());
    sent[0].assert_headers(&[
        ("x-amz-copy-source", Some("a/k")),
        ("x-amz-copy-source-if-match", Some("\"s\"")),
        ("x-amz-copy-source-range", Some("bytes=10-14")),
    ]);
}

#[tokio::test]
async fn every_request_that_makes_an_object_has_the_settings() {
    let settings = WriteSettings {
        storage_class: Some("GLACIER_IR".into()),
        encryption: Some(Encryption::Kms { kms_key_id: Some("key-1".into()) }),
        acl: Some("bucket-owner-full-control".into()),
    };
    // A response that suits all three requests.
    let answer = "HTTP/1.1 200 OK\r\netag: \"e\"\r\n\r\n<R><ETag>\"e\"</ETag><UploadId>u</UploadId></R>";
    let (store, mut requests) = serve_with(answer, &settings).await;
    let (attributes, etag, tags, condition) = (attributes(), ETag::new("s"), Tags::new(), WriteCondition::Any);
    let (bucket, key, attributes) = ("b", "k", &attributes);
    let source = CopySource { bucket: "a", key: "k", version_id: None, if_match: &etag };
    let create = CreateUpload { bucket, key, attributes, tags: &tags, checksum: false };
    let body = Bytes::new();
    let put = PutRequest { bucket, key, body, md5: [0; 16], attributes, tags: &tags, condition: &condition };
    // The responses don't matter here.
    let _ = store.put(put).await;
    let _ = store.create_upload(create).await;
    let _ = store.copy(CopyRequest { source, bucket, key, attributes, condition: &condition }).await;
    let sent = sent(&mut requests);
    assert!(sent.len() >= 3, "{sent:?}");
    for request in &sent {
        request.assert_headers(&[
            ("x-amz-storage-class", Some("GLACIER_IR")),
            ("x-amz-server-side-encryption", Some("aws:kms")),
            ("x-amz-server-side-encryption-aws-kms-key-id", Some("key-1")),
            ("x-amz-acl", Some("bucket-owner-full-control")),
            ("x-amz-object-lock-mode", Some("COMPLIANCE")),
        ]);
    }
}

#[tokio::test]
async fn a_copy_whose_destination_is_gone_is_not_a_source_that_is_gone() {
    let answer = "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n<Error><Code>NoSuchKey</Code></Error>";
    let (store, _requests) = serve(answer).await;
    let (attributes, etag) = (Attributes::default(), ETag::new("s"));
    let source = CopySource { bucket: "a", key: "k", version_id: None, if_match: &etag };
    for (condition, expected) in [
        (WriteCondition::Any, ErrorClass::NoSuchKey),
        (WriteCondition::Matches(ETag::new("d")), ErrorClass::PreconditionFailed),
    ] {
        let copy = CopyRequest { source, bucket: "b", key: "k", attributes: &attributes, condition: &condition };
        assert_eq!(store.copy(copy).await.unwrap_err().class, expected);
    }
}
