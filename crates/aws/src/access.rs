//! Where a service is and as whom it is called.

use std::path::PathBuf;

use migration_core::config::{Credentials, ServiceAccess};

use crate::credentials::StaticKeys;

/// Where a service is and as whom it is called. Unlike [`ServiceAccess`] it may hold keys, and so is never written
/// down: its `Debug` hides them. Equal values reach one service as one principal, so it can be the key of a cache of
/// clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// Region for signatures and endpoint names.
    pub region: String,
    /// URL in place of the region's own endpoint.
    pub endpoint: Option<String>,
    /// As whom.
    pub credentials: CredentialSource,
}

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CredentialSource {
    /// The SDK's default chain: environment, web identity (IRSA), Pod Identity, the node's role.
    Pod,
    /// Requests are not signed.
    Anonymous,
    /// Files of a mounted Secret, read again every few seconds. See [`crate::credentials`].
    Directory {
        /// The directory of the files.
        path: PathBuf,
    },
    /// Keys that the caller has read, as the operator does through the Kubernetes API.
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
