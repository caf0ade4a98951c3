//! Does the work of one message, a batch of objects or a range of parts, while renewing its lease.

use std::sync::Arc;
use std::time::Duration;

use migration_core::lease::{Receipt, WaitForPlace, left_to_others, receipt, wait_for_place};
use migration_core::message::{Batch, PartRange};
use migration_core::mutants::{Mutant, is_active};
use migration_core::outcome::{Cause, EntryOutcome, Failure, FailureClass};
use migration_core::pair::BucketPair;
use migration_core::plan::{TransferMethod, is_server_side, method};
use migration_core::ports::{Queue, ReceivedMessage};
use migration_core::records::{self, BatchEnd, RecordError};
use migration_core::retry::{PUT_BACK, remainder_delay};
use migration_ledger::{ReadError, get};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::accept::Work;
use super::lease::{Lost, keep};
use super::{Disposal, LEFT_AFTER, Worker};
use crate::admission::{ObjectClass, PendingObject};
use crate::log_context::{LogContext, within};
use crate::transfer::{LastProgress, RangeEnd, TransferTask, carry, transfer};
use crate::uploads::{self, Clear};
use crate::{Interruption, Services};

/// State shared by the work of one message.
struct Job<'a> {
    message: &'a ReceivedMessage,
    progress: LastProgress,
    lost: Lost,
}

impl<P: Services> Worker<P> {
    /// Does the work of a message while keeping its lease.
    pub(super) async fn work_off(
        self: &Arc<Self>,
        message: &ReceivedMessage,
        work: Work,
        held: PendingObject,
    ) -> Result<Disposal, Interruption> {
        let job = Job { message, progress: LastProgress::default(), lost: Lost::new(self.abandon.child_token()) };
        let removals = removals_again(&work);
        let disposal = tokio::select! {
            biased;
            disposal = self.work_under_lease(&job, work, held) => disposal,
            // Ends only by cancelling `lost` and waiting for the work to notice.
            () = keep(&self.process, &message.receipt, &job.progress, &job.lost) => Ok(Disposal::GiveBack),
        };
        let disposal = match disposal {
            Ok(Disposal::GiveBack) if job.lost.is_worn_out() => Ok(Disposal::SendAnew(Duration::ZERO)),
            other => other,
        };
        match disposal {
            Ok(Disposal::SendAnew(after)) if !removals.is_empty() => self.replace(message, removals, after).await,
            other => other,
        }
    }

    async fn work_under_lease(
        self: &Arc<Self>,
        job: &Job<'_>,
        work: Work,
        held: PendingObject,
    ) -> Result<Disposal, Interruption> {
        match work {
            Work::Range(range) => self.carry_range(job, &range, held).await,
            Work::Batches { batches, pairs } => {
                let attempts = batches.iter().map(|batch| batch.most_tries()).max().unwrap_or_default();
                let most = self.process.config.transfer.max_attempts;
                match receipt(job.message.receives, attempts, most) {
                    Receipt::Work => {}
                    Receipt::Renew => return self.renew(job.message, batches).await,
                    Receipt::GiveUp => {
                        // Nobody continues its uploads.
                        let threshold = self.process.config.transfer.multipart_threshold.bytes();
                        for batch in &batches {
                            uploads::clear_batch(&self.process, batch, threshold, Clear::All).await?;
                        }
                        let why = format!("its workers died or stalled at {} deliveries", job.message.receives);
                        return self.bury(job.message, &why).await;
                    }
                }
                let mut held = Some(held);
                for batch in batches {
                    let work = self.work_batch(job, &batch, &pairs, &mut held);
                    let disposal = match within(LogContext::Batch(batch.clone()), work).await {
                        Ok(disposal) => disposal,
                        Err(ReadError::Record(error)) => return self.leave_ended(job.message, &error).await,
                        Err(ReadError::Request(error)) => return Err(error),
                    };
                    if disposal != Disposal::Delete {
                        return Ok(disposal);
                    }
                }
                Ok(Disposal::Delete)
            }
        }
    }

    /// Replaces a worn-out message by new ones for its batches, with one more try counted.
    async fn renew(&self, message: &ReceivedMessage, batches: Vec<Arc<Batch>>) -> Result<Disposal, Interruption> {
        debug!(id = message.id, receives = message.receives, "replacing a worn-out message");
        let renewed = batches.iter().map(|batch| batch.tried_once_more().body());
        self.replace(message, renewed.collect(), Duration::ZERO).await
    }

    /// Leaves a message to other workers if the end of its batch cannot be read. The objects to retry are then unknown,
    /// and must be neither copied again nor lost. Before the delivery at which the message would be replaced as worn,
    /// it is moved to the dead-letter queue with the error as the reason, because no worker that can read the end has
    /// received it.
    async fn leave_ended(&self, message: &ReceivedMessage, error: &RecordError) -> Result<Disposal, Interruption> {
        let why = error.to_string();
        match (left_to_others(message.receives), left_to_others(message.receives + 1)) {
            (Some(after), Some(_)) => self.leave(message, &why, after).await,
            _ => self.bury(message, &why).await,
        }
    }

    /// Copies the objects of a batch and ends it. A [`RecordError`] is about the end of the batch.
    async fn work_batch(
        self: &Arc<Self>,
        job: &Job<'_>,
        batch: &Arc<Batch>,
        pairs: &[BucketPair],
        held: &mut Option<PendingObject>,
    ) -> Result<Disposal, ReadError<Interruption>> {
        let huge = batch.objects.iter().any(|entry| self.is_distributed(entry.size));
        let place = if huge { self.limits.coordinate() } else { None };
        if huge && place.is_none() {
            return Ok(self.wait_for_place(job.message).await?);
        }
        // Compared with the parts of a large object one check costs nothing, and it saves a late duplicate from
        // beginning an upload.
        let threshold = self.process.config.transfer.multipart_threshold.bytes();
        let large = batch.objects.iter().any(|entry| entry.size > threshold);
        // A duplicate of an event in another message is found out when its end is recorded.
        let may_have_ended = (job.message.receives > 1 || large) && !self.must_look(batch);
        let _at = self.process.runtime.activity.at_run(&batch.run);
        if may_have_ended && let Some(end) = self.ended(batch).await? {
            if end.remainder.is_empty() {
                let clear = if end.is_of_dead_letter() { Clear::All } else { Clear::Completed };
                uploads::clear_batch(&self.process, batch, threshold, clear).await?;
            }
            return Ok(self.finish(batch, &end).await?);
        }
        if is_active(Mutant::AckBeforeVerify) {
            self.process.queue(|| self.process.ports.queue.delete(&job.message.receipt)).await?;
        }
        let Some(outcomes) = self.move_objects(job, batch, held).await else {
            return Ok(Disposal::SendAnew(Duration::from_secs(PUT_BACK.into())));
        };
        if outcomes.contains(&EntryOutcome::Interrupted) {
            return Ok(Disposal::GiveBack);
        }
        let outcomes = self.settled(outcomes).await?;
        if outcomes.iter().all(is_the_sides) {
            // Nothing of it is finished: it waits unchanged.
            return Ok(Disposal::SendAnew(Duration::from_secs(PUT_BACK.into())));
        }
        self.end(job.message, batch, pairs, outcomes).await
    }

    /// Returns true if an object of so many bytes is moved by many workers.
    fn is_distributed(&self, bytes: u64) -> bool {
        let config = &self.process.config;
        let server_side = is_server_side(&config.transfer, &config.source, &config.destination);
        method(bytes, &config.transfer, server_side) == TransferMethod::Distributed
    }

    /// Puts off a message whose objects this worker has no place to coordinate. Keeps it for a moment, so that a queue
    /// full of such messages is not received as fast as it answers, and the ranges among them are found.
    async fn wait_for_place(&self, message: &ReceivedMessage) -> Result<Disposal, Interruption> {
        debug!(id = message.id, receives = message.receives, "putting off a distributed object");
        self.process.pause(LEFT_AFTER).await?;
        Ok(match wait_for_place(message.receives) {
            WaitForPlace::GiveBack(after) => Disposal::Later(after),
            WaitForPlace::SendAnew(after) => Disposal::SendAnew(after),
        })
    }

    /// Transfers the objects of a batch, each in its own task, and returns their outcomes in order. While a permission
    /// is missing, tries one object first, and returns `None` if it is still missing.
    async fn move_objects(
        self: &Arc<Self>,
        job: &Job<'_>,
        batch: &Arc<Batch>,
        held: &mut Option<PendingObject>,
    ) -> Option<Vec<EntryOutcome>> {
        let scout =
            self.process.right_missing().map(|_| place_of(self.process.runtime.clock.random(), batch.objects.len()));
        let mut outcomes = vec![EntryOutcome::Interrupted; batch.objects.len()];
        let mut tasks = JoinSet::new();
        if let Some(scout) = scout {
            self.start(&mut tasks, job, batch, scout);
            collect(&mut tasks, &mut outcomes).await;
            if self.process.right_missing().is_some() {
                return None;
            }
        }
        for place in (0..batch.objects.len()).filter(|place| Some(*place) != scout) {
            self.start(&mut tasks, job, batch, place);
        }
        // Its objects are now counted instead.
        held.take();
        collect(&mut tasks, &mut outcomes).await;
        Some(outcomes)
    }

    /// Starts to transfer one object of a batch as soon as it has a permit.
    fn start(
        self: &Arc<Self>,
        tasks: &mut JoinSet<(usize, EntryOutcome)>,
        job: &Job<'_>,
        batch: &Arc<Batch>,
        place: usize,
    ) {
        let (this, batch, progress, lost) = (self.clone(), batch.clone(), job.progress.clone(), job.lost.token.clone());
        let redelivered = job.message.receives > 1;
        let Some(bytes) = batch.objects.get(place).map(|entry| entry.size) else { return };
        let pending = self.limits.permits.expect(self.limits.class_of(bytes));
        let context = LogContext::Object(batch.clone(), place);
        // Boxed like the work of a message: the futures of requests are nested in those of parts and attempts.
        let work = Box::pin(async move {
            let Some(entry) = batch.objects.get(place) else { return (place, EntryOutcome::Interrupted) };
            let task = TransferTask { batch: &batch, entry, redelivered, lost: &lost };
            (place, this.one(task, &progress, pending).await)
        });
        tasks.spawn(within(context, work));
    }

    /// Transfers one object once it has a permit.
    async fn one(&self, task: TransferTask<'_>, progress: &LastProgress, pending: PendingObject) -> EntryOutcome {
        let Some(permit) = pending.acquire().await else { return EntryOutcome::Interrupted };
        if self.process.runtime.stop.is_cancelled() {
            return EntryOutcome::Interrupted;
        }
        if self.is_first_of_removal(task) {
            return self.follow_removal(task, progress, EntryOutcome::Gone, Some(permit)).await;
        }
        let (began, throttled) = (Instant::now(), self.process.throttled());
        let outcome = transfer(&self.process, &self.limits, task, progress, permit).await;
        if self.limits.class_of(task.entry.size) == ObjectClass::Whole {
            self.adapt(began, throttled);
        }
        self.follow_removal(task, progress, outcome, None).await
    }

    /// Adapts the number of permits after an object. `throttled` is the number of throttled answers when it began.
    fn adapt(&self, began: Instant, throttled: u64) {
        let permits = &self.limits.permits;
        let may_grow = !self.limits.budget.is_short() && self.process.throttled() == throttled;
        // The object's own permit is free again.
        let limit = self.process.object_limit.finished(began, permits.in_use() + 1, may_grow);
        permits.resize(limit);
    }

    /// Attributes the denials among the outcomes: if a permission is missing, the objects are retried and have not
    /// failed.
    async fn settled(&self, outcomes: Vec<EntryOutcome>) -> Result<Vec<EntryOutcome>, Interruption> {
        let denied = |outcome: &EntryOutcome| matches!(outcome, EntryOutcome::Failed(failure) if failure.class == FailureClass::AccessDenied);
        if !outcomes.iter().any(denied) || !self.process.is_right_missing().await? {
            return Ok(outcomes);
        }
        let waiting = outcomes.into_iter().map(|outcome| match outcome {
            EntryOutcome::Failed(failure) if failure.class == FailureClass::AccessDenied => {
                EntryOutcome::Retry(Failure { cause: Cause::WholeService, ..failure })
            }
            other => other,
        });
        Ok(waiting.collect())
    }

    async fn carry_range(
        &self,
        job: &Job<'_>,
        range: &PartRange,
        held: PendingObject,
    ) -> Result<Disposal, Interruption> {
        let _at = self.process.runtime.activity.at_run(&range.run);
        let pending = self.limits.permits.expect(ObjectClass::InParts);
        drop(held);
        let Some(_room) = pending.acquire().await else { return Ok(Disposal::GiveBack) };
        let last_try = job.message.receives >= self.process.config.transfer.max_attempts;
        let end = carry(&self.process, &self.limits, range, &job.progress, job.lost.token(), last_try).await;
        Ok(match end {
            RangeEnd::Over => Disposal::Delete,
            RangeEnd::Interrupted => Disposal::GiveBack,
            RangeEnd::Retry(failure) => {
                debug!(reason = failure.message, first = range.first, "retrying a range");
                match failure.cause {
                    Cause::WholeService => Disposal::SendAnew(Duration::from_secs(PUT_BACK.into())),
                    Cause::Progress(parts) => {
                        let after = Duration::from_secs(remainder_delay(0).into());
                        return self.replace(job.message, vec![range.with_parts(parts).body()], after).await;
                    }
                    Cause::Own | Cause::Throttled => {
                        Disposal::Later(Duration::from_secs(remainder_delay(job.message.receives).into()))
                    }
                }
            }
        })
    }

    /// Returns the recorded end of a batch, if any.
    pub(super) async fn ended(&self, batch: &Batch) -> Result<Option<BatchEnd>, ReadError<Interruption>> {
        get(self.process.as_ref(), &records::batch_key(batch)).await
    }
}

/// Returns the messages to send in place of one with removals that is sent anew. As a new message, it would look like
/// the first delivery of events of which nothing has been done.
fn removals_again(work: &Work) -> Vec<String> {
    let Work::Batches { batches, .. } = work else { return Vec::new() };
    if !batches.iter().any(|batch| batch.id.is_of_removal() && batch.attempts == 0) {
        return Vec::new();
    }
    batches.iter().map(|batch| batch.sent_again().body()).collect()
}

/// Maps a random number in [0, 1) to the index of an object.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few hundred"
)]
fn place_of(random: f64, objects: usize) -> usize {
    (random * objects as f64) as usize
}

/// Waits for all tasks. A task that panicked leaves its object interrupted.
async fn collect(tasks: &mut JoinSet<(usize, EntryOutcome)>, outcomes: &mut [EntryOutcome]) {
    while let Some(joined) = tasks.join_next().await {
        if let Ok((place, outcome)) = joined
            && let Some(at) = outcomes.get_mut(place)
        {
            *at = outcome;
        }
    }
}

fn is_the_sides(outcome: &EntryOutcome) -> bool {
    matches!(outcome, EntryOutcome::Retry(failure) if failure.cause == Cause::WholeService)
}

impl Lost {
    /// Cancelled when the lease is lost.
    fn token(&self) -> &CancellationToken {
        &self.token
    }
}
