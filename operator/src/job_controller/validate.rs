//! Validates a resource together with what it refers to, and converts it to the configuration of its programs.
//!
//! [`ValidatedJob`] is the only input of the builders. It needs no further checks.

pub mod run_configs;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::{Resource, ResourceExt};
use migration_api::filters::Filters;
use migration_api::pods::PodSettings;
use migration_api::services::{
    CaBundle as ApiCaBundle, Credentials as ApiCredentials, Destination, KeyCredentials, Source,
};
use migration_api::transfer::{ChecksumMode, Preserve as ApiPreserve, Transfer};
use migration_api::verify::VerifyMethod;
use migration_api::{MigrationJob, MigrationJobSpec};
use migration_core::config::{
    CONFIG_VERSION, CaBundle, ConfigError, Credentials, JobConfig, JobIdentity, LedgerConfig, MirrorSettings,
    MountedFrom, ObjectFilter, Preserve, QueueConfig, S3Side, ServiceAccess, TransferSettings, Versioning,
    WriteSettings,
};
use migration_core::error::Service;
use migration_core::records::RunSides;
use migration_core::scaling::ScalingLimits;
use migration_core::size::ByteSize;
use sha2::{Digest, Sha256};

use crate::job_controller::dereference::services::QueueAndTable;

/// The directory where the Secrets are mounted.
pub const CREDENTIALS_DIRECTORY: &str = "/var/run/s3-migration/credentials";
/// The directory where the certificates are mounted, each as [`CA_FILE`] in a directory per side.
pub const CA_DIRECTORY: &str = "/var/run/s3-migration/ca";
/// The file name of a side's certificates.
pub const CA_FILE: &str = "ca.crt";

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
    pub worker: PodSettings,
    /// Settings of the jobsender's pods.
    pub jobsender: PodSettings,
    /// Image if the settings name none.
    pub default_image: String,
    /// Bytes that a worker may hold at once.
    pub memory_limit: ByteSize,
    /// The schedule of runs.
    pub schedule: Option<Schedule>,
    /// The method of verification.
    pub verify: VerifyMethod,
    /// The job is suspended.
    pub suspend: bool,
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
}

/// Validates a resource together with what it refers to.
pub fn validate(job: &MigrationJob, input: &ValidateInput, default_image: &str) -> Result<ValidatedJob, ValidateError> {
    let namespace = job.namespace().ok_or(ValidateError::NotStored("namespace"))?;
    let owner = job.controller_owner_ref(&()).ok_or(ValidateError::NotStored("UID"))?;
    let spec = &job.spec;
    let identity = JobIdentity { namespace: namespace.clone(), name: owner.name.clone(), uid: owner.uid.clone() };
    let mut config = config(spec, identity, &input.queue_and_table);
    config.ignore.extend_from_slice(&input.ignore_patterns);
    if let Some(sides) = &input.sides {
        (config.source, config.destination) = ((&sides.source).into(), (&sides.destination).into());
    }
    let (sides, secrets, ca_bundles) = (RunSides::of(&config), secrets(&config), ca_bundles(&config));
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
        worker: spec.worker.clone(),
        jobsender: spec.jobsender.clone(),
        default_image: default_image.to_owned(),
        memory_limit: spec.transfer.memory_limit,
        schedule: schedule(spec),
        verify: spec.verify.method,
        suspend: spec.suspend,
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

/// Converts the resource to the configuration of the programs.
fn config(spec: &MigrationJobSpec, job: JobIdentity, queue_and_table: &QueueAndTable) -> JobConfig {
    let MigrationJobSpec {
        buckets,
        source,
        destination,
        filters,
        compare,
        mirror,
        manifest,
        report,
        versioning,
        transfer,
        limits,
        queue,
        ledger,
        ..
    } = spec;
    JobConfig {
        version: CONFIG_VERSION,
        job,
        buckets: buckets.iter().map(Into::into).collect(),
        source: source_side(source),
        destination: destination_side(destination),
        write: write_settings(destination),
        versioning: Versioning {
            compare_version_id: versioning.compare_version_id,
            update_version_id: versioning.update_version_id,
            get_object_with_version_id: versioning.get_object_with_version_id,
        },
        ignore: filters.ignore.clone(),
        filter: object_filter(filters),
        compare: *compare,
        manifest: manifest.as_ref().map(Into::into),
        report: report.as_ref().map(Into::into),
        mirror: mirror
            .max_deletes
            .filter(|_| mirror.delete_extraneous)
            .map(|max_deletes| MirrorSettings { max_deletes }),
        backlog_seconds: Some(limits.backlog_seconds),
        transfer: transfer_settings(transfer),
        queue: QueueConfig {
            service: access(&queue.region, queue.endpoint.as_ref(), keys(queue.credentials.as_ref(), Service::Queue)),
            url: queue_and_table.queue_url.clone(),
            dead_letter_url: queue_and_table.dead_letter_url.clone(),
        },
        ledger: LedgerConfig {
            service: access(
                &ledger.region,
                ledger.endpoint.as_ref(),
                keys(ledger.credentials.as_ref(), Service::Ledger),
            ),
            table: queue_and_table.table.clone(),
        },
    }
}

/// Destructures without `..`, so that a field that is not converted does not compile.
fn source_side(source: &Source) -> S3Side {
    let Source { region, endpoint, path_style, requester_pays, ca_bundle, proxy, credentials } = source;
    S3Side {
        service: access(region, endpoint.as_ref(), s3(credentials.as_ref(), Service::Source)),
        path_style: *path_style,
        requester_pays: *requester_pays,
        ca_bundle: ca(ca_bundle.as_ref(), Service::Source),
        proxy: proxy.clone(),
    }
}

/// Leaves out the fields that [`write_settings`] converts.
fn destination_side(destination: &Destination) -> S3Side {
    let Destination {
        region,
        endpoint,
        path_style,
        requester_pays,
        ca_bundle,
        proxy,
        credentials,
        storage_class: _,
        encryption: _,
        acl: _,
    } = destination;
    S3Side {
        service: access(region, endpoint.as_ref(), s3(credentials.as_ref(), Service::Destination)),
        path_style: *path_style,
        requester_pays: *requester_pays,
        ca_bundle: ca(ca_bundle.as_ref(), Service::Destination),
        proxy: proxy.clone(),
    }
}

fn ca(bundle: Option<&ApiCaBundle>, side: Service) -> Option<CaBundle> {
    let from = Some(bundle?.from()?);
    Some(CaBundle { path: format!("{CA_DIRECTORY}/{side}/{CA_FILE}").into(), from })
}

fn access(region: &str, endpoint: Option<&String>, credentials: Credentials) -> ServiceAccess {
    ServiceAccess { region: region.to_owned(), endpoint: endpoint.cloned(), credentials }
}

fn s3(credentials: Option<&ApiCredentials>, side: Service) -> Credentials {
    match credentials {
        None => Credentials::Pod,
        Some(ApiCredentials { secret_ref: Some(secret), .. }) => mounted(side, &secret.name),
        Some(ApiCredentials { secret_ref: None, .. }) => Credentials::Anonymous,
    }
}

fn keys(credentials: Option<&KeyCredentials>, side: Service) -> Credentials {
    credentials.map_or(Credentials::Pod, |keys| mounted(side, &keys.secret_ref.name))
}

fn mounted(side: Service, secret: &str) -> Credentials {
    Credentials::Directory { path: format!("{CREDENTIALS_DIRECTORY}/{side}").into(), secret: Some(secret.to_owned()) }
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
        Credentials::Pod | Credentials::Anonymous => None,
    };
    services.into_iter().filter_map(|(side, service)| Some((side, secret(service)?))).collect()
}

/// Returns the certificates that the programs read as files, with their sides.
fn ca_bundles(config: &JobConfig) -> Vec<(Service, MountedFrom)> {
    let sides = [(Service::Source, &config.source), (Service::Destination, &config.destination)];
    sides.into_iter().filter_map(|(side, s3)| Some((side, s3.ca_bundle.as_ref()?.from.clone()?))).collect()
}

fn write_settings(destination: &Destination) -> WriteSettings {
    WriteSettings {
        storage_class: destination.storage_class.map(|class| class.as_str().to_owned()),
        encryption: destination.encryption.as_ref().map(Into::into),
        acl: destination.acl.map(|acl| acl.as_str().to_owned()),
    }
}

/// Destructures without `..`, so that a field that is not converted does not compile.
fn object_filter(filters: &Filters) -> ObjectFilter {
    let Filters { ignore: _, ignore_from: _, min_size, max_size, modified_after, modified_before, storage_classes } =
        filters;
    let millis = |time: &Option<Time>| time.as_ref().map(|time| time.0.as_millisecond());
    ObjectFilter {
        min_size: min_size.map(ByteSize::bytes),
        max_size: max_size.map(ByteSize::bytes),
        modified_after: millis(modified_after),
        modified_before: millis(modified_before),
        storage_classes: storage_classes.clone(),
    }
}

/// Destructures without `..`, so that a field that is not converted does not compile.
fn transfer_settings(transfer: &Transfer) -> TransferSettings {
    let &Transfer {
        part_size,
        multipart_threshold,
        split_threshold,
        files_per_worker,
        parts_per_file,
        memory_limit,
        max_attempts,
        mode,
        checksum,
        preserve: ApiPreserve { metadata, tags, object_lock, on_loss },
    } = transfer;
    TransferSettings {
        part_size,
        multipart_threshold,
        split_threshold,
        files_per_worker,
        parts_per_file,
        memory_limit,
        max_attempts,
        mode,
        compare_checksums: checksum == ChecksumMode::Compare,
        preserve: Preserve { metadata, tags, object_lock, on_loss },
    }
}

#[cfg(test)]
pub(crate) mod tests;
