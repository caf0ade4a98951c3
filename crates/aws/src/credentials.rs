//! Credentials from the files of a mounted Secret, from keys given by the caller, and of an assumed role.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use migration_core::config::{ACCESS_KEY_FILE, SECRET_KEY_FILE, SESSION_TOKEN_FILE};

pub(crate) mod role;

/// Validity reported to the SDK for credentials read from files.
///
/// The SDK's identity cache renews them 5 … 10 s before they expire (a buffer of 10 s, less a jitter of up to half of
/// it), one request at a time. The files are thus read at most every 10 … 15 s, and a rotated Secret is in use that
/// long after the kubelet wrote it.
const VALID_FOR: Duration = Duration::from_secs(20);

/// Symbolic link that the kubelet switches when a mounted Secret changes. Source: Kubernetes, `atomic_writer.go`.
const KUBELET_DATA: &str = "..data";

/// An access key. `Debug` shows only its id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StaticKeys {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
    /// Session token; only temporary credentials have one.
    pub session_token: Option<String>,
}

impl fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKeys").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl StaticKeys {
    pub(crate) fn credentials(&self, expiry: Option<SystemTime>, provider: &'static str) -> Credentials {
        let Self { access_key_id, secret_access_key, session_token } = self.clone();
        Credentials::new(access_key_id, secret_access_key, session_token, expiry, provider)
    }
}

/// Failures to read credentials from a directory. Messages never hold file contents.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file can't be read.
    #[error("failed to read credentials from {path}: {source}; the Secret must have the keys {ACCESS_KEY_FILE} and {SECRET_KEY_FILE}", path = .path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file is empty or holds only white space.
    #[error("failed to read credentials from {}: the file is empty; set this key of the Secret", .0.display())]
    Empty(PathBuf),
}

/// Reads the key files of a directory. Trims white space around the values; the session token is optional.
///
/// If the directory is a mounted Secret, all three files come from the same version of it.
pub async fn read_directory(directory: &Path) -> Result<StaticKeys, DirectoryError> {
    match read_state(directory).await {
        // The Secret was replaced and its old version removed between two reads: read the new version.
        Err(DirectoryError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            read_state(directory).await
        }
        other => other,
    }
}

async fn read_state(directory: &Path) -> Result<StaticKeys, DirectoryError> {
    let state = tokio::fs::canonicalize(directory.join(KUBELET_DATA)).await;
    let state = state.unwrap_or_else(|_| directory.to_owned());
    // Errors name the path that the user configured, not the kubelet's versioned directory.
    let read = async |name: &str| {
        let shown = directory.join(name);
        match tokio::fs::read_to_string(state.join(name)).await {
            Ok(text) if text.trim().is_empty() => Err(DirectoryError::Empty(shown)),
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(DirectoryError::Read { path: shown, source }),
        }
    };
    let access_key_id = read(ACCESS_KEY_FILE).await?;
    let secret_access_key = read(SECRET_KEY_FILE).await?;
    let session_token = match read(SESSION_TOKEN_FILE).await {
        Ok(token) => Some(token),
        Err(DirectoryError::Empty(_)) => None,
        Err(DirectoryError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(StaticKeys { access_key_id, secret_access_key, session_token })
}

/// Credentials provider for the SDK that reads the files of a directory.
#[derive(Debug)]
pub(crate) struct DirectoryCredentials {
    directory: PathBuf,
}

impl DirectoryCredentials {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }
}

impl ProvideCredentials for DirectoryCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let keys = read_directory(&self.directory).await.map_err(CredentialsError::not_loaded)?;
            Ok(keys.credentials(Some(SystemTime::now() + VALID_FOR), "directory"))
        })
    }
}

#[cfg(test)]
#[path = "credentials/tests.rs"]
mod tests;
