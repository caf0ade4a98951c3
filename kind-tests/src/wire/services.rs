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
const PATIENCE: Duration = Duration::from_mins(3);
/// Interval between checks for readiness.
const INTERVAL: Duration = Duration::from_millis(50);
/// Attempts on other ports: another process may take a port between its choice and its use.
const TRIES: u32 = 3;
/// Access key id and secret of every server.
pub const KEYS: (&str, &str) = ("testuser", "testsecret");
/// Keys of the administrator of a `MiniStack` that checks them.
const CHECKED_KEYS: (&str, &str) = ("test", "test");
/// Domain whose subdomains name buckets, for servers that can be told one.
pub const DOMAIN: &str = "s3.test";

/// Kinds of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// S3, SQS and DynamoDB in memory. Accepts any key.
    MiniStack,
    /// The same, with signatures and policies checked.
    CheckedMiniStack,
    /// S3 in memory. Accepts any key, and keeps more of S3's rules.
    LocalStack,
    /// S3 on a file system. Checks signatures, and lists uploads.
    VersityGw,
    /// S3 on a file system. Checks signatures.
    Minio,
    /// SQS in memory, fast at any depth. Accepts any key.
    ElasticMq,
    /// DynamoDB as AWS ships it for tests. Accepts any key.
    DynamoDbLocal,
    /// A proxy that breaks connections.
    Toxiproxy,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::MiniStack | Self::CheckedMiniStack => "ministack",
            Self::LocalStack => "localstack",
            Self::VersityGw => "versitygw",
            Self::Minio => "minio",
            Self::ElasticMq => "elasticmq",
            Self::DynamoDbLocal => "dynamodb-local",
            Self::Toxiproxy => "toxiproxy",
        }
    }

    /// Returns the keys of its administrator.
    pub fn keys(self) -> (&'static str, &'static str) {
        if self == Self::CheckedMiniStack { CHECKED_KEYS } else { KEYS }
    }

    fn program(self) -> anyhow::Result<Command> {
        match self {
            Self::MiniStack | Self::CheckedMiniStack => Ok(ministack(&python()?)),
            Self::LocalStack => {
                let mut command = Command::new(format!("{}/bin/python", self.installed("localstack.sh")?));
                command.args(["-m", "localstack.runtime.main"]);
                Ok(command)
            }
            Self::ElasticMq | Self::DynamoDbLocal => {
                let jars = self.installed("java.sh")?;
                let mut command = Command::new("java");
                // Their native library and their classes are beside each other.
                command.args(["-Xmx512m", "-cp", &format!("{jars}/*"), &format!("-Djava.library.path={jars}")]);
                Ok(command)
            }
            Self::VersityGw | Self::Minio | Self::Toxiproxy => Ok(Command::new(self.installed("servers.sh")?)),
        }
    }

    /// Runs the script that installs it if necessary; returns the path that it prints.
    fn installed(self, script: &str) -> anyhow::Result<String> {
        let path = paths::here("services").join(script);
        let made = Command::new("bash").arg(path).arg(self.name()).stderr(Stdio::inherit()).output();
        let made = made.with_context(|| format!("failed to run {script}"))?;
        ensure!(made.status.success(), "failed to install {}", self.name());
        Ok(String::from_utf8_lossy(&made.stdout).trim().to_owned())
    }

    /// Returns the command that starts the server with its data in a directory.
    fn command(self, address: SocketAddr, data: &Path) -> anyhow::Result<Command> {
        let mut command = self.program()?;
        match self {
            Self::MiniStack | Self::CheckedMiniStack => command
                .env("AUTH", (self == Self::CheckedMiniStack).to_string())
                .env("BIND_HOST", address.ip().to_string())
                .env("MINISTACK_HOST", address.ip().to_string())
                .env("GATEWAY_PORT", address.port().to_string())
                .env("SERVICES", "s3,sqs,dynamodb,iam,sts")
                .env("SFTP_ENABLED", "0")
                .env("IOT_MTLS_ENABLED", "0")
                .env("LOG_LEVEL", "WARNING"),
            Self::LocalStack => command
                .env("FILESYSTEM_ROOT", data)
                .env("GATEWAY_LISTEN", address.to_string())
                .env("LOCALSTACK_HOST", address.to_string())
                .env("SERVICES", "s3")
                .env("DISABLE_EVENTS", "1")
                .env("SKIP_SSL_CERT_DOWNLOAD", "1")
                .env("DNS_ADDRESS", "0"),
            Self::VersityGw => command
                .args(["--port", &address.to_string(), "--access", KEYS.0, "--secret", KEYS.1])
                .args(["--keep-alive", "--virtual-domain", DOMAIN, "posix"])
                .arg(data),
            Self::Minio => command
                .env("MINIO_ROOT_USER", KEYS.0)
                .env("MINIO_ROOT_PASSWORD", KEYS.1)
                .env("MINIO_DOMAIN", DOMAIN)
                .env("MINIO_BROWSER", "off")
                .env("MINIO_UPDATE", "off")
                .args(["server", "--quiet", "--address", &address.to_string()])
                .arg(data),
            Self::ElasticMq => {
                let config = data.join("elasticmq.conf");
                fs::write(&config, elasticmq_config(address)).context("failed to write elasticmq.conf")?;
                command.arg(format!("-Dconfig.file={}", config.display())).arg("org.elasticmq.server.Main")
            }
            Self::DynamoDbLocal => command.arg("com.amazonaws.services.dynamodbv2.local.main.ServerRunner").args([
                "-inMemory",
                "-sharedDb",
                "-disableTelemetry",
                "-port",
                &address.port().to_string(),
            ]),
            Self::Toxiproxy => command.args(["-host", &address.ip().to_string(), "-port", &address.port().to_string()]),
        };
        command.current_dir(data);
        Ok(command)
    }
}

/// A running server, stopped on drop.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
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
            let mut server = Self { kind, program, address };
            match server.ready().await {
                Ok(()) => return Ok(server),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let kind = self.kind;
        let client = self.s3();
        until(&format!("{} to answer", kind.name()), PATIENCE, INTERVAL, async || {
            self.program.check_running()?;
            let answers = match kind {
                Kind::Toxiproxy | Kind::ElasticMq | Kind::DynamoDbLocal => {
                    tokio::net::TcpStream::connect(self.address).await.is_ok()
                }
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

    /// Returns the keys of its administrator.
    pub fn keys(&self) -> (&'static str, &'static str) {
        self.kind.keys()
    }

    /// Creates a client of its S3.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        self.s3_in(REGION)
    }

    /// Creates a client of its S3 for buckets in a region.
    pub fn s3_in(&self, region: &'static str) -> aws_sdk_s3::Client {
        self.s3_as(self.credentials(), region)
    }

    /// Creates a client of its S3 for buckets of an account, which `MiniStack` knows by its number as access key.
    pub fn s3_of(&self, account: &'static str, region: &'static str) -> aws_sdk_s3::Client {
        self.s3_as(Credentials::new(account, self.keys().1, None, None, "tests"), region)
    }

    fn s3_as(&self, credentials: Credentials, region: &'static str) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .endpoint_url(self.endpoint())
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .credentials_provider(credentials)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// Creates a client of its queues.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(self.endpoint())
            .credentials_provider(self.credentials())
            .build();
        aws_sdk_sqs::Client::from_conf(config)
    }

    /// Creates a client of its tables.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(self.endpoint())
            .credentials_provider(self.credentials())
            .build();
        aws_sdk_dynamodb::Client::from_conf(config)
    }

    fn credentials(&self) -> Credentials {
        let (id, secret) = self.keys();
        Credentials::from_keys(id, secret, None)
    }
}

fn elasticmq_config(address: SocketAddr) -> String {
    let (host, port) = (address.ip(), address.port());
    format!(
        r#"include classpath("application.conf")
node-address {{ protocol = http, host = "{host}", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = "{host}", sqs-limits = strict }}
rest-stats {{ enabled = false }}
aws {{ region = {REGION}, accountId = 000000000000 }}
"#
    )
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port")?;
    listener.local_addr().context("failed to find a free port")
}
