//! A test case: its own namespace, buckets and users, and its results.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, PatchParams};
use rand::Rng as _;
use serde_json::{Value, json};

use crate::audit::Audit;
use crate::kubernetes::Cluster;
use crate::proxy::log::Event;
use crate::report::{self, Row, Suite};
use crate::services::{self, AccessKey, REGION, Service};
use crate::tree::{Object, select, upload};
use crate::{checker, logs, paths};

/// Name of each case's job.
pub const JOB: &str = "job";
/// Most workers of a case's job.
pub const MOST_WORKERS: usize = 3;
/// Time limit of a run with a test's tree.
pub const RUN_LIMIT: Duration = Duration::from_mins(7);

/// A running case.
pub struct Case {
    /// Connection to the cluster.
    pub cluster: Cluster,
    /// Namespace of the case's job.
    pub namespace: String,
    /// Source bucket.
    pub source: String,
    /// Destination bucket.
    pub destination: String,
    /// The job's access key for the source.
    pub source_key: Option<AccessKey>,
    /// The job's access key for the destination.
    pub destination_key: Option<AccessKey>,
    /// Set by a case that removes the operator's roles: what it asks meanwhile is forbidden.
    pub roles_change: bool,
    /// Buckets besides source and destination.
    more_buckets: Vec<(Service, String)>,
    notes: Vec<String>,
    since: usize,
}

/// Runs a case: records its result, keeps the logs of all components if it failed, and removes what it created.
pub async fn run(name: &str, body: impl AsyncFnOnce(&mut Case) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let began = Instant::now();
    let audit = Audit::begin()?;
    let mut case = Case::new(name).await?;
    let result = body(&mut case).await;
    let result = result.and(audit.as_ref().filter(|_| !case.roles_change).map_or(Ok(()), Audit::check));
    if let Err(error) = &result {
        case.note(format!("{error:#}"));
        let kept = paths::results()?.join(&case.namespace);
        if let Err(error) = logs::collect(&case.cluster, &case.namespace, &kept).await {
            case.note(format!("failed to keep the logs: {error:#}"));
        }
        case.note(format!("logs in {}", kept.display()));
    }
    let row = Row {
        case: name.to_owned(),
        passed: result.is_ok(),
        seconds: began.elapsed().as_secs_f64(),
        notes: case.notes.clone(),
    };
    report::add(Suite::Cluster, &row)?;
    eprint!("{}", report::table(&[row]));
    let cleared = case.clear().await;
    result.and(cleared)
}

impl Case {
    async fn new(name: &str) -> anyhow::Result<Self> {
        let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
        let short: String = words.join("-").to_lowercase().chars().take(30).collect();
        let tag = format!("{:06x}", rand::rng().random_range(0..0x0100_0000));
        let namespace = format!("{}-{tag}", short.trim_end_matches('-'));
        let cluster = Cluster::connect().await?;
        cluster.create_namespace(&namespace).await?;
        Ok(Self {
            cluster,
            source: format!("from-{namespace}"),
            destination: format!("to-{namespace}"),
            namespace,
            source_key: None,
            destination_key: None,
            roles_change: false,
            more_buckets: Vec::new(),
            notes: Vec::new(),
            since: services::proxies().next().await?,
        })
    }

    /// Adds a note to the results table.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Has a bucket deleted at the end of the case, whatever becomes of the case, as source and destination are.
    pub fn owns_bucket(&mut self, side: Service, bucket: String) {
        self.more_buckets.push((side, bucket));
    }

    /// Fills the source bucket; creates the destination bucket, users for both sides and the queue, and their Secrets.
    pub async fn prepare(&mut self, objects: &[Object]) -> anyhow::Result<()> {
        upload::seed(&services::s3(Service::Source), &self.source, objects).await?;
        upload::create_bucket(&services::s3(Service::Destination), &self.destination).await?;
        self.users().await
    }

    /// Creates the users and their Secrets.
    pub async fn users(&mut self) -> anyhow::Result<()> {
        let name = self.namespace.clone();
        let source = services::create_user(Service::Source, &name, &services::source_policy(&self.source))?;
        let destination =
            services::create_user(Service::Destination, &name, &services::destination_policy(&self.destination))?;
        let control = services::create_user(Service::Control, &name, &services::control_policy())?;
        self.put_keys("source-keys", &source).await?;
        self.put_keys("destination-keys", &destination).await?;
        self.put_keys("control-keys", &control).await?;
        self.source_key = Some(source);
        self.destination_key = Some(destination);
        Ok(())
    }

    /// Allows the job to delete at the destination.
    pub async fn allow_deletions(&mut self) -> anyhow::Result<()> {
        let name = format!("{}-mirror", self.namespace);
        let key = services::create_user(Service::Destination, &name, &services::mirror_policy(&self.destination))?;
        self.put_keys("destination-keys", &key).await?;
        self.destination_key = Some(key);
        Ok(())
    }

    /// Writes a Secret with an access key.
    pub async fn put_keys(&self, name: &str, key: &AccessKey) -> anyhow::Result<()> {
        self.put_secret(name, &[("AWS_ACCESS_KEY_ID", &key.id), ("AWS_SECRET_ACCESS_KEY", &key.secret)]).await
    }

    /// Writes a Secret.
    pub async fn put_secret(&self, name: &str, entries: &[(&str, &str)]) -> anyhow::Result<()> {
        let entries: BTreeMap<&str, &str> = entries.iter().copied().collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": entries});
        self.cluster.apply(&self.namespace, &secret).await
    }

    /// Returns the manifest of the case's job, as a user would write it.
    pub fn job(&self) -> Value {
        let keys = |name: &str| json!({"secretRef": {"name": name}});
        let s3 = |side: Service, secret: &str| {
            json!({
                "region": REGION, "endpoint": side.endpoint_of_pods(), "pathStyle": true, "credentials": keys(secret),
            })
        };
        let control = json!({"region": REGION, "endpoint": Service::Control.endpoint_of_pods(), "credentials": keys("control-keys")});
        json!({
            "apiVersion": "s3migration.dev/v1alpha1",
            "kind": "MigrationJob",
            "metadata": {"name": JOB},
            "spec": {
                "buckets": [{"sourceBucket": self.source, "destinationBucket": self.destination}],
                "source": s3(Service::Source, "source-keys"),
                "destination": s3(Service::Destination, "destination-keys"),
                "filters": {"ignore": select::ignore_patterns(&self.source)},
                "queue": control,
                "ledger": control,
                "scaling": {"maxReplicas": MOST_WORKERS, "targetBatchesPerWorker": 2, "scaleDownDelaySeconds": 5},
            },
        })
    }

    /// Applies the case's job.
    pub async fn apply(&self, job: &Value) -> anyhow::Result<()> {
        self.cluster.apply(&self.namespace, job).await.context("failed to apply the job")
    }

    /// Changes fields of the spec and leaves the others.
    pub async fn patch_spec(&self, spec: &Value) -> anyhow::Result<()> {
        let patch = kube::api::Patch::Merge(json!({"spec": spec}));
        self.cluster.jobs(&self.namespace).patch(JOB, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Watches the case's job; see [`Cluster::watch_job`].
    pub async fn watch<T>(
        &self,
        what: &str,
        limit: Duration,
        check: impl AsyncFnMut(Option<&Value>) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        self.cluster.watch_job(&self.namespace, JOB, what, limit, check).await
    }

    /// Waits until a run other than `before` has ended in this phase; returns the job.
    pub async fn run_ended(&self, phase: &str, before: Option<&str>, limit: Duration) -> anyhow::Result<Value> {
        self.watch(&format!("phase {phase}"), limit, async |job: Option<&Value>| {
            let Some(job) = job else { return Ok(None) };
            let last = job.pointer("/status/lastRun/id").and_then(Value::as_str);
            let ended = last.is_some() && last != before && job.pointer("/status/currentRun").is_none();
            let now = job.pointer("/status/phase").and_then(Value::as_str);
            ensure!(
                !ended || !matches!(now, Some("Complete" | "PartiallyFailed" | "Failed")) || now == Some(phase),
                "the run ended with {now:?} instead of {phase}: {:#}",
                job["status"]
            );
            Ok((ended && now == Some(phase)).then(|| job.clone()))
        })
        .await
    }

    /// Waits until the condition Degraded has this reason; returns reason and message.
    pub async fn degraded(&self, reason: &str, limit: Duration) -> anyhow::Result<String> {
        self.degraded_saying(reason, &[], &[], limit).await
    }

    /// Waits until Degraded has this reason and a message with all of `words` and none of `none_of`.
    pub async fn degraded_saying(
        &self,
        reason: &str,
        words: &[&str],
        none_of: &[&str],
        limit: Duration,
    ) -> anyhow::Result<String> {
        let what = format!("Degraded with reason {reason}, {words:?} and none of {none_of:?}");
        let says = |message: &str| {
            words.iter().all(|word| message.contains(word)) && !none_of.iter().any(|word| message.contains(word))
        };
        self.watch(&what, limit, async |job: Option<&Value>| {
            let found = job.and_then(|job| crate::kubernetes::condition(job, "Degraded"));
            let found = found.filter(|(status, r, message)| *status == "True" && *r == reason && says(message));
            Ok(found.map(|(_, _, message)| message.to_owned()))
        })
        .await
    }

    /// Deletes the case's job and waits until it is gone.
    pub async fn delete_job(&self, limit: Duration) -> anyhow::Result<()> {
        self.delete(JOB, limit).await
    }

    /// Deletes a job of the case's namespace and waits until it is gone.
    pub async fn delete(&self, name: &str, limit: Duration) -> anyhow::Result<()> {
        self.cluster.jobs(&self.namespace).delete(name, &DeleteParams::default()).await?;
        let gone = async |job: Option<&Value>| Ok(job.is_none().then_some(()));
        self.cluster.watch_job(&self.namespace, name, "the job to be gone", limit, gone).await
    }

    /// Returns the requests on one of the case's buckets, from number `since` or from the start of the case.
    pub async fn events(&self, side: Service, since: Option<usize>) -> anyhow::Result<Vec<Event>> {
        let bucket = if side == Service::Source { &self.source } else { &self.destination };
        services::proxies().events(since.unwrap_or(self.since), bucket).await
    }

    /// Compares both buckets with the independent checker; returns its last line, or fails with its output. `prefix` is
    /// the job's destination prefix.
    pub fn check(&self, prefix: &str) -> anyhow::Result<String> {
        self.check_part("", prefix, "Append")
    }

    /// Compares the objects under a prefix that both sides share.
    pub fn check_under(&self, prefix: &str) -> anyhow::Result<String> {
        self.check_part(prefix, prefix, "Replace")
    }

    fn check_part(&self, from: &str, to: &str, mode: &str) -> anyhow::Result<String> {
        let side = |side: Service, bucket: &str, prefix: &str| json!({"endpoint": side.endpoint(), "key": "test", "secret": "test", "bucket": bucket, "prefix": prefix});
        let work = json!({
            "source": side(Service::Source, &self.source, from),
            "destination": side(Service::Destination, &self.destination, to),
            "ignore": select::ignore_patterns(&self.source),
            "prefixMode": mode,
        });
        checker::compare(&self.namespace, &work)
    }

    /// Removes what the case created: each part of it, whatever becomes of the others. Returns the first error.
    async fn clear(&self) -> anyhow::Result<()> {
        let jobs = self.remove_jobs().await;
        let mut cleared = jobs.and(self.remove_namespace().await);
        let own = [(Service::Source, self.source.clone()), (Service::Destination, self.destination.clone())];
        for (side, bucket) in own.iter().chain(&self.more_buckets) {
            cleared = cleared.and(upload::delete_bucket(&services::s3(*side), bucket).await);
        }
        cleared
    }

    /// Deletes all jobs. One that remains must not block the namespace: the operator itself may have failed.
    async fn remove_jobs(&self) -> anyhow::Result<()> {
        let jobs = self.cluster.jobs(&self.namespace);
        for job in jobs.list(&ListParams::default()).await.context("failed to list the jobs")? {
            let name = job.name_any();
            if self.delete(&name, Duration::from_mins(1)).await.is_err() && jobs.get_opt(&name).await?.is_some() {
                let patch = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
                jobs.patch(&name, &PatchParams::default(), &patch).await.context("failed to release the job")?;
            }
        }
        Ok(())
    }

    async fn remove_namespace(&self) -> anyhow::Result<()> {
        if self.cluster.has_namespace(&self.namespace).await? {
            self.cluster.delete_namespace(&self.namespace).await?;
        }
        Ok(())
    }
}
