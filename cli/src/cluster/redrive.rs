//! `s3migrate cluster redrive`: sends dead letters to the workers again.
//!
//! | dead letter | what is done | what the workers do |
//! |---|---|---|
//! | S3 events, a job message of the predecessor, a batch of the run `events` | sent again | move the objects, and count them |
//! | a batch or a range of parts of a run of this job | sent again | move the objects, each write under the condition of the scan; a batch whose end is recorded is not counted anew, its failures stay, and an object over `multipartThreshold` in it is not moved |
//! | a batch or a range of parts of another job | left | would reject it |
//! | any other message | left | could not read it either |
//!
//! A message is sent before it is deleted here, so that none is lost; at worst it is delivered twice, which workers
//! expect. A message that comes back meanwhile is left.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use migration_api::MigrationJob;
use migration_api::names::LOOK_ANNOTATION;
use migration_aws::{Access, CredentialSource};
use migration_core::message::{EVENTS_RUN, Message};
use migration_core::ports::{OutgoingMessage, Queue, ReceivedMessage};
use migration_sqs_dynamodb::SqsQueue;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::ClusterError;
use super::jobs::Jobs;
use super::trigger::fresh;
use crate::exit::Exit;

/// Longest wait for dead letters: longer than the operator hides them while it looks at them, which is 10 s.
const WAIT: Duration = Duration::from_secs(12);
/// How long received dead letters are hidden, so that those that are left are not received again meanwhile.
const VISIBILITY: Duration = Duration::from_mins(10);
/// Most messages of a request.
const PAGE: u32 = 10;

/// Arguments of `s3migrate cluster redrive`.
#[derive(Args, Clone, Debug)]
pub struct RedriveArgs {
    /// Name of the MigrationJob.
    #[arg(value_name = "NAME")]
    job: String,
    /// Profile of ~/.aws for the queue. By default the usual chain of the AWS tools.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// URL of the SQS service, if it has another one here than in the cluster.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

/// Kinds of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It belongs to no run: S3 events, a job message of the predecessor, or what is left of one.
    Foreign,
    /// A batch or a range of parts of a run of the job.
    OfRun,
    /// A batch or a range of parts of another job.
    OtherJob,
    /// This version can't read it.
    Unreadable,
}

/// Numbers of dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Redriven {
    /// Sent: of no run.
    foreign: u64,
    /// Sent: of runs.
    of_runs: u64,
    /// Left: of other jobs.
    other_jobs: u64,
    /// Left: unreadable.
    unreadable: u64,
    /// Left: they came back, or equal one that was sent.
    came_back: u64,
}

/// Runs the command.
pub async fn redrive(args: &RedriveArgs, jobs: &Jobs, out: &mut (dyn Write + Send)) -> Result<Exit, ClusterError> {
    let job = jobs.get(&args.job).await?;
    let resources = job.status.as_ref().and_then(|status| status.resources.clone()).unwrap_or_default();
    let (Some(url), Some(dead_letter_url)) = (resources.queue_url, resources.dead_letter_url) else {
        return Err(ClusterError::NoQueue(args.job.clone()));
    };
    let access = access(args, &job);
    let queue = SqsQueue::at(&access, url, None).await;
    let dead_letters = SqsQueue::at(&access, dead_letter_url, None).await;
    let redriven = send_again(&dead_letters, &queue, job.metadata.uid.as_deref().unwrap_or_default()).await?;
    for line in redriven.words(&args.job) {
        writeln!(out, "{line}")?;
    }
    if redriven.is_any_sent() {
        wake(&args.job, jobs).await;
    }
    Ok(Exit::Done)
}

/// Changes an annotation of the job, so that the operator looks at its queue now. The queue of an idle job is not polled.
async fn wake(name: &str, jobs: &Jobs) {
    let annotations = json!({"metadata": {"annotations": {LOOK_ANNOTATION: fresh()}}});
    if let Err(error) = jobs.patch(name, &annotations).await {
        eprintln!(
            "s3migrate: {error}; the messages are in the queue, and if the job is idle, workers start with its next \
             run or after an edit of it"
        );
    }
}

/// Returns where the queue is, and as whom it is called: the caller, who needs not be able to read the job's Secret.
fn access(args: &RedriveArgs, job: &MigrationJob) -> Access {
    let queue = &job.spec.queue;
    Access {
        region: queue.region.clone(),
        endpoint: args.endpoint.clone().or_else(|| queue.endpoint.clone()),
        credentials: args.profile.clone().map_or(CredentialSource::Pod, CredentialSource::Profile),
    }
}

/// Sends what workers of the job can use, and shows the rest to others again.
async fn send_again<D: Queue, Q: Queue>(dead_letters: &D, queue: &Q, job: &str) -> Result<Redriven, ClusterError> {
    let (mut redriven, mut left) = (Redriven::default(), Left::default());
    let sent = send_all(dead_letters, queue, job, &mut redriven, &mut left).await;
    left.show(dead_letters).await;
    sent.map(|()| redriven)
}

/// Sends messages until a request returns none that it has not seen.
async fn send_all<D: Queue, Q: Queue>(
    dead_letters: &D,
    queue: &Q,
    job: &str,
    redriven: &mut Redriven,
    left: &mut Left,
) -> Result<(), ClusterError> {
    let mut sent = BTreeSet::new();
    loop {
        let (mut chosen, mut is_new) = (Vec::new(), false);
        for letter in dead_letters.receive(PAGE, WAIT, VISIBILITY).await? {
            let kind = kind(&letter.body, job);
            let is_sendable = matches!(kind, Kind::Foreign | Kind::OfRun);
            if is_sendable && sent.insert(<[u8; 32]>::from(Sha256::digest(&letter.body))) {
                chosen.push((kind, letter));
            } else if left.add(&letter) {
                is_new = true;
                if is_sendable {
                    redriven.came_back += 1;
                } else {
                    redriven.count(kind);
                }
            }
        }
        if chosen.is_empty() && !is_new {
            return Ok(());
        }
        let moves = chosen.iter().map(|(_, letter)| move_one(dead_letters, queue, letter));
        let mut failed = None;
        for ((kind, letter), moved) in chosen.iter().zip(join_all(moves).await) {
            match moved {
                Ok(()) => redriven.count(*kind),
                Err(error) => {
                    left.add(letter);
                    failed = Some(error);
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
    }
}

/// Sends a message alone, since ten of the largest would be more than a request may hold.
async fn move_one<D: Queue, Q: Queue>(
    dead_letters: &D,
    queue: &Q,
    letter: &ReceivedMessage,
) -> Result<(), ClusterError> {
    let message = OutgoingMessage { body: letter.body.clone(), delay: Duration::ZERO };
    if !queue.send(&[message]).await?.is_empty() {
        return Err(ClusterError::Rejected);
    }
    Ok(dead_letters.delete(&letter.receipt).await?)
}

/// Dead letters that stay.
#[derive(Default)]
struct Left {
    ids: BTreeSet<String>,
    receipts: Vec<String>,
}

impl Left {
    /// Returns true if the letter was not seen before.
    fn add(&mut self, letter: &ReceivedMessage) -> bool {
        self.receipts.push(letter.receipt.clone());
        self.ids.insert(letter.id.clone())
    }

    /// Shows them to others again. Otherwise that happens by itself, after their visibility timeout.
    async fn show<D: Queue>(&self, dead_letters: &D) {
        for receipt in &self.receipts {
            let _ = dead_letters.set_visibility(receipt, Duration::ZERO).await;
        }
    }
}

/// Returns what a dead letter is to a job with this UID.
fn kind(body: &str, job: &str) -> Kind {
    let of_run = |found: &str| if found == job { Kind::OfRun } else { Kind::OtherJob };
    match Message::parse(body) {
        Ok(Message::Job(_) | Message::Events(_) | Message::TestEvent) => Kind::Foreign,
        Ok(Message::Batch(batch)) if batch.job == job && batch.run == EVENTS_RUN => Kind::Foreign,
        Ok(Message::Batch(batch)) => of_run(&batch.job),
        Ok(Message::PartRange(range)) => of_run(&range.job),
        Err(_) => Kind::Unreadable,
    }
}

impl Redriven {
    fn count(&mut self, kind: Kind) {
        let number = match kind {
            Kind::Foreign => &mut self.foreign,
            Kind::OfRun => &mut self.of_runs,
            Kind::OtherJob => &mut self.other_jobs,
            Kind::Unreadable => &mut self.unreadable,
        };
        *number += 1;
    }

    fn is_any_sent(&self) -> bool {
        self.foreign + self.of_runs > 0
    }

    fn words(&self, job: &str) -> Vec<String> {
        let Self { foreign, of_runs, other_jobs, unreadable, came_back } = *self;
        if *self == Self::default() {
            return vec!["there are no dead letters".to_owned()];
        }
        let lines = [
            (foreign, "sent: events and job messages, whose objects are copied now".to_owned()),
            (
                of_runs,
                format!(
                    "sent: work of runs; failures that a run has recorded stay recorded, and `s3migrate cluster \
                     trigger {job}` copies what still differs"
                ),
            ),
            (other_jobs, "left: work of another job that uses this queue".to_owned()),
            (unreadable, "left: workers of this version can't read them; their attribute `reason` says why".to_owned()),
            (came_back, "left: they came back, or equal one that was sent".to_owned()),
        ];
        lines.into_iter().filter(|(number, _)| *number > 0).map(|(number, text)| format!("{number} {text}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::ErrorClass;
    use migration_core::message::{Batch, BatchId, MESSAGE_VERSION};
    use migration_testkit::MemoryQueue;
    use migration_testkit::samples::bucket_pair;

    const JOB: &str = r#"{"Src_bucket":"b","Src_key":"x","Des_bucket":"c","Des_key":"x","Size":7,"versionId":"null"}"#;

    fn batch(job: &str, run: &str) -> String {
        let batch = Batch {
            version: MESSAGE_VERSION,
            job: job.into(),
            run: run.into(),
            id: BatchId::new(0, 1, 0),
            scanned: 1,
            pair: bucket_pair("b"),
            attempts: 0,
            objects: vec![],
        };
        batch.body()
    }

    async fn fill(bodies: &[&str]) -> MemoryQueue {
        let queue = MemoryQueue::default();
        for body in bodies {
            queue.send(&[OutgoingMessage { body: (*body).to_owned(), delay: Duration::ZERO }]).await.unwrap();
        }
        queue
    }

    fn bodies(queue: &MemoryQueue) -> Vec<String> {
        queue.messages().into_iter().map(|message| message.body).collect()
    }

    #[test]
    fn dead_letters_are_sorted_by_what_workers_can_do() {
        let range = |job: &str| {
            format!(
                r#"{{"v":1,"kind":"parts","job":"{job}","run":"r","batch":"000000/0001/0000000000",
                "pair":{{"sourceBucket":"b","destinationBucket":"c","prefixMode":"Append"}},
                "source":{{"bucket":"b","key":"k","etag":"e"}},"destinationKey":"k","uploadId":"i","size":25,
                "partSize":10,"checksum":true,"first":1,"last":2}}"#
            )
        };
        for (body, expected) in [
            (JOB.to_owned(), Kind::Foreign),
            (r#"{"Event":"s3:TestEvent"}"#.to_owned(), Kind::Foreign),
            (batch("u", EVENTS_RUN), Kind::Foreign),
            (batch("u", "r"), Kind::OfRun),
            (range("u"), Kind::OfRun),
            (batch("other", "r"), Kind::OtherJob),
            (batch("other", EVENTS_RUN), Kind::OtherJob),
            (range("other"), Kind::OtherJob),
            (r#"{"v":99}"#.to_owned(), Kind::Unreadable),
            ("nonsense".to_owned(), Kind::Unreadable),
        ] {
            assert_eq!(kind(&body, "u"), expected, "{body}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_workers_can_use_moves_and_the_rest_is_left_visible() {
        let (of_run, other) = (batch("u", "r"), batch("other", "r"));
        let mut letters = vec![JOB, &of_run, &other, "nonsense"];
        let more: Vec<String> = (0..25).map(|number| batch("u", &format!("r{number}"))).collect();
        letters.extend(more.iter().map(String::as_str));
        let (dead_letters, queue) = (fill(&letters).await, MemoryQueue::default());
        let redriven = send_again(&dead_letters, &queue, "u").await.unwrap();
        let expected = Redriven { foreign: 1, of_runs: 26, other_jobs: 1, unreadable: 1, came_back: 0 };
        assert_eq!(redriven, expected);
        assert_eq!(bodies(&dead_letters), [other, "nonsense".to_owned()]);
        assert!(dead_letters.messages().iter().all(|message| message.visible));
        assert_eq!(bodies(&queue).len(), 27);
        assert_eq!(redriven.words("photos").len(), 4);
        assert_eq!(Redriven::default().words("photos"), ["there are no dead letters"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_is_not_sent_again() {
        // The queue of the workers is the dead letter queue itself, so that each message comes back at once.
        let both = fill(&[JOB]).await;
        let redriven = send_again(&both, &both, "u").await.unwrap();
        assert_eq!(redriven, Redriven { foreign: 1, came_back: 1, ..Redriven::default() });
        assert_eq!(bodies(&both), [JOB]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_the_queue_does_not_take_stays() {
        let (dead_letters, queue) = (fill(&[JOB]).await, MemoryQueue::default());
        queue.refuse_entries(1);
        assert!(matches!(send_again(&dead_letters, &queue, "u").await, Err(ClusterError::Rejected)));
        queue.denials().deny_all(ErrorClass::Throttled, "ThrottlingException");
        assert!(dead_letters.messages()[0].visible);
        assert!(matches!(send_again(&dead_letters, &queue, "u").await, Err(ClusterError::Queue(_))));
        assert_eq!((bodies(&dead_letters).len(), bodies(&queue).len()), (1, 0));
    }
}
