//! Parses messages and checks that they are for this job and worker.

use std::sync::Arc;
use std::time::Duration;

use migration_core::message::{
    Batch, EVENTS_RUN, Message, MessageError, ObjectEvent, PartRange, batch_of_job, batches_of_events,
};
use migration_core::pair::BucketPair;
use migration_core::ports::ReceivedMessage;
use migration_core::records::{self, RunEndCause, RunRecord, RunSides};
use migration_ledger::{ReadError, get};
use tokio::time::Instant;
use tracing::debug;

use super::Worker;
use crate::log_context::LogContext;
use crate::{Interruption, Services};

/// Time after which a run's record is read again, since the run may have been ended meanwhile.
const KNOWN_FOR: Duration = Duration::from_mins(1);

/// Decision about a message.
#[derive(Debug)]
pub(super) enum Accepted {
    /// This worker does it.
    Work(Work),
    /// It is for workers with another configuration: its run has other sides, or this version cannot read the run's
    /// record.
    Others {
        /// The reason.
        why: String,
    },
    /// Nobody needs it: its run was given up at its deadline, or had other sides and is over. The next run finds any objects left.
    Over,
}

/// Decision about a message, or why it can't be processed.
pub(super) type Decision = Result<Accepted, MessageError>;

/// A message that was read.
#[derive(Debug)]
pub(super) struct Received {
    /// What the log tells of while it is worked on.
    pub(super) context: LogContext,
    /// What is done with it.
    pub(super) decision: Decision,
}

/// Pairs of a run that uses this worker's sides, and when its record was read.
#[derive(Debug)]
pub(super) struct KnownRun {
    pairs: Arc<[BucketPair]>,
    read_at: Instant,
}

/// Conditions for the messages of a run.
enum Terms {
    /// Only these pairs are allowed.
    Pairs(Arc<[BucketPair]>),
    /// This worker does not do them.
    Not(Accepted),
}

/// Work of a message.
#[derive(Debug)]
pub(super) enum Work {
    /// Objects to transfer: one batch of ours, or the batches made from a foreign message, which may be none.
    Batches { batches: Vec<Arc<Batch>>, pairs: Arc<[BucketPair]> },
    /// A range of the parts of a distributed transfer.
    Range(Arc<PartRange>),
}

impl<P: Services> Worker<P> {
    /// Parses a message and checks that it is for this job and this worker.
    pub(super) async fn accept(&self, message: &ReceivedMessage) -> Result<Received, Interruption> {
        let of_message = LogContext::message(message);
        let (context, decision) = match Message::parse(&message.body) {
            Err(reason) => (of_message, Err(reason)),
            Ok(Message::Batch(batch)) => {
                let batch = Arc::new(batch);
                (LogContext::Batch(batch.clone()), self.accept_batch(batch).await?)
            }
            Ok(Message::PartRange(range)) => {
                let range = Arc::new(range);
                (LogContext::Range(range.clone(), message.receives), self.accept_range(range).await?)
            }
            Ok(Message::Job(found)) => {
                let (job, now) = (&self.process.config.job.uid, self.process.runtime.clock.now());
                let batch = batch_of_job(job, &found, &self.process.config.buckets, &message.id, now);
                (of_message, batch.map(|batch| self.of_others(vec![batch])))
            }
            Ok(Message::Events(events)) => (of_message, Ok(self.of_others(self.batches_of(&events)))),
            Ok(Message::TestEvent) => (of_message, Ok(self.of_others(Vec::new()))),
        };
        let context = match &decision {
            // Its run is none of this job.
            Err(MessageError::OtherJob { .. }) => LogContext::message(message),
            Ok(Accepted::Work(Work::Batches { batches, .. })) if batches.len() == 1 => {
                batches.first().cloned().map_or(context, LogContext::Batch)
            }
            _ => context,
        };
        Ok(Received { context, decision })
    }

    async fn accept_batch(&self, batch: Arc<Batch>) -> Result<Decision, Interruption> {
        Ok(match self.terms_of(&batch.job, &batch.run).await? {
            Err(reason) => Err(reason),
            Ok(Terms::Not(accepted)) => Ok(accepted),
            Ok(Terms::Pairs(pairs)) => batch
                .check(&self.process.config.job.uid, &pairs)
                .map(|()| Accepted::Work(Work::Batches { batches: vec![batch], pairs })),
        })
    }

    async fn accept_range(&self, range: Arc<PartRange>) -> Result<Decision, Interruption> {
        Ok(match self.terms_of(&range.job, &range.run).await? {
            Err(reason) => Err(reason),
            Ok(Terms::Not(accepted)) => Ok(accepted),
            Ok(Terms::Pairs(pairs)) => range.check(&pairs).map(|()| Accepted::Work(Work::Range(range))),
        })
    }

    /// Accepts what a foreign message asks for.
    fn of_others(&self, batches: Vec<Batch>) -> Accepted {
        let pairs = self.process.config.buckets.clone().into();
        Accepted::Work(Work::Batches { batches: batches.into_iter().map(Arc::new).collect(), pairs })
    }

    fn batches_of(&self, events: &[ObjectEvent]) -> Vec<Batch> {
        let (config, now) = (&self.process.config, self.process.runtime.clock.now());
        let follows_removals = config.max_deletes_of_events().is_some();
        let ignored = config.ignore_list();
        let batches = batches_of_events(&config.job.uid, events, &config.buckets, ignored, follows_removals, now);
        debug!(events = events.len(), objects = batches.len(), "events of the source");
        batches
    }

    /// Returns the conditions for a message of ours: the pairs of its run, or the job's own pairs if it belongs to no
    /// run. The run must have the same sides as this worker.
    async fn terms_of(&self, found: &str, run: &str) -> Result<Result<Terms, MessageError>, Interruption> {
        let process = &self.process;
        let job = &process.config.job.uid;
        if found != job {
            return Ok(Err(MessageError::OtherJob { found: found.to_owned(), expected: job.clone() }));
        }
        if run == EVENTS_RUN {
            return Ok(Ok(Terms::Pairs(process.config.buckets.clone().into())));
        }
        let mut runs = self.runs.lock().await;
        if let Some(known) = runs.get(run).filter(|known| known.read_at.elapsed() < KNOWN_FOR) {
            return Ok(Ok(Terms::Pairs(known.pairs.clone())));
        }
        let key = records::run_key(job, run);
        let record = match get::<RunRecord, _>(process.as_ref(), &key).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(Err(MessageError::UnknownRun(run.to_owned()))),
            Err(ReadError::Record(error)) => return Ok(Ok(Terms::Not(Accepted::Others { why: error.to_string() }))),
            Err(ReadError::Request(error)) => return Err(error),
        };
        let was_given_up = record.end.as_ref().is_some_and(|end| end.cause == Some(RunEndCause::Deadline));
        let elsewhere = record.sides.as_ref().and_then(|sides| sides.difference(&RunSides::of(&process.config)));
        Ok(Ok(match elsewhere {
            // Its limits end with it: what is left of a run that was given up would be copied without a budget.
            _ if was_given_up => {
                runs.remove(run);
                Terms::Not(Accepted::Over)
            }
            // Checked each time: the run may end, and the worker may be restarted with other settings.
            Some(_) if record.end.is_some() => Terms::Not(Accepted::Over),
            Some(what) => {
                let why = format!("run {run} works elsewhere than this worker: {what}");
                Terms::Not(Accepted::Others { why })
            }
            None => {
                let pairs: Arc<[BucketPair]> = record.pairs.into();
                runs.insert(run.to_owned(), KnownRun { pairs: pairs.clone(), read_at: Instant::now() });
                Terms::Pairs(pairs)
            }
        }))
    }
}
