//! A proxy in front of the API server that runs an action right before a chosen request, to test races between a
//! program's read and its write.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

type Act = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// An action to run before a request.
struct Armed {
    method: Method,
    path_end: String,
    act: Act,
    done: oneshot::Sender<anyhow::Result<()>>,
}

/// The proxy. It stops when its last clone is dropped.
#[derive(Clone)]
pub struct ApiProxy {
    client: Client,
    address: SocketAddr,
    armed: Arc<Mutex<Vec<Armed>>>,
}

impl ApiProxy {
    /// Starts a proxy on the loopback address that forwards requests with the rights of `client`.
    pub async fn start(client: Client) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("failed to listen")?;
        let proxy = Self { client, address: listener.local_addr()?, armed: Arc::default() };
        tokio::spawn({
            let proxy = proxy.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let proxy = proxy.clone();
                    tokio::spawn(async move {
                        let service = service_fn(|request| proxy.pass(request));
                        // The client may have disconnected.
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            }
        });
        Ok(proxy)
    }

    /// Runs an action once, before the first request with this method and path suffix. The returned future completes
    /// when the action has run.
    pub fn before(
        &self,
        method: Method,
        path_end: &str,
        act: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> oneshot::Receiver<anyhow::Result<()>> {
        let (done, receiver) = oneshot::channel();
        let armed = Armed { method, path_end: path_end.to_owned(), act: Box::pin(act), done };
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).push(armed);
        receiver
    }

    /// Writes a kubeconfig for the proxy with the rights of a service account.
    pub fn write_config(&self, directory: &Path, namespace: &str, account: &str) -> anyhow::Result<PathBuf> {
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "proxy", "user": {"as": format!("system:serviceaccount:{namespace}:{account}")}}],
        });
        let path = directory.join("proxy.kubeconfig");
        std::fs::write(&path, serde_json::to_vec(&config)?).context("failed to write the proxy's configuration")?;
        Ok(path)
    }

    fn take(&self, request: &Request<Incoming>) -> Option<Armed> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |one: &Armed| one.method == request.method() && request.uri().path().ends_with(&one.path_end);
        let place = armed.iter().position(fits)?;
        Some(armed.remove(place))
    }

    async fn pass(&self, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
        if let Some(Armed { act, done, .. }) = self.take(&request) {
            // The caller may have stopped waiting.
            let _ = done.send(act.await);
        }
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().context("failed to read a request: it has no path")?;
        parts.uri = path.as_str().parse()?;
        for hop in ["host", "connection", "content-length", "transfer-encoding"] {
            parts.headers.remove(hop);
        }
        let body = body.collect().await?.to_bytes();
        let mut response = self.client.send(Request::from_parts(parts, Body::from(body))).await?;
        for hop in ["connection", "transfer-encoding"] {
            response.headers_mut().remove(hop);
        }
        Ok(response)
    }
}
