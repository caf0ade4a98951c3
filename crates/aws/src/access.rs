//! Location of a service and the identity that calls it.

use std::path::PathBuf;

use migration_core::config::{AssumeRole, Credentials, ServiceAccess};

use crate::credentials::StaticKeys;

/// Location of a service and the identity that calls it. May hold keys, which [`ServiceAccess`] never does: it is never
/// written out, and its `Debug` hides them. Equal values reach the same service as the same principal, so it can key a
/// cache of clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// Region for signatures and endpoint names.
    pub region: String,
    /// URL that replaces the region's endpoint.
    pub endpoint: Option<String>,
    /// Identity that signs the requests.
    pub credentials: CredentialSource,
}

/// Source of credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialSource {
    /// The SDK's default chain: environment, the files that the AWS tools share (`~/.aws`), web identity (IRSA), Pod
    /// Identity, the role of the node or machine.
    Pod,
    /// Requests are not signed.
    Anonymous,
    /// Files of a mounted Secret, re-read every few seconds. See [`crate::credentials`].
    Directory {
        /// Directory that holds the files.
        path: PathBuf,
    },
    /// Keys already read by the caller; the operator reads them through the Kubernetes API.
    Static(StaticKeys),
    /// A profile of the files that the AWS tools share, whatever the environment says: keys, a role to assume, a web
    /// identity, IAM Identity Center (SSO), or a process that prints credentials.
    Profile(String),
    /// A role that the identity of [`Self::Pod`] assumes.
    AssumeRole(AssumeRole),
}

impl From<&ServiceAccess> for Access {
    fn from(service: &ServiceAccess) -> Self {
        Self {
            region: service.region.clone(),
            endpoint: service.endpoint.clone(),
            credentials: (&service.credentials).into(),
        }
    }
}

impl From<&Credentials> for CredentialSource {
    fn from(credentials: &Credentials) -> Self {
        match credentials {
            Credentials::Pod => Self::Pod,
            Credentials::Anonymous => Self::Anonymous,
            Credentials::Directory { path, .. } => Self::Directory { path: path.clone() },
            Credentials::Profile { name } => Self::Profile(name.clone()),
            Credentials::AssumeRole(role) => Self::AssumeRole(role.clone()),
        }
    }
}

/// Returns true for an Amazon service: one without an endpoint setting, or with an Amazon host name such as a VPC
/// endpoint.
pub fn is_amazon(endpoint: Option<&str>) -> bool {
    let Some(endpoint) = endpoint else { return true };
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(name, _)| name).trim_end_matches('.').to_ascii_lowercase();
    [".amazonaws.com", ".amazonaws.com.cn"].iter().any(|suffix| host.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazon_is_known_by_its_names() {
        for (endpoint, expected) in [
            (None, true),
            (Some("https://s3.eu-west-1.amazonaws.com"), true),
            (Some("https://bucket.vpce-1.s3.cn-north-1.vpce.amazonaws.com.cn:443/x"), true),
            (Some("https://amazonaws.com.example.org"), false),
            (Some("http://minio:9000/s3.amazonaws.com"), false),
            (Some("http://s3.amazonaws.com@minio"), false),
        ] {
            assert_eq!(is_amazon(endpoint), expected, "{endpoint:?}");
        }
    }
}
