//! Parses messages and checks that they are for this job and worker.

use std::sync::Arc;
use std::time::Duration;

use migration_core::message::{Batch, EVENTS_RUN, Message, MessageError, PartRange, batch_of_job, batches_of_events};
use migration_core::pair::BucketPair;
use migration_core::ports::ReceivedMessage;
use migration_core::records::{self, RunEndCause, RunRecord, RunSides};
use migration_ledger::{ReadError, get};
use tokio::time::Instant;
use tracing::debug;

use super::Worker;
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
    Over {
        /// The run.
        run: String,
    },
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
    Batches { batches: Vec<Batch>, pairs: Arc<[BucketPair]> },
    /// A range of the parts of a distributed transfer.
    Range(Box<PartRange>),
}

impl<P: Services> Worker<P> {
    /// Parses a message and checks that it is for this job and this worker.
    pub(super) async fn accept(
        &self,
        message: &ReceivedMessage,
    ) -> Result<Result<Accepted, MessageError>, Interruption> {
        let (job, now) = (&self.process.config.job.uid, self.process.runtime.clock.now());
        let own = || Arc::<[BucketPair]>::from(self.process.config.buckets.clone());
        let foreign = |batches| Work::Batches { batches, pairs: own() };
        let work = match Message::parse(&message.body) {
            Err(reason) => Err(reason),
            Ok(Message::Batch(batch)) => match self.terms_of(&batch.job, &batch.run).await? {
                Err(reason) => Err(reason),
                Ok(Terms::Not(accepted)) => return Ok(Ok(accepted)),
                Ok(Terms::Pairs(pairs)) => {
                    batch.check(job, &pairs).map(|()| Work::Batches { batches: vec![batch], pairs })
                }
            },
            Ok(Message::PartRange(range)) => match self.terms_of(&range.job, &range.run).await? {
                Err(reason) => Err(reason),
                Ok(Terms::Not(accepted)) => return Ok(Ok(accepted)),
                Ok(Terms::Pairs(pairs)) => range.check(&pairs).map(|()| Work::Range(Box::new(range))),
            },
            Ok(Message::Job(found)) => {
                batch_of_job(job, &found, &own(), &message.id, now).map(|batch| foreign(vec![batch]))
            }
            Ok(Message::Events(events)) => {
                let batches = {
                    let config = &self.process.config;
                    let follows_removals = config.max_deletes_of_events().is_some();
                    batches_of_events(job, &events, &own(), config.ignore_list(), follows_removals, now)
                };
                debug!(events = events.len(), objects = batches.len(), "events of the source");
                Ok(foreign(batches))
            }
            Ok(Message::TestEvent) => Ok(foreign(Vec::new())),
        };
        Ok(work.map(Accepted::Work))
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
                Terms::Not(Accepted::Over { run: record.run })
            }
            // Checked each time: the run may end, and the worker may be restarted with other settings.
            Some(_) if record.end.is_some() => Terms::Not(Accepted::Over { run: record.run }),
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
