//! A stricter server of S3 and SQS on this machine, for as long as a test runs.
//!
//! It keeps more of S3's rules than [`crate::MiniStack`]: smallest parts, the order of parts, checksums of whole objects
//! and of parts, object lock, encryption. It takes seconds to start, does not check signatures, and listens on every
//! address of the machine.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

/// The version that the suites' lists of deviations are true for.
pub const LOCALSTACK_VERSION: &str = "4.12.0";

/// The script that installs it where it is not there, and prints where.
const INSTALLER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kind-tests/services/localstack.sh");
/// How long a server may take to answer, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(3);
/// How often is looked whether it does.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long it may take over one answer: the first waits for the service to be loaded.
const ANSWER: Duration = Duration::from_secs(30);
/// Tries on other ports: somebody may take a port between its choice and its use.
const TRIES: u32 = 3;

/// A running `LocalStack`, which ends with this value.
#[derive(Debug)]
pub struct LocalStack {
    child: Child,
    port: u16,
    /// Its state and its log.
    directory: PathBuf,
}

/// The Python that has it: of the environment variable `LOCALSTACK`, a directory, else what [`INSTALLER`] makes.
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

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl LocalStack {
    /// Starts one on a free port and waits until S3 answers. Installs it first where it is not there, which takes about
    /// a minute.
    pub async fn start() -> Result<Self, String> {
        let python = spawn_blocking(python).await.map_err(|error| format!("failed to find LocalStack: {error}"))??;
        let mut failure = String::new();
        for _ in 0..TRIES {
            let mut server =
                Self::spawn(&python).map_err(|error| format!("failed to start {}: {error}", python.display()))?;
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

    fn spawn(python: &Path) -> io::Result<Self> {
        let port = free_port()?;
        let directory = env::temp_dir().join(format!("localstack-test-{}-{port}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let output = File::create(directory.join("log"))?;
        let child = Command::new(python)
            .args(["-m", "localstack.runtime.main"])
            // Only what it needs: this process's variables may hold credentials, or settings of another server.
            .env_clear()
            .envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, env::var_os(name)?))))
            .envs([
                ("FILESYSTEM_ROOT", directory.clone().into_os_string()),
                ("GATEWAY_LISTEN", format!("127.0.0.1:{port}").into()),
                ("LOCALSTACK_HOST", format!("127.0.0.1:{port}").into()),
                ("SERVICES", OsString::from("s3,sqs")),
                ("SQS_ENDPOINT_STRATEGY", "off".into()),
                ("DISABLE_EVENTS", "1".into()),
                ("SKIP_SSL_CERT_DOWNLOAD", "1".into()),
                ("DNS_ADDRESS", "0".into()),
            ])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { child, port, directory })
    }

    async fn ready(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait().map_err(|error| format!("failed to watch LocalStack: {error}"))?;
            if let Some(status) = ended {
                return Err(format!("failed to start LocalStack: it ended with {status}\n{}", self.log()));
            }
            if timeout(ANSWER, self.lists_buckets()).await.unwrap_or(false) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(format!("failed to start LocalStack: no answer within {PATIENCE:?}\n{}", self.log()));
            }
            sleep(INTERVAL).await;
        }
    }

    /// Whether S3 answers: the server says that it is well before it has loaded a service.
    async fn lists_buckets(&self) -> bool {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)).await else { return false };
        let request = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
                       Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
                       SignedHeaders=host, Signature=0\r\n\r\n";
        let mut answer = [0_u8; 12];
        connection.write_all(request.as_bytes()).await.is_ok()
            && connection.read_exact(&mut answer).await.is_ok()
            && answer.ends_with(b" 200")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for LocalStack {
    fn drop(&mut self) {
        // Only fails where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
