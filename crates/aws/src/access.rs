//! Location of a service and the identity that calls it.

use std::path::PathBuf;

use migration_core::config::{Credentials, ServiceAccess};

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
    /// The SDK's default chain: environment, web identity (IRSA), Pod Identity, the node's role.
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
        }
    }
}
