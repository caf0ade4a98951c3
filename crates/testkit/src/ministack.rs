//! A local server of S3, SQS and DynamoDB that runs as long as a test.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::server::{Kind, Server};

/// Version that the suites' deviations apply to.
pub const MINISTACK_VERSION: &str = "1.5.33";

static KIND: Kind = Kind {
    name: "ministack",
    question: "GET /_ministack/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    answer: Duration::from_secs(1),
    patience: Duration::from_mins(1),
};

/// A running `MiniStack`, stopped on drop.
#[derive(Debug)]
pub struct MiniStack(Server);

/// Script that installs the server, from the root of the repository.
const INSTALLER: &str = "kind-tests/services/venv.sh";
/// Packages that the script installs. The digest of this file names the directory.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kind-tests/services/requirements.txt");

/// Returns the program that [`INSTALLER`] installs.
fn installed() -> Result<PathBuf, String> {
    let requirements = fs::read(REQUIREMENTS).map_err(|error| format!("failed to read {REQUIREMENTS}: {error}"))?;
    let digest = hex::encode(Sha256::digest(requirements));
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from).or_else(home);
    let environment = format!("s3-migration-operator/python-{}", digest.get(..12).unwrap_or_default());
    Ok(cache.unwrap_or_default().join(environment).join("bin/ministack"))
}

/// Returns the program in the environment variable `MINISTACK`, otherwise the one that [`INSTALLER`] installs.
fn program() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("MINISTACK") {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("failed to find MiniStack: MINISTACK is {}, and there is no such file", path.display()))
        };
    }
    let path = installed()?;
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "failed to find MiniStack: {} is not there; run `bash {INSTALLER}`, or set MINISTACK to the program of \
         ministack {MINISTACK_VERSION}",
        path.display()
    ))
}

impl MiniStack {
    /// Starts a server on a free loopback port, accepting any credentials, and waits until it responds.
    pub async fn start() -> Result<Self, String> {
        Self::start_with(&[]).await
    }

    /// Starts a server with additional environment variables.
    pub async fn start_with(environment: &[(&str, &str)]) -> Result<Self, String> {
        let program = program()?;
        let command = |port: u16, _: &Path| {
            let mut command = Command::new(&program);
            command
                .envs([
                    ("BIND_HOST", "127.0.0.1"),
                    ("MINISTACK_HOST", "127.0.0.1"),
                    ("GATEWAY_PORT", &port.to_string()),
                    ("SERVICES", "s3,sqs,dynamodb,sts,ssm,iam"),
                    ("SFTP_ENABLED", "0"),
                    ("IOT_MTLS_ENABLED", "0"),
                    ("LOG_LEVEL", "WARNING"),
                ])
                .envs(environment.iter().copied());
            command
        };
        Ok(Self(Server::start(&KIND, command).await?))
    }

    /// URL of all its services.
    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }
}
