//! An API server in memory, which a test can tell to refuse, fail or lose single requests.
//!
//! It keeps what Kubernetes keeps as far as the operator relies on it: UIDs, versions, preconditions, field managers,
//! finalizers, and deletions in the foreground, which end when the test says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use migration_core::ports::Clock;
use serde_json::{Value, json};
use tower_test::mock;

use crate::job_controller::context::Context;

/// The time of all tests, in milliseconds since 1970.
pub const NOW: i64 = 1_767_225_600_000;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Sent {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub body: Value,
}

/// What happens to a request in place of the usual answer.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is answered with this status and message, and not carried out.
    Refused(u16, &'static str),
    /// The connection breaks before it is carried out.
    Lost,
    /// It is carried out, and the connection breaks before the answer.
    AnswerLost,
}

struct Rule {
    method: Method,
    path_end: &'static str,
    fault: Fault,
    times: usize,
}

#[derive(Default)]
struct ServerState {
    objects: BTreeMap<String, Value>,
    rules: Vec<Rule>,
    sent: Vec<Sent>,
    version: u64,
}

/// The server and a client of it.
pub struct ApiServer {
    pub client: Client,
    state: Arc<Mutex<ServerState>>,
}

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> i64 {
        NOW
    }

    fn random(&self) -> f64 {
        0.5
    }
}

impl ApiServer {
    /// Starts a server without objects.
    pub fn start() -> Self {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Full<Bytes>>>();
        let state = Arc::new(Mutex::new(ServerState::default()));
        let server = Self { client: Client::new(service, "media"), state: state.clone() };
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let sent = read(request).await;
                let response = lock(&state).respond(&sent);
                match response {
                    Some((code, body)) => {
                        let body = Full::new(Bytes::from(body.to_string()));
                        answer.send_response(Response::builder().status(code).body(body).unwrap());
                    }
                    None => answer.send_error("connection reset by peer"),
                }
            }
        });
        server
    }

    /// A context whose requests go to this server.
    pub fn context(&self) -> Context {
        let recorder = Recorder::new(self.client.clone(), Reporter { controller: "test".into(), instance: None });
        Context::new(self.client.clone(), recorder, "worker:1".into(), Arc::new(FixedClock))
    }

    /// Stores an object in the namespace `media`, as somebody else would.
    pub fn put(&self, object: &Value) {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let name = object["metadata"]["name"].as_str().unwrap();
        let root = if version.contains('/') { "apis" } else { "api" };
        let key = format!("/{root}/{version}/namespaces/media/{}s/{name}", kind.to_lowercase());
        let mut state = lock(&self.state);
        let mut object = object.clone();
        state.stamp(&mut object, &format!("uid-of-{name}"));
        state.objects.insert(key, object);
    }

    /// The object at a path that ends so.
    pub fn get(&self, path_end: &str) -> Option<Value> {
        lock(&self.state).objects.iter().find(|(path, _)| path.ends_with(path_end)).map(|(_, object)| object.clone())
    }

    /// The plural names of the kinds that have objects, in order.
    pub fn kinds(&self) -> Vec<String> {
        let state = lock(&self.state);
        let kinds: std::collections::BTreeSet<_> =
            state.objects.keys().filter_map(|path| path.rsplit('/').nth(1)).collect();
        kinds.into_iter().map(ToOwned::to_owned).collect()
    }

    /// Applies a fault to the next requests of a method whose path ends so.
    pub fn fail(&self, method: Method, path_end: &'static str, fault: Fault, times: usize) {
        lock(&self.state).rules.push(Rule { method, path_end, fault, times });
    }

    /// Lets deletions in the foreground end.
    pub fn finish_deletions(&self) {
        let mut state = lock(&self.state);
        state.objects.retain(|_, object| {
            let has_finalizers = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
            object["metadata"]["deletionTimestamp"].is_null() || has_finalizers
        });
    }

    /// Forgets the requests that were recorded, and returns them.
    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut lock(&self.state).sent)
    }

    /// Method and end of the path of all writes since the last call, without events.
    pub fn take_writes(&self) -> Vec<String> {
        let sent = self.take_sent();
        let writes = sent.iter().filter(|sent| sent.method != Method::GET && !sent.path.ends_with("/events"));
        let line = |sent: &Sent| {
            let (_, end) = sent.path.split_once("/media/").unwrap_or_default();
            format!("{} {end}", sent.method)
        };
        writes.map(line).collect()
    }

    /// Reasons and texts of the events since the last call of a `take`.
    pub fn events(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let state = lock(&self.state);
        let events = state.sent.iter().filter(|sent| sent.method == Method::POST && sent.path.ends_with("/events"));
        events.map(|sent| (text(&sent.body["reason"]), text(&sent.body["note"]))).collect()
    }
}

fn lock(state: &Mutex<ServerState>) -> MutexGuard<'_, ServerState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(request: Request<Body>) -> Sent {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let query = parts.uri.query().unwrap_or_default();
    let query = [("%2F", "/"), ("%3D", "="), ("%2C", ",")].iter().fold(query.to_owned(), |q, (a, b)| q.replace(a, b));
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Sent { method: parts.method, path: parts.uri.path().to_owned(), query, body }
}

/// The path of the object or collection, the object's name, and the subresource.
fn parse(path: &str) -> (String, Option<&str>, Option<&str>) {
    let parts: Vec<_> = path.split('/').collect();
    let namespace = parts.iter().position(|part| *part == "namespaces").unwrap();
    let (name, subresource) = (parts.get(namespace + 3).copied(), parts.get(namespace + 4).copied());
    let end = (namespace + 4).min(parts.len());
    (parts[..end].join("/"), name, subresource)
}

fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, body)
}

impl ServerState {
    fn respond(&mut self, sent: &Sent) -> Option<(u16, Value)> {
        self.sent.push(sent.clone());
        let applies =
            |rule: &&mut Rule| rule.times > 0 && rule.method == sent.method && sent.path.ends_with(rule.path_end);
        let fault = self.rules.iter_mut().find(applies).map(|rule| {
            rule.times -= 1;
            rule.fault
        });
        match fault {
            None => Some(self.carry_out(sent)),
            Some(Fault::Refused(code, message)) => {
                let reason = if code == 409 { "Conflict" } else { "Refused" };
                Some(status(code, reason, message))
            }
            Some(Fault::Lost) => None,
            Some(Fault::AnswerLost) => {
                self.carry_out(sent);
                None
            }
        }
    }

    fn carry_out(&mut self, sent: &Sent) -> (u16, Value) {
        let (path, name, subresource) = parse(&sent.path);
        match (sent.method.as_str(), name) {
            ("GET", None) => (200, self.list(&path, &sent.query)),
            ("POST", _) => self.create(&path, sent),
            (method, Some(name)) => {
                let Some(object) = self.objects.get(&path).cloned() else {
                    return status(404, "NotFound", &format!("{name} not found"));
                };
                match method {
                    "GET" => (200, object),
                    "PATCH" => self.patch(&path, &object, subresource, sent),
                    "DELETE" => self.delete(&path, object, &sent.body),
                    _ => status(405, "MethodNotAllowed", method),
                }
            }
            (method, None) => status(405, "MethodNotAllowed", method),
        }
    }

    fn list(&self, path: &str, query: &str) -> Value {
        let selector = query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
        let selected = |object: &Value| {
            selector
                .split(',')
                .filter_map(|part| part.split_once('='))
                .all(|(label, value)| object["metadata"]["labels"][label] == value)
        };
        let collection = format!("{path}/");
        let found = self.objects.iter().filter(|(path, object)| path.starts_with(&collection) && selected(object));
        let items: Vec<_> = found.map(|(_, object)| object.clone()).collect();
        json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
    }

    /// Gives an object a UID, unless it has one, and the next version.
    fn stamp(&mut self, object: &mut Value, uid: &str) {
        self.version += 1;
        let metadata = &mut object["metadata"];
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(uid);
        }
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = json!("2025-12-31T23:59:59Z");
        }
        metadata["resourceVersion"] = json!(self.version.to_string());
    }

    fn create(&mut self, path: &str, sent: &Sent) -> (u16, Value) {
        let mut object = sent.body.clone();
        let name = object["metadata"]["name"].as_str().unwrap_or("event").to_owned();
        let key = format!("{path}/{name}");
        if path.ends_with("/events") {
            return (201, object);
        }
        if self.objects.contains_key(&key) {
            return status(409, "AlreadyExists", &format!("{name} already exists"));
        }
        self.stamp(&mut object, &format!("made-{name}-{}", self.version));
        if object["spec"].is_object() {
            object["metadata"]["generation"] = json!(1);
        }
        manage(&mut object, &sent.query, "Update", None);
        self.objects.insert(key, object.clone());
        (201, object)
    }

    fn patch(&mut self, path: &str, old: &Value, subresource: Option<&str>, sent: &Sent) -> (u16, Value) {
        let wanted = &sent.body["metadata"];
        if !wanted["uid"].is_null() && wanted["uid"] != old["metadata"]["uid"] {
            let causes = json!([{"reason": "FieldValueInvalid", "message": "immutable", "field": "metadata.uid"}]);
            let (_, mut body) = status(422, "Invalid", "metadata.uid: field is immutable");
            body["details"] = json!({"causes": causes});
            return (422, body);
        }
        let version = &wanted["resourceVersion"];
        if !version.is_null() && *version != old["metadata"]["resourceVersion"] {
            return status(409, "Conflict", "the object has been modified");
        }
        let mut new = old.clone();
        match (&sent.body, subresource) {
            (Value::Array(operations), _) => operations.iter().for_each(|operation| change(&mut new, operation)),
            (body, Some("scale")) => {
                new["spec"]["replicas"] = body["spec"]["replicas"].clone();
                manage(&mut new, &sent.query, "Apply", Some("scale"));
            }
            (body, Some("status")) => new["status"] = body["status"].clone(),
            (body, _) => merge(&mut new, body),
        }
        if new["spec"] != old["spec"] {
            let generation = new["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            new["metadata"]["generation"] = json!(generation);
        }
        self.stamp(&mut new, "");
        let is_released = new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if sent.body.is_array() && is_released && !new["metadata"]["deletionTimestamp"].is_null() {
            self.objects.remove(path);
        } else {
            self.objects.insert(path.to_owned(), new.clone());
        }
        if subresource == Some("scale") {
            let replicas = &new["spec"]["replicas"];
            new = json!({
                "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": new["metadata"]["name"]},
                "spec": {"replicas": replicas}, "status": {"replicas": replicas},
            });
        }
        (200, new)
    }

    fn delete(&mut self, path: &str, mut object: Value, options: &Value) -> (u16, Value) {
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return status(409, "Conflict", "the UID in the precondition does not match");
        }
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        self.objects.insert(path.to_owned(), object.clone());
        (200, object)
    }
}

/// Records the field manager that a query names.
fn manage(object: &mut Value, query: &str, operation: &str, subresource: Option<&str>) {
    let Some(manager) = query.split('&').find_map(|part| part.strip_prefix("fieldManager=")) else { return };
    let entry = json!({
        "manager": manager, "operation": operation, "subresource": subresource, "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}}},
    });
    match &mut object["metadata"]["managedFields"] {
        Value::Array(entries) => entries.push(entry),
        none => *none = json!([entry]),
    }
}

/// A JSON merge patch. Source: RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in members {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// An operation of a JSON patch on the list of finalizers, which is all that kube's finalizers send.
fn change(object: &mut Value, operation: &Value) {
    let path = operation["path"].as_str().unwrap_or_default();
    let Some(place) = path.strip_prefix("/metadata/finalizers") else { return };
    let list = &mut object["metadata"]["finalizers"];
    match (operation["op"].as_str().unwrap_or_default(), place.trim_start_matches('/')) {
        ("add", "") => *list = operation["value"].clone(),
        ("add", "-") => list.as_array_mut().unwrap().push(operation["value"].clone()),
        ("remove", "") => *list = Value::Null,
        ("remove", place) => drop(list.as_array_mut().unwrap().remove(place.parse().unwrap())),
        _ => {}
    }
}
