//! Connections to the services of a job: S3 on both sides, queue and ledger.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

mod ca_bundle;
mod credentials;
mod ledger;
mod queue;
mod rules;
mod writes;

pub use ca_bundle::{CaBundle, SecretKey};
pub use credentials::{Anonymous, AssumeRole, Credentials, KeyCredentials, SecretRef};
pub use ledger::{Ledger, LedgerCreate};
pub use queue::{Queue, QueueCreate};
pub use writes::{CannedAcl, Encryption, EncryptionType, StorageClass};

pub(crate) use rules::endpoint as endpoint_rule;
use rules::{endpoint, proxy, region, role_is_of_the_partition};

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
