//! What a message asks for, once it is sure that it is this job's.

use std::sync::Arc;

use migration_core::message::{Batch, EVENTS_RUN, Message, MessageError, PartRange, batch_of_job, batches_of_events};
use migration_core::pair::BucketPair;
use migration_core::ports::{Ledger, ObjectStore, Queue, ReceivedMessage};
use migration_core::records::{self, RunRecord};
use tracing::info;

use super::Consumer;
use crate::Interruption;

/// What a message asks for.
#[derive(Debug)]
pub(super) enum Work {
    /// Objects to move: one batch of ours, or what foreign messages are made into, which may be nothing.
    Batches {
        batches: Vec<Batch>,
        pairs: Arc<[BucketPair]>,
        /// Nobody has looked at the destination before.
        foreign: bool,
    },
    /// A range of the parts of a huge object.
    Range(Box<PartRange>),
}

impl<S: ObjectStore, Q: Queue, L: Ledger> Consumer<S, Q, L> {
    /// Reads a message and checks that it is this job's.
    pub(super) async fn accept(&self, message: &ReceivedMessage) -> Result<Result<Work, MessageError>, Interruption> {
        let (job, now) = (&self.process.config.job.uid, self.process.clock.now());
        let own = || Arc::<[BucketPair]>::from(self.process.config.buckets.clone());
        Ok(match Message::parse(&message.body) {
            Err(reason) => Err(reason),
            Ok(Message::Batch(batch)) => match self.pairs_for(&batch.job, &batch.run).await? {
                Err(reason) => Err(reason),
                Ok(pairs) => batch.check(job, &pairs).map(|()| Work::Batches {
                    foreign: batch.run == EVENTS_RUN,
                    batches: vec![batch],
                    pairs,
                }),
            },
            Ok(Message::PartRange(range)) => match self.pairs_for(&range.job, &range.run).await? {
                Err(reason) => Err(reason),
                Ok(pairs) => range.check(&pairs).map(|()| Work::Range(Box::new(range))),
            },
            Ok(Message::Job(found)) => batch_of_job(job, &found, &own(), &message.id, now).map(|batch| Work::Batches {
                batches: vec![batch],
                pairs: own(),
                foreign: true,
            }),
            Ok(Message::Events(events)) => {
                let batches = batches_of_events(job, &events, &own(), &self.ignore, now);
                info!(events = events.len(), objects = batches.len(), "events of the source");
                Ok(Work::Batches { batches, pairs: own(), foreign: true })
            }
            Ok(Message::TestEvent) => Ok(Work::Batches { batches: Vec::new(), pairs: own(), foreign: true }),
        })
    }

    /// The pairs that a message of ours may name: those of its run, or the job's own for what belongs to no run.
    async fn pairs_for(&self, found: &str, run: &str) -> Result<Result<Arc<[BucketPair]>, MessageError>, Interruption> {
        let process = &self.process;
        let job = &process.config.job.uid;
        if found != job {
            return Ok(Err(MessageError::OtherJob { found: found.to_owned(), expected: job.clone() }));
        }
        if run == EVENTS_RUN {
            return Ok(Ok(process.config.buckets.clone().into()));
        }
        let mut runs = self.runs.lock().await;
        if let Some(pairs) = runs.get(run) {
            return Ok(Ok(pairs.clone()));
        }
        let key = records::run_key(job, run);
        let item = process.ledger(|| process.ports.ledger.get(&key)).await?;
        let Some(record) = item.and_then(|item| item.read::<RunRecord>().ok()) else {
            return Ok(Err(MessageError::UnknownRun(run.to_owned())));
        };
        let pairs: Arc<[BucketPair]> = record.pairs.into();
        runs.insert(run.to_owned(), pairs.clone());
        Ok(Ok(pairs))
    }
}
