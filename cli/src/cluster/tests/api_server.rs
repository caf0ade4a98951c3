//! An API server that gives prepared answers, one for each request, and records the requests.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tower_test::mock;

/// Stands in answers for the trigger of the last patch.
pub const TRIGGER: &str = "(the trigger)";

/// An answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status code and document.
    Status(u16, Value),
    /// This status code and text.
    Text(u16, &'static str),
    /// A watch with these events, which then stays open.
    Lines(Vec<Value>),
    /// The connection breaks.
    Lost,
}

impl Answer {
    /// Answers with a document.
    pub fn of(document: &Value) -> Self {
        Self::Status(200, document.clone())
    }

    /// The same for a document whose jobs have the trigger of the last patch.
    pub fn with_trigger(document: &Value) -> Self {
        Self::of(&asked(document))
    }

    /// Answers with events whose jobs have the trigger of the last patch.
    pub fn with_trigger_lines(events: &[Value]) -> Self {
        Self::Lines(events.iter().map(asked).collect())
    }
}

/// Sets spec.trigger.manual of all jobs in a document.
fn asked(document: &Value) -> Value {
    let mut document = document.clone();
    let set = |job: &mut Value| job["spec"]["trigger"]["manual"] = TRIGGER.into();
    match &mut document {
        document if document["items"].is_array() => document["items"].as_array_mut().unwrap().iter_mut().for_each(set),
        document if document["object"].is_object() => set(&mut document["object"]),
        document => set(document),
    }
    document
}

#[derive(Default)]
struct Record {
    sent: Vec<String>,
    types: Vec<String>,
    trigger: String,
}

/// The server and a client of it.
pub struct ApiServer {
    pub client: Client,
    record: Arc<Mutex<Record>>,
}

impl ApiServer {
    /// Starts a server with these answers. A watch beyond them stays open without events; other requests are refused.
    pub fn start(answers: Vec<Answer>) -> Self {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<BoxBody<Bytes, Infallible>>>();
        let record = Arc::new(Mutex::new(Record::default()));
        let server = Self { client: Client::new(service, "media"), record: record.clone() };
        let mut answers = VecDeque::from(answers);
        tokio::spawn(async move {
            while let Some((request, answer)) = handle.next_request().await {
                let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
                let trigger = note(request, &record).await;
                let beyond = if is_watch { Answer::Lines(vec![]) } else { Answer::Text(418, "unexpected request") };
                match response(answers.pop_front().unwrap_or(beyond), &trigger) {
                    Some(response) => answer.send_response(response),
                    None => answer.send_error("connection reset by peer"),
                }
            }
        });
        server
    }

    /// Method, path and body of the requests; with the query of lists that select and of watches.
    pub fn sent(&self) -> Vec<String> {
        self.record.lock().unwrap().sent.clone()
    }

    /// The content types of requests that have one.
    pub fn types(&self) -> Vec<String> {
        self.record.lock().unwrap().types.clone()
    }
}

/// Records a request. Returns the trigger of the last patch.
async fn note(request: Request<Body>, record: &Mutex<Record>) -> String {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let query = parts.uri.query().unwrap_or_default();
    let query = if query.contains("Selector") || query.contains("watch") { format!("?{query}") } else { String::new() };
    let line = format!("{} {}{query} {}", parts.method, parts.uri.path(), String::from_utf8_lossy(&body));
    let mut record = record.lock().unwrap();
    record.sent.push(line.trim_end().to_owned());
    record.types.extend(parts.headers.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned()));
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(trigger) = body.pointer("/spec/trigger/manual").and_then(Value::as_str) {
        trigger.clone_into(&mut record.trigger);
    }
    record.trigger.clone()
}

fn response(answer: Answer, trigger: &str) -> Option<Response<BoxBody<Bytes, Infallible>>> {
    let whole = |text: String| Full::new(Bytes::from(text.replace(TRIGGER, trigger))).boxed();
    let (code, body) = match answer {
        Answer::Status(code, document) => (code, whole(document.to_string())),
        Answer::Text(code, text) => (code, whole(text.to_owned())),
        Answer::Lines(events) => {
            let lines: String = events.iter().flat_map(|event| [event.to_string(), "\n".to_owned()]).collect();
            let frame = Ok(Frame::data(Bytes::from(lines.replace(TRIGGER, trigger))));
            let open = futures::StreamExt::chain(futures::stream::iter([frame]), futures::stream::pending());
            (200, StreamBody::new(open).boxed())
        }
        Answer::Lost => return None,
    };
    Some(Response::builder().status(code).body(body).unwrap())
}
