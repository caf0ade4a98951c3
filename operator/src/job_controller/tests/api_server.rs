//! The API server in memory behind a client.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use migration_core::ports::Clock;
pub use migration_testkit::ApiFault as Fault;
use migration_testkit::{ApiObjects, ApiRequest, Reviews};
use serde_json::{Value, json};
use tower_test::mock;

use crate::fence::{Fence, fenced};
use crate::job_controller::context::Context;
use crate::pod_defaults::PodDefaults;

/// The time of all tests, in milliseconds since 1970.
pub const NOW: i64 = 1_767_225_600_000;

/// The server and a client of it.
pub struct ApiServer {
    pub client: Client,
    /// The time of its contexts, in milliseconds since 1970.
    pub clock: TestClock,
    state: Arc<Mutex<ApiObjects>>,
    armed: Arc<Mutex<Vec<Armed>>>,
    access: Arc<Mutex<Access>>,
}

/// Says why a request is forbidden.
type Authorize = Box<dyn Fn(&ApiRequest) -> Result<(), String> + Send>;

/// Who may do what.
#[derive(Default)]
struct Access {
    authorize: Option<Authorize>,
    refused: Vec<ApiRequest>,
    /// The paths that are watched.
    watched: Vec<String>,
}

impl Access {
    /// Returns the answer to a request that is forbidden, or is for a watch, on which nothing happens.
    fn answer(&mut self, sent: &ApiRequest) -> Option<(u16, String)> {
        if let Some(Err(message)) = self.authorize.as_ref().map(|authorize| authorize(sent)) {
            self.refused.push(sent.clone());
            let status = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": message});
            return Some((403, status.to_string()));
        }
        sent.parameter("watch")?;
        self.watched.push(sent.path.clone());
        Some((200, String::new()))
    }
}

/// What somebody else does right before a request arrives.
struct Armed {
    method: Method,
    path_end: &'static str,
    act: Box<dyn FnOnce(&mut ApiObjects) + Send>,
}

/// A clock that a test sets. Clones are the same clock.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn set(&self, now: i64) {
        self.0.store(now, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn random(&self) -> f64 {
        0.5
    }
}

impl ApiServer {
    /// Starts a server without objects.
    pub fn start() -> Self {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Full<Bytes>>>();
        let state = Arc::new(Mutex::new(ApiObjects::default()));
        let clock = TestClock(Arc::new(AtomicI64::new(NOW)));
        let armed = Arc::new(Mutex::new(Vec::<Armed>::new()));
        let access = Arc::new(Mutex::new(Access::default()));
        let server = Self {
            client: Client::new(service, "media"),
            clock,
            state: state.clone(),
            armed: armed.clone(),
            access: access.clone(),
        };
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let sent = read(request).await;
                let fits = |one: &Armed| one.method == sent.method && sent.path.ends_with(one.path_end);
                let mut armed = armed.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(place) = armed.iter().position(fits) {
                    (armed.remove(place).act)(&mut lock(&state));
                }
                drop(armed);
                let special = access.lock().unwrap_or_else(PoisonError::into_inner).answer(&sent);
                if let Some((code, body)) = special {
                    lock(&state).note(&sent);
                    answer.send_response(Response::builder().status(code).body(Full::new(Bytes::from(body))).unwrap());
                    continue;
                }
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
        self.context_with(self.clock.clone())
    }

    /// A context of this time, in milliseconds since 1970.
    pub fn context_at(&self, now: i64) -> Context {
        self.context_with(TestClock(Arc::new(AtomicI64::new(now))))
    }

    fn context_with(&self, clock: TestClock) -> Context {
        let recorder = Recorder::new(self.client.clone(), Reporter { controller: "test".into(), instance: None });
        Context::new(self.client.clone(), recorder, PodDefaults::new("worker:1"), Arc::new(clock))
    }

    /// Changes who may read what.
    pub fn reviews(&self, change: impl FnOnce(&mut Reviews)) {
        change(&mut lock(&self.state).reviews);
    }

    /// Installs KEDA's resources.
    pub fn install_keda(&self) {
        lock(&self.state).install_keda();
    }

    /// Stores an object in the namespace `media`, as somebody else would.
    pub fn put(&self, object: &Value) {
        lock(&self.state).put(object);
    }

    /// The object at a path that ends so.
    pub fn get(&self, path_end: &str) -> Option<Value> {
        lock(&self.state).find(path_end).map(|(_, object)| object.clone())
    }

    /// All objects of a kind, by the plural of its name.
    pub fn all(&self, plural: &str) -> Vec<Value> {
        lock(&self.state).all(plural)
    }

    /// Removes the objects at paths that end so, as somebody else would.
    pub fn remove(&self, path_end: &str) {
        lock(&self.state).remove(path_end);
    }

    /// The plural names of the kinds that have objects, in order.
    pub fn kinds(&self) -> Vec<String> {
        lock(&self.state).kinds()
    }

    /// Applies a fault to the next requests of a method whose path ends so.
    pub fn fail(&self, method: Method, path_end: &'static str, fault: Fault, times: usize) {
        lock(&self.state).fail(method, path_end, fault, times);
    }

    /// Does something once, right before the first request of a method whose path ends so is carried out.
    pub fn before(&self, method: Method, path_end: &'static str, act: impl FnOnce(&mut ApiObjects) + Send + 'static) {
        let armed = Armed { method, path_end, act: Box::new(act) };
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).push(armed);
    }

    /// Refuses requests from now on as this says, with its reason.
    pub fn authorize(&self, authorize: impl Fn(&ApiRequest) -> Result<(), String> + Send + 'static) {
        self.access.lock().unwrap_or_else(PoisonError::into_inner).authorize = Some(Box::new(authorize));
    }

    /// The requests that were refused.
    pub fn refused(&self) -> Vec<ApiRequest> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    }

    /// Whether a kind is watched, by the plural of its name.
    pub fn watched(&self, plural: &str) -> bool {
        let access = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        access.watched.iter().any(|path| path.rsplit('/').next() == Some(plural))
    }

    /// A context whose requests go to this server while a fence is open.
    pub fn context_behind(&self, fence: &Fence) -> Context {
        let client = fenced(self.client.clone(), fence.clone());
        let recorder = Recorder::new(client.clone(), Reporter { controller: "test".into(), instance: None });
        let context = Context::new(client, recorder, PodDefaults::new("worker:1"), Arc::new(self.clock.clone()));
        context.with_fence(fence.clone())
    }

    /// Lets deletions in the foreground end.
    pub fn finish_deletions(&self) {
        lock(&self.state).finish_deletions();
    }

    /// Forgets the requests that were recorded, and returns them.
    pub fn take_sent(&self) -> Vec<ApiRequest> {
        lock(&self.state).take_sent()
    }

    /// Method and end of the path of all writes since the last call, without events.
    pub fn take_writes(&self) -> Vec<String> {
        let sent = self.take_sent();
        let writes = sent.iter().filter(|sent| sent.method != Method::GET && !sent.path.ends_with("/events"));
        let line = |sent: &ApiRequest| {
            let (_, end) = sent.path.split_once("/media/").unwrap_or_default();
            format!("{} {end}", sent.method)
        };
        writes.map(line).collect()
    }

    /// Reasons and texts of the events since the last call of a `take`.
    pub fn events(&self) -> Vec<(String, String)> {
        lock(&self.state).events()
    }
}

fn lock(state: &Mutex<ApiObjects>) -> MutexGuard<'_, ApiObjects> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(request: Request<Body>) -> ApiRequest {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    ApiRequest::new(parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default(), &body)
}
