//! An HTTP proxy that stands in for the internet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::proxy::{Body, full};
use crate::tls::{Certificates, Listening, relay};

/// Longest head of a request to a proxy, in bytes.
const LONGEST_HEAD: usize = 16 << 10;

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
