//! From a resource that passed the schema, and what stands behind its references, to a job that can be built.
//!
//! [`ValidatedJob`] is all that the builders see: what it holds needs no further checks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use migration_api::pods::PodSettings;
use migration_api::services::{Credentials as ApiCredentials, KeyCredentials};
use migration_api::transfer::Transfer;
use migration_api::{MigrationJob, MigrationJobSpec};
use migration_core::config::{
    CONFIG_VERSION, ConfigError, Credentials, JobConfig, JobIdentity, LedgerConfig, QueueConfig, S3Side, ServiceAccess,
    TransferSettings,
};
use migration_core::error::Side;
use migration_core::scaling::ScalingLimits;
use migration_core::size::ByteSize;
use sha2::{Digest, Sha256};

use crate::dereference::secrets;

/// Where the Secrets of the sides are mounted.
pub const CREDENTIALS_DIRECTORY: &str = "/var/run/s3-migration/credentials";

/// Queue and table that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// URL of the queue.
    pub queue_url: String,
    /// URL of its dead letter queue.
    pub dead_letter_url: String,
    /// Name of the table.
    pub table: String,
}

/// A job that can be built.
#[derive(Clone, Debug)]
pub struct ValidatedJob {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// What makes the resource the owner of something.
    pub owner: OwnerReference,
    /// The configuration as the programs read it.
    pub config: String,
    /// Changes when the configuration does.
    pub config_hash: String,
    /// Side and Secret of what is mounted.
    pub secrets: Vec<(Side, String)>,
    /// Settings of the workers' pods.
    pub worker: PodSettings,
    /// Settings of the jobsender's pods.
    pub jobsender: PodSettings,
    /// Image where the settings name none.
    pub default_image: String,
    /// Bytes that a worker may hold at once.
    pub memory_limit: ByteSize,
    /// When runs start.
    pub schedule: Option<Schedule>,
    /// No run starts and nothing runs.
    pub suspend: bool,
}

/// When runs start by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Five fields, or a word such as `@daily`.
    pub cron: String,
    /// Name in the IANA database.
    pub time_zone: Option<String>,
    /// In seconds.
    pub starting_deadline: Option<i64>,
}

/// Why a job can't be built.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// The resource comes from no API server.
    #[error("failed to validate MigrationJob: it has no {0}")]
    NotStored(&'static str),
    /// A rule that the schema can't hold.
    #[error("failed to validate MigrationJob: {0}")]
    Config(#[from] ConfigError),
    /// The configuration can't be written.
    #[error("failed to write job config: {0}")]
    Write(#[from] serde_yaml::Error),
    /// The configuration doesn't fit.
    #[error(
        "failed to write job config: it has {0} bytes and a ConfigMap holds {MOST}; shorten spec.filters.ignore or \
         use several MigrationJobs"
    )]
    TooLarge(usize),
}

/// Bytes that a `ConfigMap` holds, less some for what else is in it.
const MOST: usize = 1_000_000;

/// Validates a resource with what stands behind its references.
pub fn validate(job: &MigrationJob, external: &External, default_image: &str) -> Result<ValidatedJob, ValidateError> {
    let namespace = job.namespace().ok_or(ValidateError::NotStored("namespace"))?;
    let owner = job.controller_owner_ref(&()).ok_or(ValidateError::NotStored("UID"))?;
    let spec = &job.spec;
    let identity = JobIdentity { namespace: namespace.clone(), name: owner.name.clone(), uid: owner.uid.clone() };
    let config = config(spec, identity, external);
    config.validate()?;
    let config = serde_yaml::to_string(&config)?;
    if config.len() > MOST {
        return Err(ValidateError::TooLarge(config.len()));
    }
    let mounted = secrets::names(spec).into_iter().filter_map(|(side, name)| Some((side, name?.to_owned())));
    Ok(ValidatedJob {
        namespace,
        name: owner.name.clone(),
        owner,
        config_hash: hex::encode(Sha256::digest(&config)).chars().take(16).collect(),
        config,
        secrets: mounted.collect(),
        worker: spec.worker.clone(),
        jobsender: spec.jobsender.clone(),
        default_image: default_image.to_owned(),
        memory_limit: spec.transfer.memory_limit,
        schedule: schedule(spec),
        suspend: spec.suspend,
    })
}

/// How many workers a resource allows.
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

/// What the programs are told.
fn config(spec: &MigrationJobSpec, job: JobIdentity, external: &External) -> JobConfig {
    let MigrationJobSpec { buckets, source, destination, filters, transfer, queue, ledger, .. } = spec;
    JobConfig {
        version: CONFIG_VERSION,
        job,
        buckets: buckets.iter().map(Into::into).collect(),
        source: S3Side {
            service: access(&source.region, source.endpoint.as_ref(), s3(source.credentials.as_ref(), Side::Source)),
            path_style: source.path_style,
        },
        destination: S3Side {
            service: access(
                &destination.region,
                destination.endpoint.as_ref(),
                s3(destination.credentials.as_ref(), Side::Destination),
            ),
            path_style: destination.path_style,
        },
        storage_class: destination.storage_class.map(|class| class.as_str().to_owned()),
        ignore: filters.ignore.clone(),
        transfer: transfer_settings(transfer),
        queue: QueueConfig {
            service: access(&queue.region, queue.endpoint.as_ref(), keys(queue.credentials.as_ref(), Side::Queue)),
            url: external.queue_url.clone(),
            dead_letter_url: external.dead_letter_url.clone(),
        },
        ledger: LedgerConfig {
            service: access(&ledger.region, ledger.endpoint.as_ref(), keys(ledger.credentials.as_ref(), Side::Ledger)),
            table: external.table.clone(),
        },
    }
}

fn access(region: &str, endpoint: Option<&String>, credentials: Credentials) -> ServiceAccess {
    ServiceAccess { region: region.to_owned(), endpoint: endpoint.cloned(), credentials }
}

fn s3(credentials: Option<&ApiCredentials>, side: Side) -> Credentials {
    match credentials {
        None => Credentials::Pod,
        Some(ApiCredentials { secret_ref: Some(_), .. }) => mounted(side),
        Some(ApiCredentials { secret_ref: None, .. }) => Credentials::Anonymous,
    }
}

fn keys(credentials: Option<&KeyCredentials>, side: Side) -> Credentials {
    credentials.map_or(Credentials::Pod, |_| mounted(side))
}

fn mounted(side: Side) -> Credentials {
    Credentials::Directory { path: format!("{CREDENTIALS_DIRECTORY}/{side}").into() }
}

fn transfer_settings(transfer: &Transfer) -> TransferSettings {
    TransferSettings {
        part_size: transfer.part_size,
        multipart_threshold: transfer.multipart_threshold,
        files_per_worker: transfer.files_per_worker,
        parts_per_file: transfer.parts_per_file,
        memory_limit: transfer.memory_limit,
        max_attempts: transfer.max_attempts,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn resource() -> MigrationJob {
        serde_yaml::from_str(
            r"
apiVersion: s3migration.dev/v1alpha1
kind: MigrationJob
metadata: {name: photos, namespace: media, uid: u-1, generation: 3}
spec:
  buckets: [{sourceBucket: a, destinationBucket: b, destinationPrefix: p/}]
  source: {region: eu-central-1, credentials: {secretRef: {name: from}}}
  destination: {region: us-east-1, endpoint: 'http://s3:9000', pathStyle: true, storageClass: STANDARD_IA, credentials: {secretRef: {name: to}}}
  queue: {region: us-east-1, endpoint: 'http://sqs', credentials: {secretRef: {name: queue}}}
  ledger: {region: us-east-1}
",
        )
        .unwrap()
    }

    pub(crate) fn external() -> External {
        External { queue_url: "http://q/1".into(), dead_letter_url: "http://q/1-dlq".into(), table: "t".into() }
    }

    pub(crate) fn validated(change: impl FnOnce(&mut MigrationJob)) -> ValidatedJob {
        let mut job = resource();
        change(&mut job);
        validate(&job, &external(), "worker:1").unwrap()
    }

    #[test]
    fn the_programs_are_told_what_the_resource_says() {
        let job = validated(|job| job.spec.source.credentials.as_mut().unwrap().secret_ref = None);
        let config: JobConfig = serde_yaml::from_str(&job.config).unwrap();
        assert_eq!(config.job.uid, "u-1");
        assert_eq!(config.source.service.credentials, Credentials::Anonymous);
        let destination = Credentials::Directory { path: format!("{CREDENTIALS_DIRECTORY}/destination").into() };
        assert_eq!(config.destination.service.credentials, destination);
        assert_eq!(config.ledger.service.credentials, Credentials::Pod);
        assert_eq!((config.storage_class.as_deref(), config.destination.path_style), (Some("STANDARD_IA"), true));
        assert_eq!((config.queue.dead_letter_url.as_str(), config.ledger.table.as_str()), ("http://q/1-dlq", "t"));
        assert_eq!(config.transfer.memory_limit, ByteSize::mib(256));
        let secrets: Vec<_> = job.secrets.iter().map(|(side, name)| (*side, name.as_str())).collect();
        assert_eq!(secrets, [(Side::Destination, "to"), (Side::Queue, "queue")]);
    }

    #[test]
    fn a_change_shows_in_the_hash_and_nothing_else_does() {
        let hash = |change: fn(&mut MigrationJob)| validated(change).config_hash;
        assert_eq!(hash(|_| ()), hash(|job| job.spec.scaling.max_replicas = 3));
        assert_ne!(hash(|_| ()), hash(|job| job.spec.transfer.max_attempts = 3));
    }

    #[test]
    fn what_the_schema_can_not_refuse_is_refused_here() {
        let refused = |change: fn(&mut MigrationJob)| {
            let mut job = resource();
            change(&mut job);
            validate(&job, &external(), "i").unwrap_err().to_string()
        };
        assert!(refused(|job| job.spec.filters.ignore = vec!["a/[z-a]".into()]).contains("a/[z-a]"));
        assert!(refused(|job| job.spec.filters.ignore = vec!["x".repeat(2_000); 600]).contains("ConfigMap holds"));
        assert!(refused(|job| job.metadata.uid = None).contains("no UID"));
    }
}
