//! A test case of `s3migrate`: its servers, counting proxies, state and results.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::programs::{self, Program};
use crate::proxy::Proxy;
use crate::proxy::log::Log;
use crate::report::{self, Row, Suite};
use crate::services::REGION;
use crate::tree::upload::create_bucket;
use crate::wire::services::{Kind, Server};
use crate::{checker, paths};

/// Directory of the state of all jobs of a case, in its own.
const STATE: &str = "state";
/// Most failures that a case looks at.
const FAILURES: &str = "100000";

/// A running case. Its servers and programs stop when it is dropped.
#[derive(Debug)]
pub struct Case {
    /// Requests that passed the proxies.
    pub log: Log,
    name: String,
    directory: PathBuf,
    started: u32,
    notes: Vec<String>,
    proxies: JoinSet<anyhow::Result<()>>,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed to standard output.
    pub stdout: String,
    /// What it printed to standard error.
    pub stderr: String,
}

/// An object that failed, as `s3migrate failures -o json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// Its key at the source.
    pub key: String,
    /// Class of the failure.
    pub class: String,
    /// What happened.
    pub message: String,
}

/// A bucket.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The service.
    pub server: &'a Server,
    /// Its name.
    pub bucket: &'a str,
    /// Its region.
    pub region: &'static str,
}

impl<'a> Place<'a> {
    /// Creates a bucket in the region of most tests.
    pub fn new(server: &'a Server, bucket: &'a str) -> Self {
        Self { server, bucket, region: REGION }
    }

    /// Returns all its keys.
    pub async fn keys(self) -> anyhow::Result<Vec<String>> {
        let Self { server, bucket, region } = self;
        let mut pages = server.s3_in(region).list_objects_v2().bucket(bucket).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.with_context(|| format!("failed to list {bucket}"))?;
            keys.extend(page.contents().iter().filter_map(|object| object.key()).map(ToOwned::to_owned));
        }
        Ok(keys)
    }
}

/// Runs a case: records its result, keeps the logs if it failed, and removes what it created.
pub async fn run(name: &str, body: impl AsyncFnOnce(&mut Case) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let began = Instant::now();
    let directory = paths::cache()?.join("local").join(format!("{name}-{}", process::id()));
    fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let mut case = Case {
        log: Log::default(),
        name: name.to_owned(),
        directory: directory.clone(),
        started: 0,
        notes: Vec::new(),
        proxies: JoinSet::new(),
    };
    let result = body(&mut case).await;
    let mut notes = std::mem::take(&mut case.notes);
    drop(case);
    if let Err(error) = &result {
        notes.push(format!("{error:#}"));
        let kept = paths::results()?.join(format!("local-{name}"));
        paths::keep_files(&directory, &kept)?;
        notes.push(format!("logs in {}", kept.display()));
    }
    let row = Row { case: name.to_owned(), passed: result.is_ok(), seconds: began.elapsed().as_secs_f64(), notes };
    report::add(Suite::Local, &row)?;
    eprint!("{}", report::table(&[row]));
    fs::remove_dir_all(&directory).with_context(|| format!("failed to remove {}", directory.display()))?;
    result
}

impl Case {
    /// Adds a note to the results table, which names no path of this machine.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into().replace(&*self.directory.to_string_lossy(), "DIRECTORY");
        eprintln!("{}: {text}", self.name);
        self.notes.push(text);
    }

    /// Returns the path of a file of this case.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file of this case.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.file(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a server, and makes its keys a profile of the same name for the program.
    pub async fn server(&self, kind: Kind, name: &str) -> anyhow::Result<Server> {
        let server = Server::start(kind, name, &self.directory).await?;
        self.profile(name, server.keys())?;
        Ok(server)
    }

    /// Adds a profile to the program's `~/.aws`.
    pub fn profile(&self, name: &str, (id, secret): (&str, &str)) -> anyhow::Result<()> {
        let directory = self.file(".aws");
        fs::create_dir_all(&directory).context("failed to make a directory for profiles")?;
        let file = directory.join("credentials");
        let before = fs::read_to_string(&file).unwrap_or_default();
        let profile = format!("[{name}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        fs::write(file, before + &profile).context("failed to write a profile")
    }

    /// Starts a counting proxy of a server; returns its URL.
    pub async fn counted(&mut self, side: &str, server: &Server) -> anyhow::Result<String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("failed to listen")?;
        let address = listener.local_addr().context("failed to listen")?;
        self.proxies.spawn(Proxy::new(side, server.address(), self.log.clone()).serve(listener));
        Ok(format!("http://{address}"))
    }

    /// Returns a command of `s3migrate` with these arguments, the case's state, and none of this process's variables
    /// that may hold credentials.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(programs::own("s3migrate")?);
        command.args(arguments).arg("--state-dir").arg(self.file(STATE)).env_clear();
        command.envs(["PATH", "TMPDIR", "RUST_LOG"].into_iter().filter_map(|name| Some((name, env::var_os(name)?))));
        command.env("HOME", &self.directory).env("AWS_EC2_METADATA_DISABLED", "true").current_dir(&self.directory);
        Ok(command)
    }

    /// Starts `s3migrate`; its output is in a log of its own.
    pub fn start(&mut self, arguments: &[&str]) -> anyhow::Result<Program> {
        self.started += 1;
        let name = format!("s3migrate-{}", self.started);
        Program::start(&name, &self.directory, &mut self.command(arguments)?)
    }

    /// Runs `s3migrate` to its end.
    pub async fn s3migrate(&self, arguments: &[&str], limit: Duration) -> anyhow::Result<Ended> {
        ended(self.command(arguments)?, limit).await
    }

    /// Runs `s3migrate` with more variables to its end.
    pub async fn s3migrate_with(
        &self,
        arguments: &[&str],
        variables: &[(&str, &OsStr)],
        limit: Duration,
    ) -> anyhow::Result<Ended> {
        let mut command = self.command(arguments)?;
        command.envs(variables.iter().copied());
        ended(command, limit).await
    }

    /// Returns the objects that failed in the last run of a job.
    pub async fn failures(&self, job: &str) -> anyhow::Result<Vec<Failure>> {
        let arguments = ["failures", job, "-o", "json", "--limit", FAILURES];
        let ended = self.s3migrate(&arguments, Duration::from_mins(1)).await?;
        ended.expect(0)?;
        ended.rows()
    }

    /// Compares two buckets with the independent checker; returns its last line, or fails with its output. Keys in
    /// `ignored` are those that failed and must not be at the destination.
    pub fn check(&self, name: &str, from: Place<'_>, to: Place<'_>, ignored: &[String]) -> anyhow::Result<String> {
        let side = |place: Place<'_>| {
            let (key, secret) = place.server.keys();
            json!({"endpoint": place.server.endpoint(), "key": key, "secret": secret, "bucket": place.bucket, "region": place.region})
        };
        let work = json!({"source": side(from), "destination": side(to), "ignore": ignored});
        checker::compare(&format!("local-{}-{name}", self.name), &work)
    }
}

impl Ended {
    /// Fails unless it ended with this exit code.
    pub fn expect(&self, code: i32) -> anyhow::Result<()> {
        let Self { code: found, stdout, stderr } = self;
        ensure!(*found == Some(code), "s3migrate ended with {found:?} instead of {code}:\n{stdout}{stderr}");
        Ok(())
    }

    /// Reads the rows of an output in JSON.
    pub fn rows<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<Vec<T>> {
        let rows = self.stdout.lines().map(serde_json::from_str);
        rows.collect::<Result<_, _>>().with_context(|| format!("failed to read {}", self.stdout))
    }

    /// Returns the events of `--json` of one kind.
    pub fn events(&self, kind: &str) -> anyhow::Result<Vec<Value>> {
        Ok(self.rows::<Value>()?.into_iter().filter(|event| event["event"] == kind).collect())
    }
}

/// Runs a command to its end; kills it after the limit.
pub async fn ended(command: Command, limit: Duration) -> anyhow::Result<Ended> {
    let shown = command.get_args().map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
    let mut command = tokio::process::Command::from(command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let mut child = child.with_context(|| format!("failed to start {shown}"))?;
    let stdout = tokio::spawn(text(child.stdout.take().context("there is no output")?));
    let stderr = tokio::spawn(text(child.stderr.take().context("there is no output")?));
    let status = tokio::time::timeout(limit, child.wait()).await;
    if status.is_err() {
        child.kill().await.context("failed to kill a program")?;
    }
    let (stdout, stderr) = (stdout.await?, stderr.await?);
    let Ok(status) = status else {
        let last: Vec<&str> = stdout.lines().chain(stderr.lines()).rev().take(3).collect();
        bail!("timed out after {limit:?} waiting for {shown}; its last lines, latest first: {last:?}");
    };
    Ok(Ended { code: status.context("failed to wait for a program")?.code(), stdout, stderr })
}

/// Reads the output of a program until it ends.
async fn text(mut output: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is shown.
    let _ = output.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Creates a bucket at a server.
pub async fn bucket(server: &Server, name: &str) -> anyhow::Result<()> {
    create_bucket(&server.s3(), name).await
}

/// Returns all keys of a bucket in the region of most tests.
pub async fn keys(server: &Server, bucket: &str) -> anyhow::Result<Vec<String>> {
    Place::new(server, bucket).keys().await
}
