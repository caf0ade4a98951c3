//! The configuration that the operator gives to the jobsender and the workers: one validated document in a `ConfigMap`.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::compare::CompareMode;
use crate::error::Service;
use crate::ignore::{IgnoreError, IgnoreList};
use crate::manifest::ManifestLocation;
use crate::pair::BucketPair;
use crate::part::MIN_PART;
use crate::timetable::TimetableError;

pub use events::EventSettings;
pub use filter::{ObjectFilter, STANDARD};
pub use rate_limits::RateLimits;
pub use report::{ReportScope, ReportSettings};
pub use side::{
    ACCESS_KEY_FILE, AssumeRole, CaBundle, Credentials, MountedFrom, S3Side, SECRET_KEY_FILE, SESSION_TOKEN_FILE,
    ServiceAccess, session_name,
};
pub use transfer::{Encryption, OnLoss, Preserve, TransferMode, TransferSettings, Versioning, WriteSettings};

mod events;
mod filter;
mod rate_limits;
mod report;
mod side;
mod transfer;

/// Version of [`JobConfig`] that this program writes, and the only one that it reads.
pub const CONFIG_VERSION: u32 = 1;

/// The configuration of one job, as its programs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobConfig {
    /// Must be [`CONFIG_VERSION`].
    pub version: u32,
    /// Identity of the job.
    pub job: JobIdentity,
    /// The bucket pairs to migrate; at least one.
    pub buckets: Vec<BucketPair>,
    /// The S3 service to read from.
    pub source: S3Side,
    /// The S3 service to write to.
    pub destination: S3Side,
    /// Settings applied to every object written.
    #[serde(default, skip_serializing_if = "WriteSettings::is_default")]
    pub write: WriteSettings,
    /// How object versions are used.
    #[serde(default, skip_serializing_if = "Versioning::is_default")]
    pub versioning: Versioning,
    /// Patterns of the [`IgnoreList`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Filters on size, time and storage class.
    #[serde(default, skip_serializing_if = "ObjectFilter::is_default")]
    pub filter: ObjectFilter,
    /// How the two sides are compared.
    #[serde(default)]
    pub compare: CompareMode,
    /// A work list to process instead of listing the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestLocation>,
    /// If set, objects that exist only at the destination are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorSettings>,
    /// Where the per-object results are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportSettings>,
    /// S3 events that start transfers. `None` means that the job follows none; events in its queue are processed all the
    /// same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventSettings>,
    /// How far the jobsender may get ahead of the workers, in seconds of their work. `None` means no limit.
    #[serde(default = "two_hours")]
    pub backlog_seconds: Option<u32>,
    /// How objects are moved.
    pub transfer: TransferSettings,
    /// The queue and its dead-letter queue.
    pub queue: QueueConfig,
    /// The ledger's table.
    pub ledger: LedgerConfig,
}

#[allow(clippy::unnecessary_wraps, reason = "the type of the member")]
const fn two_hours() -> Option<u32> {
    Some(2 * 3600)
}

/// Identifies a job in ledger keys and logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobIdentity {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// UID of the resource. A job that is deleted and recreated under the same name is a different job.
    pub uid: String,
}

/// Settings for deleting objects that exist only at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MirrorSettings {
    /// Maximum number of deletions in one run. If more objects are extraneous, none is deleted.
    pub max_deletes: u64,
}

/// The queue of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueueConfig {
    /// Endpoint and credentials.
    #[serde(flatten)]
    pub service: ServiceAccess,
    /// URL of the queue.
    pub url: String,
    /// URL of the dead-letter queue.
    pub dead_letter_url: String,
}

/// The ledger of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LedgerConfig {
    /// Endpoint and credentials.
    #[serde(flatten)]
    pub service: ServiceAccess,
    /// Name of the table.
    pub table: String,
}

/// Why a configuration is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It was written by another version of the operator.
    #[error(
        "failed to read job config: version {0} is not supported, this program reads version {CONFIG_VERSION}; use images of the operator's version"
    )]
    Version(u32),
    /// It names no bucket pairs.
    #[error("failed to read job config: buckets is empty; add at least one pair")]
    NoBuckets,
    /// A setting is out of bounds.
    #[error("failed to read job config: {field} is {value} and must be {bounds}")]
    Bounds {
        /// Name of the setting in the resource.
        field: &'static str,
        /// Its value.
        value: String,
        /// The accepted values.
        bounds: String,
    },
    /// A limit is no timetable.
    #[error("failed to read job config: {field} {source}")]
    RateLimit {
        /// Name of the setting in the resource.
        field: &'static str,
        /// What is wrong, and what to write.
        source: TimetableError,
    },
    /// A proxy URL is invalid.
    #[error(
        "failed to read job config: {side}.proxy is not a URL of the form http://proxy.example.com:3128, without user, password or path"
    )]
    Proxy {
        /// The side that uses the proxy.
        side: Service,
    },
    /// An ignore pattern is invalid.
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// A source key could map to the key of a report.
    #[error(
        "failed to read job config: reports under {prefix:?} of bucket {bucket} would overlap the destination of a pair; set another bucket for the report, or a prefix outside the pair's destination prefix"
    )]
    ReportAmongCopies {
        /// The bucket of the reports.
        bucket: String,
        /// The prefix of the reports.
        prefix: String,
    },
    /// Mirroring was combined with a work list, which does not tell what else the source has.
    #[error(
        "failed to read job config: mirror and manifest exclude each other, since a work list does not tell what else the source has; remove one of them"
    )]
    MirrorOfManifest,
    /// With mirroring, one pair would delete what another pair writes.
    #[error(
        "failed to read job config: two pairs write under {prefix:?} of bucket {bucket}, and with mirror one would delete what the other wrote; set destination prefixes that do not overlap"
    )]
    MirroredTwice {
        /// The destination bucket.
        bucket: String,
        /// The shorter of the two destination prefixes.
        prefix: String,
    },
}

/// A job configuration that was validated, with its compiled ignore list and timetables. Programs accept no other.
#[derive(Clone, Debug)]
pub struct ValidConfig {
    config: JobConfig,
    ignore: IgnoreList,
    rate_limits: RateLimits,
}

impl ValidConfig {
    /// Returns the compiled ignore list.
    pub fn ignore_list(&self) -> &IgnoreList {
        &self.ignore
    }

    /// Returns the limits of bytes and requests per second.
    pub fn rate_limits(&self) -> &RateLimits {
        &self.rate_limits
    }

    /// Returns the same configuration without deletions, and without a limit on how far the jobsender gets ahead of the
    /// workers.
    #[must_use]
    pub fn for_dry_run(self) -> Self {
        let config = JobConfig { mirror: None, backlog_seconds: None, ..self.config };
        Self { config, ..self }
    }
}

impl Deref for ValidConfig {
    type Target = JobConfig;

    fn deref(&self) -> &JobConfig {
        &self.config
    }
}

impl JobConfig {
    /// Checks what the resource's schema cannot, for a destination with the part sizes of Amazon S3.
    pub fn validate(self) -> Result<ValidConfig, ConfigError> {
        self.validate_for(MIN_PART)
    }

    /// As [`validate`](Self::validate), for a destination that accepts parts of `minimum_part` bytes and more.
    pub fn validate_for(self, minimum_part: u64) -> Result<ValidConfig, ConfigError> {
        let ignore = self.check(minimum_part)?;
        let rate_limits = self.transfer.rate_limits()?;
        Ok(ValidConfig { config: self, ignore, rate_limits })
    }

    fn check(&self, minimum_part: u64) -> Result<IgnoreList, ConfigError> {
        if self.version != CONFIG_VERSION {
            return Err(ConfigError::Version(self.version));
        }
        if self.buckets.is_empty() {
            return Err(ConfigError::NoBuckets);
        }
        self.source.validate(Service::Source)?;
        self.destination.validate(Service::Destination)?;
        self.transfer.validate(minimum_part)?;
        self.filter.validate()?;
        self.check_report()?;
        self.check_mirror()?;
        Ok(IgnoreList::new(&self.ignore)?)
    }

    /// Checks that no source key can map to the key of a report.
    fn check_report(&self) -> Result<(), ConfigError> {
        let Some(report) = &self.report else { return Ok(()) };
        let root = report.root(&self.job, "");
        let is_among = |pair: &BucketPair| {
            let range = pair.destination_range();
            pair.destination_bucket == report.bucket && (root.starts_with(&range) || range.starts_with(&root))
        };
        if self.buckets.iter().any(is_among) {
            let (bucket, prefix) = (report.bucket.clone(), report.prefix.clone());
            return Err(ConfigError::ReportAmongCopies { bucket, prefix });
        }
        Ok(())
    }

    /// Checks that, with mirroring, no pair writes where another pair deletes.
    fn check_mirror(&self) -> Result<(), ConfigError> {
        if self.manifest.is_some() && (self.mirror.is_some() || self.max_deletes_of_events().is_some()) {
            return Err(ConfigError::MirrorOfManifest);
        }
        if self.mirror.is_none() {
            return Ok(());
        }
        for (place, a) in self.buckets.iter().enumerate() {
            for b in self.buckets.iter().skip(place + 1) {
                let (bucket, mut ranges) = (&a.destination_bucket, [a.destination_range(), b.destination_range()]);
                ranges.sort();
                let [shorter, longer] = ranges;
                if *bucket == b.destination_bucket && longer.starts_with(&shorter) {
                    return Err(ConfigError::MirroredTwice { bucket: bucket.clone(), prefix: shorter });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::PartSize;
    use crate::size::ByteSize;

    fn config() -> JobConfig {
        serde_yaml::from_str(
            r"
version: 1
job: {namespace: default, name: photos, uid: u-1}
buckets: [{sourceBucket: a, destinationBucket: b}]
source: {region: cn-north-1, credentials: {type: directory, path: /c/source}}
destination: {region: us-east-1, endpoint: 'http://s3', pathStyle: true}
ignore: ['a/*.tmp']
filter: {maxSize: 5, storageClasses: [STANDARD]}
mirror: {maxDeletes: 9}
compare: Checksum
transfer: {partSize: Auto, multipartThreshold: 16Mi, filesPerWorker: 4, partsPerFile: 4, memoryLimit: 256Mi, maxAttempts: 5}
queue: {region: us-east-1, url: 'http://q/1', deadLetterUrl: 'http://q/2', credentials: {type: anonymous}}
ledger: {region: us-east-1, table: t}
",
        )
        .unwrap()
    }

    fn report(bucket: &str, prefix: &str) -> ReportSettings {
        ReportSettings { bucket: bucket.into(), prefix: prefix.into(), scope: ReportScope::default() }
    }

    #[test]
    fn reports_may_lie_beside_what_pairs_write() {
        let mut config = config();
        config.buckets[0].destination_prefix = "data/".into();
        for (bucket, prefix, is_fine) in
            [("b", "reports/", true), ("c", "data/", true), ("b", "", true), ("b", "data/r", false)]
        {
            config.report = Some(report(bucket, prefix));
            assert_eq!(config.clone().validate().is_ok(), is_fine, "{bucket} {prefix}");
        }
    }

    fn manifest() -> ManifestLocation {
        serde_yaml::from_str("{bucket: lists, key: a.csv}").unwrap()
    }

    #[test]
    fn reads_yaml_and_writes_the_same_back() {
        let config = config();
        assert!(config.clone().validate().is_ok());
        assert_eq!(config.destination.service.credentials, Credentials::Pod);
        let text = serde_yaml::to_string(&config).unwrap();
        assert_eq!(serde_yaml::from_str::<JobConfig>(&text).unwrap(), config);
    }

    #[test]
    fn says_what_is_out_of_bounds() {
        type Change = fn(&mut JobConfig);
        let broken: [(&str, Change); 16] = [
            ("source.proxy is not a URL", |c| c.source.proxy = Some("proxy:3128".into())),
            ("destination.proxy is not a URL", |c| c.destination.proxy = Some("http://me:secret@proxy".into())),
            ("reports under \"r/\" of bucket b", |c| c.report = Some(report("b", "r/"))),
            ("reports under \"\" of bucket b", |c| c.report = Some(report("b", ""))),
            ("mirror and manifest exclude each other", |c| c.manifest = Some(manifest())),
            ("mirror and manifest exclude each other", |c| {
                c.mirror = None;
                c.manifest = Some(manifest());
                c.events = Some(EventSettings {
                    queue_arn: None,
                    types: crate::events::EventTypes::Created,
                    max_deletes: Some(1),
                });
            }),
            ("two pairs write under \"\" of bucket b", |c| c.buckets.push(c.buckets[0].clone())),
            ("version 9", |c| c.version = 9),
            ("buckets is empty", |c| c.buckets.clear()),
            ("filesPerWorker", |c| c.transfer.files_per_worker = 0.into()),
            ("memoryLimit is 1Mi and must be at least 16Mi", |c| c.transfer.memory_limit = ByteSize::mib(1)),
            ("partSize is 4Mi", |c| c.transfer.part_size = PartSize::Fixed(ByteSize::mib(4))),
            ("partSize is 6Gi", |c| c.transfer.part_size = PartSize::Fixed(ByteSize::mib(6 << 10))),
            ("multipartThreshold", |c| c.transfer.multipart_threshold = ByteSize::mib(6 << 10)),
            ("filters.maxSize is 5", |c| c.filter.min_size = Some(6)),
            ("b/[z-a]", |c| c.ignore = vec!["b/[z-a]".into()]),
        ];
        for (expected, change) in broken {
            let mut config = config();
            change(&mut config);
            let message = config.clone().validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let text = serde_yaml::to_string(&config()).unwrap().replace("ignore:", "ignroe:");
        assert!(serde_yaml::from_str::<JobConfig>(&text).is_err());
    }
}
