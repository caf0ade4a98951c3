//! Network paths: endpoints with a path, proxies, certificates and Requester Pays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use migration_aws::{Access, CredentialSource, Reach, S3Store};
use migration_core::config::{CaBundle, Credentials, S3Side, ServiceAccess, WriteSettings};
use migration_core::error::{ErrorClass, Service, ServiceError};
use migration_core::etag::ETag;
use migration_core::ports::{
    Attributes, CopyRequest, CopySource, HeadRequest, Ledger, LedgerKey, ListRequest, ObjectHead, ObjectStore, Queue,
    WriteCondition,
};
use migration_sqs_dynamodb::{DynamoLedger, SqsQueue};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::access;
use crate::support::wire::{Asked, Request, answer, exchange, receive, serve};

const LISTED: &[u8] = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
const COPIED: &[u8] = b"<CopyObjectResult><ETag>\"e\"</ETag></CopyObjectResult>";

fn service(request: &Request) -> Vec<u8> {
    let line = request.line();
    let body: &[u8] = match line {
        _ if line.contains("list-type=2") => LISTED,
        _ if line.starts_with("PUT") => COPIED,
        _ => b"",
    };
    let headers: &[(&str, &[u8])] =
        &[("etag", b"\"e\""), ("x-amz-request-id", b"R"), ("content-type", b"application/xml")];
    let length = if body.is_empty() { "0".to_owned() } else { body.len().to_string() };
    answer("200 OK", &[headers, &[("content-length", length.as_bytes())]].concat(), body)
}

async fn through(access: &Access, reach: &Reach, path_style: bool) -> S3Store {
    S3Store::through(access, reach, path_style, &WriteSettings::default(), Service::Source).await
}

/// Sends a HEAD. The bucket's name has three characters and can thus be part of a host name.
async fn head(store: &S3Store) -> Result<Option<ObjectHead>, ServiceError> {
    store.head(HeadRequest::new("bkt", "k y")).await
}

/// Sends a HEAD, a listing and a copy.
async fn three_requests(store: &S3Store) {
    head(store).await.unwrap();
    let list = ListRequest { bucket: "bkt", prefix: "", start_after: None, continuation: None, max_keys: None };
    store.list(list).await.unwrap();
    let etag = ETag::new("e");
    let source = CopySource { bucket: "a", key: "k y", version_id: None, if_match: &etag };
    let (attributes, condition) = (Attributes::default(), WriteCondition::Any);
    let copy = CopyRequest { source, bucket: "bkt", key: "k y", attributes: &attributes, condition: &condition };
    store.copy(copy).await.unwrap();
}

#[tokio::test]
async fn endpoints_may_have_a_path_and_a_slash_at_their_end() {
    // As a proxy, the server sees whole URLs, and no name has to be resolved.
    let (address, asked) = serve(service).await;
    let reach = Reach { proxy: Some(format!("http://{address}")), ..Reach::default() };
    for (endpoint, path_style, base) in [
        ("http://s3.test", true, "http://s3.test/bkt"),
        ("http://s3.test/", true, "http://s3.test/bkt"),
        ("http://s3.test:9000/", true, "http://s3.test:9000/bkt"),
        ("http://s3.test/storage/v1/s3", true, "http://s3.test/storage/v1/s3/bkt"),
        ("http://s3.test/storage/v1/s3/", true, "http://s3.test/storage/v1/s3/bkt"),
        ("http://s3.test", false, "http://bkt.s3.test"),
        ("http://s3.test/", false, "http://bkt.s3.test"),
        ("http://s3.test/storage/v1/s3", false, "http://bkt.s3.test/storage/v1/s3"),
        ("http://s3.test/storage/v1/s3/", false, "http://bkt.s3.test/storage/v1/s3"),
    ] {
        three_requests(&through(&access(endpoint.to_owned()), &reach, path_style).await).await;
        let requests = asked.take();
        let target = |n: usize| requests[n].line().split(' ').nth(1).unwrap().to_owned();
        assert_eq!(target(0), format!("{base}/k%20y"), "{endpoint}, {path_style}");
        let list = target(1);
        let (listed, query) = list.split_once('?').unwrap();
        assert_eq!(listed.trim_end_matches('/'), base, "{endpoint}, {path_style}");
        assert!(query.contains("list-type=2"), "{list}");
        assert!(target(2).starts_with(&format!("{base}/k%20y")), "{endpoint}, {path_style}: {}", target(2));
        assert_eq!(requests[2].header("x-amz-copy-source"), Some("a/k%20y"), "no path stands before a bucket's name");
    }
}

#[tokio::test]
async fn each_request_says_who_pays() {
    let (address, asked) = serve(service).await;
    let access = access(format!("http://{address}"));
    for (requester_pays, expected) in [(true, Some("requester")), (false, None)] {
        let reach = Reach { requester_pays, ..Reach::default() };
        three_requests(&through(&access, &reach, true).await).await;
        for request in asked.take() {
            assert_eq!(request.header("x-amz-request-payer"), expected, "{}", request.head);
            let signed = request.header("authorization").unwrap().contains("x-amz-request-payer");
            assert_eq!(signed, requester_pays, "{}", request.head);
        }
    }
}

/// Addresses of services that are reached only through the environment's proxy: nothing listens there, and no name has
/// to be resolved. The certificate names them.
const S3: &str = "127.0.0.11";
const SQS: &str = "127.0.0.12";
const DYNAMODB: &str = "127.0.0.13";
const STS: &str = "127.0.0.14";

/// A service behind TLS, with a certificate of the test's own authority.
struct Secured {
    address: String,
    asked: Asked,
    /// Certificate of the authority.
    ca: PathBuf,
}

/// Path of a file that `fixtures/certificates.sh` writes.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures").join(name)
}

async fn secured() -> Secured {
    let certificate = CertificateDer::from_pem_file(fixture("service.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("service.key")).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Asked::default();
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, kept) = (acceptor.clone(), kept.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate disconnects here.
                if let Ok(stream) = acceptor.accept(stream).await {
                    exchange(stream, &kept, &service).await;
                }
            });
        }
    });
    Secured { address, asked, ca: fixture("ca.pem") }
}

/// Host and port of a CONNECT, and the credentials sent with it.
type Connect = (String, Option<String>);

/// CONNECT requests that a proxy received. Clones share them.
#[derive(Clone, Default)]
struct Connects(Arc<Mutex<Vec<Connect>>>);

impl Connects {
    fn take(&self) -> Vec<Connect> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts a proxy that connects every request to one service.
async fn connect_proxy(to: &str) -> (String, Connects) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (connects, to) = (Connects::default(), to.to_owned());
    let kept = connects.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (kept, to) = (kept.clone(), to.clone());
            tokio::spawn(async move {
                let Some(request) = receive(&mut stream).await else { return };
                let mut words = request.line().split(' ');
                if words.next() != Some("CONNECT") {
                    let _ = stream.write_all(&answer("405 Method Not Allowed", &[("content-length", b"0")], b"")).await;
                    return;
                }
                let target = words.next().unwrap_or_default().to_owned();
                let credentials = request.header("proxy-authorization").map(ToOwned::to_owned);
                kept.0.lock().unwrap_or_else(PoisonError::into_inner).push((target, credentials));
                let mut service = TcpStream::connect(&to).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut service).await;
            });
        }
    });
    (address, connects)
}

#[tokio::test]
async fn a_side_has_its_own_proxy_and_its_own_certificates() {
    let service = secured().await;
    let (proxy, connects) = connect_proxy(&service.address).await;
    let access = access("https://s3.test/".into());
    let proxy = Some(format!("http://{proxy}"));
    let both = Reach { ca_bundle: Some(service.ca.clone()), proxy: proxy.clone(), ..Reach::default() };
    assert!(head(&through(&access, &both, true).await).await.unwrap().is_some());
    assert_eq!(connects.take(), [("s3.test:443".to_owned(), None)]);
    assert_eq!(service.asked.take()[0].line(), "HEAD /bkt/k%20y HTTP/1.1");

    let untrusted = Reach { ca_bundle: None, ..both.clone() };
    let error = head(&through(&access, &untrusted, true).await).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NoAnswer, "{error}");
    assert!(service.asked.take().is_empty(), "nothing is sent to an untrusted service");

    let missing = Reach { ca_bundle: Some("/nowhere/ca.crt".into()), ..both };
    let error = head(&through(&access, &missing, true).await).await.unwrap_err();
    assert!(error.message.contains("/nowhere/ca.crt"), "{error}");
}

#[tokio::test]
async fn the_configuration_of_a_side_says_how_it_is_reached() {
    let service = secured().await;
    let (proxy, connects) = connect_proxy(&service.address).await;
    let access = ServiceAccess {
        region: "us-east-1".into(),
        endpoint: Some("https://s3.test".into()),
        credentials: Credentials::Anonymous,
    };
    let side = S3Side {
        requester_pays: true,
        ca_bundle: Some(CaBundle { path: service.ca.clone(), from: None }),
        proxy: Some(format!("http://{proxy}")),
        ..S3Side::new(access, true)
    };
    let store = S3Store::new(&side, &WriteSettings::default(), Service::Source, None).await;
    assert!(head(&store).await.unwrap().is_some());
    assert_eq!(connects.take(), [("s3.test:443".to_owned(), None)]);
    assert_eq!(service.asked.take()[0].header("x-amz-request-payer"), Some("requester"));
}

#[tokio::test]
async fn certificates_that_are_mounted_late_are_found() {
    let service = secured().await;
    let (proxy, _) = connect_proxy(&service.address).await;
    let late = Path::new(env!("CARGO_TARGET_TMPDIR")).join("late-bundle.pem");
    let _ = fs::remove_file(&late);
    let reach = Reach { ca_bundle: Some(late.clone()), proxy: Some(format!("http://{proxy}")), ..Reach::default() };
    let store = through(&access("https://s3.test".into()), &reach, true).await;
    assert!(head(&store).await.is_err());
    fs::copy(&service.ca, &late).unwrap();
    assert!(head(&store).await.unwrap().is_some());
}

/// Runs the tables of the environment, each in its own process: a process can't safely change its own environment.
#[tokio::test]
async fn all_services_are_reached_as_the_environment_says() {
    let service = secured().await;
    let (proxy, connects) = connect_proxy(&service.address).await;
    let token = Path::new(env!("CARGO_TARGET_TMPDIR")).join("web-identity-token");
    fs::write(&token, "token").unwrap();
    let with_password = format!("http://me:p%40ss@{proxy}");
    let all = [S3, SQS, DYNAMODB, STS].map(|host| format!("{host}:443"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for (variables, expected) in [
        (&[("HTTPS_PROXY", with_password.as_str())][..], &all[..]),
        (&[("https_proxy", with_password.as_str()), ("NO_PROXY", "127.0.0.12, 127.0.0.13/32")], &[all[0], all[3]]),
        (&[("ALL_PROXY", with_password.as_str()), ("no_proxy", "*")], &[]),
        (&[("HTTP_PROXY", with_password.as_str())], &[]),
    ] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "reach::asks_all_services", "--ignored", "--nocapture"]).env_clear();
        child.env("SSL_CERT_FILE", &service.ca).env("AWS_EC2_METADATA_DISABLED", "true");
        child.env("AWS_ENDPOINT_URL_STS", format!("https://{STS}")).env("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
        child.env("AWS_WEB_IDENTITY_TOKEN_FILE", &token).env("AWS_REGION", "us-east-1");
        child.envs(variables.iter().copied());
        let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{variables:?}: {said}");
        assert!(!said.contains("p%40ss") && !said.contains("p@ss"), "a secret in {said}");
        let found = connects.take();
        let mut hosts: Vec<&str> = found.iter().map(|(host, _)| host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(hosts, expected, "{variables:?}: {said}");
        // base64 of me:p@ss
        assert!(found.iter().all(|(_, sent)| sent.as_deref() == Some("Basic bWU6cEBzcw==")), "{found:?}");
    }
}

#[tokio::test]
#[ignore = "run with an environment of its own by all_services_are_reached_as_the_environment_says"]
async fn asks_all_services() {
    const SOON: Duration = Duration::from_secs(20);
    let at = |host: &str| access(format!("https://{host}"));
    // The response does not matter.
    let store = S3Store::with_access(&at(S3), true, &WriteSettings::default(), Service::Source).await;
    let _ = tokio::time::timeout(SOON, head(&store)).await;
    let queue = SqsQueue::at(&at(SQS), format!("https://{SQS}/1/q"), None).await;
    let _ = tokio::time::timeout(SOON, queue.receive(1, Duration::ZERO, Duration::from_secs(1))).await;
    let ledger = DynamoLedger::at(&at(DYNAMODB), "t".into()).await;
    let _ = tokio::time::timeout(SOON, ledger.get(&LedgerKey::new("p", "s"))).await;
    let pod = Access { credentials: CredentialSource::Pod, ..at(S3) };
    let store = S3Store::with_access(&pod, true, &WriteSettings::default(), Service::Source).await;
    let _ = tokio::time::timeout(SOON, head(&store)).await;
}
