//! An API server in memory behind HTTP, for the operator as a plain process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::Timestamp;
use migration_testkit::{ApiObjects, ApiRequest};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A running API server, stopped on drop. It has no controllers, so that a Job or Deployment has no pods.
#[derive(Debug)]
pub struct ApiServer {
    server: Server,
    address: SocketAddr,
    _task: JoinSet<()>,
}

#[derive(Clone, Debug)]
struct Server {
    objects: Arc<Mutex<ApiObjects>>,
    /// Told of each change.
    changes: watch::Sender<()>,
}

impl ApiServer {
    /// Starts a server without objects. All of them are created and deleted now.
    pub async fn start() -> anyhow::Result<Self> {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let objects = Arc::new(Mutex::new(ApiObjects::at(&now, &now)));
        let server = Server { objects, changes: watch::Sender::new(()) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("failed to listen")?;
        let address = listener.local_addr().context("failed to listen")?;
        let mut task = JoinSet::new();
        task.spawn({
            let server = server.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let server = server.clone();
                    tokio::spawn(async move {
                        let service = service_fn(|request| server.answer(request));
                        let http = hyper::server::conn::http1::Builder::new();
                        // The client may have disconnected.
                        let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            }
        });
        Ok(Self { server, address, _task: task })
    }

    /// Writes a kubeconfig for the server.
    pub fn write_config(&self, path: PathBuf) -> anyhow::Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "clusters": [{"name": "tests", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "tests", "user": {}}],
        });
        write(&path, &config.to_string())?;
        Ok(path)
    }

    /// Stores an object, as a person would.
    pub fn put(&self, object: &Value) {
        self.server.lock().put(object);
        self.server.changed();
    }

    /// Returns the object whose path ends so.
    pub fn get(&self, path_end: &str) -> Option<Value> {
        self.server.lock().find(path_end).map(|(_, object)| object.clone())
    }

    /// Changes the object whose path ends so by a merge patch, or its status.
    pub fn patch(&self, path_end: &str, subresource: &str, change: &Value) -> anyhow::Result<()> {
        self.send(Method::PATCH, path_end, subresource, change)
    }

    /// Deletes the object whose path ends so.
    pub fn delete(&self, path_end: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path_end, "", &Value::Null)
    }

    fn send(&self, method: Method, path_end: &str, subresource: &str, body: &Value) -> anyhow::Result<()> {
        let path = self.server.lock().find(path_end).map(|(path, _)| path.clone());
        let path = path.with_context(|| format!("failed to find {path_end}"))?;
        let sent = ApiRequest::new(method, &format!("{path}{subresource}"), "", body.to_string().as_bytes());
        self.server.carry_out(&sent);
        Ok(())
    }

    /// Returns reasons and texts of all events.
    pub fn events(&self) -> Vec<(String, String)> {
        self.server.lock().events()
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, ApiObjects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_replace(());
    }

    /// Carries out a request. What is deleted in the foreground is gone at once, since it has no pods.
    fn carry_out(&self, sent: &ApiRequest) -> Option<(u16, Value)> {
        let answer = {
            let mut objects = self.lock();
            let answer = objects.respond(sent);
            objects.finish_deletions();
            answer
        };
        self.changed();
        answer
    }

    async fn answer(&self, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.context("failed to read a request")?.to_bytes();
        let query = parts.uri.query().unwrap_or_default();
        let sent = ApiRequest::new(parts.method, parts.uri.path(), query, &body);
        if sent.parameter("watch") == Some("true") {
            return Ok(Response::new(self.watch(sent)));
        }
        let (code, body) = self.carry_out(&sent).context("the connection breaks")?;
        let mut response = Response::new(Full::from(body.to_string()).boxed_unsync());
        *response.status_mut() = StatusCode::from_u16(code).context("failed to answer")?;
        Ok(response)
    }

    /// Returns the changes of a collection since a version, a line each.
    fn watch(&self, sent: ApiRequest) -> Body {
        let since: u64 = sent.parameter("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or_default();
        let mut known = self.collection(&sent);
        known.retain(|_, object| version(object) <= since);
        let state = (self.clone(), self.changes.subscribe(), sent, known);
        let lines = stream::unfold(state, async |(server, mut changes, sent, known)| {
            loop {
                let now = server.collection(&sent);
                let lines = differences(&known, &now);
                if !lines.is_empty() {
                    let frame = Ok::<_, Infallible>(Frame::data(Bytes::from(lines)));
                    return Some((frame, (server, changes, sent, now)));
                }
                changes.changed().await.ok()?;
            }
        });
        StreamBody::new(lines).boxed_unsync()
    }

    fn collection(&self, sent: &ApiRequest) -> BTreeMap<String, Value> {
        let objects = self.lock();
        let collection = objects.collection(&sent.path, &sent.query);
        collection.into_iter().map(|(path, object)| (path.clone(), object.clone())).collect()
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn differences(known: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> String {
    let line = |kind: &str, object: &Value| format!("{}\n", json!({"type": kind, "object": object}));
    let changed = now.iter().filter_map(|(path, object)| match known.get(path) {
        None => Some(line("ADDED", object)),
        Some(before) if version(before) != version(object) => Some(line("MODIFIED", object)),
        Some(_) => None,
    });
    let gone = known.iter().filter(|(path, _)| !now.contains_key(*path)).map(|(_, object)| line("DELETED", object));
    changed.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_by_version() {
        let object = |version: &str| json!({"metadata": {"resourceVersion": version}});
        let of = |objects: &[(&str, &str)]| {
            objects.iter().map(|(path, version)| ((*path).to_owned(), object(version))).collect::<BTreeMap<_, _>>()
        };
        let told = differences(&of(&[("a", "1"), ("b", "2"), ("c", "3")]), &of(&[("b", "4"), ("c", "3"), ("d", "5")]));
        let kinds: Vec<Value> =
            told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].take()).collect();
        assert_eq!(kinds, ["MODIFIED", "ADDED", "DELETED"]);
        assert_eq!(differences(&of(&[("a", "1")]), &of(&[("a", "1")])), "");
    }
}
