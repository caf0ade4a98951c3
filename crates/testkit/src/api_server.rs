//! An API server in memory, which a test can tell to refuse, fail or lose single requests.
//!
//! It keeps what Kubernetes keeps as far as the operator relies on it: UIDs, versions, preconditions, field managers,
//! finalizers, and deletions in the foreground, which end when the test says so. How requests reach it is the test's.

use std::collections::{BTreeMap, BTreeSet};

use hyper::Method;
use serde_json::{Value, json};

mod answer;
mod change;
mod request;
mod reviews;

pub use request::{ApiFault, ApiRequest};
pub use reviews::Reviews;

use answer::{invalid, status};
use change::{change, manage, merge};
use request::parse;

/// The namespace of all objects.
pub const NAMESPACE: &str = "media";

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
