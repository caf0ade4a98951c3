//! How objects are moved, and what they are written with.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::part::{MAX_PART, MIN_PART, PartSize};
use crate::size::ByteSize;

/// How objects are moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransferSettings {
    /// Size of the parts of large objects.
    pub part_size: PartSize,
    /// Objects over this are moved in parts.
    pub multipart_threshold: ByteSize,
    /// Objects over this are carried by many workers at once, each a range of its parts.
    #[serde(default = "split_threshold")]
    pub split_threshold: ByteSize,
    /// Objects moved at once by one worker.
    pub files_per_worker: u32,
    /// Parts of one object moved at once by one worker.
    pub parts_per_file: u32,
    /// Bound on the bytes of objects and parts held at once by one worker.
    pub memory_limit: ByteSize,
    /// Tries of an object, over all deliveries, before it is a failure.
    pub max_attempts: u32,
    /// Who carries the bytes.
    #[serde(default)]
    pub mode: TransferMode,
    /// Compare the checksums that both services keep of a whole object: one request more per large object.
    #[serde(default = "yes")]
    pub compare_checksums: bool,
    /// What is taken along with the bytes.
    #[serde(default)]
    pub preserve: Preserve,
}

/// Objects over this many bytes are split by default: a worker is then some minutes at one of its ranges.
const fn split_threshold() -> ByteSize {
    ByteSize::mib(8 << 10)
}

const fn yes() -> bool {
    true
}

/// Who carries the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferMode {
    /// The service itself where both sides are one service, reached as one principal; a worker otherwise.
    #[default]
    Auto,
    /// A worker.
    Stream,
    /// The service itself.
    ServerSide,
}

/// What becomes of an object of which something can't be taken along that is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnLoss {
    /// Its bytes are moved, and what is left behind is counted.
    #[default]
    Count,
    /// It fails.
    Fail,
}

/// What is taken along with the bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Preserve {
    /// Content headers, user metadata, website redirect.
    pub metadata: bool,
    /// Tags; needs the right to read them.
    pub tags: bool,
    /// Retention and legal hold; needs buckets with Object Lock.
    pub object_lock: bool,
    /// What becomes of an object of which something can't be taken along.
    pub on_loss: OnLoss,
}

impl Default for Preserve {
    fn default() -> Self {
        Self { metadata: true, tags: true, object_lock: false, on_loss: OnLoss::Count }
    }
}

/// What is the same for every object written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WriteSettings {
    /// Storage class; none keeps the source's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Encryption at rest; none leaves it to the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Canned ACL, as `x-amz-acl` takes it; none sends no ACL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
}

impl WriteSettings {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Encryption at rest of the objects written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Encryption {
    /// With keys of S3 (`AES256`).
    #[serde(rename = "SSE-S3")]
    S3,
    /// With a key of KMS (`aws:kms`).
    #[serde(rename = "SSE-KMS", rename_all = "camelCase")]
    Kms {
        /// Which; none = the account's default key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kms_key_id: Option<String>,
    },
    /// With a key of KMS, twice (`aws:kms:dsse`).
    #[serde(rename = "DSSE-KMS", rename_all = "camelCase")]
    DualKms {
        /// Which; none = the account's default key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kms_key_id: Option<String>,
    },
}

/// What versions of objects are for: the predecessor's three switches.
///
/// | compare | update | get | mode |
/// |---|---|---|---|
/// | no | no | no | versions play no part; each GET asks for the ETag that was listed |
/// | no | no | yes | S3 trigger: the version that an event names is read |
/// | no | yes | yes | integrity: the version is read before the copy, pinned, and looked at again after it |
/// | yes | yes | yes | integrity and consistency: besides, runs compare versions with those recorded at the last copy |
///
/// Every other combination works as its switches say. Source: the predecessor's cluster configuration, section "Mode".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Versioning {
    /// Scans list the source's versions, and compare them with those recorded in the ledger when objects were copied.
    pub compare_version_id: bool,
    /// A worker asks for the source's version before it copies an object, and looks at it again afterwards.
    pub update_version_id: bool,
    /// Every GET asks for the version, where it is known.
    pub get_object_with_version_id: bool,
}

impl Versioning {
    /// Whether versions play no part.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl TransferSettings {
    /// Checks the bounds: at least one object and part at a time, and memory for the largest thing that is held whole.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bounds =
            |field, value: String, bounds: &str| Err(ConfigError::Bounds { field, value, bounds: bounds.to_owned() });
        if self.files_per_worker == 0 {
            return bounds("transfer.filesPerWorker", "0".into(), "at least 1");
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
            && !(MIN_PART..=MAX_PART).contains(&size.bytes())
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
