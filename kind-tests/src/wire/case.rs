//! A test case: its servers, counting proxies, programs and results.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, process};

use anyhow::{Context as _, ensure};
use aws_sdk_sqs::types::QueueAttributeName;
use migration_core::records::{RunEnd, RunResult};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::config::{self, DESTINATION, Endpoints, QUEUE, SOURCE, Settings};
use super::ledger::Ledger;
use super::services::{KEYS, Kind, Server};
use super::tools::toxics::Toxiproxy;
use crate::checker;
use crate::paths;
use crate::programs::{self, Program};
use crate::proxy::Proxy;
use crate::proxy::log::{Event, Log};
use crate::proxy::quirks::Quirks;
use crate::report::{self, Row, Suite};
use crate::tree::upload::create_bucket;
use crate::wait::until;

/// Interval between checks whether a run has ended.
const INTERVAL: Duration = Duration::from_millis(50);
/// Time limit of a scan of a test's bucket.
const SCAN_LIMIT: Duration = Duration::from_mins(5);

/// An S3 side; the names of its proxies start with its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The side that is read.
    Source,
    /// The side that is written.
    Destination,
}

impl Service {
    /// Returns the name used in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }

    /// Returns the name of a program's proxy of this side, as in the log.
    pub fn of(self, program: &str) -> String {
        format!("{} {program}", self.name())
    }

    /// Returns true if a request came through a proxy of this side.
    pub fn has(self, event: &Event) -> bool {
        event.side.split(' ').next() == Some(self.name())
    }
}

/// A running case. Its servers and programs stop when it is dropped.
#[derive(Debug)]
pub struct Case {
    /// S3 service of the source.
    pub source: Server,
    /// S3 service of the destination.
    pub destination: Server,
    /// Requests that passed the proxies.
    pub log: Log,
    /// Deviations that the proxies add to the services.
    pub quirks: Quirks,
    /// Ledger of the job.
    pub ledger: Ledger,
    /// Settings of the transfer.
    pub settings: Settings,
    /// Proxy between the programs and the counting proxies, in cases that break connections.
    pub toxiproxy: Option<Toxiproxy>,
    name: String,
    directory: PathBuf,
    control: Server,
    queue: String,
    dead_letters: String,
    started: u32,
    notes: Vec<String>,
    proxies: JoinSet<anyhow::Result<()>>,
}

/// Runs a case with servers of these kinds: records its result, keeps the logs if it failed, and removes what it
/// created.
pub async fn run(
    name: &str,
    sides: (Kind, Kind),
    body: impl AsyncFnOnce(&mut Case) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let directory = paths::cache()?.join("wire").join(format!("{name}-{}", process::id()));
    fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let mut notes = Vec::new();
    let result = match Case::new(name, directory.clone(), sides).await {
        Ok(mut case) => {
            let result = body(&mut case).await;
            notes.append(&mut case.notes);
            result
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &result {
        notes.push(format!("{error:#}"));
        let kept = paths::results()?.join(format!("wire-{}", paths::file_name(name)));
        paths::keep_files(&directory, &kept)?;
        notes.push(format!("logs in {}", kept.display()));
    }
    let seconds = began.elapsed().as_secs_f64();
    let row = Row { case: name.to_owned(), passed: result.is_ok(), seconds, notes };
    report::add(Suite::Wire, &row)?;
    eprint!("{}", report::table(&[row]));
    fs::remove_dir_all(&directory).with_context(|| format!("failed to remove {}", directory.display()))?;
    result
}

impl Case {
    async fn new(name: &str, directory: PathBuf, (source, destination): (Kind, Kind)) -> anyhow::Result<Self> {
        config::write_keys(&directory.join("keys"))?;
        let control = Server::start(Kind::MiniStack, "control", &directory).await?;
        let source = Server::start(source, "source", &directory).await?;
        let destination = Server::start(destination, "destination", &directory).await?;
        create_bucket(&source.s3(), SOURCE).await?;
        create_bucket(&destination.s3(), DESTINATION).await?;
        let ledger = Ledger::create(control.endpoint()).await?;
        let (queue, dead_letters) = create_queues(&control.sqs()).await?;
        Ok(Self {
            source,
            destination,
            log: Log::default(),
            quirks: Quirks::default(),
            ledger,
            settings: Settings::default(),
            toxiproxy: None,
            name: name.to_owned(),
            directory,
            control,
            queue,
            dead_letters,
            started: 0,
            notes: Vec::new(),
            proxies: JoinSet::new(),
        })
    }

    /// Adds a note to the results table.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        eprintln!("{}: {text}", self.name);
        self.notes.push(text);
    }

    /// Puts a connection-breaking proxy in front of each counting proxy created from now on.
    pub async fn break_connections(&mut self) -> anyhow::Result<&Toxiproxy> {
        let server = Server::start(Kind::Toxiproxy, "toxiproxy", &self.directory).await?;
        Ok(self.toxiproxy.insert(Toxiproxy::new(server)))
    }

    /// Starts a worker with its own counting proxies and a name that is unique in the case.
    pub async fn start_worker(&mut self) -> anyhow::Result<Program> {
        let name = self.next_name("worker");
        self.start(&name, "worker", &[]).await
    }

    /// Returns the path of a file of this case.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts a jobsender with these arguments.
    pub async fn jobsender(&mut self, arguments: &[&str]) -> anyhow::Result<Program> {
        let name = self.next_name("jobsender");
        self.start(&name, "jobsender", &[&["--job-name", &name], arguments].concat()).await
    }

    /// Runs the scan of a run to its end.
    pub async fn send(&mut self) -> anyhow::Result<()> {
        let jobsender = self.jobsender(&["send"]).await?;
        let words = jobsender.finished(SCAN_LIMIT).await?;
        ensure!(words.contains("\"Sent\""), "the jobsender sent nothing: {words}");
        Ok(())
    }

    /// Acts as the operator until the last run has ended; fails if a worker exits first, or if the run does not end
    /// Complete.
    pub async fn complete(&self, workers: &mut [Program], limit: Duration) -> anyhow::Result<RunEnd> {
        let end = self.over(workers, limit).await?;
        ensure!(
            end.result == RunResult::Complete,
            "the run ended {:?}: {:?}",
            end.result,
            self.ledger.progress().await?
        );
        Ok(end)
    }

    /// Acts as the operator until the last run has ended, with any result.
    pub async fn over(&self, workers: &mut [Program], limit: Duration) -> anyhow::Result<RunEnd> {
        let end = until("the run to be over", limit, INTERVAL, async || {
            workers.iter_mut().try_for_each(Program::check_running)?;
            self.ledger.end_run().await
        })
        .await;
        match end {
            Ok(end) => Ok(end),
            Err(error) => anyhow::bail!("{error:#}; its progress is {:?}", self.ledger.progress().await?),
        }
    }

    /// Compares both buckets with the independent checker; returns its last line, or fails with its output.
    pub fn check(&self) -> anyhow::Result<String> {
        let side = |server: &Server, bucket: &str| json!({"endpoint": server.endpoint(), "key": KEYS.0, "secret": KEYS.1, "bucket": bucket, "prefix": ""});
        let work = json!({
            "source": side(&self.source, SOURCE),
            "destination": side(&self.destination, DESTINATION),
            "ignore": self.settings.ignore,
        });
        checker::compare(&format!("wire-{}", self.name), &work)
    }

    /// Fails if the destination has an open upload.
    pub async fn no_open_uploads(&self) -> anyhow::Result<()> {
        let listed = self.destination.s3().list_multipart_uploads().bucket(DESTINATION).send().await;
        let listed = listed.context("failed to list uploads")?;
        let open: Vec<&str> = listed.uploads().iter().filter_map(|u| u.key()).collect();
        ensure!(open.is_empty(), "uploads were left open: {open:?}");
        Ok(())
    }

    fn next_name(&mut self, program: &str) -> String {
        self.started += 1;
        format!("{program}-{}", self.started)
    }

    async fn start(&mut self, name: &str, program: &str, arguments: &[&str]) -> anyhow::Result<Program> {
        let endpoints = Endpoints {
            source: self.source.endpoint(),
            source_proxy: self.proxy(Service::Source, name).await?,
            destination: self.destination.endpoint(),
            destination_proxy: self.proxy(Service::Destination, name).await?,
            control: self.control.endpoint(),
            queue: self.queue.clone(),
            dead_letters: self.dead_letters.clone(),
        };
        let file = self.directory.join(format!("{name}.yaml"));
        config::write(&file, &self.directory.join("keys"), &endpoints, &self.settings)?;
        let mut command = Command::new(programs::own(program)?);
        command.arg("--config").arg(file).args(["--name", name]).args(arguments);
        Program::start(name, &self.directory, &mut command)
    }

    /// Starts a counting proxy; returns its URL, or that of the connection-breaking proxy in front of it.
    async fn proxy(&mut self, side: Service, program: &str) -> anyhow::Result<String> {
        let upstream = match side {
            Service::Source => self.source.address(),
            Service::Destination => self.destination.address(),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("failed to listen")?;
        let address = listener.local_addr().context("failed to listen")?;
        let name = side.of(program);
        self.proxies.spawn(Proxy::new(&name, upstream, self.log.clone()).with(&self.quirks).serve(listener));
        match &self.toxiproxy {
            Some(toxiproxy) => toxiproxy.in_front_of(&name.replace(' ', "-"), address).await,
            None => Ok(format!("http://{address}")),
        }
    }
}

/// Creates the queues as the operator would; returns the URLs of the queue and its dead letter queue.
pub async fn create_queues(client: &aws_sdk_sqs::Client) -> anyhow::Result<(String, String)> {
    let dead = client.create_queue().queue_name(format!("{QUEUE}-dead")).send().await;
    let dead = dead.context("failed to make a queue")?.queue_url.context("a queue has no URL")?;
    let arn = QueueAttributeName::QueueArn;
    let attributes = client.get_queue_attributes().queue_url(&dead).attribute_names(arn.clone()).send().await;
    let attributes = attributes.context("failed to look at a queue")?;
    let arn = attributes.attributes().and_then(|a| a.get(&arn)).context("a queue has no ARN")?;
    let redrive = json!({"deadLetterTargetArn": arn, "maxReceiveCount": "60"}).to_string();
    let queue = client
        .create_queue()
        .queue_name(QUEUE)
        .attributes(QueueAttributeName::VisibilityTimeout, "900")
        .attributes(QueueAttributeName::RedrivePolicy, redrive)
        .send()
        .await;
    Ok((queue.context("failed to make a queue")?.queue_url.context("a queue has no URL")?, dead))
}
