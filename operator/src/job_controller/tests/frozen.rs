//! Late requests of an earlier leader: it looked, decided and sent; and before the API server got the request, another
//! operator led and acted. The request changes nothing.

use std::error::Error;
use std::time::Duration;

use hyper::Method;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use migration_aws::{CredentialSource, StaticKeys};
use migration_testkit::ApiObjects;
use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::aws::Aws;
use super::*;
use crate::fence::{Fence, Moment};
use crate::job_controller::apply::{self, ApplyCache, JobCreation, replicas};
use crate::job_controller::context::Context;
use crate::job_controller::dereference::cluster;
use crate::job_controller::dereference::secrets::Secrets;
use crate::job_controller::dereference::services::{Services, ServicesSpec, remove};
use crate::job_controller::keda::{self, ScaledObject};
use crate::job_controller::ownership::{Child, Owner};
use crate::job_controller::{JobController, autoscalers, build, finalizers, kubernetes};
use crate::names;

/// A kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    CreateSchedule,
    CreateRun,
    ApplyConfig,
    ApplySchedule,
    ApplyWorkers,
    Scale,
    SuspendRun,
    SuspendSchedule,
    TellSecrets,
    TellCost,
    DeleteRun,
    DeleteHpa,
    ReleaseScaledObject,
    Status,
    AddFinalizer,
    RemoveFinalizer,
}

/// All of them, with the request that is late and the object that it is about.
const ROWS: [(Write, Method, &str, &str); 16] = [
    (Write::CreateSchedule, Method::POST, "/cronjobs", "/cronjobs/photos-jobsender"),
    (Write::CreateRun, Method::POST, "/jobs", "/jobs/photos-run-1"),
    (Write::ApplyConfig, Method::PATCH, CONFIG, CONFIG),
    (Write::ApplySchedule, Method::PATCH, "/cronjobs/photos-jobsender", "/cronjobs/photos-jobsender"),
    (Write::ApplyWorkers, Method::PATCH, "/deployments/photos-worker", "/deployments/photos-worker"),
    (Write::Scale, Method::PATCH, "/deployments/photos-worker/scale", "/deployments/photos-worker"),
    (Write::SuspendRun, Method::PATCH, "/jobs/photos-run-1", "/jobs/photos-run-1"),
    (Write::SuspendSchedule, Method::PATCH, "/cronjobs/photos-jobsender", "/cronjobs/photos-jobsender"),
    (Write::TellSecrets, Method::PATCH, "/pods/p", "/pods/p"),
    (Write::TellCost, Method::PATCH, "/pods/p", "/pods/p"),
    (Write::DeleteRun, Method::DELETE, "/jobs/photos-run-1", "/jobs/photos-run-1"),
    (Write::DeleteHpa, Method::DELETE, "/photos-worker", "/horizontalpodautoscalers/photos-worker"),
    (Write::ReleaseScaledObject, Method::PATCH, "/scaledobjects/photos-worker", "/scaledobjects/photos-worker"),
    (Write::Status, Method::PATCH, "/migrationjobs/photos/status", "/migrationjobs/photos"),
    (Write::AddFinalizer, Method::PATCH, "/migrationjobs/photos", "/migrationjobs/photos"),
    (Write::RemoveFinalizer, Method::PATCH, "/migrationjobs/photos", "/migrationjobs/photos"),
];

const CONFIG: &str = "/configmaps/photos-abort-uploads";

/// Returns the object, as the resource's child.
fn own(version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    let owner =
        json!({"apiVersion": "s3migration.dev/v1alpha1", "kind": "MigrationJob", "name": "photos", "uid": "u-1"});
    let mut object = json!({"apiVersion": version, "kind": kind, "spec": spec, "metadata": {
        "name": name, "namespace": "media", "generation": 1, "finalizers": [keda::FINALIZER],
        "labels": {"s3migration.dev/job": "photos", "app.kubernetes.io/managed-by": "s3-migration-operator"},
        "ownerReferences": [owner],
    }});
    object["metadata"]["ownerReferences"][0]["controller"] = json!(true);
    object
}

fn child(path: &str) -> Value {
    let cron = json!({"schedule": "@daily", "jobTemplate": {}});
    let hpa = json!({"maxReplicas": 1, "scaleTargetRef": {"kind": "Deployment", "name": "photos-worker"}});
    match path {
        CONFIG => own("v1", "ConfigMap", "photos-abort-uploads", &Value::Null),
        "/cronjobs/photos-jobsender" => own("batch/v1", "CronJob", "photos-jobsender", &cron),
        "/jobs/photos-run-1" => own("batch/v1", "Job", "photos-run-1", &json!({"suspend": false, "template": {}})),
        "/deployments/photos-worker" => {
            own("apps/v1", "Deployment", "photos-worker", &json!({"replicas": 2, "selector": {}, "template": {}}))
        }
        "/pods/p" => own("v1", "Pod", "p", &json!({"containers": []})),
        "/horizontalpodautoscalers/photos-worker" => {
            own("autoscaling/v2", "HorizontalPodAutoscaler", "photos-worker", &hpa)
        }
        "/scaledobjects/photos-worker" => own("keda.sh/v1alpha1", "ScaledObject", "photos-worker", &json!({})),
        _ => stored(|_| ()),
    }
}

/// What the operator that leads now does to the object.
fn act(write: Write, path: &'static str, objects: &mut ApiObjects) {
    let mut object = objects.find(path).map_or_else(|| child(path), |(_, object)| object.clone());
    object["metadata"]["annotations"] = json!({"by": "the leader"});
    if write == Write::Status {
        object["status"] = json!({"phase": "Complete", "runsStarted": 7});
    } else {
        object["metadata"]["generation"] = json!(9);
    }
    objects.put(&object);
}

/// What Kubernetes does to objects all the time.
fn tick(write: Write, path: &'static str, objects: &mut ApiObjects) {
    let mut object = objects.find(path).unwrap().1.clone();
    if write == Write::Status {
        // Somebody edits the resource.
        object["metadata"]["generation"] = json!(4);
    } else {
        object["status"] = json!({"observedGeneration": 1});
    }
    objects.put(&object);
}

/// Looks, and writes.
async fn send(write: Write, context: &Context) -> Result<(), Box<dyn Error>> {
    let (owner, configs) = (Owner::of(&resource()), configs(|job| job.spec.suspend = true));
    let resources = || build::resources(&configs);
    let cluster = cluster::read(context, "media", &owner).await?;
    let cache = ApplyCache::default();
    match write {
        Write::CreateSchedule | Write::ApplySchedule => {
            apply::one(&context.api("media"), &resources().cron_job, &cluster.cron_job, &owner, &cache).await?;
        }
        Write::ApplyWorkers => {
            apply::one(&context.api("media"), &resources().deployment, &cluster.deployment, &owner, &cache).await?;
        }
        Write::ApplyConfig => {
            let mut config = resources().config_maps.remove(0);
            config.metadata.name = Some("photos-abort-uploads".to_owned());
            let api = context.api("media");
            let found = kubernetes::get(&api, "photos-abort-uploads").await?;
            apply::one(&api, &config, &Child::of(found, &owner), &owner, &cache).await?;
        }
        Write::CreateRun => {
            let wanted = build::job::build(&configs.next, 1, None);
            let made = apply::create_job(&context.api::<Job>("media"), &wanted, &owner).await?;
            assert_eq!(made, JobCreation::Created, "the Job of this request exists");
        }
        Write::Scale => {
            let live: Deployment = cluster.deployment.ours().cloned().ok_or("no workers")?;
            replicas::write(&context.api("media"), &live, 5).await?;
        }
        Write::SuspendRun => apply::suspend_jobs(&context.api("media"), &cluster.jobs, true).await?,
        Write::SuspendSchedule => {
            let live: &CronJob = cluster.cron_job.ours().ok_or("no schedule")?;
            apply::suspend_schedule(&context.api("media"), live).await?;
        }
        Write::TellSecrets | Write::TellCost => {
            let api = context.api::<Pod>("media");
            let pod = kubernetes::get(&api, "p").await?.ok_or("no pod")?;
            // Another leader annotated it as well.
            let annotation = if write == Write::TellCost { "by" } else { names::SECRETS_ANNOTATION };
            apply::annotate(&api, &pod, annotation, "late").await?;
        }
        Write::DeleteRun => {
            apply::delete(&context.api::<Job>("media"), &cluster.jobs[0].object(), DeleteParams::foreground()).await?;
        }
        Write::DeleteHpa => {
            let found = autoscalers::read(context, "media", "photos").await?;
            found.remove_hpa(context, "media", &owner).await?;
        }
        Write::ReleaseScaledObject => {
            let api = context.api::<ScaledObject>("media");
            let live = kubernetes::get(&api, "photos-worker").await?.ok_or("no ScaledObject")?;
            finalizers::remove(&api, &live, keda::FINALIZER).await?;
        }
        Write::AddFinalizer | Write::RemoveFinalizer => {
            let api = context.api::<MigrationJob>("media");
            let live = kubernetes::get(&api, "photos").await?.ok_or("no resource")?;
            if write == Write::AddFinalizer {
                finalizers::add(&api, &live, names::FINALIZER).await?;
            } else {
                finalizers::remove(&api, &live, names::FINALIZER).await?;
            }
        }
        Write::Status => unreachable!("the controller writes it"),
    }
    Ok(())
}

async fn send_by(write: Write, server: &ApiServer, fence: &Fence) -> Result<(), Box<dyn Error>> {
    let context = server.context_behind(fence);
    if write != Write::Status {
        return send(write, &context).await;
    }
    let job = serde_json::from_value(server.get("/migrationjobs/photos").unwrap())?;
    Ok(JobController::new(context).reconcile(&job).await.map(drop)?)
}

fn start(write: Write, path: &'static str) -> ApiServer {
    let server = ApiServer::start();
    server.install_keda();
    server.put(&stored(|job| {
        if write == Write::RemoveFinalizer {
            job.metadata.finalizers = Some(vec![names::FINALIZER.to_owned(), "other/finalizer".to_owned()]);
        }
    }));
    if ![Write::CreateSchedule, Write::CreateRun].contains(&write) && !path.starts_with("/migrationjobs") {
        server.put(&child(path));
    }
    server
}

#[tokio::test]
async fn a_late_request_of_an_earlier_leader_changes_nothing() {
    for (write, method, path_end, path) in ROWS {
        let server = start(write, path);
        let fence = Fence::of_lease(Moment::now(), Duration::from_mins(1));
        let frozen = fence.clone();
        server.before(method.clone(), path_end, move |objects| {
            act(write, path, objects);
            // The earlier leader's Lease has ended meanwhile.
            frozen.close();
        });
        let sent = send_by(write, &server, &fence).await;
        let left = server.get(path).unwrap();
        assert_eq!(left["metadata"]["annotations"], json!({"by": "the leader"}), "{write:?}: {sent:?}");
        let mut expected = ApiObjects::default();
        if ![Write::CreateSchedule, Write::CreateRun].contains(&write) {
            let before = start(write, path).get(path).unwrap();
            expected.put(&before);
        }
        act(write, path, &mut expected);
        let mut expected = expected.find(path).unwrap().1.clone();
        expected["metadata"]["resourceVersion"] = left["metadata"]["resourceVersion"].clone();
        assert_eq!(left, expected, "{write:?}");
        // The Job of the run exists, which is all that was wanted.
        assert_eq!(sent.is_ok(), write == Write::CreateRun, "{write:?}: {sent:?}");
        let of_kind = path.split('/').nth(1).unwrap();
        assert_eq!(server.all(of_kind).len(), 1, "{write:?}: nothing is there twice");
        let writes = server.take_writes();
        assert_eq!(writes.len(), 1, "{write:?}: what is refused is not sent again: {writes:?}");
    }
}

/// The queues and the table that are there before a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    /// Those that are wanted, with other attributes and tags.
    Differing,
    /// Those that are wanted, to which S3 may not send yet.
    WithoutSenders,
}

/// What is sent to queue and ledger, and the request before it: an operation, and the end of the name that it is about.
const SERVICES: [(&str, &str, &str, There); 10] = [
    ("GetQueueUrl", "-dlq", "CreateQueue", There::Nothing),
    ("GetQueueUrl", "-u-1", "CreateQueue", There::Nothing),
    ("DescribeTable", "-u-1", "CreateTable", There::Nothing),
    ("DescribeTimeToLive", "-u-1", "UpdateTimeToLive", There::Nothing),
    ("GetQueueAttributes", "-dlq", "SetQueueAttributes", There::Differing),
    // The policy is all that differs.
    ("ListQueueTags", "-u-1", "SetQueueAttributes", There::WithoutSenders),
    ("ListQueueTags", "-dlq", "TagQueue", There::Differing),
    ("ListTagsOfResource", "", "TagResource", There::Differing),
    ("GetQueueUrl", "-u-1", "DeleteQueue", There::Differing),
    ("DeleteQueue", "-dlq", "DeleteTable", There::Differing),
];

/// How queue and table of a job are reached and wanted, changed.
fn services(aws: &Aws, change: impl FnOnce(&mut MigrationJob)) -> ServicesSpec {
    let mut job = resource();
    job.spec.queue.endpoint = Some(aws.endpoint.clone());
    job.spec.ledger.endpoint = Some(aws.endpoint.clone());
    change(&mut job);
    let keys = StaticKeys { access_key_id: "A".into(), secret_access_key: "s".into(), session_token: None };
    let keys = Some(CredentialSource::Static(keys));
    let secrets = Secrets { queue: keys.clone(), ledger: keys, digests: vec![], problems: vec![] };
    ServicesSpec::of(&job, &secrets).unwrap()
}

/// Carries out the write, and closes the fence right before it, or not. Returns what was sent from then on.
async fn sent_after(row: (&'static str, &'static str, &str, There), closes: bool) -> Vec<String> {
    let (before, about_end, write, there) = row;
    let server = ApiServer::start();
    let aws = Aws::start(server.clock.clone()).await;
    let fence = Fence::of_lease(Moment::now(), Duration::from_mins(1));
    let context = server.context_behind(&fence);
    if there != There::Nothing {
        let other = services(&aws, |job| {
            if there == There::Differing {
                job.metadata.namespace = Some("elsewhere".into());
                job.spec.queue.create =
                    Some(serde_json::from_value(json!({"visibilityTimeoutSeconds": 77, "retentionDays": 2})).unwrap());
            }
        });
        assert!(Services::ensure(other, None, &context.clients).await.is_ok());
    }
    let seen = aws.clone();
    aws.after(before, about_end, move || {
        seen.take_calls();
        if closes {
            fence.close();
        }
    });
    let wanted = services(&aws, |job| job.spec.trigger.events.enabled = there == There::WithoutSenders);
    if write.starts_with("Delete") {
        remove(&wanted, &context.clients).await;
    } else {
        // What is not written is a problem.
        assert_eq!(Services::ensure(wanted, None, &context.clients).await.is_ok(), !closes, "{row:?}");
    }
    aws.take_calls().into_iter().map(|call| call.operation).collect()
}

#[tokio::test]
async fn the_fence_is_asked_right_before_queue_and_table_are_created_changed_and_deleted() {
    let is_read = |operation: &String| ["Get", "List", "Describe"].iter().any(|verb| operation.starts_with(verb));
    for row in SERVICES {
        let sent = sent_after(row, false).await;
        assert_eq!(
            sent.iter().find(|operation| !is_read(operation)).map(String::as_str),
            Some(row.2),
            "{row:?}: {sent:?}"
        );
        let sent = sent_after(row, true).await;
        assert!(sent.iter().all(is_read), "{row:?}: {sent:?}");
    }
}

#[tokio::test]
async fn a_leader_looks_again_when_only_something_else_changed() {
    for (write, method, path_end, path) in ROWS {
        if [Write::CreateSchedule, Write::CreateRun, Write::ApplyConfig].contains(&write) {
            continue;
        }
        let server = start(write, path);
        server.before(method, path_end, move |objects| tick(write, path, objects));
        let before = server.get(path).unwrap();
        let sent = send_by(write, &server, &Fence::open()).await;
        assert!(sent.is_ok(), "{write:?}: {sent:?}");
        assert_eq!(server.take_writes().len(), 2, "{write:?}");
        let after = server.get(path).unwrap();
        let of = |object: &Value| {
            let meta = &object["metadata"];
            let fields =
                ["annotations", "finalizers", "deletionTimestamp", "managedFields"].map(|name| meta[name].clone());
            let status = if write == Write::Status { object["status"].clone() } else { Value::Null };
            (fields, object["spec"].clone(), status)
        };
        assert_ne!(of(&before), of(&after), "{write:?} was carried out");
    }
}
