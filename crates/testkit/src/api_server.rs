//! An API server in memory, which a test can tell to refuse, fail or lose single requests.
//!
//! It keeps what Kubernetes keeps as far as the operator relies on it: UIDs, versions, preconditions, field managers,
//! finalizers, and deletions in the foreground, which end when the test says so. How requests reach it is the test's.

use std::collections::{BTreeMap, BTreeSet};

use hyper::Method;
use serde_json::{Value, json};

mod reviews;

pub use reviews::Reviews;

/// The namespace of all objects.
pub const NAMESPACE: &str = "media";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// Method.
    pub method: Method,
    /// Path.
    pub path: String,
    /// Query, decoded.
    pub query: String,
    /// Body; null if it has none, or none in JSON.
    pub body: Value,
}

impl ApiRequest {
    /// Reads a request.
    pub fn new(method: Method, path: &str, query: &str, body: &[u8]) -> Self {
        let query =
            [("%2F", "/"), ("%3D", "="), ("%2C", ",")].iter().fold(query.to_owned(), |q, (a, b)| q.replace(a, b));
        Self { method, path: path.to_owned(), query, body: serde_json::from_slice(body).unwrap_or(Value::Null) }
    }

    /// Returns a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').filter_map(|part| part.split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

/// What happens to a request in place of the usual answer.
#[derive(Clone, Copy, Debug)]
pub enum ApiFault {
    /// It is answered with this status and message, and not carried out.
    Refused(u16, &'static str),
    /// It is answered that this field is invalid, and not carried out.
    Invalid(&'static str),
    /// The connection breaks before it is carried out.
    Lost,
    /// It is carried out, and the connection breaks before the answer.
    AnswerLost,
}

#[derive(Debug)]
struct Rule {
    method: Method,
    path_end: &'static str,
    fault: ApiFault,
    times: usize,
}

/// The objects of an API server, and the requests that it got.
#[derive(Debug)]
pub struct ApiObjects {
    objects: BTreeMap<String, Value>,
    rules: Vec<Rule>,
    sent: Vec<ApiRequest>,
    version: u64,
    created: String,
    deleted: String,
    has_keda: bool,
    /// Who may read what.
    pub reviews: Reviews,
}

impl Default for ApiObjects {
    /// Creates a server at the beginning of 2026.
    fn default() -> Self {
        Self::at("2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z")
    }
}

impl ApiObjects {
    /// Creates a server where all objects are created and deleted at these times.
    pub fn at(created: &str, deleted: &str) -> Self {
        Self {
            objects: BTreeMap::new(),
            rules: Vec::new(),
            sent: Vec::new(),
            version: 0,
            created: created.to_owned(),
            deleted: deleted.to_owned(),
            has_keda: false,
            reviews: Reviews::default(),
        }
    }

    /// Installs KEDA's resources.
    pub fn install_keda(&mut self) {
        self.has_keda = true;
    }

    /// Stores an object, as somebody else would.
    pub fn put(&mut self, object: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let name = text(&object["metadata"]["name"]);
        let root = if version.contains('/') { "apis" } else { "api" };
        let key = format!("/{root}/{version}/namespaces/{NAMESPACE}/{}s/{name}", kind.to_lowercase());
        let mut object = object.clone();
        self.stamp(&mut object, &format!("uid-of-{name}"));
        self.objects.insert(key, object);
    }

    /// Returns the path and the object whose path ends so.
    pub fn find(&self, path_end: &str) -> Option<(&String, &Value)> {
        self.objects.iter().find(|(path, _)| path.ends_with(path_end))
    }

    /// Returns all objects of a kind, by the plural of its name.
    pub fn all(&self, plural: &str) -> Vec<Value> {
        let of_kind = |path: &str| path.rsplit('/').nth(1) == Some(plural);
        self.objects.iter().filter(|(path, _)| of_kind(path)).map(|(_, object)| object.clone()).collect()
    }

    /// Removes the objects at paths that end so, as somebody else would.
    pub fn remove(&mut self, path_end: &str) {
        self.objects.retain(|path, _| !path.ends_with(path_end));
    }

    /// Returns the plural names of the kinds that have objects, in order.
    pub fn kinds(&self) -> Vec<String> {
        let kinds: BTreeSet<_> = self.objects.keys().filter_map(|path| path.rsplit('/').nth(1)).collect();
        kinds.into_iter().map(ToOwned::to_owned).collect()
    }

    /// Applies a fault to the next requests of a method whose path ends so.
    pub fn fail(&mut self, method: Method, path_end: &'static str, fault: ApiFault, times: usize) {
        self.rules.push(Rule { method, path_end, fault, times });
    }

    /// Lets deletions in the foreground end.
    pub fn finish_deletions(&mut self) {
        self.objects.retain(|_, object| {
            let has_finalizers = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
            object["metadata"]["deletionTimestamp"].is_null() || has_finalizers
        });
    }

    /// Returns the requests that were recorded.
    pub fn sent(&self) -> &[ApiRequest] {
        &self.sent
    }

    /// Forgets the requests that were recorded, and returns them.
    pub fn take_sent(&mut self) -> Vec<ApiRequest> {
        std::mem::take(&mut self.sent)
    }

    /// Returns reasons and texts of the events that were recorded.
    pub fn events(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = self.sent.iter().filter(|sent| sent.method == Method::POST && sent.path.ends_with("/events"));
        events.map(|sent| (text(&sent.body["reason"]), text(&sent.body["note"]))).collect()
    }

    /// Records a request that somebody else answers.
    pub fn note(&mut self, sent: &ApiRequest) {
        self.sent.push(sent.clone());
    }

    /// Returns the answer to a request: status and body. There is none if the connection breaks.
    pub fn respond(&mut self, sent: &ApiRequest) -> Option<(u16, Value)> {
        self.sent.push(sent.clone());
        let applies =
            |rule: &&mut Rule| rule.times > 0 && rule.method == sent.method && sent.path.ends_with(rule.path_end);
        let fault = self.rules.iter_mut().find(applies).map(|rule| {
            rule.times -= 1;
            rule.fault
        });
        match fault {
            None => Some(self.carry_out(sent)),
            Some(ApiFault::Refused(code, message)) => {
                let reason = if code == 409 { "Conflict" } else { "Refused" };
                Some(status(code, reason, message))
            }
            Some(ApiFault::Invalid(field)) => Some(invalid(field)),
            Some(ApiFault::Lost) => None,
            Some(ApiFault::AnswerLost) => {
                self.carry_out(sent);
                None
            }
        }
    }

    fn carry_out(&mut self, sent: &ApiRequest) -> (u16, Value) {
        if let Some(answer) = self.reviews.answer(sent) {
            return answer;
        }
        if sent.path == "/apis/keda.sh/v1alpha1" {
            return self.discover_keda();
        }
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

    fn discover_keda(&self) -> (u16, Value) {
        if !self.has_keda {
            // No `Status`: an API server answers for a group that it does not have with plain text.
            return (404, json!("404 page not found"));
        }
        let resource = json!({
            "name": "scaledobjects", "singularName": "", "namespaced": true, "kind": "ScaledObject", "verbs": [],
        });
        (200, json!({"kind": "APIResourceList", "groupVersion": "keda.sh/v1alpha1", "resources": [resource]}))
    }

    fn list(&self, path: &str, query: &str) -> Value {
        let items: Vec<_> = self.collection(path, query).into_iter().map(|(_, object)| object.clone()).collect();
        let metadata = json!({"resourceVersion": self.version.to_string()});
        json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items})
    }

    /// Returns the objects of a collection that the label selector of a query selects, with their paths.
    pub fn collection(&self, path: &str, query: &str) -> Vec<(&String, &Value)> {
        let selector = query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
        let selected = |object: &Value| {
            selector
                .split(',')
                .filter_map(|part| part.split_once('='))
                .all(|(label, value)| object["metadata"]["labels"][label] == value)
        };
        let collection = format!("{path}/");
        let of_it = |path: &str| path.strip_prefix(&collection).is_some_and(|name| !name.contains('/'));
        self.objects.iter().filter(|(path, object)| of_it(path) && selected(object)).collect()
    }

    /// Gives an object a UID, unless it has one, and the next version.
    fn stamp(&mut self, object: &mut Value, uid: &str) {
        self.version += 1;
        let metadata = &mut object["metadata"];
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(uid);
        }
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = json!(self.created);
        }
        metadata["resourceVersion"] = json!(self.version.to_string());
    }

    fn create(&mut self, path: &str, sent: &ApiRequest) -> (u16, Value) {
        let mut object = sent.body.clone();
        let name = object["metadata"]["name"].as_str().unwrap_or("event").to_owned();
        let key = format!("{path}/{name}");
        if path.ends_with("/events") {
            return (201, object);
        }
        if self.objects.contains_key(&key) {
            return status(409, "AlreadyExists", &format!("{name} already exists"));
        }
        if sent.parameter("dryRun").is_some() {
            return (201, object);
        }
        self.stamp(&mut object, &format!("made-{name}-{}", self.version));
        if object["spec"].is_object() {
            object["metadata"]["generation"] = json!(1);
        }
        manage(&mut object, &sent.query, "Update", None);
        self.objects.insert(key, object.clone());
        (201, object)
    }

    fn patch(&mut self, path: &str, old: &Value, subresource: Option<&str>, sent: &ApiRequest) -> (u16, Value) {
        let wanted = &sent.body["metadata"];
        if !wanted["uid"].is_null() && wanted["uid"] != old["metadata"]["uid"] {
            return invalid("metadata.uid");
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
        let is_release = sent.body.is_array() || !wanted["finalizers"].is_null();
        if is_release && is_released && !new["metadata"]["deletionTimestamp"].is_null() {
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
        for (member, what) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let wanted = &options["preconditions"][member];
            if !wanted.is_null() && *wanted != object["metadata"][member] {
                return status(409, "Conflict", &format!("the {what} in the precondition does not match"));
            }
        }
        object["metadata"]["deletionTimestamp"] = json!(self.deleted);
        self.stamp(&mut object, "");
        self.objects.insert(path.to_owned(), object.clone());
        (200, object)
    }
}

/// The path of the object or collection, the object's name, and the subresource.
fn parse(path: &str) -> (String, Option<&str>, Option<&str>) {
    let parts: Vec<_> = path.split('/').collect();
    let namespace = parts.iter().position(|part| *part == "namespaces").unwrap_or_default();
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

fn invalid(field: &str) -> (u16, Value) {
    let (code, mut body) = status(422, "Invalid", &format!("{field}: not valid"));
    body["details"] = json!({"causes": [{"reason": "FieldValueInvalid", "message": "not valid", "field": field}]});
    (code, body)
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
        if let (true, Value::Object(members)) = (value.is_null(), &mut *target) {
            members.remove(name);
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
    match (operation["op"].as_str().unwrap_or_default(), place.trim_start_matches('/'), list) {
        ("add", "", list) => *list = operation["value"].clone(),
        ("add", "-", Value::Array(list)) => list.push(operation["value"].clone()),
        ("remove", "", list) => *list = Value::Null,
        ("remove", place, Value::Array(list)) => {
            if let Some(place) = place.parse().ok().filter(|place| *place < list.len()) {
                list.remove(place);
            }
        }
        _ => {}
    }
}
