//! How objects are moved, and the settings they are written with.

use serde::{Deserialize, Serialize};

use super::{ConfigError, RateLimits};
use crate::concurrency::FilesPerWorker;
use crate::congestion::CongestionControl;
use crate::object::EncryptionKind;
use crate::part::{MAX_PART, PartSize};
use crate::size::ByteSize;

/// How objects are moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransferSettings {
    /// Size of the parts of large objects.
    pub part_size: PartSize,
    /// Objects larger than this are moved in parts.
    pub multipart_threshold: ByteSize,
    /// Objects larger than this are distributed over many workers, each moving a range of the parts.
    #[serde(default = "split_threshold")]
    pub split_threshold: ByteSize,
    /// Number of objects that one worker moves at the same time.
    #[serde(default)]
    pub files_per_worker: FilesPerWorker,
    /// Number of parts of one object that one worker moves at the same time.
    pub parts_per_file: u32,
    /// Maximum bytes of objects and parts that one worker holds in memory.
    pub memory_limit: ByteSize,
    /// Maximum number of attempts for an object, over all deliveries of its message.
    pub max_attempts: u32,
    /// Whether a worker or the service copies the bytes.
    #[serde(default)]
    pub mode: TransferMode,
    /// Compare the whole-object checksums that both services store. Costs one more request per large object.
    #[serde(default = "yes")]
    pub compare_checksums: bool,
    /// The attributes to preserve.
    #[serde(default)]
    pub preserve: Preserve,
    /// Timetable of the bytes per second that all processes of the job together read at the source, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_limit: Option<String>,
    /// Timetable of the requests per second that all processes of the job together send to each side, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_limit: Option<String>,
    /// TCP congestion control of the connections to both sides.
    #[serde(default, skip_serializing_if = "CongestionControl::is_default")]
    pub tcp_congestion_control: CongestionControl,
}

/// Default of `splitThreshold`: at this size one range takes a worker some minutes.
const fn split_threshold() -> ByteSize {
    ByteSize::mib(8 << 10)
}

const fn yes() -> bool {
    true
}

/// Whether a worker or the service copies the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum TransferMode {
    /// The service if both sides are the same service and principal, otherwise a worker.
    #[default]
    Auto,
    /// A worker.
    Stream,
    /// The service.
    ServerSide,
}

/// How to treat an object whose attributes cannot all be preserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnLoss {
    /// Move the object and count what was not preserved.
    #[default]
    Count,
    /// Fail the object.
    Fail,
}

/// The attributes to preserve in addition to the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Preserve {
    /// Content headers, user metadata and website redirect.
    pub metadata: bool,
    /// Tags. Requires permission to read them.
    pub tags: bool,
    /// Retention and legal hold. Requires Object Lock on the bucket.
    pub object_lock: bool,
    /// How to treat an object whose attributes cannot all be preserved.
    pub on_loss: OnLoss,
}

impl Default for Preserve {
    fn default() -> Self {
        Self { metadata: true, tags: true, object_lock: false, on_loss: OnLoss::Count }
    }
}

/// Settings applied to every object written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WriteSettings {
    /// Storage class; `None` keeps the source's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Encryption at rest; `None` uses the bucket's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Canned ACL, as in `x-amz-acl`; `None` sends no ACL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
}

impl WriteSettings {
    /// Returns true if all settings are defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Encryption at rest of the objects written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Encryption {
    /// With keys managed by S3 (`AES256`).
    #[serde(rename = "SSE-S3")]
    S3,
    /// With a KMS key (`aws:kms`).
    #[serde(rename = "SSE-KMS", rename_all = "camelCase")]
    Kms {
        /// ID or ARN of the key; `None` means the account's default key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kms_key_id: Option<String>,
    },
    /// With a KMS key, in two layers (`aws:kms:dsse`).
    #[serde(rename = "DSSE-KMS", rename_all = "camelCase")]
    DualKms {
        /// ID or ARN of the key; `None` means the account's default key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kms_key_id: Option<String>,
    },
}

impl Encryption {
    /// The way, whatever the key.
    pub const fn kind(&self) -> EncryptionKind {
        match self {
            Self::S3 => EncryptionKind::ServiceKeys,
            Self::Kms { .. } => EncryptionKind::ManagedKey,
            Self::DualKms { .. } => EncryptionKind::ManagedKeyTwice,
        }
    }
}

/// How object versions are used: the predecessor's three switches.
///
/// | compare | update | get | mode |
/// |---|---|---|---|
/// | no | no | no | versions are not used; each GET requests the listed ETag |
/// | no | no | yes | S3 trigger: the version named by an event is read |
/// | no | yes | yes | integrity: the version is looked up before the copy, pinned, and checked again after it |
/// | yes | yes | yes | integrity and consistency: scans also compare versions with those recorded at the last copy |
///
/// Every other combination applies its switches independently.
/// Source: the predecessor's cluster configuration, section "Mode".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Versioning {
    /// Scans list the source's versions and compare them with those recorded in the ledger at the last copy.
    pub compare_version_id: bool,
    /// A worker looks up the source's version before it copies an object, and checks it again afterwards.
    pub update_version_id: bool,
    /// Every GET requests the version, if it is known.
    pub get_object_with_version_id: bool,
}

impl Versioning {
    /// Returns true if versions are not used.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl TransferSettings {
    /// Reads the timetables of the limits.
    pub fn rate_limits(&self) -> Result<RateLimits, ConfigError> {
        RateLimits::parse(self.bandwidth_limit.as_deref(), self.request_limit.as_deref())
    }

    /// Checks the bounds: at least one object and part at a time, and enough memory for the largest body held whole.
    pub fn validate(&self, minimum_part: u64) -> Result<(), ConfigError> {
        let bounds =
            |field, value: String, bounds: &str| Err(ConfigError::Bounds { field, value, bounds: bounds.to_owned() });
        if self.files_per_worker.most() == 0 {
            return bounds("transfer.filesPerWorker", "0".into(), "Auto, or at least 1");
        }
        if self.parts_per_file == 0 {
            return bounds("transfer.partsPerFile", "0".into(), "at least 1");
        }
        if self.max_attempts == 0 {
            return bounds("transfer.maxAttempts", "0".into(), "at least 1");
        }
        if self.multipart_threshold.bytes() > MAX_PART {
            return bounds("transfer.multipartThreshold", self.multipart_threshold.to_string(), "at most 5Gi");
        }
        if self.split_threshold < self.multipart_threshold {
            let least = format!("at least {}, the multipartThreshold", self.multipart_threshold);
            return bounds("transfer.splitThreshold", self.split_threshold.to_string(), &least);
        }
        if let PartSize::Fixed(size) = self.part_size
            && !(minimum_part..=MAX_PART).contains(&size.bytes())
        {
            return bounds("transfer.partSize", size.to_string(), "Auto, or from 5Mi to 5Gi");
        }
        let held = match self.part_size {
            PartSize::Fixed(size) => size.max(self.multipart_threshold),
            PartSize::Auto => self.multipart_threshold.max(ByteSize::mib(16)),
        };
        if self.memory_limit < held {
            return Err(ConfigError::Bounds {
                field: "transfer.memoryLimit",
                value: self.memory_limit.to_string(),
                bounds: format!("at least {held}, the larger of partSize and multipartThreshold"),
            });
        }
        Ok(())
    }
}
