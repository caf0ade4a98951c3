//! A receiver of notifications: a web service behind TLS that keeps what it gets.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::proxy::{Body, full};
use crate::tls::{Certificates, Listening, tls};
use crate::{paths, services};

/// A key of 24 bytes, as a user would make one.
pub const SIGNING_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Delivery {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Delivery {
    /// Returns the event's identifier.
    pub fn id(&self) -> &str {
        self.headers.get("webhook-id").map_or("", String::as_str)
    }

    /// Returns the event.
    pub fn event(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).context("failed to read an event")
    }

    /// Verifies the signature with the receiver's code that docs/notifications.md gives.
    pub fn verify(&self, key: &str) -> anyhow::Result<()> {
        let input = json!({"key": key, "headers": self.headers, "body": self.body});
        let call = "import json, sys\nwork = json.load(sys.stdin)\n\
                    verify(work['key'], work['headers'], work['body'].encode())\n";
        let program = format!("{}\n{call}", documented()?);
        let mut command = Command::new(services::python()?);
        command.args(["-c", &program]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("failed to run Python")?;
        child.stdin.take().context("Python takes no input")?.write_all(input.to_string().as_bytes())?;
        let output = child.wait_with_output().context("failed to run Python")?;
        ensure!(output.status.success(), "the signature is refused: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// Returns the Python code of docs/notifications.md.
fn documented() -> anyhow::Result<String> {
    let path = paths::repository().join("docs/notifications.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let code = text.split_once("```python\n").and_then(|(_, rest)| rest.split_once("```"));
    Ok(code.context("docs/notifications.md has no code in Python")?.0.to_owned())
}

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    got: Arc<Mutex<Vec<Delivery>>>,
    authority: PathBuf,
    tls: Listening,
    _task: JoinSet<()>,
}

impl Receiver {
    /// Starts a receiver at an address, with a certificate for it, made in a directory. It answers its first `failures`
    /// requests with 503, and all others with 204.
    pub async fn start(address: IpAddr, directory: &Path, failures: usize) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
        let certificates = Certificates::make(directory, &[&format!("IP:{address}")])?;
        let got = Arc::default();
        let (plain, task) = serve(Arc::clone(&got), failures).await?;
        let tls = tls(&certificates, &address.to_string(), plain).await?;
        Ok(Self { got, authority: certificates.authority, tls, _task: task })
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("https://{}/hook", self.tls.address)
    }

    /// Returns the certificate of its authority in PEM.
    pub fn authority(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(&self.authority).context("failed to read a certificate")
    }

    /// Returns what it got, the oldest first.
    pub fn got(&self) -> Vec<Delivery> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(got: Arc<Mutex<Vec<Delivery>>>, failures: usize) -> anyhow::Result<(SocketAddr, JoinSet<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("failed to listen")?;
    let address = listener.local_addr().context("failed to listen")?;
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let got = Arc::clone(&got);
            let service = service_fn(move |request| take(Arc::clone(&got), failures, request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok((address, task))
}

async fn take(
    got: Arc<Mutex<Vec<Delivery>>>,
    failures: usize,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    if let Ok(body) = body.collect().await {
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        let mut got = got.lock().unwrap_or_else(PoisonError::into_inner);
        got.push(Delivery { headers, body });
        *response.status_mut() =
            if got.len() > failures { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE };
    }
    Ok(response)
}
