//! Names, labels and annotations of everything that is created for a job.

use std::collections::BTreeMap;

pub use migration_api::names::{DEAD_LETTERS, LOOK_ANNOTATION, PREFIX, queue_and_table};
use sha2::{Digest, Sha256};

/// The field manager of applied objects.
pub const MANAGER: &str = "s3-migration-operator";
/// The field manager of the number of workers, which the apply of the Deployment leaves out.
pub const SCALING_MANAGER: &str = "s3-migration-operator-scaling";
/// The finalizer that holds a resource until everything outside the cluster is removed.
pub const FINALIZER: &str = "s3migration.dev/cleanup";
/// The label with the job's name, on everything that is created for it.
pub const JOB_LABEL: &str = "s3migration.dev/job";
/// The annotation of pod templates with the hash of the configuration, so that a change restarts workers.
pub const CONFIG_ANNOTATION: &str = "s3migration.dev/config";
/// The annotation of Jobs with the value of spec.trigger.manual that they answer.
pub const MANUAL_ANNOTATION: &str = "s3migration.dev/manual";
/// The annotation of pods with the hash of the versions of the Secrets that they mount.
pub const SECRETS_ANNOTATION: &str = "s3migration.dev/secrets";
/// The annotation by which a person releases an object to a resource. Its value is the UID of the `MigrationJob` that may
/// adopt the object.
pub const ADOPTION_ANNOTATION: &str = "s3migration.dev/adoptable-by";
/// The annotation of pod templates with the hash of the certificates, so that new ones restart workers.
pub const CA_ANNOTATION: &str = "s3migration.dev/ca";
/// The annotation of the Jobs that configure source buckets, with the names of these.
pub const BUCKETS_ANNOTATION: &str = "s3migration.dev/buckets";
/// The annotation of the Jobs of preflights that identifies what they check.
pub const CHECKED_ANNOTATION: &str = "s3migration.dev/checked";
/// The label that Kubernetes puts on the pods of a Job.
pub const JOB_NAME_LABEL: &str = "batch.kubernetes.io/job-name";
/// The label selector of everything that this kind of operator creates.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=s3-migration-operator";
const COMPONENT: &str = "app.kubernetes.io/component";

/// The purpose of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Moves objects.
    Worker,
    /// Lists and sends, and aborts uploads when the resource is deleted.
    Jobsender,
    /// Compares both sides after a run.
    Verifier,
    /// Writes the report of a run.
    Reporter,
    /// Configures source buckets.
    Notifier,
    /// Tries the buckets before objects are moved.
    Preflight,
    /// Configures the programs.
    Config,
}

impl Component {
    /// Returns the value of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Jobsender => "jobsender",
            Self::Verifier => "verifier",
            Self::Reporter => "reporter",
            Self::Notifier => "notifier",
            Self::Preflight => "preflight",
            Self::Config => "config",
        }
    }
}

/// Returns the labels of an object.
pub fn labels(job: &str, component: Component) -> BTreeMap<String, String> {
    let mut labels = selector(job, component);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    labels
}

/// Returns the labels that select a component's pods. A Deployment's selector is immutable.
pub fn selector(job: &str, component: Component) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "s3-migration"), (COMPONENT, component.as_str()), (JOB_LABEL, job)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Returns true if labels name a component.
pub fn component_is(labels: Option<&BTreeMap<String, String>>, component: Component) -> bool {
    labels.and_then(|labels| labels.get(COMPONENT)).is_some_and(|value| value == component.as_str())
}

/// Returns the label selector of a job's objects.
pub fn of_job(job: &str) -> String {
    format!("{JOB_LABEL}={job},{SELECTOR}")
}

/// Returns the name of the `ConfigMap` of a configuration with this hash.
pub fn config_map(job: &str, hash: &str) -> String {
    format!("{job}-config-{hash}")
}

/// Returns the name of the `CronJob`.
pub fn cron_job(job: &str) -> String {
    format!("{job}-jobsender")
}

/// Returns the label selector of one component of a job.
pub fn of_component(job: &str, component: Component) -> String {
    format!("{},{COMPONENT}={}", of_job(job), component.as_str())
}

/// Returns the name of the resource whose `CronJob` has this name.
pub fn job_of_cron_job(name: &str) -> Option<&str> {
    name.strip_suffix("-jobsender")
}

/// Returns the name of the Job of a run that the operator starts.
pub fn run(job: &str, number: u32) -> String {
    format!("{job}-run-{number}")
}

/// Returns the name of the `HorizontalPodAutoscaler` that KEDA makes.
pub fn keda_hpa(job: &str) -> String {
    format!("keda-hpa-{}", worker(job))
}

/// Returns the name of the Deployment, and of what scales it.
pub fn worker(job: &str) -> String {
    format!("{job}-worker")
}

/// Returns the name of the Job that aborts uploads when the resource is deleted, and of its `ConfigMap`.
pub fn abort(job: &str) -> String {
    format!("{job}-abort-uploads")
}

/// Returns the name of the Job that removes notification entries when the resource is deleted, and of its `ConfigMap`.
pub fn remove_notifications(job: &str) -> String {
    format!("{job}-remove-notifications")
}

/// Returns the name of the Job that configures source buckets as a key says, for a generation of the resource.
pub fn notify(job: &str, key: &str, generation: i64) -> String {
    of_run(job, "notify", &format!("{key}/{generation}"))
}

/// Returns the name of the Job of a preflight.
pub fn preflight(job: &str, number: u32) -> String {
    format!("{job}-preflight-{number}")
}

/// Returns the number in the name of the Job of a preflight.
pub fn number_of_preflight(job: &str, name: &str) -> Option<u32> {
    name.strip_prefix(job)?.strip_prefix("-preflight-")?.parse().ok()
}

/// Returns the name of the Job that verifies a run. It has a hash, as the run's id is too long for a name.
pub fn verify(job: &str, run: &str) -> String {
    of_run(job, "verify", run)
}

/// Returns the name of the Job that writes the report of a run.
pub fn report(job: &str, run: &str) -> String {
    of_run(job, "report", run)
}

fn of_run(job: &str, what: &str, run: &str) -> String {
    let hash = hex::encode(Sha256::digest(run));
    format!("{job}-{what}-{}", hash.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_part_of_the_labels() {
        let labels = labels("photos", Component::Worker);
        assert!(selector("photos", Component::Worker).iter().all(|(key, value)| labels.get(key) == Some(value)));
        assert!(component_is(Some(&labels), Component::Worker) && !component_is(Some(&labels), Component::Config));
    }

    #[test]
    fn children_of_two_resources_never_share_a_name() {
        // Names that look like children of each other.
        let jobs =
            ["a", "a-run", "a-run-1", "a-jobsender", "a-worker", "a-config", "a-verify", "a-report", "a-abort-uploads"];
        let jobs = jobs.into_iter().chain(["a-notify", "a-remove", "a-remove-notifications", "a-preflight"]);
        let jobs: Vec<_> = jobs.collect();
        let of = |kind: usize, job: &str| match kind {
            0 => vec![config_map(job, "0123456789abcdef"), abort(job), remove_notifications(job)],
            1 => vec![cron_job(job)],
            2 => vec![worker(job)],
            _ => vec![
                run(job, 1),
                run(job, 11),
                verify(job, "r"),
                report(job, "r"),
                abort(job),
                notify(job, "k", 1),
                preflight(job, 1),
                remove_notifications(job),
                format!("{}-29384756", cron_job(job)),
            ],
        };
        for kind in 0..4 {
            let names: Vec<_> = jobs.iter().flat_map(|job| of(kind, job)).collect();
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "{names:?}");
        }
        assert_eq!(job_of_cron_job(&cron_job("a")), Some("a"));
        assert_eq!(number_of_preflight("a", &preflight("a", 7)), Some(7));
        assert_eq!(number_of_preflight("a", &run("a", 7)), None);
    }
}
