//! A local server program that runs as long as a test.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Interval between checks for readiness.
const INTERVAL: Duration = Duration::from_millis(50);
/// Attempts on other ports: another process may take a port between its choice and its use.
const TRIES: u32 = 3;

/// Description of a server program.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Name of the program.
    pub name: &'static str,
    /// HTTP request that returns 200 once the server is ready.
    pub question: &'static str,
    /// Time limit for one response.
    pub answer: Duration,
    /// Time limit until the server is ready, on a busy machine.
    pub patience: Duration,
}

/// A running server, stopped on drop.
#[derive(Debug)]
pub(crate) struct Server {
    kind: &'static Kind,
    child: Child,
    port: u16,
    /// Directory of its state and log.
    directory: PathBuf,
}

impl Server {
    /// Starts a server on a free loopback port and waits until it is ready. `command` receives the port and a directory
    /// for its state. Of this process's variables the server gets only the paths: others may hold credentials, or
    /// settings of another server.
    pub(crate) async fn start(
        kind: &'static Kind,
        command: impl Fn(u16, &Path) -> Command + Send,
    ) -> Result<Self, String> {
        let mut failure = String::new();
        for _ in 0..TRIES {
            let mut server =
                Self::spawn(kind, &command).map_err(|error| format!("failed to start {}: {error}", kind.name))?;
            match server.ready().await {
                Ok(()) => return Ok(server),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// URL of all its services.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn spawn(kind: &'static Kind, command: &impl Fn(u16, &Path) -> Command) -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let directory = env::temp_dir().join(format!("{}-test-{}-{port}", kind.name, std::process::id()));
        fs::create_dir_all(&directory)?;
        let output = File::create(directory.join("log"))?;
        let mut command = command(port, &directory);
        let given: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        let child = command
            .env_clear()
            .envs(["PATH", "HOME", "TMPDIR"].into_iter().filter_map(|name| Some((name, env::var_os(name)?))))
            .envs(given.into_iter().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { kind, child, port, directory })
    }

    async fn ready(&mut self) -> Result<(), String> {
        let name = self.kind.name;
        let until = Instant::now() + self.kind.patience;
        loop {
            let ended = self.child.try_wait().map_err(|error| format!("failed to watch {name}: {error}"))?;
            if let Some(status) = ended {
                return Err(format!("failed to start {name}: it ended with {status}\n{}", self.log()));
            }
            if timeout(self.kind.answer, self.answers()).await.unwrap_or(false) {
                return Ok(());
            }
            if Instant::now() >= until {
                let patience = self.kind.patience;
                return Err(format!("failed to start {name}: no response within {patience:?}\n{}", self.log()));
            }
            sleep(INTERVAL).await;
        }
    }

    async fn answers(&self) -> bool {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)).await else { return false };
        let mut answer = [0_u8; 12];
        connection.write_all(self.kind.question.as_bytes()).await.is_ok()
            && connection.read_exact(&mut answer).await.is_ok()
            && answer.ends_with(b" 200")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if the server has exited by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
