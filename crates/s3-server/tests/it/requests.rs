//! Requests beyond the port: signatures, conditions of reads, answers to the letter, and what is refused.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use migration_aws::S3Store;
use migration_core::config::{Encryption, WriteSettings};
use migration_core::error::{ErrorClass, Service, ServiceError, ServiceFault};
use migration_core::ports::{
    Attributes, Body, Checksum, CreateUpload, GetRequest, HeadRequest, ListRequest, ObjectStore, PutPart, PutRequest,
    Span, Tags, UploadRef, WriteCondition, Written,
};
use migration_local::store::{
    BucketSettings, ConditionalWrites, LocalStore, Received, StoreSettings, StoredObject, StreamedBodies,
};
use migration_s3_server::{Credentials, Server, ServerSettings, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{ACCESS_KEY, SECRET_KEY, access, client, in_memory, serve};

const LIST: ListRequest<'_> =
    ListRequest { bucket: "bkt", prefix: "", start_after: None, continuation: None, max_keys: None };
const WHOLE: GetRequest<'_> =
    GetRequest { bucket: "bkt", key: "k", span: Span::Whole, if_match: None, version_id: None };

async fn with_bucket() -> (LocalStore, Server) {
    let store = in_memory(StoreSettings::default());
    store.create_bucket("bkt", BucketSettings::default());
    let server = serve(&store).await;
    (store, server)
}

fn insert(store: &LocalStore, key: &str, body: &'static [u8]) {
    let received: Received = Bytes::from_static(body).into();
    let object = StoredObject::whole(
        received,
        &Attributes::default(),
        &Tags::new(),
        &StoreSettings::default(),
        1_767_225_600_000,
    );
    store.insert("bkt", key, object).unwrap();
}

async fn put(client: &S3Store, md5: [u8; 16], body: &'static [u8]) -> Result<Written, ServiceError> {
    let (attributes, tags, condition) = (Attributes::default(), Tags::new(), WriteCondition::Any);
    let (attributes, tags, condition) = (&attributes, &tags, &condition);
    let body = Bytes::from_static(body);
    client.put(PutRequest { bucket: "bkt", key: "k", body, md5, attributes, tags, condition }).await
}

fn md5(body: &'static [u8]) -> [u8; 16] {
    Received::from(Bytes::from_static(body)).md5
}

#[tokio::test]
async fn requests_are_counted_by_their_method() {
    let (_, server) = with_bucket().await;
    let requests = server.requests();
    assert!(requests.by_method().is_empty());
    let client = client(&server).await;
    put(&client, md5(b"a"), b"a").await.unwrap();
    assert!(put(&client, md5(b"b"), b"a").await.is_err(), "refused, and counted");
    client.list(LIST).await.unwrap();
    assert_eq!(requests.by_method(), [("GET".to_owned(), 1), ("PUT".to_owned(), 2)].into());
}

#[tokio::test]
async fn only_its_keys_open_a_server() {
    let (_, server) = with_bucket().await;
    for (access_key, secret_key, expected) in [
        (ACCESS_KEY, SECRET_KEY, None),
        (ACCESS_KEY, "another", Some(ErrorClass::SignatureMismatch)),
        ("AKIAOTHER", SECRET_KEY, Some(ErrorClass::Service(ServiceFault::CredentialsInvalid))),
    ] {
        let access = access(server.url(), access_key, secret_key);
        let client = S3Store::with_access(&access, true, &WriteSettings::default(), Service::Source).await;
        let listed = client.list(LIST).await;
        assert_eq!(listed.err().map(|error| error.class), expected, "{access_key}");
    }
    let unsigned = exchange(&server, "GET /bkt?list-type=2 HTTP/1.1\r\nhost: s3\r\n", "").await;
    assert!(unsigned.starts_with("HTTP/1.1 403 ") && unsigned.contains("<Code>AccessDenied</Code>"), "{unsigned}");
}

/// Sends a request as it is, and returns the whole answer.
async fn exchange(server: &Server, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn buckets_are_in_the_host_where_a_domain_is_set() {
    let store = in_memory(StoreSettings::default());
    store.create_bucket("bkt", BucketSettings::default());
    insert(&store, "k", b"body");
    let credentials = Credentials { access_key: ACCESS_KEY.into(), secret_key: SECRET_KEY.into() };
    let settings = |domains: &[&str]| ServerSettings {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        credentials: vec![credentials.clone()],
        store: store.clone(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
    };
    let server = Server::start(settings(&["s3.test"])).await.unwrap();
    // Unsigned requests show which bucket they are taken for: an operation on it is denied, and none there is not.
    let denied = |answer: &str| answer.starts_with("HTTP/1.1 403 ");
    let in_host = exchange(&server, "GET /k HTTP/1.1\r\nhost: bkt.s3.test\r\n", "").await;
    assert!(denied(&in_host), "{in_host}");
    let named_twice = exchange(&server, "GET /UPPER HTTP/1.1\r\nhost: s3.test\r\n", "").await;
    assert!(named_twice.contains("<Code>InvalidBucketName</Code>"), "{named_twice}");
    let in_path = exchange(&server, "GET /bkt/k HTTP/1.1\r\nhost: 127.0.0.1\r\n", "").await;
    assert!(denied(&in_path), "{in_path}");
    let wrong = Server::start(settings(&["s3.test", "s3.test"])).await;
    assert!(matches!(wrong, Err(StartError::Domains(_))));
    let taken = ServerSettings { address: server.address(), ..settings(&[]) };
    assert!(matches!(Server::start(taken).await, Err(StartError::Listen { .. })));
}

#[tokio::test]
async fn bodies_have_to_match_their_digests() {
    let (store, server) = with_bucket().await;
    let client = client(&server).await;
    let error = put(&client, md5(b"another"), b"body").await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Transient, "BadDigest"));
    assert!(store.keys("bkt").is_empty());
    let written = put(&client, md5(b"body"), b"body").await.unwrap();
    assert_eq!(written.checksum, Some(migration_local::store::crc64nvme(b"body")));
    let head = client.head(HeadRequest { checksum: true, ..HeadRequest::new("bkt", "k") }).await.unwrap().unwrap();
    assert_eq!(head.checksum, written.checksum);
    assert_ne!(head.checksum, Some(Checksum(0)));
}

#[tokio::test]
async fn encryption_is_refused_and_not_left_out() {
    let (store, server) = with_bucket().await;
    let access = access(server.url(), ACCESS_KEY, SECRET_KEY);
    for encryption in [Encryption::S3, Encryption::Kms { kms_key_id: None }] {
        let settings = WriteSettings { encryption: Some(encryption), ..WriteSettings::default() };
        let client = S3Store::with_access(&access, true, &settings, Service::Destination).await;
        let error = put(&client, md5(b"body"), b"body").await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Refused, "NotImplemented"));
        let (attributes, tags) = (Attributes::default(), Tags::new());
        let create = CreateUpload { bucket: "bkt", key: "k", attributes: &attributes, tags: &tags, checksum: false };
        assert_eq!(client.create_upload(create).await.unwrap_err().code, "NotImplemented");
    }
    assert!(store.keys("bkt").is_empty());
}

#[tokio::test]
async fn a_service_can_lack_abilities() {
    let store = in_memory(StoreSettings { throttle_over: Some(0), ..StoreSettings::default() });
    store.create_bucket("bkt", BucketSettings::default());
    let server = serve(&store).await;
    let error = client(&server).await.list(LIST).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Throttled, "SlowDown"));

    let store = in_memory(StoreSettings {
        conditional_writes: ConditionalWrites::Refused,
        streamed_bodies: StreamedBodies::Refused,
        ..StoreSettings::default()
    });
    store.create_bucket("bkt", BucketSettings { opaque_etags: true, ..BucketSettings::default() });
    let server = serve(&store).await;
    let client = client(&server).await;
    let written = put(&client, md5(b"body"), b"body").await.unwrap();
    assert!(!written.etag_is_md5, "the ETag is told to be none");
    let head = client.head(HeadRequest::new("bkt", "k")).await.unwrap().unwrap();
    assert!(!head.etag_is_md5 && head.etag == Some(written.etag));
    let (attributes, tags, condition) = (Attributes::default(), Tags::new(), WriteCondition::Absent);
    let (attributes, tags, condition) = (&attributes, &tags, &condition);
    let body = Bytes::from_static(b"body");
    let put = PutRequest { bucket: "bkt", key: "k", body, md5: md5(b"body"), attributes, tags, condition };
    assert_eq!(client.put(put).await.unwrap_err().code, "NotImplemented");

    let create = CreateUpload { bucket: "bkt", key: "k", attributes, tags, checksum: true };
    let id = client.create_upload(create).await.unwrap();
    let upload = UploadRef { bucket: "bkt", key: "k", upload_id: &id };
    let in_memory_body = Body::Held { bytes: Bytes::from_static(b"body"), md5: md5(b"body") };
    assert!(client.put_part(PutPart { upload, number: 1, body: in_memory_body, checksum: true }).await.is_ok());
    let pieces = stream::iter([Ok(Bytes::from_static(b"body"))]);
    let streamed = Body::Streamed { stream: pieces.boxed(), len: 4 };
    let error = client.put_part(PutPart { upload, number: 1, body: streamed, checksum: true }).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Refused, "NotImplemented"));
}

#[tokio::test]
async fn a_stopped_server_has_answered_what_it_was_asked() {
    let (store, server) = with_bucket().await;
    insert(&store, "k", b"body");
    let client = client(&server).await;
    let body: Vec<Bytes> = client.get(WHOLE).await.unwrap().body.try_collect().await.unwrap();
    assert_eq!(body.concat(), b"body");
    let address = server.address();
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(client.list(LIST).await.unwrap_err().class, ErrorClass::NoAnswer);
}
