//! A real server of S3, SQS and `DynamoDB` on this machine, for as long as a test runs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::server::{Kind, Server};

/// The version that the suites' lists of deviations are true for.
pub const MINISTACK_VERSION: &str = "1.5.33";

static KIND: Kind = Kind {
    name: "ministack",
    question: "GET /_ministack/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    answer: Duration::from_secs(1),
    patience: Duration::from_mins(1),
};

/// A running `MiniStack`, which ends with this value.
#[derive(Debug)]
pub struct MiniStack(Server);

/// The script that installs it, from the root of the repository.
const INSTALLER: &str = "kind-tests/services/venv.sh";
/// What that installs; its digest names the directory.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kind-tests/services/requirements.txt");

/// Where [`INSTALLER`] puts it.
fn installed() -> Result<PathBuf, String> {
    let requirements = fs::read(REQUIREMENTS).map_err(|error| format!("failed to read {REQUIREMENTS}: {error}"))?;
    let digest = hex::encode(Sha256::digest(requirements));
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from).or_else(home);
    let environment = format!("s3-migration-operator/python-{}", digest.get(..12).unwrap_or_default());
    Ok(cache.unwrap_or_default().join(environment).join("bin/ministack"))
}

/// Where the program is: the environment variable `MINISTACK`, else where [`INSTALLER`] puts it.
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
    /// Starts one that takes any credentials, on a free port of the loopback address, and waits until it answers.
    pub async fn start() -> Result<Self, String> {
        Self::start_with(&[]).await
    }

    /// The same with environment variables besides.
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
