//! A real server of S3, SQS and `DynamoDB` on this machine, for as long as a test runs.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// The version that the suites' lists of deviations are true for.
pub const MINISTACK_VERSION: &str = "1.5.33";

/// How long a server may take to answer, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often is looked whether it does.
const INTERVAL: Duration = Duration::from_millis(50);
/// Tries on other ports: somebody may take a port between its choice and its use.
const TRIES: u32 = 3;

/// A running `MiniStack`, which ends with this value.
#[derive(Debug)]
pub struct MiniStack {
    child: Child,
    port: u16,
    log: PathBuf,
}

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

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl MiniStack {
    /// Starts one that takes any credentials, on a free port of the loopback address, and waits until it answers.
    pub async fn start() -> Result<Self, String> {
        Self::start_with(&[]).await
    }

    /// The same with environment variables besides.
    pub async fn start_with(environment: &[(&str, &str)]) -> Result<Self, String> {
        let program = program()?;
        let mut failure = String::new();
        for _ in 0..TRIES {
            let mut server = Self::spawn(&program, environment)
                .map_err(|error| format!("failed to start {}: {error}", program.display()))?;
            match server.ready().await {
                Ok(()) => return Ok(server),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// URL of all its services.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn spawn(program: &PathBuf, environment: &[(&str, &str)]) -> io::Result<Self> {
        let port = free_port()?;
        let log = env::temp_dir().join(format!("ministack-test-{}-{port}.log", std::process::id()));
        let output = File::create(&log)?;
        let child = Command::new(program)
            // Only what it needs: this process's variables may hold credentials, or settings of another server.
            .env_clear()
            .envs(["PATH", "HOME", "TMPDIR"].into_iter().filter_map(|name| Some((name, env::var_os(name)?))))
            .envs([
                ("BIND_HOST", OsString::from("127.0.0.1")),
                ("MINISTACK_HOST", "127.0.0.1".into()),
                ("GATEWAY_PORT", port.to_string().into()),
                ("SERVICES", "s3,sqs,dynamodb,sts,ssm,iam".into()),
                ("SFTP_ENABLED", "0".into()),
                ("IOT_MTLS_ENABLED", "0".into()),
                ("LOG_LEVEL", "WARNING".into()),
            ])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { child, port, log })
    }

    async fn ready(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait().map_err(|error| format!("failed to watch MiniStack: {error}"))?;
            if let Some(status) = ended {
                return Err(format!("failed to start MiniStack: it ended with {status}\n{}", self.log()));
            }
            if timeout(INTERVAL * 20, self.is_healthy()).await.unwrap_or(false) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(format!("failed to start MiniStack: no answer within {PATIENCE:?}\n{}", self.log()));
            }
            sleep(INTERVAL).await;
        }
    }

    /// Whether it answers with 200 when it is asked how it is.
    async fn is_healthy(&self) -> bool {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)).await else { return false };
        let request = "GET /_ministack/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        let mut answer = [0_u8; 12];
        connection.write_all(request.as_bytes()).await.is_ok()
            && connection.read_exact(&mut answer).await.is_ok()
            && answer.ends_with(b" 200")
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for MiniStack {
    fn drop(&mut self) {
        // Only fails where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}
