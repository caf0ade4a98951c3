//! A stricter local server of S3 and SQS that runs as long as a test.
//!
//! It keeps more rules of S3 than [`crate::MiniStack`]: smallest parts, the order of parts, checksums of whole objects
//! and of parts, object lock, encryption. It takes seconds to start, does not check signatures, and listens on all
//! addresses of the machine.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::server::{Kind, Server};

/// Version that the suites' deviations apply to.
pub const LOCALSTACK_VERSION: &str = "4.12.0";

/// Script that installs the server if needed and prints its location.
const INSTALLER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kind-tests/services/localstack.sh");
static KIND: Kind = Kind {
    name: "localstack",
    // Lists buckets: the health endpoint reports success before a service is loaded.
    question: "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
               Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
               SignedHeaders=host, Signature=0\r\n\r\n",
    // The first request waits until the service is loaded.
    answer: Duration::from_secs(30),
    patience: Duration::from_mins(3),
};

/// A running `LocalStack`, stopped on drop.
#[derive(Debug)]
pub struct LocalStack(Server);

/// Returns the Python of the directory in the environment variable `LOCALSTACK`, otherwise the one that [`INSTALLER`]
/// installs.
fn python() -> Result<PathBuf, String> {
    let directory = match env::var_os("LOCALSTACK") {
        Some(directory) => PathBuf::from(directory),
        None => install()?,
    };
    let python = directory.join("bin/python");
    if python.is_file() {
        return Ok(python);
    }
    Err(format!(
        "failed to find LocalStack: {} is not there; run `bash {INSTALLER}`, or set LOCALSTACK to a Python \
         environment with localstack-core {LOCALSTACK_VERSION}",
        python.display()
    ))
}

fn install() -> Result<PathBuf, String> {
    let output = Command::new("bash")
        .arg(INSTALLER)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("failed to run {INSTALLER}: {error}"))?;
    if !output.status.success() {
        return Err(format!("failed to install LocalStack: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

impl LocalStack {
    /// Starts a server on a free port and waits until S3 responds. Installs it first if needed, which takes about a
    /// minute.
    pub async fn start() -> Result<Self, String> {
        let python = spawn_blocking(python).await.map_err(|error| format!("failed to find LocalStack: {error}"))??;
        let command = |port: u16, directory: &Path| {
            let address = format!("127.0.0.1:{port}");
            let mut command = Command::new(&python);
            command.args(["-m", "localstack.runtime.main"]).env("FILESYSTEM_ROOT", directory).envs([
                ("GATEWAY_LISTEN", address.as_str()),
                ("LOCALSTACK_HOST", &address),
                ("SERVICES", "s3,sqs"),
                ("SQS_ENDPOINT_STRATEGY", "off"),
                ("DISABLE_EVENTS", "1"),
                ("SKIP_SSL_CERT_DOWNLOAD", "1"),
                ("DNS_ADDRESS", "0"),
            ]);
            command
        };
        Ok(Self(Server::start(&KIND, command).await?))
    }

    /// URL of all its services.
    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }
}
