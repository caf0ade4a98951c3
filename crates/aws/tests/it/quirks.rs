//! Responses of real services and proxies, one per row, sent to the real adapter by a scripted server.

use bytes::Bytes;
use futures::TryStreamExt;
use migration_aws::S3Store;
use migration_core::config::WriteSettings;
use migration_core::error::{ErrorClass, Service};
use migration_core::etag::{ETag, Md5Digest};
use migration_core::events::{EventTypes, WantedEntries, merge};
use migration_core::fidelity::{Carried, reduce};
use migration_core::integrity::{self, Proof};
use migration_core::object::EncryptionKind;
use migration_core::outcome::NotPreserved;
use migration_core::ports::{
    Attributes, BucketAdmin, Checksum, CreateUpload, GetRequest, HeadRequest, ObjectHead, ObjectLock, ObjectStore,
    PutRequest, Span, WriteCondition, Written,
};

use crate::support::access;
use crate::support::wire::{Asked, Request, answer, serve};

async fn store(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> (S3Store, Asked) {
    let (address, asked) = serve(answer).await;
    let access = access(format!("http://{address}"));
    (S3Store::with_access(&access, true, &WriteSettings::default(), Service::Source).await, asked)
}

const WHOLE: GetRequest<'_> = GetRequest { bucket: "b", key: "k", span: Span::Whole, if_match: None, version_id: None };
const MD5: Md5Digest = [7; 16];
const DIGEST: &str = "07070707070707070707070707070707";

/// Reads an object served with these headers, by GET and HEAD.
async fn seen(headers: &'static [(&'static str, &'static [u8])]) -> ObjectHead {
    let (store, _) = store(move |_| {
        let length: [(&str, &[u8]); 2] = [("content-length", b"2"), ("x-amz-request-id", b"R")];
        answer("200 OK", &[&length, headers].concat(), b"hi")
    })
    .await;
    let got = store.get(WHOLE).await.unwrap();
    let head = store.head(HeadRequest::new("b", "k")).await.unwrap().unwrap();
    assert_eq!(got.head, head, "GET and HEAD see one object");
    let body: Vec<Bytes> = got.body.try_collect().await.unwrap();
    assert_eq!(body.concat(), b"hi");
    head
}

/// Returns true if the object was read as expected.
type Expected = fn(&ObjectHead) -> bool;
/// Name of the case, headers of the response, and the check.
type Row = (&'static str, &'static [(&'static str, &'static [u8])], Expected);

#[tokio::test]
async fn an_object_is_read_whatever_its_headers_say() {
    let rows: &[Row] = &[
        ("framing of the request", &[("content-encoding", b"aws-chunked")], |head| {
            head.attributes.content_encoding.is_none() && head.attributes.missing_metadata == 0
        }),
        ("framing of the request, and gzip", &[("content-encoding", b"aws-chunked,gzip")], |head| {
            head.attributes.content_encoding.as_deref() == Some("gzip")
        }),
        ("metadata in Latin-1", &[("x-amz-meta-a", b"Z\xfcrich"), ("x-amz-meta-b", b"2")], |head| {
            head.attributes.missing_metadata == 1 && head.attributes.metadata == [("b".into(), "2".into())].into()
        }),
        ("metadata in UTF-8", &[("x-amz-meta-a", b"Z\xc3\xbcrich")], |head| {
            head.attributes.missing_metadata == 0 && head.attributes.metadata["a"] == "Zürich"
        }),
        ("metadata that comes twice", &[("x-amz-meta-a", b"1"), ("x-amz-meta-a", b"2")], |head| {
            head.attributes.metadata["a"] == "1, 2"
        }),
        ("a content type in Latin-1", &[("content-type", b"text/\xfc")], |head| {
            head.attributes.content_type.is_none() && head.attributes.missing_metadata == 1
        }),
        ("time in ISO 8601", &[("last-modified", b"2026-01-01T00:00:00.250Z")], |head| {
            head.modified == 1_767_225_600_250
        }),
        ("time as HTTP has it", &[("last-modified", b"Thu, 01 Jan 2026 00:00:00 GMT")], |head| {
            head.modified == 1_767_225_600_000
        }),
        ("a time that is none", &[("last-modified", b"yesterday")], |head| head.modified == 0),
        ("an Expires that is no date", &[("expires", b"never")], |head| {
            head.attributes.expires.as_deref() == Some("never") && head.attributes.missing_metadata == 0
        }),
        ("an Expires in Latin-1", &[("expires", b"\xfc")], |head| {
            head.attributes.expires.is_none() && head.attributes.missing_metadata == 1
        }),
        ("counts that are none", &[("x-amz-tagging-count", b"many"), ("x-amz-mp-parts-count", b"-")], |head| {
            (head.tag_count, head.parts) == (0, None)
        }),
        (
            "a lock without a time that can be read",
            &[("x-amz-object-lock-mode", b"GOVERNANCE"), ("x-amz-object-lock-retain-until-date", b"soon")],
            |head| head.attributes.lock == ObjectLock::default() && head.attributes.missing_metadata == 1,
        ),
        ("an expiration in Latin-1", &[("x-amz-expiration", b"\xfc"), ("x-amz-restore", b"\xfc")], |head| {
            head.attributes.missing_metadata == 0
        }),
        ("an ETag in upper case", &[("etag", b"\"D41D8CD98F00B204E9800998ECF8427E\"")], |head| {
            let etag = head.etag.clone().unwrap();
            etag == ETag::new("d41d8cd98f00b204e9800998ecf8427e")
                && etag.quoted() == "\"D41D8CD98F00B204E9800998ECF8427E\""
        }),
        ("a weak ETag", &[("etag", b"W/\"d41d8cd98f00b204e9800998ecf8427e\"")], |head| {
            let etag = head.etag.clone().unwrap();
            etag.is_weak() && etag == ETag::new("d41d8cd98f00b204e9800998ecf8427e")
        }),
        ("encryption", &[("x-amz-server-side-encryption", b"aws:kms")], |head| {
            head.encryption == Some(EncryptionKind::ManagedKey) && !head.etag_is_md5
        }),
    ];
    for (name, headers, expected) in rows {
        let etag: &[(&str, &[u8])] = if headers[0].0 == "etag" { &[] } else { &[("etag", b"\"e\"")] };
        let head = seen(Vec::leak([etag, headers].concat())).await;
        assert!(expected(&head), "{name}: {head:?}");
    }
}

/// A service that decompresses an object stored with `Content-Encoding: gzip` unless one of `kept_for` is accepted.
async fn unpacking(kept_for: &'static [&'static str]) -> (S3Store, Asked) {
    store(move |request| {
        let asked = request.header("accept-encoding").unwrap_or_default();
        if kept_for.contains(&asked) {
            let headers: &[(&str, &[u8])] =
                &[("etag", b"\"e\""), ("content-encoding", b"gzip"), ("content-length", b"6")];
            let body: &[u8] = if request.line().starts_with("HEAD") { b"" } else { b"PACKED" };
            return answer("200 OK", headers, body);
        }
        let body: &[u8] = if request.line().starts_with("HEAD") { b"" } else { b"8\r\nunpacked\r\n0\r\n\r\n" };
        answer("200 OK", &[("etag", b"\"e\""), ("transfer-encoding", b"chunked")], body)
    })
    .await
}

#[tokio::test]
async fn a_packed_object_comes_as_it_is_stored() {
    for (name, kept_for, first_get) in [
        ("a proxy that keeps to RFC 9110", &["identity", "gzip"][..], &["identity"][..]),
        ("identity alone", &["identity"], &["identity"]),
        ("Google Cloud Storage, Cloudflare R2", &["gzip"], &["identity", "gzip"]),
    ] {
        let (store, asked) = unpacking(kept_for).await;
        let encodings = || -> Vec<String> {
            let requests = asked.take();
            for request in &requests {
                let signed = request.header("authorization").unwrap();
                assert!(!signed.contains("accept-encoding"), "{name}: front ends change it: {signed}");
            }
            requests.iter().filter_map(|request| request.header("accept-encoding")).map(ToOwned::to_owned).collect()
        };
        for (tried, expected) in [(1, first_get), (2, &first_get[first_get.len() - 1..])] {
            let got = store.get(WHOLE).await.unwrap();
            assert_eq!(got.head.attributes.content_encoding.as_deref(), Some("gzip"), "{name}");
            let body: Vec<Bytes> = got.body.try_collect().await.unwrap();
            assert_eq!(body.concat(), b"PACKED", "{name}");
            assert_eq!(encodings(), expected, "{name}, {tried}: the honoured encoding is sent first");
        }
        let head = store.head(HeadRequest::new("b", "k")).await.unwrap().unwrap();
        assert_eq!((head.size, encodings().len()), (6, 1), "{name}");
    }
    let (store, _) = unpacking(&[]).await;
    assert!(store.get(WHOLE).await.is_err(), "bytes that are not those stored are never taken for them");
}

#[tokio::test]
async fn conditions_are_asked_to_the_letter_and_never_with_a_weak_tag() {
    let (store, asked) = store(|_| answer("200 OK", &[("etag", b"\"e\""), ("content-length", b"0")], b"")).await;
    for (tag, expected) in [
        ("\"ABCDEF0123456789ABCDEF0123456789\"", Some("\"ABCDEF0123456789ABCDEF0123456789\"")),
        ("\"0x8D4BCC2E4835CD0\"", Some("\"0x8D4BCC2E4835CD0\"")),
        ("W/\"abcdef0123456789abcdef0123456789\"", None),
    ] {
        let etag = ETag::new(tag);
        store.get(GetRequest { if_match: Some(&etag), ..WHOLE }).await.unwrap();
        assert_eq!(asked.take()[0].header("if-match"), expected, "{tag}");
    }
}

fn put<'a>(carried: &'a Carried, condition: &'a WriteCondition) -> PutRequest<'a> {
    let (attributes, tags) = (&carried.attributes, &carried.tags);
    PutRequest { bucket: "b", key: "k", body: Bytes::from_static(b"hi"), md5: MD5, attributes, tags, condition }
}

fn create(carried: &Carried) -> CreateUpload<'_> {
    let (attributes, tags) = (&carried.attributes, &carried.tags);
    CreateUpload { bucket: "b", key: "k", attributes, tags, checksum: false }
}

fn carried() -> Carried {
    let attributes = Attributes {
        cache_control: Some("no-store".into()),
        metadata: [("a".to_owned(), "1".to_owned())].into(),
        storage_class: Some("STANDARD_IA".into()),
        lock: ObjectLock { retention: None, legal_hold: true },
        ..Attributes::default()
    };
    Carried { attributes, tags: vec![("t".into(), "v".into())], own_class: true, losses: NotPreserved::default() }
}

#[tokio::test]
async fn what_a_destination_does_not_take_is_left_behind_by_its_name() {
    const NONE: NotPreserved =
        NotPreserved { lost_tags: 0, lost_locks: 0, lost_metadata: 0, lost_classes: 0, lost_encryption: 0 };
    const TAGS: NotPreserved = NotPreserved { lost_tags: 1, ..NONE };
    const CLASS: NotPreserved = NotPreserved { lost_classes: 1, ..NONE };
    const METADATA: NotPreserved = NotPreserved { lost_metadata: 1, ..NONE };
    const LOCK: NotPreserved = NotPreserved { lost_locks: 1, ..NONE };
    let implied = "<Message>A header you provided implies functionality that is not implemented</Message>";
    for (status, inner, lost) in [
        ("501 Not Implemented", format!("<Code>NotImplemented</Code>{implied}<Header>x-amz-tagging</Header>"), TAGS),
        ("501 Not Implemented", format!("<Code>NotImplemented</Code>{implied}<Header>x-amz-storage-class</Header>"), CLASS),
        ("501 Not Implemented", format!("<Code>NotImplemented</Code>{implied}<Header>Cache-Control</Header>"), METADATA),
        ("501 Not Implemented", format!("<Code>NotImplemented</Code>{implied}"), NONE),
        (
            "400 Bad Request",
            "<Code>InvalidArgument</Code><Message>Unsupported argument</Message><ArgumentName>x-amz-meta-a</ArgumentName>"
                .into(),
            METADATA,
        ),
        ("400 Bad Request", "<Code>MetadataTooLarge</Code><Message>too large</Message>".into(), METADATA),
        ("400 Bad Request", "<Code>InvalidStorageClass</Code><Message>not valid</Message>".into(), CLASS),
        ("400 Bad Request", "<Code>InvalidTag</Code><Message>not valid</Message>".into(), TAGS),
        (
            "400 Bad Request",
            "<Code>InvalidRequest</Code><Message>Bucket is missing Object Lock Configuration</Message>".into(),
            LOCK,
        ),
        (
            "403 Forbidden",
            "<Code>AccessDenied</Code><Message>not authorized to perform: s3:PutObjectTagging</Message>".into(),
            TAGS,
        ),
        ("403 Forbidden", "<Code>AccessDenied</Code><Message>Access Denied</Message>".into(), NONE),
    ] {
        let body = format!("<Error>{inner}<RequestId>R</RequestId></Error>").into_bytes();
        let (store, _) = store(move |_| {
            let headers: &[(&str, &[u8])] = &[("content-type", b"application/xml"), ("x-amz-request-id", b"R")];
            answer(status, headers, &body)
        })
        .await;
        let condition = WriteCondition::Any;
        for (request, error) in [
            ("put", store.put(put(&carried(), &condition)).await.map(drop).unwrap_err()),
            ("create", store.create_upload(create(&carried())).await.map(drop).unwrap_err()),
        ] {
            let mut left = carried();
            assert_eq!(reduce(&mut left, &error), lost != NONE, "{request} {inner}: {error}");
            assert_eq!(left.losses, lost, "{request} {inner}: {error}");
        }
    }
}

#[tokio::test]
async fn what_was_written_is_known_whatever_else_the_answer_says() {
    let (store, _) = store(|request| {
        let headers: &[(&str, &[u8])] = &[
            ("etag", b"\"e\""),
            ("x-amz-expiration", b"\xfc"),
            ("x-amz-abort-date", b"never"),
            ("x-amz-object-size", b"many"),
            ("x-amz-bucket-key-enabled", b"?"),
            ("x-amz-request-id", b"R"),
        ];
        let body: &[u8] = if request.line().starts_with("POST") {
            b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        } else {
            b""
        };
        answer("200 OK", headers, body)
    })
    .await;
    let condition = WriteCondition::Any;
    assert_eq!(store.put(put(&carried(), &condition)).await.unwrap().etag, ETag::new("e"));
    assert_eq!(store.create_upload(create(&carried())).await.unwrap(), "u");
}

#[tokio::test]
async fn an_etag_that_is_no_digest_proves_nothing_and_damages_nothing() {
    let upper = format!("\"{}\"", "07".repeat(16).to_uppercase());
    for (etag, expected) in [
        (format!("\"{DIGEST}\""), Proof::Same),
        (upper, Proof::Same),
        (format!("W/\"{DIGEST}\""), Proof::Same),
        ("\"08080808080808080808080808080808\"".to_owned(), Proof::Other),
        ("W/\"08080808080808080808080808080808\"".to_owned(), Proof::None),
        ("\"0x8D4BCC2E4835CD0\"".to_owned(), Proof::None),
        ("\"ee17ff86-6a77-4e28-a6d4-4c4b5f0a3d5c\"".to_owned(), Proof::None),
    ] {
        let value = etag.clone().into_bytes();
        let (store, _) = store(move |_| answer("200 OK", &[("etag", &value), ("content-length", b"0")], b"")).await;
        let condition = WriteCondition::Any;
        let written: Written = store.put(put(&carried(), &condition)).await.unwrap();
        assert_eq!(written.etag.quoted(), etag, "to the letter");
        assert_eq!(integrity::written(&written, &MD5, Checksum(1)), expected, "{etag}");
    }
}

/// A configuration of every kind, as S3 writes it. Source: `GetBucketNotificationConfiguration` in the S3 API reference.
const NOTIFICATIONS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TopicConfiguration><Id>t &amp; u</Id>
<Topic>arn:aws:sns:r:1:t</Topic><Event>s3:ObjectRestore:*</Event></TopicConfiguration><QueueConfiguration><Id>q</Id>
<Queue>arn:aws:sqs:r:1:q</Queue><Event>s3:ObjectCreated:Put</Event><Event>s3:A:New</Event><Filter><S3Key><FilterRule>
<Name>Prefix</Name><Value>a b/</Value></FilterRule><FilterRule><Name>Suffix</Name><Value>.jpg</Value></FilterRule></S3Key>
</Filter></QueueConfiguration><CloudFunctionConfiguration><Id>f</Id><CloudFunction>arn:aws:lambda:r:1:function:f
</CloudFunction><Event>s3:ObjectRemoved:*</Event></CloudFunctionConfiguration><EventBridgeConfiguration/>
</NotificationConfiguration>"#;

#[tokio::test]
async fn notifications_of_every_kind_are_written_back_with_one_more() {
    let (store, asked) = store(|request| {
        let body = if request.line().starts_with("GET") { NOTIFICATIONS } else { "" };
        let length = body.len().to_string();
        answer("200 OK", &[("content-length", length.as_bytes()), ("x-amz-request-id", b"R")], body.as_bytes())
    })
    .await;
    let before = store.notifications("b").await.unwrap();
    assert_eq!((before.entries.len(), before.event_bridge), (3, true));
    let wanted = WantedEntries { job: "u-1", queue_arn: "arn:mine", prefixes: &["p/"], types: EventTypes::Created };
    store.put_notifications("b", &merge(&before, &wanted).unwrap()).await.unwrap();
    let sent = asked.take();
    let body = String::from_utf8(sent.last().unwrap().body.clone()).unwrap();
    for part in [
        "<Id>t &amp; u</Id>",
        "<Topic>arn:aws:sns:r:1:t</Topic>",
        "<Event>s3:A:New</Event>",
        "<Value>a b/</Value>",
        "<Value>.jpg</Value>",
        "arn:aws:lambda:r:1:function:f",
        "<EventBridgeConfiguration",
        "<Id>s3-migration-u-1-1</Id>",
        "<Queue>arn:mine</Queue>",
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
}

#[tokio::test]
async fn notifications_that_are_no_answer_of_s3_or_hold_more_than_is_known_are_not_taken() {
    let strange = NOTIFICATIONS.replace("EventBridgeConfiguration", "PipeConfiguration");
    for (body, expected) in [
        (strange.as_str(), ErrorClass::Refused),
        ("", ErrorClass::NoAnswer),
        ("<html><p>sign in</p></html>", ErrorClass::NoAnswer),
    ] {
        let text = body.to_owned();
        let (store, _) = store(move |_| {
            let length = text.len().to_string();
            answer("200 OK", &[("content-length", length.as_bytes()), ("x-amz-request-id", b"R")], text.as_bytes())
        })
        .await;
        let error = store.notifications("b").await.unwrap_err();
        assert_eq!(error.class, expected, "{error}");
    }
}
