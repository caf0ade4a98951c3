//! Credentials for the services.

use kube_derive::KubeSchema;
use migration_core::config::{AssumeRole as CoreAssumeRole, session_name};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
