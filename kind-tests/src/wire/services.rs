//! Servers of a case.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_credential_types::Credentials;
use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation};

use crate::paths;
use crate::programs::Program;
use crate::services::{REGION, ministack, python};
use crate::wait::until;

/// Time limit until a server is ready, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Interval between checks for readiness.
const INTERVAL: Duration = Duration::from_millis(50);
/// Attempts on other ports: another process may take a port between its choice and its use.
const TRIES: u32 = 3;
/// Access key id and secret of every server.
pub const KEYS: (&str, &str) = ("testuser", "testsecret");

/// Kinds of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// S3, SQS and DynamoDB in memory. Accepts any key.
    MiniStack,
    /// S3 on a file system. Checks signatures, and lists uploads.
    VersityGw,
    /// S3 on a file system. Checks signatures.
    Minio,
    /// A proxy that breaks connections.
    Toxiproxy,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::MiniStack => "ministack",
            Self::VersityGw => "versitygw",
            Self::Minio => "minio",
            Self::Toxiproxy => "toxiproxy",
        }
    }

    fn program(self) -> anyhow::Result<Command> {
        if self == Self::MiniStack {
            return Ok(ministack(&python()?));
        }
        let script = paths::here("services/servers.sh");
        let made = Command::new(&script).arg(self.name()).stderr(Stdio::inherit()).output();
        let made = made.context("failed to run servers.sh")?;
        ensure!(made.status.success(), "failed to install {}", self.name());
        Ok(Command::new(String::from_utf8_lossy(&made.stdout).trim()))
    }

    /// Returns the command that starts the server with its data in a directory.
    fn command(self, address: SocketAddr, data: &Path) -> anyhow::Result<Command> {
        let mut command = self.program()?;
        match self {
            Self::MiniStack => command
                .env("BIND_HOST", address.ip().to_string())
                .env("MINISTACK_HOST", address.ip().to_string())
                .env("GATEWAY_PORT", address.port().to_string())
                .env("SERVICES", "s3,sqs,dynamodb,iam,sts")
                .env("SFTP_ENABLED", "0")
                .env("IOT_MTLS_ENABLED", "0")
                .env("LOG_LEVEL", "WARNING"),
            Self::VersityGw => command
                .args(["--port", &address.to_string(), "--access", KEYS.0, "--secret", KEYS.1])
                .args(["--keep-alive", "posix"])
                .arg(data),
            Self::Minio => command
                .env("MINIO_ROOT_USER", KEYS.0)
                .env("MINIO_ROOT_PASSWORD", KEYS.1)
                .env("MINIO_BROWSER", "off")
                .env("MINIO_UPDATE", "off")
                .args(["server", "--quiet", "--address", &address.to_string()])
                .arg(data),
            Self::Toxiproxy => command.args(["-host", &address.ip().to_string(), "-port", &address.port().to_string()]),
        };
        command.current_dir(data);
        Ok(command)
    }
}

/// A running server, stopped on drop.
#[derive(Debug)]
pub struct Server {
    program: Program,
    address: SocketAddr,
}

impl Server {
    /// Starts a server and waits until it is ready. `name` is that of its log and its data directory.
    pub async fn start(kind: Kind, name: &str, directory: &Path) -> anyhow::Result<Self> {
        let data = directory.join(name);
        fs::create_dir_all(&data).with_context(|| format!("failed to make {}", data.display()))?;
        let mut failure = anyhow::anyhow!("failed to start {name}");
        for _ in 0..TRIES {
            let address = free_address()?;
            let program = Program::start(name, directory, &mut kind.command(address, &data)?)?;
            let mut server = Self { program, address };
            match server.ready(kind).await {
                Ok(()) => return Ok(server),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ready(&mut self, kind: Kind) -> anyhow::Result<()> {
        let client = self.s3();
        until(&format!("{} to answer", kind.name()), PATIENCE, INTERVAL, async || {
            self.program.check_running()?;
            let answers = match kind {
                Kind::Toxiproxy => tokio::net::TcpStream::connect(self.address).await.is_ok(),
                _ => client.list_buckets().send().await.is_ok(),
            };
            Ok(answers.then_some(()))
        })
        .await
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates a client of its S3.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(self.endpoint())
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .credentials_provider(credentials())
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// Creates a client of its queues.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(self.endpoint())
            .credentials_provider(credentials())
            .build();
        aws_sdk_sqs::Client::from_conf(config)
    }
}

fn credentials() -> Credentials {
    Credentials::from_keys(KEYS.0, KEYS.1, None)
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port")?;
    listener.local_addr().context("failed to find a free port")
}
