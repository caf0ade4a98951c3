//! The local services: two S3 services and one for queues and tables, each with users of its own, behind proxies.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, ensure};
use aws_credential_types::Credentials;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::proxy::Proxy;
use crate::proxy::admin::{self, Admin};
use crate::proxy::log::Log;
use crate::{paths, process};

/// The region that all requests are signed for.
pub const REGION: &str = "us-east-1";
/// Keys of the administrator of each service.
const ROOT: &str = "test";
/// The name of the machine as pods see it.
pub const HOST: &str = "host.cluster.local";
const ADMIN_PORT: u16 = 9310;

/// One of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The S3 service that is read.
    Source,
    /// The S3 service that is written.
    Destination,
    /// SQS and DynamoDB.
    Control,
}

/// All of them.
pub const SIDES: [Side; 3] = [Side::Source, Side::Destination, Side::Control];

impl Side {
    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Destination => "destination",
            Side::Control => "control",
        }
    }

    fn offset(self) -> u16 {
        match self {
            Side::Source => 1,
            Side::Destination => 2,
            Side::Control => 3,
        }
    }

    fn services(self) -> &'static str {
        match self {
            Side::Source | Side::Destination => "s3,iam,sts",
            Side::Control => "sqs,dynamodb,iam,sts",
        }
    }

    fn direct(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT - 10 + self.offset()))
    }

    /// Where the tests themselves reach the service, past its proxy.
    pub fn endpoint(self) -> String {
        format!("http://{}", self.direct())
    }

    /// Where pods reach the service, through its proxy.
    pub fn endpoint_of_pods(self) -> String {
        format!("http://{HOST}:{}", ADMIN_PORT + self.offset())
    }

    fn process(self) -> String {
        format!("ministack-{}", self.name())
    }
}

/// A user's key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AccessKey {
    /// The user that has it.
    pub user: String,
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

/// The administrator of the proxies.
pub fn proxies() -> Admin {
    Admin::new(SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)))
}

/// The machine's address as pods see it, which the cluster tool tells in `HOST_IP`.
pub fn host_address() -> anyhow::Result<IpAddr> {
    let text = env::var("HOST_IP").context("failed to find the machine's address: eval \"$(cluster.sh env)\" first")?;
    text.parse().with_context(|| format!("failed to read the machine's address {text:?}"))
}

/// Runs the proxies in the foreground.
pub async fn run_proxies() -> anyhow::Result<()> {
    let log = Log::default();
    let host = host_address()?;
    let mut tasks = tokio::task::JoinSet::new();
    for side in SIDES {
        let address = SocketAddr::from((host, ADMIN_PORT + side.offset()));
        let listener = TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
        tasks.spawn(Proxy::new(side.name(), side.direct(), log.clone()).serve(listener));
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let listener = TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    tasks.spawn(admin::serve(listener, log));
    tasks.join_next().await.context("failed to run the proxies")??
}

/// Starts what does not run; data of a service that runs stays.
pub async fn up() -> anyhow::Result<()> {
    let python = python()?;
    for side in SIDES {
        if !process::running(&side.process())? {
            start_service(side, &python)?;
        }
    }
    for side in SIDES {
        process::listening(&side.process(), side.direct()).await?;
    }
    // Proxies of another build are replaced; they hold nothing but counts.
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
    fs::write(stamp, now).context("failed to note the proxies' build")
}

fn start_service(side: Side, python: &Path) -> anyhow::Result<()> {
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

/// The command that starts a `MiniStack` with a Python that has it.
pub fn ministack(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(paths::here("services/start_ministack.py"));
    command
}

/// Fails where not all of it runs.
pub fn running() -> anyhow::Result<()> {
    for side in SIDES {
        ensure!(process::running(&side.process())?, "the service {} does not run", side.name());
    }
    ensure!(process::running("proxies")?, "the proxies don't run");
    Ok(())
}

/// Stops all of it.
pub async fn down() -> anyhow::Result<()> {
    process::stop("proxies").await?;
    for side in SIDES {
        process::stop(&side.process()).await?;
    }
    Ok(())
}

/// The Python of the services' own environment, which is made where it is not there.
pub fn python() -> anyhow::Result<PathBuf> {
    let script = paths::here("services/venv.sh");
    let made = Command::new(&script).stderr(Stdio::inherit()).output().context("failed to run venv.sh")?;
    ensure!(made.status.success(), "failed to make the Python environment of the services");
    Ok(PathBuf::from(String::from_utf8_lossy(&made.stdout).trim()).join("bin/python"))
}

/// A client of a service's S3 with an administrator's rights, past the proxy.
pub fn s3(side: Side) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(side.endpoint())
        .force_path_style(true)
        .credentials_provider(Credentials::from_keys(ROOT, ROOT, None))
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// A client of the queues with an administrator's rights, past the proxy.
pub fn sqs() -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(Side::Control.endpoint())
        .credentials_provider(Credentials::from_keys(ROOT, ROOT, None))
        .build();
    aws_sdk_sqs::Client::from_conf(config)
}

/// A client of the tables with an administrator's rights, past the proxy.
pub fn dynamodb() -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(Side::Control.endpoint())
        .credentials_provider(Credentials::from_keys(ROOT, ROOT, None))
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

/// Makes a user with a policy, and a key of it.
pub fn create_user(side: Side, name: &str, policy: &serde_json::Value) -> anyhow::Result<AccessKey> {
    let output = iam(side, &["create", name], &policy.to_string())?;
    serde_json::from_slice(&output).with_context(|| format!("failed to read the key of user {name}"))
}

/// Switches a user's key on or off.
pub fn set_key(side: Side, key: &AccessKey, active: bool) -> anyhow::Result<()> {
    iam(side, &["set", &key.user, &key.id, if active { "Active" } else { "Inactive" }], "").map(drop)
}

fn iam(side: Side, arguments: &[&str], input: &str) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new(python()?)
        .arg(paths::here("services/iam.py"))
        .arg(side.endpoint())
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

/// What a job may do at its source: read one bucket.
pub fn source_policy(bucket: &str) -> serde_json::Value {
    policy(bucket, &["s3:ListBucket"], &["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging"])
}

/// What a job may do at its destination: write one bucket, and not delete there.
pub fn destination_policy(bucket: &str) -> serde_json::Value {
    policy(bucket, OF_DESTINATION, WRITES)
}

/// What a job that mirrors may do at its destination.
pub fn mirror_policy(bucket: &str) -> serde_json::Value {
    policy(bucket, OF_DESTINATION, &[WRITES, &["s3:DeleteObject"]].concat())
}

const OF_DESTINATION: &[&str] = &["s3:ListBucket", "s3:ListBucketMultipartUploads"];
const WRITES: &[&str] =
    &["s3:GetObject", "s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"];

/// What a job may do with queues and tables.
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
