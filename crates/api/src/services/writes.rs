//! How objects are written: storage class, encryption at rest, ACL.

use kube_derive::KubeSchema;
use migration_core::config::Encryption as CoreEncryption;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Storage classes that S3 accepts for new objects. Source: the request header `x-amz-storage-class` of `PutObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names are those of S3 and say all")]
pub enum StorageClass {
    Standard,
    ReducedRedundancy,
    StandardIa,
    OnezoneIa,
    IntelligentTiering,
    Glacier,
    GlacierIr,
    DeepArchive,
}

impl StorageClass {
    /// Returns the value of the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::ReducedRedundancy => "REDUCED_REDUNDANCY",
            Self::StandardIa => "STANDARD_IA",
            Self::OnezoneIa => "ONEZONE_IA",
            Self::IntelligentTiering => "INTELLIGENT_TIERING",
            Self::Glacier => "GLACIER",
            Self::GlacierIr => "GLACIER_IR",
            Self::DeepArchive => "DEEP_ARCHIVE",
        }
    }
}

/// Encryption at rest of the objects written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.kmsKeyId) || self.type != 'SSE-S3'").message(
    "encryption.kmsKeyId does not apply to SSE-S3: write type SSE-KMS or DSSE-KMS, or remove kmsKeyId",
))]
pub struct Encryption {
    /// `SSE-S3`: keys managed by S3. `SSE-KMS`: a KMS key. `DSSE-KMS`: a KMS key, in two layers.
    #[serde(rename = "type")]
    pub kind: EncryptionType,

    /// KMS key: its ID or ARN, or `alias/` and its alias; a key of another account only by ARN. The destination's
    /// credentials need kms:GenerateDataKey and kms:Decrypt on it. Absent = the account's default key for S3, `aws/s3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9:/_.-]+$')").message(
        "not a KMS key: write its ID such as 1234abcd-12ab-34cd-56ef-1234567890ab, its ARN, or alias/ and its alias",
    ))]
    pub kms_key_id: Option<String>,
}

/// Type of encryption at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EncryptionType {
    /// Keys managed by S3.
    #[serde(rename = "SSE-S3")]
    S3,
    /// A KMS key.
    #[serde(rename = "SSE-KMS")]
    Kms,
    /// A KMS key, in two layers.
    #[serde(rename = "DSSE-KMS")]
    DualKms,
}

impl From<&Encryption> for CoreEncryption {
    fn from(encryption: &Encryption) -> Self {
        let kms_key_id = encryption.kms_key_id.clone();
        match encryption.kind {
            EncryptionType::S3 => Self::S3,
            EncryptionType::Kms => Self::Kms { kms_key_id },
            EncryptionType::DualKms => Self::DualKms { kms_key_id },
        }
    }
}

/// Canned ACLs of S3 for objects. Source: the request header `x-amz-acl` of `PutObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are those of S3 and say all")]
pub enum CannedAcl {
    Private,
    PublicRead,
    PublicReadWrite,
    AuthenticatedRead,
    AwsExecRead,
    BucketOwnerRead,
    BucketOwnerFullControl,
}

impl CannedAcl {
    /// Returns the value of the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
            Self::AuthenticatedRead => "authenticated-read",
            Self::AwsExecRead => "aws-exec-read",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
        }
    }
}
