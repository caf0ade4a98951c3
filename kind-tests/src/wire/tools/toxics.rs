//! Toxiproxy: proxies of TCP connections that break them as they are told.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use http_body_util::BodyExt as _;
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::super::services::Server;
use crate::proxy::{Body, full};

/// Which way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// What the programs send.
    Upstream,
    /// What the services answer.
    Downstream,
}

/// What is done to connections. Source: the README of Toxiproxy, "Toxics".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They are reset after a time in milliseconds.
    Reset(u64),
    /// Nothing passes any more, and after a time in milliseconds they are closed.
    Stall(u64),
    /// Data goes in slices of about so many bytes, with a delay in microseconds between them.
    Slice(u64, u64),
    /// Everything comes later, by so many milliseconds, more or less so many.
    Delay(u64, u64),
    /// At most so many KB a second.
    Slow(u64),
    /// They are closed after so many bytes.
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
    /// Of a server.
    pub fn new(server: Server) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { server, client, proxies: Mutex::default() }
    }

    /// Makes a proxy in front of an address; gives its URL.
    pub async fn in_front_of(&self, name: &str, upstream: SocketAddr) -> anyhow::Result<String> {
        let proxy = json!({"name": name, "listen": "127.0.0.1:0", "upstream": upstream.to_string(), "enabled": true});
        let made = self.call(Method::POST, "/proxies", &proxy).await?;
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let listen = made["listen"].as_str().context("a proxy listens nowhere")?;
        Ok(format!("http://{listen}"))
    }

    /// Does something to a share of all connections there are and come, from now on.
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

    /// Takes all faults away.
    pub async fn mend(&self) -> anyhow::Result<()> {
        self.call(Method::POST, "/reset", &Value::Null).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let uri: Uri = format!("{}{path}", self.server.endpoint()).parse()?;
        let request = Request::builder().method(method).uri(uri).body(full(body.to_string()))?;
        let response = self.client.request(request).await.context("failed to ask Toxiproxy")?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "failed to ask Toxiproxy: {status}: {}", String::from_utf8_lossy(&body));
        if body.is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_slice(&body).context("failed to read an answer")
        }
    }
}
