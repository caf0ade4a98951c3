//! Validates a resource together with what it refers to, and returns the configuration of its programs.
//!
//! [`ValidatedJob`] is the only input of the builders. It needs no further checks.

mod checked;
pub mod run_configs;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Affinity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use migration_api::affinity::{AffinityError, WrittenAffinity};
use migration_api::config::{Mounts, QueueAndTable, job_config};
use migration_api::logs::Logs;
use migration_api::pods::PodSettings;
use migration_api::verify::VerifyMethod;
use migration_api::{MigrationJob, MigrationJobSpec};
use migration_core::config::{ConfigError, Credentials, JobConfig, JobIdentity, MountedFrom, ServiceAccess};
use migration_core::error::Service;
use migration_core::records::RunSides;
use migration_core::scaling::ScalingLimits;
use migration_core::size::ByteSize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::pod_defaults::PodDefaults;
use checked::{checked, in_use};

/// The directory where the Secrets are mounted.
pub const CREDENTIALS_DIRECTORY: &str = "/var/run/s3-migration/credentials";
/// The directory where the certificates are mounted, in a directory per side.
pub const CA_DIRECTORY: &str = "/var/run/s3-migration/ca";

/// A validated job.
#[derive(Clone, Debug)]
pub struct ValidatedJob {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// The owner reference of children.
    pub owner: OwnerReference,
    /// The configuration as the programs read it.
    pub config: String,
    /// Changes when the configuration changes.
    pub config_hash: String,
    /// The Secrets to mount, with their services.
    pub secrets: Vec<(Service, String)>,
    /// The certificates to mount, with their sides.
    pub ca_bundles: Vec<(Service, MountedFrom)>,
    /// Changes when these certificates change.
    pub ca_version: Option<String>,
    /// Source and destination.
    pub sides: RunSides,
    /// Settings of the workers' pods.
    pub worker: ValidatedPods,
    /// Settings of the jobsender's pods.
    pub jobsender: ValidatedPods,
    /// The pods' logs.
    pub logs: Logs,
    /// What applies to pods where the settings do not say otherwise.
    pub pod_defaults: PodDefaults,
    /// Bytes that a worker may hold at once.
    pub memory_limit: ByteSize,
    /// The schedule of runs.
    pub schedule: Option<Schedule>,
    /// The number of ended Jobs of the schedule that stay.
    pub runs_history_limit: i32,
    /// The method of verification.
    pub verify: VerifyMethod,
    /// What is wanted of the source buckets' notifications; none if nothing is.
    pub notifications: Option<Notifications>,
    /// Identifies what a preflight checks.
    pub checked: String,
    /// No run starts: the job is suspended, or its live run has reached its budget.
    pub suspend: bool,
}

/// Settings of pods, with what the schema leaves open read.
#[derive(Clone, Debug)]
pub struct ValidatedPods {
    /// The settings.
    pub settings: PodSettings,
    /// Their affinity.
    pub affinity: Option<Affinity>,
}

impl ValidatedPods {
    fn of(field: &'static str, settings: &PodSettings) -> Result<Self, ValidateError> {
        let affinity = settings.affinity.as_ref().map(WrittenAffinity::read).transpose();
        let affinity = affinity.map_err(|source| ValidateError::Affinity { field, source })?;
        Ok(Self { settings: settings.clone(), affinity })
    }
}

/// What is wanted of the notifications of source buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notifications {
    /// Changes when anything changes that the entries, or the checks made with them, depend on.
    pub key: String,
    /// The buckets, in order.
    pub buckets: Vec<String>,
}

impl Notifications {
    /// Returns what a configuration wants, or none if the job follows no events, or somebody else sends them and nothing is
    /// to be checked.
    fn of(config: &JobConfig) -> Option<Self> {
        let events = config.events.as_ref()?;
        if events.queue_arn.is_none() && !config.needs_versions() {
            return None;
        }
        let buckets: BTreeSet<_> = config.buckets.iter().map(|pair| pair.source_bucket.clone()).collect();
        let pairs: BTreeSet<_> = config.buckets.iter().map(|pair| (&pair.source_bucket, &pair.source_prefix)).collect();
        let written: BTreeSet<_> = config.buckets.iter().map(|pair| &pair.destination_bucket).collect();
        let checked = config.needs_versions().then(|| (config.destination.place_name(), written));
        let facts = json!([in_use(json!(events)), config.source.place_name(), pairs, checked]).to_string();
        let key = hex::encode(Sha256::digest(facts)).chars().take(16).collect();
        Some(Self { key, buckets: buckets.into_iter().collect() })
    }
}

/// The schedule of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Five fields, or a word such as `@daily`.
    pub cron: String,
    /// Name in the IANA database.
    pub time_zone: Option<String>,
    /// In seconds.
    pub starting_deadline: Option<i64>,
}

/// Why a job is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The resource does not come from an API server.
    #[error("failed to validate MigrationJob: it has no {0}")]
    NotStored(&'static str),
    /// It breaks a rule that the schema cannot express.
    #[error("failed to validate MigrationJob: {0}")]
    Config(#[from] ConfigError),
    /// An affinity is none.
    #[error("failed to validate {field}.affinity: {source}")]
    Affinity {
        /// The field of the pods.
        field: &'static str,
        /// What is wrong.
        source: AffinityError,
    },
    /// The configuration could not be serialized.
    #[error("failed to write job config: {0}")]
    Write(#[from] serde_yaml::Error),
    /// The configuration is too large.
    #[error(
        "failed to write job config: it has {0} bytes and a ConfigMap holds {MAX_BYTES}; shorten spec.filters.ignore and ignoreFrom, or \
         use several MigrationJobs"
    )]
    TooLarge(usize),
}

/// The most bytes of a configuration: what a `ConfigMap` holds, less its metadata.
const MAX_BYTES: usize = 1_000_000;

/// The input of validation, besides the resource itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidateInput {
    /// Queue and table.
    pub queue_and_table: QueueAndTable,
    /// The patterns of `filters.ignoreFrom`.
    pub ignore_patterns: Vec<String>,
    /// Changes when a certificate of a side changes.
    pub ca_version: Option<String>,
    /// Sides to use instead of the resource's: those of a run that began before the resource was edited.
    pub sides: Option<RunSides>,
    /// The live run has reached its budget.
    pub is_over_budget: bool,
}

/// Validates a resource together with what it refers to.
pub fn validate(
    job: &MigrationJob,
    input: &ValidateInput,
    defaults: &PodDefaults,
) -> Result<ValidatedJob, ValidateError> {
    let namespace = job.namespace().ok_or(ValidateError::NotStored("namespace"))?;
    let owner = job.controller_owner_ref(&()).ok_or(ValidateError::NotStored("UID"))?;
    let spec = &job.spec;
    let identity = JobIdentity { namespace: namespace.clone(), name: owner.name.clone(), uid: owner.uid.clone() };
    let mounts = Mounts { credentials: CREDENTIALS_DIRECTORY.into(), ca: CA_DIRECTORY.into() };
    let mut config = job_config(spec, identity, &input.queue_and_table, &mounts);
    config.ignore.extend_from_slice(&input.ignore_patterns);
    if let Some(sides) = &input.sides {
        (config.source, config.destination) = ((&sides.source).into(), (&sides.destination).into());
    }
    let (sides, secrets, ca_bundles) = (RunSides::of(&config), secrets(&config), ca_bundles(&config));
    let notifications = Notifications::of(&config);
    let checked = checked(spec, &config, input.ca_version.as_deref());
    let config = serde_yaml::to_string(&*config.validate()?)?;
    if config.len() > MAX_BYTES {
        return Err(ValidateError::TooLarge(config.len()));
    }
    Ok(ValidatedJob {
        namespace,
        name: owner.name.clone(),
        owner,
        config_hash: hex::encode(Sha256::digest(&config)).chars().take(16).collect(),
        config,
        secrets,
        ca_bundles,
        ca_version: input.ca_version.clone(),
        sides,
        worker: ValidatedPods::of("spec.worker", &spec.worker)?,
        jobsender: ValidatedPods::of("spec.jobsender", &spec.jobsender)?,
        logs: spec.logs,
        pod_defaults: defaults.clone(),
        memory_limit: spec.transfer.memory_limit,
        schedule: schedule(spec),
        runs_history_limit: i32::try_from(spec.runs_history_limit).unwrap_or(i32::MAX),
        verify: spec.verify.method,
        notifications,
        checked,
        suspend: spec.suspend || input.is_over_budget,
    })
}

/// Returns the limits of scaling that a resource sets.
pub fn scaling(spec: &MigrationJobSpec) -> ScalingLimits {
    ScalingLimits {
        min: spec.scaling.min_replicas,
        max: spec.scaling.max_replicas,
        batches_per_worker: spec.scaling.target_batches_per_worker,
        scale_down_delay: i64::from(spec.scaling.scale_down_delay_seconds) * 1_000,
    }
}

fn schedule(spec: &MigrationJobSpec) -> Option<Schedule> {
    Some(Schedule {
        cron: spec.trigger.schedule.clone()?,
        time_zone: spec.trigger.time_zone.clone(),
        starting_deadline: spec.trigger.starting_deadline_seconds,
    })
}

/// Returns the Secrets that the programs read as files, with their services.
fn secrets(config: &JobConfig) -> Vec<(Service, String)> {
    let services = [
        (Service::Source, &config.source.service),
        (Service::Destination, &config.destination.service),
        (Service::Queue, &config.queue.service),
        (Service::Ledger, &config.ledger.service),
    ];
    let secret = |service: &ServiceAccess| match &service.credentials {
        Credentials::Directory { secret, .. } => secret.clone(),
        Credentials::Pod | Credentials::Anonymous | Credentials::Profile { .. } | Credentials::AssumeRole(_) => None,
    };
    services.into_iter().filter_map(|(side, service)| Some((side, secret(service)?))).collect()
}

/// Returns the certificates that the programs read as files, with their sides.
fn ca_bundles(config: &JobConfig) -> Vec<(Service, MountedFrom)> {
    let sides = [(Service::Source, &config.source), (Service::Destination, &config.destination)];
    sides.into_iter().filter_map(|(side, s3)| Some((side, s3.ca_bundle.as_ref()?.from.clone()?))).collect()
}

#[cfg(test)]
pub(crate) mod tests;
