//! What jobs cost: requests to queue, ledger and API server over hours, with counting services and a clock of the test.

mod budget;
mod dead_letters;
mod limits;
mod missed;
mod nodes;
mod secrets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Event as CoreEvent};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, store::Writer};
use kube::runtime::watcher::Event;
use migration_core::congestion::RefusedAlgorithm;
use migration_core::ports::Item;
use migration_core::records::{self, Counters, EndCounts, Heartbeat, RunEnd, RunRecord, RunResult};
use migration_testkit::samples::bucket_pair;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::api_server::{ApiServer, NOW};
use super::aws::{Aws, Call};
use super::stored;
use crate::job_controller::JobController;
use crate::job_controller::runs::lifecycle::tests::run;
use crate::job_controller::watched::{Watched, WatchedJob};
use crate::names;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// Bytes per second of a worker.
const RATE: u64 = 5_000_000;

/// What the watches of the operator have shown.
struct Watches {
    jobs: Writer<WatchedJob>,
    config_maps: Writer<PartialObjectMeta<ConfigMap>>,
    cron_jobs: Writer<PartialObjectMeta<CronJob>>,
    deployments: Writer<PartialObjectMeta<Deployment>>,
    runs: Writer<PartialObjectMeta<Job>>,
    _refused: Writer<CoreEvent>,
}

impl Watches {
    fn start() -> (Self, Watched) {
        let (jobs_store, jobs) = reflector::store();
        let (config_maps_store, config_maps) = reflector::store();
        let (cron_jobs_store, cron_jobs) = reflector::store();
        let (deployments_store, deployments) = reflector::store();
        let (runs_store, runs) = reflector::store();
        let (refused_store, refused) = reflector::store();
        let stores = Watched {
            jobs: jobs_store,
            config_maps: config_maps_store,
            cron_jobs: cron_jobs_store,
            deployments: deployments_store,
            runs: runs_store,
            refused: refused_store,
        };
        (Self { jobs, config_maps, cron_jobs, deployments, runs, _refused: refused }, stores)
    }

    /// Shows them the objects of now.
    fn catch_up(&mut self, server: &ApiServer) {
        show(&mut self.jobs, server.all("migrationjobs"));
        show(&mut self.config_maps, server.all("configmaps"));
        show(&mut self.cron_jobs, server.all("cronjobs"));
        show(&mut self.deployments, server.all("deployments"));
        show(&mut self.runs, server.all("jobs"));
    }
}

fn show<K>(writer: &mut Writer<K>, objects: Vec<Value>)
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
}

/// A cluster with jobs, their queues and ledgers, and an operator.
struct World {
    server: ApiServer,
    aws: Aws,
    controller: JobController,
    watches: Watches,
    /// When each job is reconciled next.
    next: BTreeMap<String, i64>,
    now: i64,
}

impl World {
    async fn start(jobs: usize, change: impl Fn(&mut migration_api::MigrationJob)) -> Self {
        let server = ApiServer::start();
        let aws = Aws::start(server.clock.clone()).await;
        for secret in ["from", "to", "queue", "ledger"] {
            let data = json!({"AWS_ACCESS_KEY_ID": "QUtJQQ==", "AWS_SECRET_ACCESS_KEY": "c2VjcmV0"});
            server.put(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "data": data}));
        }
        let (watches, stores) = Watches::start();
        let context = server.context();
        context.set_watched(stores);
        let mut world =
            Self { server, aws, controller: JobController::new(context), watches, next: BTreeMap::new(), now: NOW };
        for number in 0..jobs {
            let name = format!("job-{number}");
            let endpoint = Some(world.aws.endpoint.clone());
            world.server.put(&stored(|job| {
                (job.metadata.name, job.metadata.uid) = (Some(name.clone()), Some(format!("u-{number}")));
                (job.spec.queue.endpoint, job.spec.ledger.endpoint) = (endpoint.clone(), endpoint);
                job.spec.ledger.credentials.clone_from(&job.spec.queue.credentials);
                change(job);
            }));
            world.next.insert(name, NOW);
        }
        world
    }

    /// Records a run of each job.
    fn record(&self, change: impl Fn(&mut RunRecord)) {
        for number in 0..self.next.len() {
            let (uid, table) =
                (format!("u-{number}"), names::queue_and_table(&format!("job-{number}"), &format!("u-{number}")));
            let mut record = run(false, None);
            (record.started, record.lease_until) = (NOW, NOW + 24 * HOUR);
            change(&mut record);
            let ledger = self.aws.table(&table);
            ledger.insert(Item::of(records::current_key(&uid), &json!({"run": record.run, "revision": 1})));
            ledger.insert(Item::of(records::run_key(&uid, &record.run), &record));
        }
    }

    async fn reconcile(&mut self, name: &str) -> Duration {
        let job = self.server.get(&format!("/migrationjobs/{name}")).unwrap();
        let next = self.controller.reconcile(&serde_json::from_value(job).unwrap()).await.unwrap();
        next.unwrap()
    }

    /// Lets the jobs come to rest. Here no watch wakes them after their children were made.
    async fn settle(&mut self) {
        self.pass(30 * MINUTE, |_| ()).await;
    }

    /// Writes the heartbeat of a worker of the first job, on whose node this is refused.
    fn beat(&self, refused_algorithm: Option<RefusedAlgorithm>) {
        let beat = Heartbeat {
            name: "w".to_owned(),
            at: self.now,
            messages: 1,
            rate: RATE,
            ranges: vec![],
            blocked: vec![],
            paused: None,
            runs: vec![],
            refused_algorithm,
        };
        let table = self.aws.table(&names::queue_and_table("job-0", "u-0"));
        table.insert(Item::of(records::heartbeat_key("u-0", "w"), &beat));
    }

    /// Lets time pass, and reconciles each job when it is due. `tick` is called before each round.
    async fn pass(&mut self, time: i64, mut tick: impl FnMut(&Self)) {
        let end = self.now + time;
        while let Some(now) = self.next.values().min().copied().filter(|at| *at <= end) {
            self.now = now;
            self.server.clock.set(now);
            tick(self);
            self.watches.catch_up(&self.server);
            let due: Vec<_> = self.next.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
            for name in due {
                let after = self.reconcile(&name).await;
                self.next.insert(name, now + i64::try_from(after.as_millis()).unwrap());
            }
        }
        self.now = end;
        self.server.clock.set(end);
    }
}

/// The most reads of one table in any minute.
fn most_reads_in_a_minute(calls: &[Call]) -> usize {
    let mut by_table: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for call in calls.iter().filter(|call| ["GetItem", "Query"].contains(&call.operation.as_str())) {
        by_table.entry(&call.about).or_default().push(call.at);
    }
    let in_minute = |times: &[i64], from: i64| times.iter().filter(|at| (from..from + MINUTE).contains(*at)).count();
    by_table.values().flat_map(|times| times.iter().map(|from| in_minute(times, *from))).max().unwrap_or_default()
}

fn ended(record: &mut RunRecord) {
    record.scan.closed = true;
    record.end = Some(RunEnd { at: NOW - HOUR, result: RunResult::Complete, message: None, cause: None });
}

#[tokio::test]
async fn five_hundred_idle_jobs_send_nothing_to_queue_and_ledger_and_write_nothing() {
    let mut world = World::start(500, |_| ()).await;
    world.record(ended);
    world.settle().await;
    let other = world.server.all("migrationjobs").into_iter().find(|job| job["status"]["phase"] != "Complete");
    assert!(other.is_none(), "{:#}", other.unwrap_or_default()["status"]);
    world.aws.take_calls();
    world.server.take_sent();
    world.pass(2 * HOUR, |_| ()).await;
    assert_eq!(world.aws.take_calls(), []);
    let sent = world.server.take_sent();
    let writes: Vec<_> = sent.iter().filter(|sent| sent.method != Method::GET).map(|sent| &sent.path).collect();
    assert_eq!(writes, Vec::<&String>::new());
    let reads = sent.len() / 500;
    assert!((12..=12 * 6).contains(&reads), "{reads} reads of the API server a job in two hours");
    assert!(sent.iter().all(|sent| !sent.path.ends_with("/pods") && !sent.path.ends_with("/jobs")), "by name only");
}

#[tokio::test]
async fn an_unchanged_job_that_is_reconciled_a_hundred_times_writes_nothing() {
    let mut world = World::start(1, |_| ()).await;
    world.record(ended);
    world.settle().await;
    world.server.take_writes();
    for step in 0..100 {
        world.server.clock.set(world.now + step * 7_000);
        world.watches.catch_up(&world.server);
        world.reconcile("job-0").await;
    }
    assert_eq!(world.server.take_writes(), Vec::<String>::new());
    // The same where everything is read each time, as after a restart.
    for _ in 0..100 {
        let mut fresh = JobController::new(world.server.context());
        std::mem::swap(&mut fresh, &mut world.controller);
        world.reconcile("job-0").await;
        world.server.take_writes();
        world.reconcile("job-0").await;
        assert_eq!(world.server.take_writes(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn fifty_active_jobs_read_their_ledgers_twelve_times_a_minute_at_most() {
    let mut world = World::start(50, |_| ()).await;
    let pairs: Vec<_> = (0..50).map(|n| bucket_pair(&format!("bucket-{n}"))).collect();
    world.record(|record| {
        record.pairs.clone_from(&pairs);
        record.scan.counts.batches = 1_000_000;
    });
    for number in 0..50 {
        world.aws.set_depth(&names::queue_and_table(&format!("job-{number}"), &format!("u-{number}")), 9);
    }
    // Objects are moved, and some fail.
    let progress = |world: &World| {
        for number in 0..50 {
            let (uid, name) = (format!("u-{number}"), format!("job-{number}"));
            let done = u64::try_from(world.now - NOW).unwrap() / 1_000;
            let counts = EndCounts { done, failed: done / 100, ..EndCounts::default() };
            let counters = Counters { batches: done, counts, ..Counters::default() };
            let key = records::counter_key(&uid, "r1", "w", 1);
            world.aws.table(&names::queue_and_table(&name, &uid)).insert(Item::of(key, &counters));
        }
    };
    world.pass(2 * MINUTE, progress).await;
    world.aws.take_calls();
    world.pass(10 * MINUTE, progress).await;
    let calls = world.aws.take_calls();
    let most = most_reads_in_a_minute(&calls);
    assert!((6..=12).contains(&most), "{most}");
    let job = world.server.get("/migrationjobs/job-7").unwrap();
    assert!(job["status"]["progress"]["objects"]["done"].as_u64().unwrap() > 690, "{}", job["status"]["progress"]);
}

#[tokio::test]
async fn a_rate_is_shown_within_seconds_after_a_start_with_many_changes() {
    let mut world = World::start(1, |_| ()).await;
    world.record(|record| record.scan.counts.batches = 9);
    world.aws.set_depth(&names::queue_and_table("job-0", "u-0"), 9);
    for change in 0..6 {
        // A person has it looked at, and the workers' pods start.
        for (path, changed) in [("/migrationjobs/job-0", "annotations"), ("/deployments/job-0-worker", "labels")] {
            let mut object = world.server.get(path).unwrap();
            object["metadata"][changed][names::LOOK_ANNOTATION] = json!(change.to_string());
            world.server.put(&object);
            world.watches.catch_up(&world.server);
            world.reconcile("job-0").await;
        }
        world.pass(2_000, |_| ()).await;
    }
    world.beat(None);
    world.pass(20_000, |_| ()).await;
    let job = world.server.get("/migrationjobs/job-0").unwrap();
    assert_eq!(job["status"]["progress"]["rateBytesPerSecond"], RATE, "{:#}", job["status"]);
}

#[tokio::test]
async fn the_last_batches_of_a_run_are_looked_for_every_few_seconds() {
    let mut world = World::start(1, |_| ()).await;
    world.record(|record| {
        record.scan.closed = true;
        record.scan.counts.batches = 9;
    });
    let queue = names::queue_and_table("job-0", "u-0");
    world.aws.set_depth(&queue, 9);
    world.pass(3 * MINUTE, |_| ()).await;
    world.aws.set_depth(&queue, 0);
    world.aws.take_calls();
    world.pass(MINUTE / 2, |_| ()).await;
    let calls = world.aws.take_calls();
    let mut tallies: Vec<_> = calls.iter().filter(|call| call.operation == "Query").map(|call| call.at).collect();
    tallies.dedup();
    assert!(tallies.len() >= 5, "{tallies:?}");
    // A run whose messages are lost is not looked at like that for days.
    world.pass(3 * MINUTE, |_| ()).await;
    world.aws.take_calls();
    world.pass(10 * MINUTE, |_| ()).await;
    assert!(most_reads_in_a_minute(&world.aws.take_calls()) <= 12);
}

#[tokio::test]
async fn a_new_job_starts_its_run_after_its_preflight_and_writes_nothing_while_it_waits() {
    let mut world = World::start(1, |_| ()).await;
    world.pass(MINUTE, |_| ()).await;
    let made = |world: &World| {
        let jobs = world.server.all("jobs").into_iter();
        jobs.map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(made(&world), ["job-0-preflight-1"]);
    world.server.take_writes();
    world.pass(MINUTE, |_| ()).await;
    assert_eq!(world.server.take_writes(), Vec::<String>::new());
    let mut job = world.server.get("/jobs/job-0-preflight-1").unwrap();
    job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    world.server.put(&job);
    world.watches.catch_up(&world.server);
    world.reconcile("job-0").await;
    assert_eq!(made(&world), ["job-0-preflight-1", "job-0-run-1"]);
    let status = world.server.get("/migrationjobs/job-0").unwrap()["status"].clone();
    assert_eq!(status["preflight"]["result"], "Passed");
    let preflight = status["conditions"].as_array().unwrap().iter().find(|found| found["type"] == "Preflight").unwrap();
    assert_eq!((&preflight["status"], &preflight["reason"]), (&json!("True"), &json!("PreflightPassed")));
    // Kubernetes removes the Job after a while.
    world.server.remove("/jobs/job-0-preflight-1");
    world.record(ended);
    world.settle().await;
    assert_eq!(made(&world), ["job-0-run-1"]);
}

#[tokio::test]
async fn an_idle_job_is_looked_at_when_a_person_or_the_cluster_says_so() {
    let mut world = World::start(1, |_| ()).await;
    world.record(ended);
    world.settle().await;
    let looks = async |world: &mut World| {
        world.aws.take_calls();
        world.watches.catch_up(&world.server);
        world.reconcile("job-0").await;
        !world.aws.take_calls().is_empty()
    };
    assert!(!looks(&mut world).await);
    let mut job = world.server.get("/migrationjobs/job-0").unwrap();
    job["metadata"]["annotations"] = json!({names::LOOK_ANNOTATION: "now"});
    world.server.put(&job);
    assert!(looks(&mut world).await);
    world.pass(5 * MINUTE, |_| ()).await;
    assert!(!looks(&mut world).await);
    job["metadata"]["generation"] = json!(4);
    world.server.put(&job);
    assert!(looks(&mut world).await && !looks(&mut world).await);
    let labels = json!({"s3migration.dev/job": "job-0", "app.kubernetes.io/managed-by": "s3-migration-operator"});
    let metadata = json!({"name": "job-0-jobsender-1", "namespace": "media", "labels": labels});
    world.server.put(&json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata}));
    assert!(looks(&mut world).await && !looks(&mut world).await, "a Job of the schedule");
    world.server.remove("/secrets/queue");
    let job = world.server.get("/migrationjobs/job-0").unwrap();
    assert!(!looks(&mut world).await, "there are no keys");
    let degraded = world.server.get("/migrationjobs/job-0").unwrap();
    assert!(degraded["status"] != job["status"] && degraded.to_string().contains("SecretMissing"), "{degraded}");
}

#[tokio::test]
async fn a_queue_whose_number_is_late_is_measured_again_after_a_person_said_so() {
    let mut world = World::start(1, |_| ()).await;
    world.record(ended);
    world.settle().await;
    let mut job = world.server.get("/migrationjobs/job-0").unwrap();
    job["metadata"]["annotations"] = json!({names::LOOK_ANNOTATION: "now"});
    world.server.put(&job);
    world.watches.catch_up(&world.server);
    world.reconcile("job-0").await;
    world.aws.set_depth(&names::queue_and_table("job-0", "u-0"), 3);
    world.pass(2 * MINUTE, |_| ()).await;
    assert_eq!(world.server.get("/deployments/job-0-worker").unwrap()["spec"]["replicas"], 1);
}

#[tokio::test]
async fn a_queue_that_others_send_to_is_measured_though_the_job_is_idle() {
    let mut world = World::start(1, |_| ()).await;
    let (queue, dead) = (names::queue_and_table("job-0", "u-0"), names::queue_and_table("job-0", "u-0") + "-dlq");
    world.record(ended);
    world.pass(MINUTE, |_| ()).await;
    let mut job = world.server.get("/migrationjobs/job-0").unwrap();
    job["spec"]["queue"]["url"] = json!(format!("{}/1/{queue}", world.aws.endpoint));
    job["spec"]["queue"].as_object_mut().unwrap().remove("create");
    job["metadata"]["generation"] = json!(4);
    world.server.put(&job);
    world.pass(20 * MINUTE, |_| ()).await;
    world.aws.take_calls();
    world.pass(HOUR, |_| ()).await;
    let calls = world.aws.take_calls();
    let expected = |call: &Call| call.operation == "GetQueueAttributes" && [&queue, &dead].contains(&&call.about);
    assert!(calls.len() == 12 && calls.iter().all(expected), "{calls:?}");
    world.aws.set_depth(&queue, 3);
    world.pass(10 * MINUTE, |_| ()).await;
    assert_eq!(world.server.get("/deployments/job-0-worker").unwrap()["spec"]["replicas"], 1);
}

#[tokio::test]
async fn queue_and_table_of_a_namespace_that_is_deleted_go_though_its_secrets_went_first() {
    let mut world = World::start(1, |_| ()).await;
    world.record(ended);
    world.pass(MINUTE, |_| ()).await;
    assert_eq!(world.aws.names().len(), 3);
    for secret in ["from", "to", "queue", "ledger"] {
        world.server.remove(&format!("/secrets/{secret}"));
    }
    for child in ["/cronjobs/job-0-jobsender", "/deployments/job-0-worker"] {
        world.server.remove(child);
    }
    // It may be reconciled once more in between.
    world.pass(20 * MINUTE, |_| ()).await;
    let refused = "unable to create new content in namespace media because it is being terminated";
    for path in ["/namespaces/media/events", "/jobs", "/configmaps", "/cronjobs", "/deployments"] {
        world.server.fail(Method::POST, path, super::api_server::Fault::Refused(403, refused), 99);
    }
    let mut job = world.server.get("/migrationjobs/job-0").unwrap();
    job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let job = Arc::new(serde_json::from_value(job).unwrap());
    world.controller.cleanup(&job).await.unwrap();
    assert_eq!(world.aws.names(), Vec::<String>::new());
}
