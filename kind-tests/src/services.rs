//! The local services behind proxies: two S3 services and one for queues and tables, each with its own users.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, ensure};
use aws_credential_types::Credentials;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_sqs::types::QueueAttributeName;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::proxy::Proxy;
use crate::proxy::admin::{self, Admin};
use crate::proxy::log::Log;
use crate::{paths, process};

/// Region that all requests are signed for.
pub const REGION: &str = "us-east-1";
/// Access key id and secret of each service's administrator.
pub const ROOT: &str = "test";
/// Name of the machine as pods resolve it.
pub const HOST: &str = "host.cluster.local";
const ADMIN_PORT: u16 = 9310;

/// A local service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// S3 service of the source.
    Source,
    /// S3 service of the destination.
    Destination,
    /// SQS and DynamoDB.
    Control,
}

/// All services.
pub const SERVICES: [Service; 3] = [Service::Source, Service::Destination, Service::Control];

impl Service {
    /// Returns the name used in logs.
    pub fn name(self) -> &'static str {
        match self {
            Service::Source => "source",
            Service::Destination => "destination",
            Service::Control => "control",
        }
    }

    fn offset(self) -> u16 {
        match self {
            Service::Source => 1,
            Service::Destination => 2,
            Service::Control => 3,
        }
    }

    fn services(self) -> &'static str {
        match self {
            // The source sends events to its own queues, as S3 does.
            Service::Source => "s3,sqs,iam,sts",
            Service::Destination => "s3,iam,sts",
            Service::Control => "sqs,dynamodb,iam,sts",
        }
    }

    fn direct(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT - 10 + self.offset()))
    }

    /// Returns the URL that the tests use, past the proxy.
    pub fn endpoint(self) -> String {
        format!("http://{}", self.direct())
    }

    /// Returns the URL that pods use, through the proxy.
    pub fn endpoint_of_pods(self) -> String {
        format!("http://{HOST}:{}", self.port_of_pods())
    }

    /// Returns the port of the proxy.
    pub fn port_of_pods(self) -> u16 {
        ADMIN_PORT + self.offset()
    }

    fn process(self) -> String {
        format!("ministack-{}", self.name())
    }
}

/// Access key of a user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AccessKey {
    /// Name of the user.
    pub user: String,
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
}

/// Returns a client of the proxies' process.
pub fn proxies() -> Admin {
    Admin::new(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)))
}

/// Returns the machine's address as pods see it, from `HOST_IP`, which the cluster tool prints.
pub fn host_address() -> anyhow::Result<IpAddr> {
    let text = env::var("HOST_IP").context("failed to find the machine's address: eval \"$(cluster.sh env)\" first")?;
    text.parse().with_context(|| format!("failed to read the machine's address {text:?}"))
}

/// Runs the proxies in the foreground.
pub async fn run_proxies() -> anyhow::Result<()> {
    let log = Log::default();
    let host = host_address()?;
    let mut tasks = tokio::task::JoinSet::new();
    for side in SERVICES {
        let address = SocketAddr::from((host, side.port_of_pods()));
        let listener = TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
        tasks.spawn(Proxy::new(side.name(), side.direct(), log.clone()).serve(listener));
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let listener = TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    tasks.spawn(admin::serve(listener, log));
    tasks.join_next().await.context("failed to run the proxies")??
}

/// Starts the services and proxies that are not running. Running services keep their data.
pub async fn up() -> anyhow::Result<()> {
    let python = python()?;
    for side in SERVICES {
        if !process::running(&side.process())? {
            start_service(side, &python)?;
        }
    }
    for side in SERVICES {
        process::listening(&side.process(), side.direct()).await?;
    }
    // Proxies of another build are replaced; they hold only counts.
    let program = env::current_exe().context("failed to find this program")?;
    let stamp = paths::state()?.join("proxies.stamp");
    let now = format!("{:?} {}", fs::metadata(&program)?.modified()?, host_address()?);
    if fs::read_to_string(&stamp).ok().as_ref() != Some(&now) {
        process::stop("proxies").await?;
    }
    if !process::running("proxies")? {
        process::start("proxies", Command::new(program).arg("proxies"))?;
    }
    process::listening("proxies", SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT))).await?;
    fs::write(stamp, now).context("failed to record the proxies' build")
}

fn start_service(side: Service, python: &Path) -> anyhow::Result<()> {
    let address = side.direct();
    let mut command = ministack(python);
    command
        .env("BIND_HOST", address.ip().to_string())
        .env("GATEWAY_PORT", address.port().to_string())
        .env("SERVICES", side.services())
        .env("AUTH", "true")
        .env("SFTP_ENABLED", "0")
        .env("IOT_MTLS_ENABLED", "0")
        .env("LOG_LEVEL", "WARNING")
        .current_dir(paths::state()?);
    process::start(&side.process(), &mut command)
}

/// Returns the command that starts a `MiniStack`.
pub fn ministack(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(paths::here("services/start_ministack.py"));
    command
}

/// Fails unless all services and the proxies are running.
pub fn running() -> anyhow::Result<()> {
    for side in SERVICES {
        ensure!(process::running(&side.process())?, "the service {} is not running", side.name());
    }
    ensure!(process::running("proxies")?, "the proxies are not running");
    Ok(())
}

/// Stops all services and the proxies.
pub async fn down() -> anyhow::Result<()> {
    process::stop("proxies").await?;
    for side in SERVICES {
        process::stop(&side.process()).await?;
    }
    Ok(())
}

/// Returns the Python of the services' environment, which is created if needed.
pub fn python() -> anyhow::Result<PathBuf> {
    let script = paths::here("services/venv.sh");
    let made = Command::new(&script).stderr(Stdio::inherit()).output().context("failed to run venv.sh")?;
    ensure!(made.status.success(), "failed to make the Python environment of the services");
    Ok(PathBuf::from(String::from_utf8_lossy(&made.stdout).trim()).join("bin/python"))
}

/// Creates an S3 client with an administrator's rights, past the proxy.
pub fn s3(side: Service) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(side.endpoint())
        .force_path_style(true)
        .credentials_provider(Credentials::from_keys(ROOT, ROOT, None))
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// Creates an SQS client with an administrator's rights, past the proxy.
pub fn sqs() -> aws_sdk_sqs::Client {
    sqs_of(Service::Control)
}

/// Creates an SQS client for the queues beside a side's buckets, with an administrator's rights, past the proxy.
pub fn sqs_of(side: Service) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(side.endpoint())
        .credentials_provider(Credentials::from_keys(ROOT, ROOT, None))
        .build();
    aws_sdk_sqs::Client::from_conf(config)
}

/// Returns the number of a queue's messages: visible, delayed and in flight.
pub async fn messages(client: &aws_sdk_sqs::Client, url: &str) -> anyhow::Result<u64> {
    let counts = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    ];
    let request = client.get_queue_attributes().queue_url(url).set_attribute_names(Some(counts.to_vec()));
    let found = request.send().await.context("failed to read the length of a queue")?;
    let found = found.attributes.unwrap_or_default();
    let number = |name| -> anyhow::Result<u64> {
        let text = found.get(name).with_context(|| format!("the service returned no {name}"))?;
        text.parse().with_context(|| format!("failed to read {name}, which is {text:?}"))
    };
    counts.iter().map(number).sum()
}

/// Creates a DynamoDB client with an administrator's rights, past the proxy.
pub fn dynamodb() -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(Service::Control.endpoint())
        .credentials_provider(Credentials::from_keys(ROOT, ROOT, None))
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

/// Creates a user with a policy and an access key.
pub fn create_user(side: Service, name: &str, policy: &serde_json::Value) -> anyhow::Result<AccessKey> {
    create_user_at(&side.endpoint(), name, policy)
}

/// Creates a user of the service at this URL, with a policy and an access key.
pub fn create_user_at(endpoint: &str, name: &str, policy: &serde_json::Value) -> anyhow::Result<AccessKey> {
    let output = iam(endpoint, &["create", name], &policy.to_string())?;
    serde_json::from_slice(&output).with_context(|| format!("failed to read the key of user {name}"))
}

/// Creates a role of the service at this URL, with a policy and a trust policy.
pub fn create_role_at(
    endpoint: &str,
    name: &str,
    trust: &serde_json::Value,
    policy: &serde_json::Value,
) -> anyhow::Result<()> {
    iam(endpoint, &["role", name, &trust.to_string()], &policy.to_string()).map(drop)
}

/// Enables or disables a user's access key.
pub fn set_key(side: Service, key: &AccessKey, active: bool) -> anyhow::Result<()> {
    iam(&side.endpoint(), &["set", &key.user, &key.id, if active { "Active" } else { "Inactive" }], "").map(drop)
}

/// Replaces the policy of a user.
pub fn set_policy(side: Service, key: &AccessKey, policy: &serde_json::Value) -> anyhow::Result<()> {
    iam(&side.endpoint(), &["allow", &key.user], &policy.to_string()).map(drop)
}

fn iam(endpoint: &str, arguments: &[&str], input: &str) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new(python()?)
        .arg(paths::here("services/iam.py"))
        .arg(endpoint)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to run iam.py")?;
    child.stdin.take().context("failed to write to iam.py")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output().context("failed to run iam.py")?;
    ensure!(output.status.success(), "failed to administer users: iam.py {arguments:?} ended with {}", output.status);
    Ok(output.stdout)
}

/// Policy of a job at its source: read one bucket.
pub fn source_policy(bucket: &str) -> serde_json::Value {
    policy(bucket, &["s3:ListBucket"], &["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging"])
}

/// Policy of a job at its destination: write one bucket, without deletion.
pub fn destination_policy(bucket: &str) -> serde_json::Value {
    policy(bucket, OF_DESTINATION, WRITES)
}

/// Policy of a job that may look at its destination and write nothing.
pub fn lookers_policy(bucket: &str) -> serde_json::Value {
    policy(bucket, OF_DESTINATION, &["s3:GetObject"])
}

/// Policy of a job with a mirror at its destination.
pub fn mirror_policy(bucket: &str) -> serde_json::Value {
    policy(bucket, OF_DESTINATION, &[WRITES, &["s3:DeleteObject"]].concat())
}

const OF_DESTINATION: &[&str] = &["s3:ListBucket", "s3:ListBucketMultipartUploads"];
const WRITES: &[&str] =
    &["s3:GetObject", "s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"];

/// Policy of a job for queues and tables.
pub fn control_policy() -> serde_json::Value {
    serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["sqs:*", "dynamodb:*"], "Resource": "*"},
    ]})
}

fn policy(bucket: &str, of_bucket: &[&str], of_objects: &[&str]) -> serde_json::Value {
    serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": of_bucket, "Resource": format!("arn:aws:s3:::{bucket}")},
        {"Effect": "Allow", "Action": of_objects, "Resource": format!("arn:aws:s3:::{bucket}/*")},
    ]})
}
