//! Connections to the services of a job: S3 on both sides, queue and ledger.

use kube_derive::KubeSchema;
use migration_core::config::{AssumeRole as CoreAssumeRole, Encryption as CoreEncryption, MountedFrom, session_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::filters::ConfigMapKey;

/// The S3 service to read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = role_is_of_the_partition())]
pub struct Source {
    /// Region of the buckets, such as `eu-central-1` or `cn-north-1`. Other vendors define their own region names; if
    /// they define none, write `us-east-1`.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = region())]
    pub region: String,

    /// URL of the service if it is not AWS, such as `https://minio.example.com:9000`. Absent = the AWS endpoint of the
    /// region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint())]
    pub endpoint: Option<String>,

    /// Address buckets as `https://host/bucket` instead of `https://bucket.host`. Most services other than AWS need
    /// `true`.
    #[serde(default)]
    pub path_style: bool,

    /// Accept the costs of requests and transfer for Requester Pays buckets: each request then has the header
    /// `x-amz-request-payer`. Without it such buckets return 403.
    #[serde(default)]
    pub requester_pays: bool,

    /// Certificates in PEM to trust in addition to the default ones, for services whose certificates are signed by a
    /// private authority. When they change, the workers are restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,

    /// URL of the HTTP proxy for this service, such as `http://proxy.example.com:3128`. Absent = HTTPS_PROXY,
    /// HTTP_PROXY and NO_PROXY of `worker.env` and `jobsender.env` apply. A proxy that requires a password is
    /// configured there too, with a value from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = proxy())]
    pub proxy: Option<String>,

    /// Credentials to read the buckets: `secretRef`, `assumeRole` or `anonymous`. Absent = the pod's identity (IRSA,
    /// Pod Identity, or the node's role).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// The S3 service to write to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.credentials) || !has(self.credentials.anonymous)").message(
    "credentials.anonymous is for the source only, since writing needs credentials: name a Secret with \
     credentials.secretRef or a role with credentials.assumeRole, or leave credentials out to use the pod's identity",
))]
#[x_kube(validation = role_is_of_the_partition())]
pub struct Destination {
    /// Region of the buckets, such as `eu-central-1` or `cn-north-1`. Other vendors define their own region names; if
    /// they define none, write `us-east-1`.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = region())]
    pub region: String,

    /// URL of the service if it is not AWS, such as `https://minio.example.com:9000`. Absent = the AWS endpoint of the
    /// region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint())]
    pub endpoint: Option<String>,

    /// Address buckets as `https://host/bucket` instead of `https://bucket.host`. Most services other than AWS need
    /// `true`.
    #[serde(default)]
    pub path_style: bool,

    /// Accept the costs of requests and transfer for Requester Pays buckets: each request then has the header
    /// `x-amz-request-payer`. Without it such buckets return 403.
    #[serde(default)]
    pub requester_pays: bool,

    /// Certificates in PEM to trust in addition to the default ones, for services whose certificates are signed by a
    /// private authority. When they change, the workers are restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,

    /// URL of the HTTP proxy for this service, such as `http://proxy.example.com:3128`. Absent = HTTPS_PROXY,
    /// HTTP_PROXY and NO_PROXY of `worker.env` and `jobsender.env` apply. A proxy that requires a password is
    /// configured there too, with a value from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = proxy())]
    pub proxy: Option<String>,

    /// Credentials to write the buckets: `secretRef` or `assumeRole`. Absent = the pod's identity (IRSA, Pod Identity,
    /// or the node's role). `anonymous` is rejected here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,

    /// Storage class of the objects written. Absent = the class of the source object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<StorageClass>,

    /// Encryption at rest of the objects written. Absent = the default of each bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,

    /// Canned ACL of the objects written; needs s3:PutObjectAcl. Buckets with ACLs disabled accept only
    /// `bucket-owner-full-control`. Absent = no ACL is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<CannedAcl>,
}

/// Credentials for an S3 service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.secretRef), has(self.assumeRole), has(self.anonymous)].exists_one(given, given)",
).message(
    "credentials takes exactly one of secretRef, assumeRole and anonymous; leave credentials out to use the pod's identity",
))]
pub struct Credentials {
    /// Secret in the job's namespace with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN
    /// for temporary credentials. When it changes, running workers switch to the new keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,

    /// IAM role that the pod's own identity assumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,

    /// Send unsigned requests, for public buckets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<Anonymous>,
}

/// IAM role to assume. Jobsender and workers call sts:AssumeRole as the identity of their pods, at the STS endpoint of
/// the side's region, for sessions of an hour, which are replaced before they end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// ARN of the role, in the partition of the side's region: arn:aws, arn:aws-cn or arn:aws-us-gov.
    #[schemars(length(min = 20, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$')").message(
        "not the ARN of an IAM role: write it as IAM shows it, such as arn:aws:iam::123456789012:role/photos-reader",
    ))]
    pub role_arn: String,

    /// The external ID that the role's trust policy asks for. It is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_+=,.@:/-]+$')").message(
        "not an external ID: write the one of the role's trust policy, of letters, digits and _+=,.@:/-",
    ))]
    pub external_id: Option<String>,

    /// Name of the sessions, as CloudTrail shows it. Absent = `s3-migration-` and the job's UID. Unfinished uploads are
    /// recognized as the job's by role and session name, so change it between runs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_+=,.@-]+$')").message(
        "not the name of a session: write letters, digits and _+=,.@-, or leave it out",
    ))]
    pub session_name: Option<String>,
}

impl AssumeRole {
    /// Returns the role as the programs of a job assume it.
    pub fn for_job(&self, job_uid: &str) -> CoreAssumeRole {
        let Self { role_arn, external_id, session_name: name } = self;
        CoreAssumeRole {
            role_arn: role_arn.clone(),
            external_id: external_id.clone(),
            session_name: name.clone().unwrap_or_else(|| session_name(job_uid)),
        }
    }
}

/// Source of certificates.
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

/// Key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

impl CaBundle {
    /// Returns the volume source; `None` if neither or both are set, which the schema rejects.
    pub fn from(&self) -> Option<MountedFrom> {
        match (self.config_map_key_ref.clone(), self.secret_key_ref.clone()) {
            (Some(ConfigMapKey { name, key }), None) => Some(MountedFrom::ConfigMap { name, key }),
            (None, Some(SecretKey { name, key })) => Some(MountedFrom::Secret { name, key }),
            _ => None,
        }
    }
}

/// Send unsigned requests. There are no settings: write `anonymous: {}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Anonymous {}

/// Credentials for queue or ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyCredentials {
    /// Secret in the job's namespace with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN
    /// for temporary credentials.
    pub secret_ref: SecretRef,
}

/// A Secret in the job's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message(
        "not the name of a Secret: write the name of one in this namespace, of lower-case letters, digits, dots and hyphens",
    ))]
    pub name: String,
}

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

/// The SQS queue that carries batches of work from the jobsender to the workers. It may be in any account.
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
    /// Region of the queue. Immutable.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = region())]
    pub region: String,

    /// URL of the SQS service if it is not AWS. Absent = the AWS endpoint of the region. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint())]
    pub endpoint: Option<String>,

    /// Credentials of operator, jobsender and workers for the queue. Absent = the identity of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<KeyCredentials>,

    /// Create a queue and a dead letter queue for this job, with these settings. The default if `url` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<QueueCreate>,

    /// URL of an existing queue, which no other job may use: of two jobs with the same queue, the younger one waits.
    /// Its redrive policy must name a dead letter queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/ ]+/[^ ]+$')").message(
        "not the URL of a queue: write it as SQS shows it, such as https://sqs.eu-central-1.amazonaws.com/123456789012/photos",
    ))]
    pub url: Option<String>,
}

/// Settings of a queue created for the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueCreate {
    /// Visibility timeout of received messages, in seconds. Workers extend it while they work.
    #[schemars(range(min = 30, max = 43200))]
    pub visibility_timeout_seconds: u32,

    /// Retention of messages, in days.
    #[schemars(range(min = 1, max = 14))]
    pub retention_days: u32,

    /// Deliveries after which a message goes to the dead letter queue.
    #[schemars(range(min = 3, max = 1000))]
    pub max_receives: u32,
}

impl Default for QueueCreate {
    fn default() -> Self {
        Self { visibility_timeout_seconds: 900, retention_days: 14, max_receives: 60 }
    }
}

/// The DynamoDB table that records the state of runs and objects.
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
    /// Region of the table. Immutable.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = region())]
    pub region: String,

    /// URL of the DynamoDB service if it is not AWS. Absent = the AWS endpoint of the region. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint())]
    pub endpoint: Option<String>,

    /// Credentials of operator, jobsender and workers for the table. Absent = the identity of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<KeyCredentials>,

    /// Create an on-demand table for this job. The default if `tableName` is absent. There are no settings: write
    /// `create: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<LedgerCreate>,

    /// Name of an existing table, which jobs may share. Its partition key must be the string `pk` and its sort key the
    /// string `sk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_.-]+$')").message(
        "not the name of a table: write its bare name, of letters, digits, '_', '.' and '-'; no ARN",
    ))]
    pub table_name: Option<String>,
}

/// Create a table for the job. There are no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerCreate {}

/// CEL rule: region and endpoint are unchanged.
const SAME_SERVICE_AS_BEFORE: &str = "self.region == oldSelf.region && has(self.endpoint) == has(oldSelf.endpoint) && \
     (!has(self.endpoint) || self.endpoint == oldSelf.endpoint)";

fn region() -> kube_core::Rule {
    kube_core::Rule::new("self.matches('^[a-z0-9][a-z0-9-]*$')").message(
        "not a region: write its name in lower-case letters, digits and hyphens, such as eu-central-1; services \
         without regions take us-east-1",
    )
}

/// With an endpoint, the service is not known to be that of the region.
fn role_is_of_the_partition() -> kube_core::Rule {
    kube_core::Rule::new(
        "!has(self.credentials) || !has(self.credentials.assumeRole) || has(self.endpoint) || \
         self.region.startsWith('cn-') == self.credentials.assumeRole.roleArn.startsWith('arn:aws-cn:') && \
         self.region.startsWith('us-gov-') == self.credentials.assumeRole.roleArn.startsWith('arn:aws-us-gov:')",
    )
    .message(
        "credentials.assumeRole.roleArn is in another partition than region, and no role is valid in two of them: name a \
         role of the partition that has the buckets (arn:aws, arn:aws-cn for cn- regions, arn:aws-us-gov for us-gov- regions)",
    )
}

fn proxy() -> kube_core::Rule {
    kube_core::Rule::new("self.matches('^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?/?$')").message(
        "not the URL of a proxy: write http:// or https://, host and port, such as http://proxy.example.com:3128; user and \
         password belong in a Secret that worker.env and jobsender.env take HTTPS_PROXY from",
    )
}

fn endpoint() -> kube_core::Rule {
    kube_core::Rule::new(r"self.matches('^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$')").message(
        "not an endpoint: write http:// or https://, host and, if needed, port and path, without bucket, \
         user and password, such as https://minio.example.com:9000",
    )
}
