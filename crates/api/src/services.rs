//! How the services of a job are reached: both S3 sides, queue and ledger.

use kube::KubeSchema;
use migration_core::config::{Encryption as CoreEncryption, MountedFrom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::filters::ConfigMapKey;

/// The S3 service that is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Region of the buckets, such as `eu-central-1` or `cn-north-1`. Other vendors name a region of their own; where
    /// they don't, write `us-east-1`.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = region())]
    pub region: String,

    /// URL of the service, where it is not AWS: `https://minio.example.com:9000`. Absent = the region's endpoint of AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint())]
    pub endpoint: Option<String>,

    /// Address buckets as `https://host/bucket` in place of `https://bucket.host`. Most services that are not AWS need
    /// `true`.
    #[serde(default)]
    pub path_style: bool,

    /// The caller pays for requests and transfer, where the buckets are set so: each request says it
    /// (`x-amz-request-payer`). Without it such buckets answer 403.
    #[serde(default)]
    pub requester_pays: bool,

    /// Certificates in PEM that the service is trusted by, besides those that are trusted anyway: for services with a
    /// certificate of an authority of your own. When they change, workers are started anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,

    /// URL of the HTTP proxy through which the service is reached, such as `http://proxy.example.com:3128`. Absent = as
    /// HTTPS_PROXY, HTTP_PROXY and NO_PROXY in `worker.env` and `jobsender.env` say. A proxy that wants a password is set
    /// there too, with the value of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = proxy())]
    pub proxy: Option<String>,

    /// As whom the buckets are read: exactly one of `secretRef` and `anonymous`. Absent = the pod's own identity (IRSA,
    /// Pod Identity, the node's role).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// The S3 service that is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.credentials) || !has(self.credentials.anonymous)").message(
    "credentials.anonymous is for the source only, since a destination is written: name a Secret with \
     credentials.secretRef, or leave credentials out to use the pod's identity",
))]
pub struct Destination {
    /// Region of the buckets, such as `eu-central-1` or `cn-north-1`. Other vendors name a region of their own; where
    /// they don't, write `us-east-1`.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = region())]
    pub region: String,

    /// URL of the service, where it is not AWS: `https://minio.example.com:9000`. Absent = the region's endpoint of AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint())]
    pub endpoint: Option<String>,

    /// Address buckets as `https://host/bucket` in place of `https://bucket.host`. Most services that are not AWS need
    /// `true`.
    #[serde(default)]
    pub path_style: bool,

    /// The caller pays for requests and transfer, where the buckets are set so: each request says it
    /// (`x-amz-request-payer`). Without it such buckets answer 403.
    #[serde(default)]
    pub requester_pays: bool,

    /// Certificates in PEM that the service is trusted by, besides those that are trusted anyway: for services with a
    /// certificate of an authority of your own. When they change, workers are started anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,

    /// URL of the HTTP proxy through which the service is reached, such as `http://proxy.example.com:3128`. Absent = as
    /// HTTPS_PROXY, HTTP_PROXY and NO_PROXY in `worker.env` and `jobsender.env` say. A proxy that wants a password is set
    /// there too, with the value of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = proxy())]
    pub proxy: Option<String>,

    /// As whom the buckets are written: `secretRef`. Absent = the pod's own identity (IRSA, Pod Identity, the node's
    /// role). `anonymous` is refused here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,

    /// Storage class of every object written. Absent = the class that the source object has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<StorageClass>,

    /// Encryption at rest of every object written. Absent = as each bucket's own default says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,

    /// Canned ACL of every object written; needs s3:PutObjectAcl. Buckets with ACLs disabled take none but
    /// `bucket-owner-full-control`. Absent = none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<CannedAcl>,
}

/// As whom an S3 service is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.anonymous)").message(
    "credentials takes exactly one of secretRef and anonymous; leave credentials out to use the pod's identity",
))]
pub struct Credentials {
    /// Secret in the job's namespace with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN
    /// for temporary ones. When it changes, running workers go on with the new keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,

    /// Requests are not signed: for public buckets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Anonymous>,
}

/// Where certificates stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.configMapKeyRef) != has(self.secretKeyRef)").message(
    "caBundle takes exactly one of configMapKeyRef and secretKeyRef: remove one of them",
))]
pub struct CaBundle {
    /// Key of a ConfigMap in the job's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKey>,

    /// Key of a Secret in the job's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKey>,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

impl CaBundle {
    /// What is mounted; none where the schema was not asked.
    pub fn from(&self) -> Option<MountedFrom> {
        match (self.config_map_key_ref.clone(), self.secret_key_ref.clone()) {
            (Some(ConfigMapKey { name, key }), None) => Some(MountedFrom::ConfigMap { name, key }),
            (None, Some(SecretKey { name, key })) => Some(MountedFrom::Secret { name, key }),
            _ => None,
        }
    }
}

/// Requests are not signed. Has no settings: write `anonymous: {}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Anonymous {}

/// As whom queue or ledger are called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyCredentials {
    /// Secret in the job's namespace with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN
    /// for temporary ones.
    pub secret_ref: SecretRef,
}

/// Names a Secret in the job's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SecretRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message(
        "not the name of a Secret: write the name of one in this namespace, of lower-case letters, digits, dots and hyphens",
    ))]
    pub name: String,
}

/// Storage classes of S3 that an object can be written with.
/// Source: the `StorageClass` request header of `PutObject`.
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
    /// As the service writes it.
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
    "encryption.kmsKeyId is for keys of KMS and SSE-S3 has its own: write type SSE-KMS or DSSE-KMS, or remove kmsKeyId",
))]
pub struct Encryption {
    /// `SSE-S3`: with keys of S3 itself. `SSE-KMS`: with a key of KMS. `DSSE-KMS`: with a key of KMS, in two layers.
    #[serde(rename = "type")]
    pub kind: EncryptionType,

    /// The key of KMS: its ID or ARN, or `alias/` and its alias; of another account than the bucket's by ARN only. The
    /// destination's credentials need kms:GenerateDataKey and kms:Decrypt on it. Absent = the account's own key for S3,
    /// `aws/s3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9:/_.-]+$')").message(
        "not a key of KMS: write its ID such as 1234abcd-12ab-34cd-56ef-1234567890ab, its ARN, or alias/ and its alias",
    ))]
    pub kms_key_id: Option<String>,
}

/// With whose keys objects are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EncryptionType {
    /// Keys of S3.
    #[serde(rename = "SSE-S3")]
    S3,
    /// A key of KMS.
    #[serde(rename = "SSE-KMS")]
    Kms,
    /// A key of KMS, in two layers.
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

/// Canned ACLs that an object can be written with.
/// Source: the `x-amz-acl` request header of `PutObject`.
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
    /// As the service writes it.
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

/// The SQS queue that carries the batches from jobsender to workers, in either account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.url) && has(self.create))").message(
    "queue takes either create (a queue of the job's own) or url (one that exists): remove one of them",
))]
#[x_kube(validation = Rule::new(
    "has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",
).message("queue.url can't change, since messages would be lost: create a new MigrationJob instead"))]
#[x_kube(validation = Rule::new(SAME_SERVICE_AS_BEFORE).message(
    "queue.region and queue.endpoint can't change, since messages would be lost: create a new MigrationJob instead",
))]
pub struct Queue {
    /// Region of the queue. Can't change.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = region())]
    pub region: String,

    /// URL of the SQS service, where it is not AWS. Absent = the region's endpoint of AWS. Can't change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint())]
    pub endpoint: Option<String>,

    /// As whom operator, jobsender and workers call it. Absent = the identity of each of these pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<KeyCredentials>,

    /// Make a queue and a dead letter queue for this job, with these settings. The default, where `url` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<QueueCreate>,

    /// URL of an existing queue, used by this job alone: of two jobs with one queue the younger waits. Its redrive policy must name a dead letter queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/ ]+/[^ ]+$')").message(
        "not the URL of a queue: write it as SQS shows it, such as https://sqs.eu-central-1.amazonaws.com/123456789012/photos",
    ))]
    pub url: Option<String>,
}

/// Settings of a queue that is made for the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueCreate {
    /// How long a received message stays with other consumers that don't renew it, in seconds. Workers renew.
    #[schemars(range(min = 30, max = 43200))]
    pub visibility_timeout_seconds: u32,

    /// How long messages are kept, in days.
    #[schemars(range(min = 1, max = 14))]
    pub retention_days: u32,

    /// Deliveries after which a message goes to the dead letters.
    #[schemars(range(min = 3, max = 1000))]
    pub max_receives: u32,
}

impl Default for QueueCreate {
    fn default() -> Self {
        Self { visibility_timeout_seconds: 900, retention_days: 14, max_receives: 60 }
    }
}

/// The DynamoDB table that records what was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.tableName) && has(self.create))").message(
    "ledger takes either create (a table of the job's own) or tableName (one that exists): remove one of them",
))]
#[x_kube(validation = Rule::new(
    "has(self.tableName) == has(oldSelf.tableName) && (!has(self.tableName) || self.tableName == oldSelf.tableName)",
).message("ledger.tableName can't change, since the run's records would be lost: create a new MigrationJob instead"))]
#[x_kube(validation = Rule::new(SAME_SERVICE_AS_BEFORE).message(
    "ledger.region and ledger.endpoint can't change, since the run's records would be lost: create a new MigrationJob instead",
))]
pub struct Ledger {
    /// Region of the table. Can't change.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = region())]
    pub region: String,

    /// URL of the DynamoDB service, where it is not AWS. Absent = the region's endpoint of AWS. Can't change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint())]
    pub endpoint: Option<String>,

    /// As whom operator, jobsender and workers call it. Absent = the identity of each of these pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<KeyCredentials>,

    /// Make an on-demand table for this job. The default, where `tableName` is absent. Has no settings: `create: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<LedgerCreate>,

    /// Name of an existing table; several jobs may share it. Its keys must be those that the documentation gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_.-]+$')").message(
        "not the name of a table: write its bare name, of letters, digits, '_', '.' and '-'; no ARN",
    ))]
    pub table_name: Option<String>,
}

/// A table is made for the job. Has no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerCreate {}

/// CEL for a service that is where it was.
const SAME_SERVICE_AS_BEFORE: &str = "self.region == oldSelf.region && has(self.endpoint) == has(oldSelf.endpoint) && \
     (!has(self.endpoint) || self.endpoint == oldSelf.endpoint)";

fn region() -> kube::core::Rule {
    kube::core::Rule::new("self.matches('^[a-z0-9][a-z0-9-]*$')").message(
        "not a region: write its name in lower-case letters, digits and hyphens, such as eu-central-1; services that \
         have no regions take us-east-1",
    )
}

fn proxy() -> kube::core::Rule {
    kube::core::Rule::new("self.matches('^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?/?$')").message(
        "not the URL of a proxy: write http:// or https://, host and port, such as http://proxy.example.com:3128; user and \
         password belong into a Secret that worker.env and jobsender.env take HTTPS_PROXY from",
    )
}

fn endpoint() -> kube::core::Rule {
    kube::core::Rule::new(r"self.matches('^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$')").message(
        "not an endpoint: write http:// or https://, host, and port and path where the service has them, without bucket, \
         user and password, such as https://minio.example.com:9000",
    )
}
