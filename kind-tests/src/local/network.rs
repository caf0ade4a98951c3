//! Network paths of the program: services behind TLS, and an HTTP proxy that stands in for the internet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::proxy::{Body, full};

/// Longest head of a request to a proxy, in bytes.
const LONGEST_HEAD: usize = 16 << 10;

/// An authority that nobody trusts, and the certificate of a service by it.
#[derive(Clone)]
pub struct Certificates {
    /// File with the authority's certificate in PEM.
    pub authority: PathBuf,
    acceptor: TlsAcceptor,
}

impl Certificates {
    /// Makes an authority, and a service's certificate for these names (`DNS:name`, `IP:address`), in a directory.
    pub fn make(directory: &Path, names: &[&str]) -> anyhow::Result<Self> {
        let file = |name: &str| directory.join(name);
        let path = |name: &str| file(name).display().to_string();
        let (ca, key, service, service_key) =
            (path("ca.pem"), path("ca.key"), path("service.pem"), path("service.key"));
        let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let of_authority = ["-subj", "/CN=an authority of tests", "-addext", "keyUsage=critical,keyCertSign"];
        openssl(&[&["req", "-x509", "-keyout", &key, "-out", &ca], &new[..], &of_authority].concat())?;
        let names = format!("subjectAltName={}", names.join(","));
        let extensions = ["-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE"];
        let signed = ["-CA", &ca, "-CAkey", &key, "-subj", "/CN=a service of tests"];
        openssl(
            &[&["req", "-x509", "-keyout", &service_key, "-out", &service], &new[..], &signed, &extensions].concat(),
        )?;
        let certificate = CertificateDer::from_pem_file(&service).context("failed to read a certificate")?;
        let key = PrivateKeyDer::from_pem_file(&service_key).context("failed to read a key")?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .context("failed to choose versions of TLS")?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .context("failed to use a certificate")?;
        Ok(Self { authority: file("ca.pem"), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

fn openssl(arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("openssl").args(arguments).stdin(Stdio::null()).output();
    let done = done.context("failed to run openssl")?;
    ensure!(done.status.success(), "failed to make a certificate: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// A task that ends with this value.
#[derive(Debug)]
pub struct Listening {
    /// Address that it listens on.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

impl Listening {
    /// Creates it from a running task.
    pub fn new(address: SocketAddr, task: JoinSet<()>) -> Self {
        Self { address, _task: task }
    }
}

/// Puts TLS in front of a service, on any port of an address.
pub async fn tls(certificates: &Certificates, ip: &str, upstream: SocketAddr) -> anyhow::Result<Listening> {
    let listener = TcpListener::bind((ip, 0)).await.context("failed to listen")?;
    let address = listener.local_addr().context("failed to listen")?;
    let acceptor = certificates.acceptor.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate disconnects here.
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = relay(stream, upstream).await;
                }
            });
        }
    });
    Ok(Listening::new(address, task))
}

async fn relay(mut stream: impl AsyncRead + AsyncWrite + Unpin, upstream: SocketAddr) -> anyhow::Result<()> {
    let mut service = TcpStream::connect(upstream).await.context("failed to reach a service")?;
    service.set_nodelay(true).context("failed to set TCP_NODELAY")?;
    copy_bidirectional(&mut stream, &mut service).await.map(drop).context("a connection broke")
}

/// An HTTP proxy by which names of the internet lead to services of this machine. It ends TLS itself.
#[derive(Clone)]
pub struct Internet {
    /// Services by the end of a host with its port, as in `amazonaws.com:443`.
    services: BTreeMap<String, SocketAddr>,
    certificates: Certificates,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    client: Client<HttpConnector, Incoming>,
}

impl Internet {
    /// Creates a proxy to these services, by the ends of their hosts with their ports.
    pub fn new(services: &[(&str, SocketAddr)], certificates: Certificates) -> Self {
        Self {
            services: services.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect(),
            certificates,
            asked: Arc::default(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// Returns the hosts that were asked for, with the number of connections or requests.
    pub fn asked(&self) -> BTreeMap<String, usize> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves on a free port.
    pub async fn serve(&self) -> anyhow::Result<Listening> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("failed to listen")?;
        let address = listener.local_addr().context("failed to listen")?;
        let mut task = JoinSet::new();
        let proxy = self.clone();
        task.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let proxy = proxy.clone();
                tokio::spawn(async move { proxy.connection(stream).await });
            }
        });
        Ok(Listening::new(address, task))
    }

    fn service(&self, host: &str) -> anyhow::Result<SocketAddr> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner).entry(host.to_owned()).or_default() += 1;
        let found = self.services.iter().find(|(end, _)| host.ends_with(end.as_str()));
        found.map(|(_, address)| *address).with_context(|| format!("{host} is not in this network"))
    }

    async fn connection(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        let mut first = [0; 7];
        // Waits until the method's first letters are there: a client sends its request in one piece.
        stream.peek(&mut first).await.context("a connection broke")?;
        if first != *b"CONNECT" {
            let service = service_fn(|request| self.plain(request));
            let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            return served.await.context("a connection broke");
        }
        let host = connect(&mut stream).await?;
        let Ok(upstream) = self.service(&host) else {
            return stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await.context("a connection broke");
        };
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.context("a connection broke")?;
        relay(self.certificates.acceptor.accept(stream).await?, upstream).await
    }

    async fn plain(&self, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
        let host = request.uri().authority().context("there is no host")?.to_string();
        let Ok(upstream) = self.service(&host) else {
            let mut response = Response::new(full(format!("{host} is not in this network")));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return Ok(response);
        };
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned().context("there is no path")?;
        let uri = Uri::builder().scheme("http").authority(upstream.to_string()).path_and_query(path);
        parts.uri = uri.build().context("failed to build a URL")?;
        let response = self.client.request(Request::from_parts(parts, body)).await;
        let response = response.context("failed to reach a service")?;
        Ok(response.map(http_body_util::BodyExt::boxed))
    }
}

/// Reads the head of a CONNECT; returns its host and port.
async fn connect(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < LONGEST_HEAD, "a head is too long");
        head.push(stream.read_u8().await.context("a connection broke")?);
    }
    let head = String::from_utf8_lossy(&head);
    match head.split(' ').nth(1) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("there is no host in {head}"),
    }
}
