//! The life of a job, in which each action is needed. This plays what Kubernetes does with what the operator creates: it
//! runs the jobsender and a worker with the configuration that the operator wrote.

use std::time::Duration;

use anyhow::Context as _;
use migration_core::message::{Batch, BatchId, MESSAGE_VERSION, Message};
use migration_core::permissions::Part;
use migration_testkit::samples::bucket_pair;
use serde_json::{Value, json};

use super::operated::{DOOMED, Operated};
use crate::local::cases::policies::judge::{Ending, judge};
use crate::local::permissions::ACCOUNT;
use crate::process::signal;
use crate::proxy::log::Event;
use crate::services::REGION;
use crate::wait::until;

const LIMIT: Duration = Duration::from_mins(2);
const INTERVAL: Duration = Duration::from_millis(100);
/// Key of the configuration in its `ConfigMap`.
const CONFIG: &str = "job.yaml";
/// Tag that queue and table lose, so that it is set again.
const TAG: &str = "s3migration.dev/uid";

/// Why a job goes no further.
pub enum Stop {
    /// A request was denied and told of, which is the end that is expected.
    Denied,
    /// It failed.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// URLs of queue and dead letters.
struct Queues {
    queue: String,
    dead_letters: String,
}

impl Operated<'_> {
    /// Runs the job to its end without an action. Returns how it ended, or fails if that is not as expected.
    pub async fn play_without(&self) -> anyhow::Result<String> {
        let lacks = self.lacks.as_ref().context("the job lacks nothing")?;
        let has_failed = match self.play().await {
            Ok(()) => self.is_denied()?,
            Err(Stop::Denied) => true,
            Err(Stop::Failed(error)) => {
                let what = format!("{} without {} of {}", lacks.0.as_str(), lacks.1.action, lacks.1.sid);
                return Err(error.context(self.told()).context(what));
            }
        };
        let how = if has_failed { "told of" } else { "the run ended" }.to_owned();
        let ending = Ending { has_failed, events: self.events(lacks.0)?, told: self.told(), how };
        judge(lacks, &self.policies[&lacks.0], &ending)
    }

    /// Creates, runs, edits and deletes the job.
    pub async fn play(&self) -> Result<(), Stop> {
        let config = self.wait("a preflight to be started", async || self.config("preflight-1")).await?;
        self.job_of("preflight-1", &config, "preflight").await?;
        let config = self.wait("a run to be started", async || self.config("run-1")).await?;
        let queues = Queues::of(&config)?;
        self.job_of("run-1", &config, "send").await?;
        self.bury(&queues).await?;
        self.wait("the dead letter to be recorded", async || {
            Ok((self.job()["status"]["failures"][0]["key"] == DOOMED).then_some(()))
        })
        .await?;
        self.work(&config, &queues).await?;
        self.edit(&queues).await?;
        let path = format!("/migrationjobs/{}", self.name);
        self.api.delete(&path)?;
        self.wait("the job to be gone", async || Ok(self.job().is_null().then_some(()))).await
    }

    /// Waits for a value, or until a request is denied and told of.
    async fn wait<T>(&self, what: &str, mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> Result<T, Stop> {
        until(what, LIMIT, INTERVAL, async || {
            if self.is_denied()? {
                return Ok(Some(Err(Stop::Denied)));
            }
            Ok(look().await?.map(Ok))
        })
        .await?
    }

    /// Returns the configuration of a Job, with the proxy of jobsender and worker.
    fn config(&self, job: &str) -> anyhow::Result<Option<String>> {
        let Some(job) = self.api.get(&format!("/jobs/{}-{job}", self.name)) else { return Ok(None) };
        let volumes = job["spec"]["template"]["spec"]["volumes"].as_array();
        let map = volumes.into_iter().flatten().find_map(|volume| volume["configMap"]["name"].as_str());
        let map = self.api.get(&format!("/configmaps/{}", map.context("the Job has no configuration")?));
        let map = map.context("the configuration of the Job does not exist")?;
        let text = map["data"][CONFIG].as_str().context("the configuration is empty")?;
        Ok(Some(text.replace(&self.proxies[0], &self.proxies[1])))
    }

    /// Runs a command of the jobsender, and completes its Job.
    async fn job_of(&self, job: &str, config: &str, command: &str) -> Result<(), Stop> {
        let job = format!("{}-{job}", self.name);
        let mut jobsender = self.program("jobsender", config, &["--job-name", &job, command])?;
        let status = self.wait("the jobsender to exit", async || jobsender.ended()).await?;
        if !status.success() {
            let failed = || Stop::Failed(anyhow::anyhow!("the jobsender ended with {status}"));
            return Err(if self.is_denied()? { Stop::Denied } else { failed() });
        }
        let status = json!({"status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}});
        Ok(self.api.patch(&format!("/jobs/{job}"), "/status", &status)?)
    }

    /// Moves the batch of one object to the dead letters, as the queue does after many receives.
    async fn bury(&self, queues: &Queues) -> Result<(), Stop> {
        let client = self.server.sqs();
        let mut others = Vec::new();
        let doomed = self.wait("the batch of one object", async || {
            let received = client.receive_message().queue_url(&queues.queue).max_number_of_messages(10);
            let received = received.send().await.context("failed to receive")?;
            let (mut doomed, rest): (Vec<_>, Vec<_>) =
                received.messages.unwrap_or_default().into_iter().partition(|message| is_doomed(message.body()));
            others.extend(rest);
            Ok(doomed.pop())
        });
        let doomed = doomed.await?;
        self.post(&queues.dead_letters, doomed.body().unwrap_or_default()).await?;
        let delete = client.delete_message().queue_url(&queues.queue).set_receipt_handle(doomed.receipt_handle);
        delete.send().await.context("failed to delete a message")?;
        for message in others {
            let show = client.change_message_visibility().queue_url(&queues.queue).visibility_timeout(0);
            let show = show.set_receipt_handle(message.receipt_handle).send().await;
            show.context("failed to return a message")?;
        }
        Ok(())
    }

    async fn post(&self, url: &str, body: &str) -> anyhow::Result<()> {
        let sent = self.server.sqs().send_message().queue_url(url).message_body(body).send().await;
        sent.map(drop).context("failed to send a message")
    }

    /// Runs a worker until the run has ended, and it has dealt with a message that nobody can read and one of another job.
    async fn work(&self, config: &str, queues: &Queues) -> Result<(), Stop> {
        self.post(&queues.queue, "not for anybody").await?;
        self.post(&queues.queue, &of_another_job().body()).await?;
        let mut worker = self.program("worker", config, &[])?;
        self.wait("the run to end", async || {
            worker.check_running()?;
            Ok((self.job()["status"]["phase"] == "PartiallyFailed").then_some(()))
        })
        .await?;
        self.sent(Part::Queue, &[("SendMessage", 1), ("ChangeMessageVisibility", 1)]).await?;
        signal("TERM", worker.id())?;
        let status = self.wait("the worker to exit", async || worker.ended()).await?;
        if !status.success() {
            return Err(Stop::Failed(anyhow::anyhow!("the worker ended with {status}")));
        }
        Ok(())
    }

    /// Waits until those who have a policy have sent so many requests of these operations.
    async fn sent(&self, of: Part, operations: &[(&str, usize)]) -> Result<(), Stop> {
        self.wait(&format!("{operations:?}"), async || {
            let events = self.events(of)?;
            let count = |operation: &str| events.iter().filter(|e: &&Event| e.request.operation == operation).count();
            Ok(operations.iter().all(|(operation, least)| count(operation) >= *least).then_some(()))
        })
        .await
    }

    /// Takes tags away and changes the settings of the queues; waits until all is as it should be.
    async fn edit(&self, queues: &Queues) -> Result<(), Stop> {
        for url in [&queues.queue, &queues.dead_letters] {
            let untag = self.server.sqs().untag_queue().queue_url(url).tag_keys(TAG).send().await;
            untag.context("failed to take a tag away")?;
        }
        let table = queues.queue.rsplit('/').next().unwrap_or_default();
        let table = format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}");
        let untag = self.server.dynamodb().untag_resource().resource_arn(table).tag_keys(TAG).send().await;
        untag.context("failed to take a tag away")?;
        let change = json!({"spec": {"queue": {"create": {"retentionDays": 7}}}});
        self.api.patch(&format!("/migrationjobs/{}", self.name), "", &change)?;
        self.sent(Part::Operator, &[("SetQueueAttributes", 2), ("TagQueue", 2), ("TagResource", 1)]).await
    }
}

impl Queues {
    fn of(config: &str) -> anyhow::Result<Self> {
        let config: Value = serde_yaml::from_str(config).context("failed to read a configuration")?;
        let url = |name: &str| {
            let url = config["queue"][name].as_str().map(ToOwned::to_owned);
            url.with_context(|| format!("the configuration has no {name}"))
        };
        Ok(Self { queue: url("url")?, dead_letters: url("deadLetterUrl")? })
    }
}

fn is_doomed(body: Option<&str>) -> bool {
    let Ok(Message::Batch(batch)) = Message::parse(body.unwrap_or_default()) else { return false };
    batch.objects.iter().any(|object| object.key == DOOMED)
}

/// Returns a batch that the worker leaves to others.
fn of_another_job() -> Batch {
    Batch {
        version: MESSAGE_VERSION,
        job: "another".to_owned(),
        run: "r".to_owned(),
        id: BatchId::new(0, 1, 0),
        scanned: 0,
        pair: bucket_pair("a"),
        attempts: 0,
        objects: Vec::new(),
    }
}
