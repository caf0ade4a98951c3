//! Conversion of a resource to the configuration of its programs.

use std::path::PathBuf;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use migration_core::config::{
    CONFIG_VERSION, CaBundle, Credentials, EventSettings, JobConfig, JobIdentity, LedgerConfig, MirrorSettings,
    ObjectFilter, Preserve, QueueConfig, S3Side, ServiceAccess, TransferSettings, Versioning, WriteSettings,
};
use migration_core::error::Service;
use migration_core::events::EventTypes;
use migration_core::plan;
use migration_core::size::ByteSize;

use crate::MigrationJobSpec;
use crate::filters::Filters;
use crate::services::{CaBundle as ApiCaBundle, Credentials as ApiCredentials, Destination, KeyCredentials, Source};
use crate::transfer::{ChecksumMode, Preserve as ApiPreserve, Transfer};
use crate::trigger::EventTrigger;
use crate::verify::Mirror;

/// File name of a side's certificates, in a directory of their own.
pub const CA_FILE: &str = "ca.crt";

/// Queue and table that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueAndTable {
    /// URL of the queue.
    pub queue_url: String,
    /// URL of its dead letter queue.
    pub dead_letter_url: String,
    /// Name of the table.
    pub table: String,
    /// ARN of the queue, if the service tells it.
    pub queue_arn: Option<String>,
}

/// Directories where the programs find what the resource names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounts {
    /// Directory with the keys of Secrets as files, in a directory per service.
    pub credentials: PathBuf,
    /// Directory with certificates, each as [`CA_FILE`] in a directory per side.
    pub ca: PathBuf,
}

impl Mounts {
    /// Returns the directory with the keys for a service.
    pub fn keys(&self, service: Service) -> PathBuf {
        self.credentials.join(service.to_string())
    }

    /// Returns the directory with the certificates of a side.
    pub fn certificates(&self, side: Service) -> PathBuf {
        self.ca.join(side.to_string())
    }
}

/// Returns the patterns of a text that `filters.ignoreFrom` names: its lines as they are, without the empty ones.
pub fn ignore_patterns(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect()
}

/// Converts the resource to the configuration of the programs, without the patterns of `filters.ignoreFrom`. What the
/// schema can't refuse is left to [`JobConfig::validate`].
pub fn job_config(
    spec: &MigrationJobSpec,
    job: JobIdentity,
    queue_and_table: &QueueAndTable,
    mounts: &Mounts,
) -> JobConfig {
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
        trigger,
        ..
    } = spec;
    JobConfig {
        version: CONFIG_VERSION,
        buckets: buckets.iter().map(Into::into).collect(),
        source: source_side(source, &job.uid, mounts),
        destination: destination_side(destination, &job.uid, mounts),
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
        events: event_settings(&trigger.events, *mirror, queue_and_table),
        backlog_seconds: Some(limits.backlog_seconds),
        transfer: transfer_settings(transfer),
        queue: QueueConfig {
            service: access(
                &queue.region,
                queue.endpoint.as_ref(),
                keys(queue.credentials.as_ref(), Service::Queue, mounts),
            ),
            url: queue_and_table.queue_url.clone(),
            dead_letter_url: queue_and_table.dead_letter_url.clone(),
        },
        ledger: LedgerConfig {
            service: access(
                &ledger.region,
                ledger.endpoint.as_ref(),
                keys(ledger.credentials.as_ref(), Service::Ledger, mounts),
            ),
            table: queue_and_table.table.clone(),
        },
        job,
    }
}

/// Returns true if the service may copy by itself, as the programs decide in a cluster.
pub fn is_server_side(spec: &MigrationJobSpec) -> bool {
    let identity = JobIdentity { namespace: String::new(), name: String::new(), uid: String::new() };
    // Each side has a directory of its own, so that only the pods' own identity is the same on both.
    let mounts = Mounts { credentials: PathBuf::new(), ca: PathBuf::new() };
    let config = job_config(spec, identity, &QueueAndTable::default(), &mounts);
    plan::is_server_side(&config.transfer, &config.source, &config.destination)
}

/// Returns how the job follows events, or none if it does not. Destructures without `..`, so that a field that is not
/// converted does not compile. The initial scan and the queue's policy are the operator's.
fn event_settings(events: &EventTrigger, mirror: Mirror, queue_and_table: &QueueAndTable) -> Option<EventSettings> {
    let &EventTrigger { enabled, configure_bucket_notifications, initial_scan: _, source_account: _ } = events;
    let queue_arn = queue_and_table.queue_arn.clone().filter(|_| configure_bucket_notifications);
    let max_deletes = mirror.max_deletes.filter(|_| mirror.delete_events);
    let types = if max_deletes.is_some() { EventTypes::CreatedAndRemoved } else { EventTypes::Created };
    enabled.then_some(EventSettings { queue_arn, types, max_deletes })
}

/// Destructures without `..`, so that a field that is not converted does not compile.
fn source_side(source: &Source, job_uid: &str, mounts: &Mounts) -> S3Side {
    let Source { region, endpoint, path_style, requester_pays, ca_bundle, proxy, credentials } = source;
    S3Side {
        service: access(region, endpoint.as_ref(), s3(credentials.as_ref(), Service::Source, job_uid, mounts)),
        path_style: *path_style,
        requester_pays: *requester_pays,
        ca_bundle: ca(ca_bundle.as_ref(), Service::Source, mounts),
        proxy: proxy.clone(),
    }
}

/// Leaves out the fields that [`write_settings`] converts.
fn destination_side(destination: &Destination, job_uid: &str, mounts: &Mounts) -> S3Side {
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
        service: access(region, endpoint.as_ref(), s3(credentials.as_ref(), Service::Destination, job_uid, mounts)),
        path_style: *path_style,
        requester_pays: *requester_pays,
        ca_bundle: ca(ca_bundle.as_ref(), Service::Destination, mounts),
        proxy: proxy.clone(),
    }
}

fn ca(bundle: Option<&ApiCaBundle>, side: Service, mounts: &Mounts) -> Option<CaBundle> {
    let from = Some(bundle?.from()?);
    Some(CaBundle { path: mounts.certificates(side).join(CA_FILE), from })
}

fn access(region: &str, endpoint: Option<&String>, credentials: Credentials) -> ServiceAccess {
    ServiceAccess { region: region.to_owned(), endpoint: endpoint.cloned(), credentials }
}

/// Destructures without `..`, so that a kind that is not converted does not compile.
fn s3(credentials: Option<&ApiCredentials>, side: Service, job_uid: &str, mounts: &Mounts) -> Credentials {
    let Some(ApiCredentials { secret_ref, assume_role, anonymous: _ }) = credentials else { return Credentials::Pod };
    match (secret_ref, assume_role) {
        (Some(secret), _) => mounted(side, &secret.name, mounts),
        (None, Some(role)) => Credentials::AssumeRole(role.for_job(job_uid)),
        (None, None) => Credentials::Anonymous,
    }
}

fn keys(credentials: Option<&KeyCredentials>, service: Service, mounts: &Mounts) -> Credentials {
    credentials.map_or(Credentials::Pod, |keys| mounted(service, &keys.secret_ref.name, mounts))
}

fn mounted(service: Service, secret: &str, mounts: &Mounts) -> Credentials {
    Credentials::Directory { path: mounts.keys(service), secret: Some(secret.to_owned()) }
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
    let Transfer {
        part_size,
        multipart_threshold,
        split_threshold,
        files_per_worker,
        parts_per_file,
        memory_limit,
        max_attempts,
        mode,
        checksum,
        preserve,
        bandwidth_limit,
        request_limit,
        tcp_congestion_control,
    } = transfer;
    let ApiPreserve { metadata, tags, object_lock, on_loss } = *preserve;
    TransferSettings {
        part_size: *part_size,
        multipart_threshold: *multipart_threshold,
        split_threshold: *split_threshold,
        files_per_worker: files_per_worker.unwrap_or_default(),
        parts_per_file: *parts_per_file,
        memory_limit: *memory_limit,
        max_attempts: *max_attempts,
        mode: *mode,
        compare_checksums: *checksum == ChecksumMode::Compare,
        preserve: Preserve { metadata, tags, object_lock, on_loss },
        bandwidth_limit: bandwidth_limit.clone(),
        request_limit: request_limit.as_ref().map(|limit| limit.0.clone()),
        tcp_congestion_control: *tcp_congestion_control,
    }
}
