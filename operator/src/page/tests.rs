use hyper::Method;
use kube::runtime::watcher::Event;
use migration_core::outcome::FailureClass;
use migration_core::ports::Item;
use migration_core::records::{self, FailureRecord};
use migration_testkit::samples::{bucket_pair, run_record};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::job_controller::tests::api_server::{ApiServer, Fault};
use crate::job_controller::tests::aws::Aws;
use crate::job_controller::tests::stored;

const JOB: &str = "/api/v1/namespaces/media/jobs/photos";
const AUDIENCE: &str = "s3-migration";
const HOSTILE: &str = "=<script>alert(1)</script>\u{1b}[2J\n";

/// An operator's page, its API server, queue and ledger.
struct World {
    server: ApiServer,
    aws: Aws,
    port: u16,
}

impl World {
    /// Serves one job, with one failure. `viewer` may read it, `stranger` may read those of another namespace.
    async fn start() -> Self {
        Self::start_for(Some(AUDIENCE)).await
    }

    /// The same, of a page that wants tokens for an audience.
    async fn start_for(audience: Option<&str>) -> Self {
        let server = ApiServer::start();
        let aws = Aws::start(server.clock.clone()).await;
        for secret in ["from", "to", "queue", "ledger"] {
            let data = json!({"AWS_ACCESS_KEY_ID": "QUtJQQ==", "AWS_SECRET_ACCESS_KEY": "c2VjcmV0"});
            server.put(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "data": data}));
        }
        server.reviews(|reviews| {
            reviews.add_user("viewer-token", "viewer", Some(AUDIENCE));
            reviews.add_user("viewer-of-server", "viewer", Some("https://kubernetes.default.svc"));
            reviews.add_user("viewer-of-other", "viewer", Some("other"));
            reviews.add_user("viewer-of-any", "viewer", None);
            reviews.add_user("stranger-token", "stranger", Some(AUDIENCE));
            reviews.allow("viewer", "get", Some("media"));
            reviews.allow("viewer", "list", Some("media"));
            reviews.allow("stranger", "get", Some("other"));
            reviews.allow("stranger", "list", Some("other"));
        });
        let (jobs, mut writer) = reflector::store::<WatchedJob>();
        let job = stored(|job| {
            (job.spec.queue.endpoint, job.spec.ledger.endpoint) =
                (Some(aws.endpoint.clone()), Some(aws.endpoint.clone()));
            job.spec.prices = Some(serde_json::from_value(json!({"currency": "EUR"})).unwrap());
            job.spec.ledger.credentials.clone_from(&job.spec.queue.credentials);
            let status = json!({
                "phase": "Transferring", "currentRun": "r", "runsStarted": 1,
                "progress": {
                    "objects": {"total": 9, "done": 4, "skipped": 2, "failed": 1},
                    "bytes": {"total": 90, "done": 40, "skipped": 20, "failed": 10},
                },
            });
            job.status = Some(serde_json::from_value(status).unwrap());
        });
        record(&aws, &job);
        writer.apply_watcher_event(&Event::Apply(serde_json::from_value(job).unwrap()));
        let board = Board::new(0);
        board.set(jobs.state().iter().map(|job| view::watched(job)).collect(), 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let guard = ReviewGuard::new(server.client.clone(), None, audience.map(ToOwned::to_owned));
        let ledgers = Ledgers::new(reader(server.client.clone(), Policy::default()), jobs);
        tokio::spawn(Arc::new(Site::new(guard, Arc::new(ledgers), board)).serve(listener));
        Self { server, aws, port }
    }

    /// Returns status and body.
    async fn get(&self, path: &str, token: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let request = format!("GET {path} HTTP/1.0\r\nHost: page.example\r\n{token}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Ends of the paths of all requests to the API server since the last call.
    fn asked(&self) -> Vec<String> {
        let sent = self.server.take_sent();
        sent.iter().map(|sent| sent.path.rsplit('/').next().unwrap().to_owned()).collect()
    }
}

/// Records a run with a failure in the job's own table.
fn record(aws: &Aws, job: &Value) {
    let (name, uid) = (job["metadata"]["name"].as_str().unwrap(), job["metadata"]["uid"].as_str().unwrap());
    let ledger = aws.table(&names::queue_and_table(name, uid));
    let mut run = migration_core::records::RunRecord { pairs: vec![bucket_pair("from")], ..run_record(true) };
    (run.scan.counts.objects, run.scan.counts.bytes, run.scan.counts.in_place) = (7, 200_000_000_000, 5);
    ledger.insert(Item::of(records::current_key(uid), &json!({"run": "r", "revision": 1})));
    ledger.insert(Item::of(records::run_key(uid, "r"), &run));
    let failure = FailureRecord {
        pair: 0,
        key: HOSTILE.into(),
        size: 10,
        class: FailureClass::Archived,
        message: "restore it".into(),
        batch: None,
        attempts: 1,
        request_ids: vec![],
        at: 0,
    };
    ledger.insert(Item::of(records::failure_key(uid, "r", &failure), &failure));
}

const ALL: [&str; 7] = [
    "/api/v1/jobs?namespace=media",
    "/api/v1/jobs",
    JOB,
    "/api/v1/namespaces/media/jobs/photos/failures",
    "/api/v1/namespaces/media/jobs/photos/failures/counts",
    "/api/v1/namespaces/media/jobs/photos/failures.csv",
    "/api/v1/namespaces/media/jobs/photos/scan",
];

#[tokio::test]
async fn without_a_valid_token_nothing_is_answered_and_nothing_is_read() {
    let world = World::start().await;
    for path in ALL.into_iter().chain(["/", "/api/v1/jobs/events", "/api/v1/nothing"]) {
        let (status, body) = world.get(path, "").await;
        assert_eq!(status, 401, "{path}");
        assert!(!body.contains("photos"), "{body}");
    }
    assert_eq!(world.asked(), Vec::<String>::new(), "no token is worth no review");
    for path in ALL {
        assert_eq!(world.get(path, "forged").await.0, 401, "{path}");
    }
    assert!(world.asked().iter().all(|path| path == "tokenreviews"));
    assert!(world.aws.take_calls().is_empty(), "the ledger was read");
}

#[tokio::test]
async fn a_user_of_another_namespace_is_refused_before_anything_is_read() {
    let world = World::start().await;
    for path in ALL.into_iter().chain(["/api/v1/namespaces/media/jobs/none"]) {
        let (status, body) = world.get(path, "stranger-token").await;
        assert_eq!(status, 403, "{path}");
        assert!(body.contains("stranger may not") && !body.contains("Transferring"), "{body}");
    }
    let reviews = ["tokenreviews", "subjectaccessreviews"];
    assert!(world.asked().iter().all(|path| reviews.contains(&path.as_str())));
    assert!(world.aws.take_calls().is_empty(), "the ledger was read");
    assert_eq!(
        world.get("/api/v1/jobs?namespace=other", "stranger-token").await,
        (200, { r#"{"since":0,"isComplete":true,"jobs":[],"leftOut":0}"#.to_owned() })
    );
}

#[tokio::test]
async fn who_may_get_the_job_sees_its_status_and_its_failures() {
    let world = World::start().await;
    assert_eq!(world.get("/api/v1/jobs", "viewer-token").await.0, 403, "all namespaces");
    let (status, body) = world.get(JOB, "viewer-token").await;
    let page: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &page["job"]["numbers"]["done"], &page["job"]["phase"]),
        (200, &json!(4), &json!("Transferring"))
    );
    let (status, body) = world.get(ALL[3], "viewer-token").await;
    assert_eq!(status, 200, "{body}");
    let rows: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&rows["failures"][0]["key"], &rows["next"]), (&json!(HOSTILE), &Value::Null));
    let (_, file) = world.get(ALL[5], "viewer-token").await;
    assert!(file.contains("'=<script>") && !file.contains('\u{1b}'), "{file:?}");
    let (status, scan) = world.get(ALL[6], "viewer-token").await;
    let scan: Value = serde_json::from_str(&scan).unwrap();
    assert_eq!((status, &scan["copy"]["objects"], &scan["skip"]["objects"]), (200, &json!(7), &json!(5)));
    // The bytes out of the source, a request to either side for each object and one page of each listing.
    assert_eq!(scan["leastCost"], json!({"currency": "EUR", "total": "18.000048"}));
    let writes = world
        .aws
        .take_calls()
        .into_iter()
        .filter(|call| !["Describe", "Get", "Query"].iter().any(|read| call.operation.starts_with(read)));
    assert_eq!(writes.map(|call| call.operation).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(world.get("/api/v1/namespaces/media/jobs/none", "viewer-token").await.0, 404);
}

#[tokio::test]
async fn answers_of_kubernetes_are_kept_for_seconds_and_errors_are_not() {
    let world = World::start().await;
    for _ in 0..5 {
        assert_eq!(world.get(JOB, "viewer-token").await.0, 200);
    }
    assert_eq!(world.asked(), ["tokenreviews", "subjectaccessreviews"]);
    world.server.reviews(|reviews| reviews.forbid("viewer"));
    // The same user and another question.
    assert_eq!(world.get("/api/v1/namespaces/media/jobs/other", "viewer-token").await.0, 403);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    assert_eq!(world.get(JOB, "viewer-token").await.0, 403, "a right that was taken away counts no longer");
    for (path, fault) in [
        ("tokenreviews", Fault::Refused(403, "no")),
        ("tokenreviews", Fault::Refused(500, "no")),
        ("subjectaccessreviews", Fault::Lost),
    ] {
        world.server.fail(Method::POST, path, fault, 1);
        let (status, body) = world.get("/api/v1/jobs?namespace=x", "viewer-token").await;
        assert_eq!(status, 503, "{fault:?}: {body}");
    }
    assert_eq!(world.get("/api/v1/jobs?namespace=x", "viewer-token").await.0, 403);
}

#[tokio::test]
async fn only_tokens_for_the_audience_of_the_page_are_good() {
    for (audience, good) in [(Some(AUDIENCE), "viewer-token"), (None, "viewer-of-server")] {
        let world = World::start_for(audience).await;
        for token in ["viewer-token", "viewer-of-server", "viewer-of-other"] {
            let expected = if token == good { 200 } else { 401 };
            assert_eq!(world.get(JOB, token).await.0, expected, "{token} for {audience:?}");
        }
        // Nobody says that this one is for the page.
        let expected = if audience.is_none() { 200 } else { 401 };
        assert_eq!(world.get(JOB, "viewer-of-any").await.0, expected, "{audience:?}");
    }
}

#[tokio::test]
async fn forged_tokens_take_few_reviews_and_no_place_of_good_ones() {
    let world = World::start().await;
    assert_eq!(world.get(JOB, "viewer-token").await.0, 200);
    let mut refused = 0;
    for number in 0..1_100 {
        match world.get(JOB, &format!("forged-{number}")).await.0 {
            401 => refused += 1,
            status => assert_eq!(status, 503),
        }
    }
    let asked = world.asked();
    let tokens = asked.iter().filter(|path| *path == "tokenreviews").count();
    assert_eq!(tokens, refused + 1, "each 401 is a review");
    assert!((20..1_000).contains(&refused), "{refused} reviews for forged tokens");
    assert_eq!(world.get(JOB, "viewer-token").await.0, 200);
    assert_eq!(world.asked(), Vec::<String>::new(), "its answer was kept");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    while world.get(JOB, "forged").await.0 == 401 {}
    assert_eq!(world.get(JOB, "viewer-token").await.0, 200, "a token that was good is asked for");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    assert_eq!(world.get(JOB, "stranger-token").await.0, 403, "others are, after a moment");
}

#[test]
fn a_job_that_does_not_match_the_schema_is_shown_and_says_so() {
    let invalid = json!({
        "apiVersion": "s3migration.dev/v1alpha1", "kind": "MigrationJob",
        "metadata": {"namespace": "media", "name": "photos"}, "spec": {"buckets": 1},
    });
    let shown = view::watched(&serde_json::from_value(invalid).unwrap());
    assert_eq!((shown.name.namespace.as_str(), shown.name.name.as_str()), ("media", "photos"));
    let message = shown.message.unwrap();
    assert!(message.starts_with("can't be read: ") && message.contains("nvalid type"), "{message}");
    assert_eq!(shown.phase, migration_web::view::Phase::Failed);
}
