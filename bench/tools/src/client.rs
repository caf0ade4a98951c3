//! The least that a client can be: one connection a host, and requests on it one after another.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, RANGE};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::pattern::Content;
use crate::work::Piece;

/// Body of a request: that of an answer, or computed.
pub type Body = Either<Incoming, Content>;

/// Returns what does the client's part of TLS, with one authority.
pub fn connector(ca: &Path) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).context("failed to read the authority's certificate")?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("failed to choose versions of TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection to one host, made again where it was closed.
pub struct Connection {
    tls: Option<TlsConnector>,
    sender: Option<SendRequest<Body>>,
}

impl Connection {
    /// Makes a connection that connects at its first request.
    pub fn new(tls: Option<TlsConnector>) -> Self {
        Self { tls, sender: None }
    }

    /// Reads a piece. Fails unless the answer is a success.
    pub async fn get(&mut self, piece: &Piece) -> anyhow::Result<Incoming> {
        let mut request = Request::builder().method(Method::GET);
        if let Some(offset) = piece.offset {
            request = request.header(RANGE, format!("bytes={offset}-{}", offset + piece.size - 1));
        }
        self.send(request, &piece.get, Either::Right(Content::new(0, 0))).await
    }

    /// Writes a piece. Fails unless the answer is a success.
    pub async fn put(&mut self, piece: &Piece, body: Body) -> anyhow::Result<()> {
        let answer = self.send(Request::builder().method(Method::PUT), &piece.put, body).await?;
        drain(answer).await.map(drop)
    }

    async fn send(
        &mut self,
        request: hyper::http::request::Builder,
        uri: &Uri,
        body: Body,
    ) -> anyhow::Result<Incoming> {
        let target = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = uri.authority().context("a URL has no host")?.as_str();
        let request = request.uri(target).header(HOST, host).body(body)?;
        let answer = self.sender(uri).await?.send_request(request).await.context("failed to send a request")?;
        success(answer, uri).await
    }

    async fn sender(&mut self, uri: &Uri) -> anyhow::Result<&mut SendRequest<Body>> {
        let mut open = self.sender.take();
        if let Some(sender) = &mut open
            && sender.ready().await.is_err()
        {
            open = None;
        }
        let sender = match open {
            Some(sender) => sender,
            None => self.connect(uri).await?,
        };
        Ok(self.sender.insert(sender))
    }

    async fn connect(&self, uri: &Uri) -> anyhow::Result<SendRequest<Body>> {
        let host = uri.host().context("a URL has no host")?.to_owned();
        let port = uri.port_u16().context("a URL has no port")?;
        let stream = TcpStream::connect((host.as_str(), port)).await.context("failed to connect")?;
        stream.set_nodelay(true).context("failed to set TCP_NODELAY")?;
        if uri.scheme_str() != Some("https") {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(sender);
        }
        let tls = self.tls.as_ref().context("https needs --ca")?;
        let stream = tls.connect(ServerName::try_from(host)?, stream).await.context("failed to begin TLS")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

async fn success(answer: Response<Incoming>, uri: &Uri) -> anyhow::Result<Incoming> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer.into_body());
    }
    let words = answer.into_body().collect().await?.to_bytes();
    anyhow::bail!("{} answers {status}: {}", uri.path(), String::from_utf8_lossy(&words));
}

/// Reads a body to its end; returns its length.
pub async fn drain(mut body: Incoming) -> anyhow::Result<u64> {
    let mut len = 0;
    while let Some(frame) = body.frame().await {
        len += frame.context("failed to read a body")?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(len)
}

/// Fails if a body has not the size of its piece.
pub fn check_size(len: u64, piece: &Piece) -> anyhow::Result<()> {
    ensure!(len == piece.size, "{} has {len} bytes, and {} were expected", piece.get.path(), piece.size);
    Ok(())
}
