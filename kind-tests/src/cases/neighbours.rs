//! Foreign objects with the names of a job's children: they are never written, scaled, adopted or deleted.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::case::{Case, JOB, RUN_LIMIT};
use crate::kubernetes::condition;
use crate::tree::Object;
use crate::wait::until;

/// Time limit for a condition to report a problem.
pub const TOLD: Duration = Duration::from_secs(30);
const GONE: Duration = Duration::from_mins(2);
/// The operator's name in `metadata.managedFields`.
const OPERATOR: &str = "s3-migration-operator";

/// Returns a foreign object with the name of one of the job's children. It also has the child's labels, which must not
/// matter.
pub fn stranger(kind: &str) -> Value {
    let labels = json!({
        "app": "airflow", "s3migration.dev/job": JOB, "app.kubernetes.io/managed-by": OPERATOR,
        "app.kubernetes.io/component": "worker",
    });
    let pod = json!({
        "metadata": {"labels": labels},
        "spec": {"restartPolicy": "Always", "containers": [{"name": "airflow", "image": "airflow.invalid/airflow:1"}]},
    });
    let mut once = pod.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let (version, name, rest) = match kind {
        "ConfigMap" => ("v1", format!("{JOB}-config"), json!({"data": {"airflow.cfg": "executor = local"}})),
        "CronJob" => (
            "batch/v1",
            format!("{JOB}-jobsender"),
            json!({"spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": once}}}}),
        ),
        "Job" => ("batch/v1", "airflow-job".to_owned(), json!({"spec": {"suspend": true, "template": once}})),
        _ => (
            "apps/v1",
            format!("{JOB}-worker"),
            json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"app": "airflow"}}, "template": pod}}),
        ),
    };
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}});
    for (key, value) in rest.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

/// Identity and content of an object that must not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    kind: String,
    name: String,
    /// UID of the object.
    pub uid: Option<String>,
    rest: Value,
}

impl Kept {
    /// Reads identity and content of an object.
    pub fn of(object: &DynamicObject) -> Self {
        let (spec, data) = (&object.data["spec"], &object.data["data"]);
        let meta = &object.metadata;
        let rest = json!({
            "spec": spec, "data": data, "labels": meta.labels, "annotations": meta.annotations,
            "owners": meta.owner_references, "finalizers": meta.finalizers, "deleted": meta.deletion_timestamp,
            "operator": object.managed_fields().iter().any(|f| f.manager.iter().any(|m| m.starts_with(OPERATOR))),
        });
        let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        Self { kind, name: object.name_any(), uid: object.uid(), rest }
    }

    /// Returns true if the operator has not written the object.
    pub fn is_untouched(&self) -> bool {
        self.rest["operator"] == false && self.rest["owners"].is_null() && self.rest["deleted"].is_null()
    }
}

/// Creates a foreign object; returns what must not change.
async fn make(case: &Case, kind: &str) -> anyhow::Result<Kept> {
    let object = stranger(kind);
    case.cluster.apply(&case.namespace, &object).await.with_context(|| format!("failed to make a {kind}"))?;
    let made = case.cluster.find(&case.namespace, &object).await?.context("it is gone already")?;
    // Its controller records the revision.
    until("the object to be as it stays", TOLD, Duration::from_millis(100), async || {
        let now = case.cluster.find(&case.namespace, &object).await?;
        Ok((kind != "Deployment" || now.is_some_and(|now| !now.annotations().is_empty())).then_some(()))
    })
    .await?;
    let now = case.cluster.find(&case.namespace, &object).await?.unwrap_or(made);
    Ok(Kept::of(&now))
}

/// Fails if an object is gone or has changed.
pub async fn unchanged(case: &Case, before: &[Kept]) -> anyhow::Result<()> {
    for kept in before {
        let now = case.cluster.find(&case.namespace, &stranger(&kept.kind)).await?;
        let now = now.with_context(|| format!("somebody's {} {} is gone", kept.kind, kept.name))?;
        ensure!(
            Kept::of(&now) == *kept,
            "somebody's {} was changed: {:#?}\nbefore: {kept:#?}",
            kept.kind,
            Kept::of(&now)
        );
    }
    Ok(())
}

/// Waits until Degraded has this reason and a message with all of `words`; returns the message.
pub async fn told(case: &Case, reason: &str, words: &[&str], limit: Duration) -> anyhow::Result<String> {
    case.degraded_saying(reason, words, &[], limit).await
}

async fn uid_of_job(case: &Case) -> anyhow::Result<String> {
    case.cluster.jobs(&case.namespace).get(JOB).await?.uid().context("the job has no UID")
}

/// A job next to foreign objects with its children's names reports them and never changes them, not even when it is
/// deleted.
pub async fn foreign_objects_stay(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a")]).await?;
    let mut before = Vec::new();
    for kind in ["ConfigMap", "CronJob", "Deployment", "Job"] {
        before.push(make(case, kind).await?);
    }
    let began = Instant::now();
    case.apply(&case.job()).await?;
    let words = [format!("CronJob {JOB}-jobsender"), format!("Deployment {JOB}-worker")];
    let message = told(case, "NameTaken", &[&words[0], &words[1]], TOLD).await?;
    let seconds = began.elapsed().as_secs_f64();
    let adoption = format!("s3migration.dev/adoptable-by={}", uid_of_job(case).await?);
    for words in ["Delete or rename it", &adoption] {
        ensure!(message.contains(words), "{words:?} is not in {message}");
    }
    unchanged(case, &before).await?;
    case.note(format!("NameTaken after {seconds:.1} s: {message}"));
    // The first remedy, for one of them: the others are reported next.
    delete(case, "CronJob").await?;
    before.retain(|kept| kept.kind != "CronJob");
    case.watch("the Deployment to be the only one that is named", TOLD, async |job: Option<&Value>| {
        let found = job.and_then(|job| condition(job, "Degraded")).map(|(_, _, message)| message);
        let alone = found.filter(|message| message.contains(&words[1]) && !message.contains(&words[0]));
        Ok(alone.map(drop))
    })
    .await?;
    unchanged(case, &before).await?;
    case.delete_job(GONE).await?;
    unchanged(case, &before).await?;
    case.note("nothing of three objects changed, nor when the job was deleted");
    Ok(())
}

/// Both remedies: an object annotated with the job's UID is adopted, a deleted one is created anew, and the run
/// continues.
pub async fn ways_out(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a")]).await?;
    let schedule = make(case, "CronJob").await?;
    make(case, "Deployment").await?;
    case.apply(&case.job()).await?;
    told(case, "NameTaken", &[&schedule.name], TOLD).await?;
    let uid = uid_of_job(case).await?;
    annotate(case, "CronJob", "another-uid").await?;
    told(case, "NameTaken", &[&schedule.name], TOLD).await?;
    annotate(case, "CronJob", &uid).await?;
    let worker = format!("Deployment {JOB}-worker");
    case.degraded_saying("NameTaken", &[&worker], &[&schedule.name], TOLD).await?;
    let adopted = case.cluster.find(&case.namespace, &stranger("CronJob")).await?.context("it is gone")?;
    ensure!(adopted.uid() == schedule.uid, "it was replaced and not taken over");
    ensure!(adopted.owner_references().iter().any(|o| o.uid == uid && o.controller == Some(true)), "it has no owner");
    ensure!(adopted.data["spec"]["concurrencyPolicy"] == "Forbid", "it was not written: {:#}", adopted.data);
    delete(case, "Deployment").await?;
    case.run_ended("Complete", None, RUN_LIMIT).await?;
    case.note("a CronJob was taken over by its annotation, a Deployment made when the other one was deleted; Complete");
    Ok(())
}

/// A job recreated under its name while its former children are being deleted.
pub async fn made_again(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a")]).await?;
    let mut left = stranger("CronJob");
    left["metadata"]["finalizers"] = json!(["kind-tests/held"]);
    // Its owner is gone, so the garbage collector deletes it, but the finalizer keeps it.
    left["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "s3migration.dev/v1alpha1", "kind": "MigrationJob", "name": JOB, "controller": true,
        "uid": "00000000-0000-4000-8000-000000000000",
    }]);
    case.cluster.apply(&case.namespace, &left).await?;
    case.apply(&case.job()).await?;
    let message = told(case, "NameNotFreeYet", &[&format!("CronJob {JOB}-jobsender")], TOLD).await;
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let api = case.cluster.api_of(&case.namespace, &left)?;
    api.patch(&format!("{JOB}-jobsender"), &PatchParams::default(), &release).await?;
    case.note(message?);
    case.run_ended("Complete", None, RUN_LIMIT).await?;
    case.note("and Complete by itself when it was gone");
    Ok(())
}

async fn delete(case: &Case, kind: &str) -> anyhow::Result<()> {
    let object = stranger(kind);
    let api: Api<DynamicObject> = case.cluster.api_of(&case.namespace, &object)?;
    let name = object["metadata"]["name"].as_str().context("it has no name")?;
    api.delete(name, &DeleteParams::background()).await?;
    Ok(())
}

async fn annotate(case: &Case, kind: &str, uid: &str) -> anyhow::Result<()> {
    let object = stranger(kind);
    let api: Api<DynamicObject> = case.cluster.api_of(&case.namespace, &object)?;
    let name = object["metadata"]["name"].as_str().context("it has no name")?;
    let annotation = json!({"metadata": {"annotations": {"s3migration.dev/adoptable-by": uid}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(annotation)).await?;
    Ok(())
}
