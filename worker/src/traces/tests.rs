use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Instant;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use migration_core::config::JobConfig;
use migration_core::error::{ErrorClass, Service};
use migration_core::ports::{Ability, Capabilities};
use migration_engine::hash::Hashing;
use migration_engine::scan::{SenderName, send};
use migration_engine::telemetry::{Metered, ObjectResult};
use migration_engine::worker::Worker;
use migration_engine::{Ports, Process, Runtime};
use migration_testkit::{Fault, FaultPlan, Faulty, MemoryLedger, MemoryQueue, MemoryStore, Operation, TestClock};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::Message as _;
use tokio::net::TcpListener;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

const CONFIG: &str = "
version: 1
job: {namespace: media, name: photos, uid: u}
buckets: [{sourceBucket: from, destinationBucket: to}]
source: {region: a}
destination: {region: b}
transfer:
  {partSize: 5Mi, multipartThreshold: 5Mi, filesPerWorker: 4, partsPerFile: 2, memoryLimit: 64Mi, maxAttempts: 5}
queue: {region: a, url: 'http://q/1', deadLetterUrl: 'http://q/2'}
ledger: {region: a, table: t}
";
/// A key that must not reach a terminal as it is.
const HOSTILE: &str = "small\n\u{1b}[31m";
/// Size of the object that is sent in three parts, in bytes.
const LARGE: usize = 12 << 20;

/// What the destination is known to do, and not to do.
const ABILITIES: (&[Ability], &[Ability]) = Ability::ALL.split_at(7);

type Store = Metered<Faulty<MemoryStore>>;
type Spans = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// Starts a collector; returns its URL and what it gets.
async fn collector() -> (String, Spans) {
    let (listener, spans) = (listener().await, Spans::default());
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let kept = spans.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let spans = kept.clone();
            let service = service_fn(move |request| take(spans.clone(), request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, spans)
}

async fn listener() -> TcpListener {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap()
}

async fn take(spans: Spans, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    spans.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
    Ok(Response::default())
}

fn settings(url: &str, most_waiting: usize) -> Settings {
    Settings { url: Some(url.to_owned()), within: Duration::from_millis(500), most_waiting }
}

/// Copies two objects, of which the first PUT fails once, with this layer beside no log. Returns the time it took.
async fn copy(layer: Option<ExtraLayer>) -> Duration {
    let layers: Vec<_> = layer.into_iter().collect();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layers));
    let clock = TestClock::following_tokio(1_700_000_000_000);
    let (source, destination) = (MemoryStore::new(clock.clone(), "reader"), MemoryStore::new(clock.clone(), "writer"));
    source.create_bucket("from");
    destination.create_bucket("to");
    source.insert("from", HOSTILE, vec![1; 100]);
    source.insert("from", "large", vec![2; LARGE]);
    let (has, lacks) = ABILITIES;
    let known =
        Capabilities { has, lacks, enforces_checksums: true, keeps_attributes: true, ..Capabilities::default() };
    let (queue, ledger, plan) = (MemoryQueue::default(), MemoryLedger::new(), FaultPlan::new());
    let process = |name: &str| {
        let runtime = Runtime::new(name, Arc::new(clock.clone()));
        let telemetry = runtime.telemetry.clone();
        let store = |store: MemoryStore, side| -> Store { Metered::new(Faulty::new(store, &plan), side, &telemetry) };
        let ports = Ports::new(
            store(source.clone(), Service::Source),
            store(destination.clone().knowing(known), Service::Destination),
            Metered::new(queue.clone(), Service::Queue, &telemetry),
            Metered::new(ledger.clone(), Service::Ledger, &telemetry),
        );
        let config = serde_yaml::from_str::<JobConfig>(CONFIG).unwrap().validate().unwrap();
        Arc::new(Process::new(ports, config, runtime).with_hashing(Hashing::inline()))
    };
    send(process("sender"), &SenderName { started_by: "j".into(), new_run: "r".into() }).await.unwrap();
    plan.at(Operation::PutObject, 1, Fault::Fail(ErrorClass::Throttled));
    let (began, worker) = (Instant::now(), process("worker"));
    let work = tokio::spawn(Worker::new(worker.clone()).run());
    while worker.runtime.telemetry.objects.get(ObjectResult::Copied) < 2 {
        assert!(began.elapsed() < Duration::from_mins(1), "the objects are not copied");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    worker.runtime.stop.cancel();
    work.await.unwrap();
    took
}

fn spans_of(requests: &Spans) -> Vec<Span> {
    let requests = requests.lock().unwrap();
    let scopes = requests.iter().flat_map(|request| &request.resource_spans).flat_map(|of| &of.scope_spans);
    scopes.flat_map(|scope| scope.spans.clone()).collect()
}

/// Returns the attributes that are texts.
fn texts(attributes: &[KeyValue]) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    for attribute in attributes {
        if let Some(any_value::Value::StringValue(text)) = attribute.value.as_ref().and_then(|v| v.value.as_ref()) {
            found.insert(attribute.key.as_str(), text.as_str());
        }
    }
    found
}

fn status(span: &Span) -> StatusCode {
    span.status.as_ref().map(Status::code).unwrap_or_default()
}

/// Returns the spans below one.
fn below<'a>(spans: &'a [Span], parent: &Span) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.parent_span_id == parent.span_id).collect()
}

fn names(spans: &[&Span]) -> Vec<String> {
    spans.iter().map(|span| span.name.clone()).collect()
}

#[tokio::test]
async fn an_object_has_a_span_with_its_parts_and_requests() {
    let (url, requests) = collector().await;
    let (traces, layer) = Traces::start_with(&settings(&url, 2_048), "s3-migration-worker", "pod-1");
    let counts = traces.counts();
    copy(layer).await;
    traces.end().await;
    let spans = spans_of(&requests);
    assert_eq!(counts.read(), [("exported", spans.len() as u64), ("failed", 0), ("dropped", 0)]);
    let roots: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!(names(&roots), ["object", "object"], "only objects have no parent");
    let of_key = |key: &str| *roots.iter().find(|span| texts(&span.attributes)["aws.s3.key"] == key).unwrap();

    let large = of_key("large");
    let attributes = texts(&large.attributes);
    for (name, value) in [
        ("job_namespace", "media"),
        ("job_name", "photos"),
        ("aws.s3.bucket", "from"),
        ("destination_bucket", "to"),
        ("outcome", "done"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    assert_eq!(status(large), StatusCode::Ok);
    let all = below(&spans, large);
    let (parts, others): (Vec<&Span>, Vec<&Span>) = all.into_iter().partition(|span| span.name == "part");
    assert_eq!(parts.len(), 3);
    for name in ["create upload", "list parts", "complete upload"] {
        assert!(names(&others).iter().any(|found| found == name), "{name} is not in {:?}", names(&others));
    }
    for part in &parts {
        assert_eq!((status(part), &part.trace_id), (StatusCode::Ok, &large.trace_id));
        let requests = below(&spans, part);
        let put: Vec<_> = requests.iter().filter(|span| span.name == "put part").collect();
        assert_eq!(put.len(), 1, "{:?}", names(&requests));
        assert_eq!(texts(&put[0].attributes)["status"], "ok");
        assert!(part.start_time_unix_nano <= put[0].start_time_unix_nano);
        assert!(put[0].end_time_unix_nano <= part.end_time_unix_nano);
    }

    // Control characters of keys are escaped, and the key is no name.
    let small = of_key("small\\n\\u{1b}[31m");
    let puts: Vec<_> = below(&spans, small).into_iter().filter(|span| span.name == "put object").collect();
    let ended: Vec<_> = puts.iter().map(|put| (texts(&put.attributes)["status"], status(put))).collect();
    assert_eq!(ended, [("throttled", StatusCode::Error), ("ok", StatusCode::Unset)]);
    assert!(spans.iter().all(|span| !span.name.contains("small") && !span.name.contains("large")));
}

#[tokio::test]
async fn the_process_is_named() {
    let (url, requests) = collector().await;
    let (traces, layer) = Traces::start_with(&settings(&url, 2_048), "s3-migration-worker", "pod-1");
    copy(layer).await;
    traces.end().await;
    let requests = requests.lock().unwrap();
    let resource = requests[0].resource_spans[0].resource.clone().unwrap();
    let attributes = texts(&resource.attributes);
    assert_eq!((attributes["service.name"], attributes["service.instance.id"]), ("s3-migration-worker", "pod-1"));
}

#[tokio::test]
async fn a_dead_collector_delays_nothing_and_its_spans_are_counted() {
    let without = copy(None).await;
    // One that refuses connections, and one that accepts them and never answers.
    let silent = listener().await;
    let gone = listener().await.local_addr().unwrap();
    for (address, fills_up) in [(gone, false), (silent.local_addr().unwrap(), true)] {
        let (traces, layer) = Traces::start_with(&settings(&format!("http://{address}/v1/traces"), 4), "w", "p");
        let counts = traces.counts();
        let took = copy(layer).await;
        assert!(took < without + Duration::from_secs(1), "{took:?} instead of {without:?}");
        let began = Instant::now();
        traces.end().await;
        assert!(began.elapsed() < TIME_TO_END + Duration::from_secs(1), "ended after {:?}", began.elapsed());
        let [(_, exported), (_, failed), (_, dropped)] = counts.read();
        assert!(exported == 0 && failed > 0 && (dropped > 0 || !fills_up), "{counts:?}");
    }
}

#[test]
fn traces_are_off_by_default() {
    // No variable of OpenTelemetry is set where tests run.
    let (traces, layer) = Traces::start("s3-migration-worker", "pod-1");
    assert!(traces.provider.is_none() && traces.problem.is_none() && layer.is_none());
}
