//! Toxiproxy: TCP proxies with faults on demand.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::super::services::Server;
use crate::proxy::{Body, full};

/// Times that a request is sent again. Each takes 25 s.
const RETRIES: u32 = 3;

/// Direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// From the programs to the services.
    Upstream,
    /// From the services to the programs.
    Downstream,
}

/// A fault of connections. Source: the README of Toxiproxy, "Toxics".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Resets the connection after a time in milliseconds.
    Reset(u64),
    /// Stops all data, and closes the connection after a time in milliseconds.
    Stall(u64),
    /// Sends data in slices of about so many bytes, with a delay in microseconds between them.
    Slice(u64, u64),
    /// Delays data by a time in milliseconds, with a jitter in milliseconds.
    Delay(u64, u64),
    /// Limits the rate in KB per second.
    Slow(u64),
    /// Closes the connection after so many bytes.
    Cut(u64),
}

impl Fault {
    fn toxic(self) -> (&'static str, Value) {
        match self {
            Self::Reset(after) => ("reset_peer", json!({"timeout": after})),
            Self::Stall(after) => ("timeout", json!({"timeout": after})),
            Self::Slice(size, delay) => {
                ("slicer", json!({"average_size": size, "size_variation": size / 2, "delay": delay}))
            }
            Self::Delay(latency, jitter) => ("latency", json!({"latency": latency, "jitter": jitter})),
            Self::Slow(rate) => ("bandwidth", json!({"rate": rate})),
            Self::Cut(bytes) => ("limit_data", json!({"bytes": bytes})),
        }
    }
}

/// A running Toxiproxy.
#[derive(Debug)]
pub struct Toxiproxy {
    server: Server,
    client: Client<HttpConnector, Body>,
    proxies: Mutex<Vec<String>>,
}

impl Toxiproxy {
    /// Wraps a running server.
    pub fn new(server: Server) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { server, client, proxies: Mutex::default() }
    }

    /// Creates a proxy in front of an address; returns its URL.
    pub async fn in_front_of(&self, name: &str, upstream: SocketAddr) -> anyhow::Result<String> {
        let proxy = json!({"name": name, "listen": "127.0.0.1:0", "upstream": upstream.to_string(), "enabled": true});
        let made = self.call(Method::POST, "/proxies", &proxy).await?;
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let listen = made["listen"].as_str().context("a proxy has no address")?;
        Ok(format!("http://{listen}"))
    }

    /// Applies a fault to a share of all present and future connections.
    pub async fn add(&self, fault: Fault, stream: Stream, share: f64) -> anyhow::Result<()> {
        let (kind, attributes) = fault.toxic();
        let stream = match stream {
            Stream::Upstream => "upstream",
            Stream::Downstream => "downstream",
        };
        let toxic = json!({"type": kind, "stream": stream, "toxicity": share, "attributes": attributes});
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for proxy in proxies {
            self.call(Method::POST, &format!("/proxies/{proxy}/toxics"), &toxic).await?;
        }
        Ok(())
    }

    /// Removes all faults.
    pub async fn mend(&self) -> anyhow::Result<()> {
        self.call(Method::POST, "/reset", &Value::Null).await.map(drop)
    }

    /// Sends a request. Toxiproxy gives up requests, with 503, that wait for a lock which a closing connection holds, and
    /// may carry them out all the same: <https://github.com/Shopify/toxiproxy/issues/558>. They are sent again; then a
    /// toxic that exists is the one that was asked for.
    async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (mut status, mut answer) = self.send(method.clone(), path, body).await?;
        let mut again = 0;
        while status == StatusCode::SERVICE_UNAVAILABLE && again < RETRIES {
            (status, answer) = self.send(method.clone(), path, body).await?;
            again += 1;
        }
        if status == StatusCode::CONFLICT && again > 0 {
            return Ok(Value::Null);
        }
        ensure!(status.is_success(), "failed to call Toxiproxy: {status}: {}", String::from_utf8_lossy(&answer));
        if answer.is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_slice(&answer).context("failed to read a response")
        }
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<(StatusCode, Bytes)> {
        let uri: Uri = format!("{}{path}", self.server.endpoint()).parse()?;
        let request = Request::builder().method(method).uri(uri).body(full(body.to_string()))?;
        let response = self.client.request(request).await.context("failed to call Toxiproxy")?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
