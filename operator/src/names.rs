//! Names and labels of everything that is made for a job.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Field manager of what is applied.
pub const MANAGER: &str = "s3-migration-operator";
/// Field manager of the number of workers alone: the main apply never speaks of it.
pub const SCALING_MANAGER: &str = "s3-migration-operator-scaling";
/// The finalizer: something outside of the cluster may have to be removed.
pub const FINALIZER: &str = "s3migration.dev/cleanup";
/// Label with the job's name, on everything that is made for it.
pub const JOB_LABEL: &str = "s3migration.dev/job";
/// Annotation of pod templates: hash of the configuration, so that a change restarts workers.
pub const CONFIG_ANNOTATION: &str = "s3migration.dev/config";
/// Annotation of Jobs: the value of spec.trigger.manual that they were made for.
pub const MANUAL_ANNOTATION: &str = "s3migration.dev/manual";
/// Annotation of pods: hash of the versions of the Secrets that they mount.
pub const SECRETS_ANNOTATION: &str = "s3migration.dev/secrets";
/// Annotation by which a person gives an object to a resource: its value is the UID of the `MigrationJob` that may take it
/// over, which it else never does.
pub const ADOPTION_ANNOTATION: &str = "s3migration.dev/adoptable-by";
/// Annotation of pod templates: hash of the sides' certificates, so that new ones restart workers.
pub const CA_ANNOTATION: &str = "s3migration.dev/ca";
/// Label that Kubernetes puts on the pods of a Job.
pub const JOB_NAME_LABEL: &str = "batch.kubernetes.io/job-name";
/// What selects all that operators of this kind made.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=s3-migration-operator";
const COMPONENT: &str = "app.kubernetes.io/component";

/// Longest name of an SQS queue. Source: `CreateQueue` in the SQS API reference.
const QUEUE_NAME: usize = 80;
/// What the dead letter queue has after the queue's name.
pub const DEAD_LETTERS: &str = "-dlq";

/// What a thing is to the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Moves objects.
    Worker,
    /// Lists and sends; also what aborts uploads at the end.
    Jobsender,
    /// Looks at both sides once more after a run.
    Verifier,
    /// Writes the report of a run.
    Reporter,
    /// The configuration of all.
    Config,
}

impl Component {
    /// The value of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Jobsender => "jobsender",
            Self::Verifier => "verifier",
            Self::Reporter => "reporter",
            Self::Config => "config",
        }
    }
}

/// The labels of a thing.
pub fn labels(job: &str, component: Component) -> BTreeMap<String, String> {
    let mut labels = selector(job, component);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    labels
}

/// The labels that select a component's pods; they can't change on a Deployment.
pub fn selector(job: &str, component: Component) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "s3-migration"), (COMPONENT, component.as_str()), (JOB_LABEL, job)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// The component in a thing's labels.
pub fn component_is(labels: Option<&BTreeMap<String, String>>, component: Component) -> bool {
    labels.and_then(|labels| labels.get(COMPONENT)).is_some_and(|value| value == component.as_str())
}

/// The label selector of a job's things.
pub fn of_job(job: &str) -> String {
    format!("{JOB_LABEL}={job},{SELECTOR}")
}

/// The `ConfigMap` of a configuration with this hash.
pub fn config_map(job: &str, hash: &str) -> String {
    format!("{job}-config-{hash}")
}

/// The `CronJob`.
pub fn cron_job(job: &str) -> String {
    format!("{job}-jobsender")
}

/// The label selector of one component of a job.
pub fn of_component(job: &str, component: Component) -> String {
    format!("{},{COMPONENT}={}", of_job(job), component.as_str())
}

/// The resource that a `CronJob` of this name would be of.
pub fn job_of_cron_job(name: &str) -> Option<&str> {
    name.strip_suffix("-jobsender")
}

/// The Job of a run that the operator starts itself.
pub fn run(job: &str, number: u32) -> String {
    format!("{job}-run-{number}")
}

/// The Deployment.
pub fn worker(job: &str) -> String {
    format!("{job}-worker")
}

/// The Job, and its `ConfigMap`, that abort what is left of uploads when the resource goes.
pub fn abort(job: &str) -> String {
    format!("{job}-abort-uploads")
}

/// The Job that verifies a run. The run's id is too long to stand in a name.
pub fn verify(job: &str, run: &str) -> String {
    of_run(job, "verify", run)
}

/// The Job that writes the report of a run.
pub fn report(job: &str, run: &str) -> String {
    of_run(job, "report", run)
}

fn of_run(job: &str, what: &str, run: &str) -> String {
    let hash = hex::encode(Sha256::digest(run));
    format!("{job}-{what}-{}", hash.get(..8).unwrap_or_default())
}

/// Queue and table. The UID makes it this resource's own; the name is for people and is cut where it would be too long.
pub fn queue_and_table(job: &str, uid: &str) -> String {
    let room = QUEUE_NAME - DEAD_LETTERS.len() - "s3-migration--".len() - uid.len().min(36);
    let end = (0..=job.len().min(room)).rev().find(|end| job.is_char_boundary(*end)).unwrap_or_default();
    let (name, _) = job.split_at(end);
    format!("s3-migration-{}-{uid}", name.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_names_fit_whatever_the_job_is_called() {
        let uid = "0c7e4c4e-5d5e-4a3c-9d0a-3f2f1e0d9c8b";
        assert_eq!(queue_and_table("photos", uid), format!("s3-migration-photos-{uid}"));
        let long = queue_and_table(&"a".repeat(40), uid);
        assert!(long.len() + DEAD_LETTERS.len() <= QUEUE_NAME && long.ends_with(uid));
        assert!(!queue_and_table(&format!("{}-b", "a".repeat(25)), uid).contains("a--"));
    }

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
        let of = |kind: usize, job: &str| match kind {
            0 => vec![config_map(job, "0123456789abcdef"), abort(job)],
            1 => vec![cron_job(job)],
            2 => vec![worker(job)],
            _ => vec![
                run(job, 1),
                run(job, 11),
                verify(job, "r"),
                report(job, "r"),
                abort(job),
                format!("{}-29384756", cron_job(job)),
            ],
        };
        for kind in 0..4 {
            let names: Vec<_> = jobs.iter().flat_map(|job| of(kind, job)).collect();
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "{names:?}");
        }
        assert_eq!(job_of_cron_job(&cron_job("a")), Some("a"));
    }
}
