//! From a resource that passed the schema, and what stands behind its references, to a job that can be built.
//!
//! [`ValidatedJob`] is all that the builders see: what it holds needs no further checks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::{Resource, ResourceExt};
use migration_api::pods::PodSettings;
use migration_api::services::{Credentials as ApiCredentials, Destination, KeyCredentials};
use migration_api::transfer::{ChecksumMode, Filters, Preserve as ApiPreserve, Transfer, TransferMode as ApiMode};
use migration_api::{MigrationJob, MigrationJobSpec};
use migration_core::config::{
    CONFIG_VERSION, ConfigError, Credentials, JobConfig, JobIdentity, LedgerConfig, Preserve, QueueConfig, S3Side,
    ServiceAccess, TransferMode, TransferSettings, Versioning, WriteSettings,
};
use migration_core::error::Side;
use migration_core::filter::ObjectFilter;
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
    let MigrationJobSpec {
        buckets, source, destination, filters, compare, versioning, transfer, queue, ledger, ..
    } = spec;
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
        write: write_settings(destination),
        versioning: Versioning {
            compare_version_id: versioning.compare_version_id,
            update_version_id: versioning.update_version_id,
            get_object_with_version_id: versioning.get_object_with_version_id,
        },
        ignore: filters.ignore.clone(),
        filter: object_filter(filters),
        compare: (*compare).into(),
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

fn write_settings(destination: &Destination) -> WriteSettings {
    WriteSettings {
        storage_class: destination.storage_class.map(|class| class.as_str().to_owned()),
        encryption: destination.encryption.as_ref().map(Into::into),
        acl: destination.acl.map(|acl| acl.as_str().to_owned()),
    }
}

/// Taken apart without `..`: a field of the resource that is not carried out does not compile.
fn object_filter(filters: &Filters) -> ObjectFilter {
    let Filters { ignore: _, min_size, max_size, modified_after, modified_before, storage_classes } = filters;
    let millis = |time: &Option<Time>| time.as_ref().map(|time| time.0.as_millisecond());
    ObjectFilter {
        min_size: min_size.map(ByteSize::bytes),
        max_size: max_size.map(ByteSize::bytes),
        modified_after: millis(modified_after),
        modified_before: millis(modified_before),
        storage_classes: storage_classes.clone(),
    }
}

/// Taken apart without `..`: a field of the resource that is not carried out does not compile.
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
        preserve: ApiPreserve { metadata, tags, object_lock },
    } = transfer;
    TransferSettings {
        part_size,
        multipart_threshold,
        split_threshold,
        files_per_worker,
        parts_per_file,
        memory_limit,
        max_attempts,
        mode: match mode {
            ApiMode::Auto => TransferMode::Auto,
            ApiMode::Stream => TransferMode::Stream,
            ApiMode::ServerSide => TransferMode::ServerSide,
        },
        compare_checksums: checksum == ChecksumMode::Compare,
        preserve: Preserve { metadata, tags, object_lock },
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use migration_core::compare::CompareMode;
    use migration_core::config::Encryption;

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
        assert_eq!((config.write.storage_class.as_deref(), config.destination.path_style), (Some("STANDARD_IA"), true));
        assert_eq!((config.queue.dead_letter_url.as_str(), config.ledger.table.as_str()), ("http://q/1-dlq", "t"));
        assert_eq!(config.transfer.memory_limit, ByteSize::mib(256));
        let secrets: Vec<_> = job.secrets.iter().map(|(side, name)| (*side, name.as_str())).collect();
        assert_eq!(secrets, [(Side::Destination, "to"), (Side::Queue, "queue")]);
    }

    #[test]
    fn filters_and_the_way_to_compare_reach_the_programs() {
        let job = validated(|job| {
            job.spec.filters = serde_yaml::from_str(
                "{minSize: 1Ki, maxSize: 2Mi, modifiedAfter: '1970-01-01T00:00:01Z', modifiedBefore: \
                 '1970-01-01T00:00:02.5Z', storageClasses: [GLACIER]}",
            )
            .unwrap();
            job.spec.compare = migration_api::transfer::CompareMode::Checksum;
        });
        let config: JobConfig = serde_yaml::from_str(&job.config).unwrap();
        let expected = ObjectFilter {
            min_size: Some(1_024),
            max_size: Some(2 << 20),
            modified_after: Some(1_000),
            modified_before: Some(2_500),
            storage_classes: vec!["GLACIER".into()],
        };
        assert_eq!((config.filter, config.compare), (expected, CompareMode::Checksum));
    }

    #[test]
    fn settings_of_the_transfer_reach_the_programs() {
        let told = |change: fn(&mut MigrationJobSpec)| -> JobConfig {
            serde_yaml::from_str(&validated(|job| change(&mut job.spec)).config).unwrap()
        };
        let config = told(|_| ());
        let expected = WriteSettings { storage_class: Some("STANDARD_IA".into()), ..WriteSettings::default() };
        assert_eq!((config.write, config.versioning), (expected, Versioning::default()));
        assert_eq!(
            (config.transfer.split_threshold, config.transfer.mode),
            (ByteSize::mib(8 << 10), TransferMode::Auto)
        );
        assert!(config.transfer.compare_checksums);
        assert_eq!(config.transfer.preserve, Preserve::default());
        let config = told(|spec| {
            spec.destination = serde_json::from_value(serde_json::json!({
                "region": "us-east-1", "acl": "bucket-owner-full-control",
                "encryption": {"type": "DSSE-KMS", "kmsKeyId": "alias/copies"},
            }))
            .unwrap();
            spec.versioning.update_version_id = true;
            spec.transfer.split_threshold = ByteSize::mib(64);
            spec.transfer.mode = ApiMode::Stream;
            spec.transfer.checksum = ChecksumMode::Written;
            spec.transfer.preserve = ApiPreserve { metadata: false, tags: false, object_lock: true };
        });
        let encryption = Encryption::DualKms { kms_key_id: Some("alias/copies".into()) };
        let acl = Some("bucket-owner-full-control".into());
        assert_eq!(config.write, WriteSettings { storage_class: None, encryption: Some(encryption), acl });
        assert_eq!(config.versioning, Versioning { update_version_id: true, ..Versioning::default() });
        assert_eq!((config.transfer.split_threshold, config.transfer.mode), (ByteSize::mib(64), TransferMode::Stream));
        assert!(!config.transfer.compare_checksums);
        assert_eq!(config.transfer.preserve, Preserve { metadata: false, tags: false, object_lock: true });
    }

    #[test]
    fn every_example_can_be_built() {
        let mut number = 0;
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).unwrap() {
            let path = entry.unwrap().path();
            let mut job: MigrationJob = serde_yaml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            job.metadata.namespace = Some("n".into());
            job.metadata.uid = Some("u".into());
            assert!(validate(&job, &external(), "i").is_ok(), "{}", path.display());
            number += 1;
        }
        assert!(number >= 4, "only {number} examples were read");
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
        assert!(refused(|job| job.spec.transfer.split_threshold = ByteSize::mib(1)).contains("splitThreshold"));
        assert!(refused(|job| job.metadata.uid = None).contains("no UID"));
    }
}
