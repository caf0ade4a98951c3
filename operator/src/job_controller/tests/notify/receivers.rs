//! Receivers of notifications: a web service behind TLS, one that never answers, and a topic.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The key that receiver and operator share.
pub const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// An address that the certificate is for.
const ADDRESS: &str = "127.0.0.11:0";

pub fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

/// A request as it was received.
#[derive(Clone)]
pub struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Verifies the signature as a receiver does that has the key.
    pub fn verify(&self, key: &str) -> Result<(), String> {
        let key = STANDARD.decode(key.trim_start_matches("whsec_")).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let signed = [self.id().as_bytes(), b".", self.header("webhook-timestamp").as_bytes(), b".", &self.body];
        mac.update(&signed.concat());
        let signature = self.header("webhook-signature").strip_prefix("v1,").ok_or("no signature of this version")?;
        mac.verify_slice(&STANDARD.decode(signature).unwrap()).map_err(|error| error.to_string())
    }
}

type Requests = Arc<Mutex<Vec<Got>>>;

fn taken(requests: &Requests) -> Vec<Got> {
    requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn read(request: Request<Incoming>, requests: &Requests) -> usize {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    requests.push(Got { path: parts.uri.to_string(), headers: parts.headers, body });
    requests.len() - 1
}

/// A web service behind TLS.
pub struct Web {
    address: String,
    requests: Requests,
}

impl Web {
    /// Starts one that answers each request by its number with this status.
    pub async fn start(status: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(ADDRESS).await.unwrap();
        let (address, acceptor) = (listener.local_addr().unwrap().to_string(), acceptor());
        let (requests, status) = (Requests::default(), Arc::new(status));
        let kept = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, kept, status) = (acceptor.clone(), kept.clone(), status.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate disconnects here.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let answer = service_fn(move |request| {
                        let (kept, status) = (kept.clone(), status.clone());
                        async move {
                            let status = status(read(request, &kept).await);
                            let response = Response::builder().status(status).header("location", "https://127.0.0.11/");
                            let asks = [307, 429].contains(&status);
                            let response = if asks { response.header("retry-after", "600") } else { response };
                            Ok::<_, Infallible>(response.body(Full::new(Bytes::from("an answer"))).unwrap())
                        }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { address, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub fn got(&self) -> Vec<Got> {
        taken(&self.requests)
    }
}

fn acceptor() -> TlsAcceptor {
    let certificate = include_bytes!("../../../../../crates/aws/tests/it/fixtures/service.pem");
    let key = include_bytes!("../../../../../crates/aws/tests/it/fixtures/service.key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(key).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A receiver that takes connections and never says a word.
pub struct Dead {
    address: String,
    connected: Arc<Notify>,
}

impl Dead {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(ADDRESS).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connected = Arc::<Notify>::default();
        let told = connected.clone();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
                told.notify_one();
            }
        });
        Self { address, connected }
    }

    pub fn url(&self) -> String {
        format!("https://{}/", self.address)
    }

    pub async fn connected(&self) {
        self.connected.notified().await;
    }
}

/// A topic of SNS.
pub struct Topic {
    pub endpoint: String,
    requests: Requests,
}

const PUBLISHED: &str = "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
     <MessageId>m-1</MessageId></PublishResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>\
     </PublishResponse>";
const REFUSED: &str = "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
     <Code>AuthorizationError</Code><Message>no</Message></Error><RequestId>r</RequestId></ErrorResponse>";

impl Topic {
    pub async fn start() -> Self {
        Self::answering(200, PUBLISHED).await
    }

    pub async fn refusing() -> Self {
        Self::answering(403, REFUSED).await
    }

    async fn answering(status: u16, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Requests::default();
        let kept = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                let answer = service_fn(move |request| {
                    let kept = kept.clone();
                    async move {
                        read(request, &kept).await;
                        let response = Response::builder().status(status).header("content-type", "text/xml");
                        Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { endpoint, requests }
    }

    /// The parameters of the requests.
    pub fn got(&self) -> Vec<BTreeMap<String, String>> {
        let parameters = |got: Got| String::from_utf8_lossy(&got.body).split('&').filter_map(parameter).collect();
        taken(&self.requests).into_iter().map(parameters).collect()
    }
}

/// Decodes a parameter of a form.
fn parameter(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let mut bytes = value.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => u8::from_str_radix(&String::from_utf8(vec![bytes.next()?, bytes.next()?]).ok()?, 16).ok()?,
            b'+' => b' ',
            other => other,
        });
    }
    Some((name.to_owned(), String::from_utf8(decoded).ok()?))
}
