//! What the operator tells jobsender and workers: one document, validated, in a ConfigMap.

use serde::{Deserialize, Serialize};

use crate::compare::CompareMode;
use crate::error::Side;
use crate::ignore::{IgnoreError, IgnoreList};
use crate::manifest::ManifestLocation;
use crate::pair::BucketPair;

pub use filter::{ObjectFilter, STANDARD};
pub use report::{ReportScope, ReportSettings};
pub use side::{
    ACCESS_KEY_FILE, CaBundle, Credentials, MountedFrom, S3Side, SECRET_KEY_FILE, SESSION_TOKEN_FILE, ServiceAccess,
};
pub use transfer::{Encryption, OnLoss, Preserve, TransferMode, TransferSettings, Versioning, WriteSettings};

mod filter;
mod report;
mod side;
mod transfer;

/// The version of [`JobConfig`] that this program writes and the only one it reads.
pub const CONFIG_VERSION: u32 = 1;

/// All that the programs of one job need to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobConfig {
    /// [`CONFIG_VERSION`].
    pub version: u32,
    /// Which job this is.
    pub job: JobIdentity,
    /// What is moved where; at least one.
    pub buckets: Vec<BucketPair>,
    /// The side that is read.
    pub source: S3Side,
    /// The side that is written.
    pub destination: S3Side,
    /// What is the same for every object written.
    #[serde(default, skip_serializing_if = "WriteSettings::is_default")]
    pub write: WriteSettings,
    /// What versions of objects are for.
    #[serde(default, skip_serializing_if = "Versioning::is_default")]
    pub versioning: Versioning,
    /// Patterns of [`IgnoreList`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// What else is left out.
    #[serde(default, skip_serializing_if = "ObjectFilter::is_default")]
    pub filter: ObjectFilter,
    /// By what both sides are compared.
    #[serde(default)]
    pub compare: CompareMode,
    /// A list of the objects that runs are about, in place of listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestLocation>,
    /// Whether what only the destination has is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorSettings>,
    /// Where the result of each object goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportSettings>,
    /// How much work the jobsender may be ahead of the workers, in seconds of theirs; none = any.
    #[serde(default = "two_hours")]
    pub backlog_seconds: Option<u32>,
    /// How objects are moved.
    pub transfer: TransferSettings,
    /// The queue.
    pub queue: QueueConfig,
    /// The ledger's table.
    pub ledger: LedgerConfig,
}

#[allow(clippy::unnecessary_wraps, reason = "the type of the member")]
const fn two_hours() -> Option<u32> {
    Some(2 * 3600)
}

/// Names a job for ledger keys and logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobIdentity {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// UID of the resource: a job deleted and made again under its name is another job.
    pub uid: String,
}

/// That the destination is to have nothing that the source does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MirrorSettings {
    /// Most objects that one run deletes. Where more are extra, none is: so many were never meant.
    pub max_deletes: u64,
}

/// The queue of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueueConfig {
    /// Where and as whom.
    #[serde(flatten)]
    pub service: ServiceAccess,
    /// URL of the queue.
    pub url: String,
    /// URL of the queue for messages that can't be processed.
    pub dead_letter_url: String,
}

/// The ledger of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LedgerConfig {
    /// Where and as whom.
    #[serde(flatten)]
    pub service: ServiceAccess,
    /// Name of the table.
    pub table: String,
}

/// Why a configuration can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Written by another version of the operator.
    #[error(
        "failed to read job config: it has version {0} and this program reads {CONFIG_VERSION}; use images of the operator's own version"
    )]
    Version(u32),
    /// There is nothing to move.
    #[error("failed to read job config: buckets is empty; name at least one pair")]
    NoBuckets,
    /// A number outside its bounds.
    #[error("failed to read job config: {field} is {value} and must be {bounds}")]
    Bounds {
        /// The setting's name in the resource.
        field: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        bounds: String,
    },
    /// A proxy that no request can go through.
    #[error(
        "failed to read job config: {side}.proxy is not a URL such as http://proxy.example.com:3128, without user, password and path"
    )]
    Proxy {
        /// Whose.
        side: Side,
    },
    /// A pattern that is not valid.
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// A source key could map to a key of a report.
    #[error(
        "failed to read job config: reports under {prefix:?} of bucket {bucket} would lie among what a pair writes; give report another bucket, or a prefix that does not begin with the pair's destination prefix"
    )]
    ReportAmongCopies {
        /// The bucket.
        bucket: String,
        /// The prefix of reports.
        prefix: String,
    },
    /// What a list does not name is not extra.
    #[error(
        "failed to read job config: mirror and manifest exclude each other: a list says nothing of what else the source has; leave one out"
    )]
    MirrorOfManifest,
    /// What one pair writes another one would take for extra.
    #[error(
        "failed to read job config: two pairs write under {prefix:?} of bucket {bucket}, and with mirror one would delete what the other wrote; give them destination prefixes of which none begins with the other"
    )]
    MirroredTwice {
        /// The destination bucket.
        bucket: String,
        /// The shorter one of their destination ranges.
        prefix: String,
    },
}

impl JobConfig {
    /// Checks what the schema of the resource can't, and gives the compiled ignore list.
    pub fn validate(&self) -> Result<IgnoreList, ConfigError> {
        if self.version != CONFIG_VERSION {
            return Err(ConfigError::Version(self.version));
        }
        if self.buckets.is_empty() {
            return Err(ConfigError::NoBuckets);
        }
        self.source.validate(Side::Source)?;
        self.destination.validate(Side::Destination)?;
        self.transfer.validate()?;
        self.filter.validate()?;
        self.check_report()?;
        self.check_mirror()?;
        Ok(IgnoreList::new(&self.ignore)?)
    }

    /// No source key may map to a key of a report.
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

    /// With a mirror no pair may write where another one looks for what is extra.
    fn check_mirror(&self) -> Result<(), ConfigError> {
        if self.mirror.is_none() {
            return Ok(());
        }
        if self.manifest.is_some() {
            return Err(ConfigError::MirrorOfManifest);
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
            assert_eq!(config.validate().is_ok(), is_fine, "{bucket} {prefix}");
        }
    }

    fn manifest() -> ManifestLocation {
        serde_yaml::from_str("{bucket: lists, key: a.csv}").unwrap()
    }

    #[test]
    fn reads_yaml_and_writes_the_same_back() {
        let config = config();
        assert!(config.validate().is_ok());
        assert_eq!(config.destination.service.credentials, Credentials::Pod);
        let text = serde_yaml::to_string(&config).unwrap();
        assert_eq!(serde_yaml::from_str::<JobConfig>(&text).unwrap(), config);
    }

    #[test]
    fn says_what_is_out_of_bounds() {
        type Change = fn(&mut JobConfig);
        let broken: [(&str, Change); 15] = [
            ("source.proxy is not a URL", |c| c.source.proxy = Some("proxy:3128".into())),
            ("destination.proxy is not a URL", |c| c.destination.proxy = Some("http://me:secret@proxy".into())),
            ("reports under \"r/\" of bucket b", |c| c.report = Some(report("b", "r/"))),
            ("reports under \"\" of bucket b", |c| c.report = Some(report("b", ""))),
            ("mirror and manifest exclude each other", |c| c.manifest = Some(manifest())),
            ("two pairs write under \"\" of bucket b", |c| c.buckets.push(c.buckets[0].clone())),
            ("version 9", |c| c.version = 9),
            ("buckets is empty", |c| c.buckets.clear()),
            ("filesPerWorker", |c| c.transfer.files_per_worker = 0),
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
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let text = serde_yaml::to_string(&config()).unwrap().replace("ignore:", "ignroe:");
        assert!(serde_yaml::from_str::<JobConfig>(&text).is_err());
    }
}
