//! The work of one message: objects moved, many at once, or a range of parts carried, under a lease that is renewed
//! while they move.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use migration_core::lease::{Receipt, receipt};
use migration_core::message::{Batch, PartRange};
use migration_core::outcome::EntryOutcome;
use migration_core::pair::BucketPair;
use migration_core::planted::{Defect, is_planted};
use migration_core::ports::{Ledger, ObjectStore, Queue, ReceivedMessage};
use migration_core::records::{self, BatchEnd};
use migration_core::retry::remainder_delay;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::accept::Work;
use super::lease::{Lost, keep};
use super::{Consumer, Disposal};
use crate::Interruption;
use crate::room::Pending;
use crate::transfer::{Errand, Progress, RangeEnd, carry, transfer};
use crate::uploads::{self, Clear};

/// What the work of one message shares.
struct Job<'a> {
    message: &'a ReceivedMessage,
    progress: Progress,
    lost: Lost,
}

impl<S: ObjectStore, Q: Queue, L: Ledger> Consumer<S, Q, L> {
    /// Works a message off, keeping it meanwhile.
    pub(super) async fn work_off(
        &self,
        message: &ReceivedMessage,
        work: Work,
        held: Pending,
    ) -> Result<Disposal, Interruption> {
        let job = Job { message, progress: Progress::default(), lost: Lost::new(self.abandon.child_token()) };
        let disposal = tokio::select! {
            biased;
            disposal = self.work_under_lease(&job, work, held) => disposal,
            // Ends only by cancelling `lost` and waiting for the work to notice.
            () = keep(&self.process, &message.receipt, &job.progress, &job.lost) => Ok(Disposal::GiveBack),
        };
        match disposal {
            Ok(Disposal::GiveBack) if job.lost.is_worn_out() => Ok(Disposal::SendAnew),
            other => other,
        }
    }

    async fn work_under_lease(&self, job: &Job<'_>, work: Work, held: Pending) -> Result<Disposal, Interruption> {
        match work {
            Work::Range(range) => self.carry_range(job, &range, held).await,
            Work::Batches { batches, pairs, foreign } => {
                let attempts = batches.iter().map(|batch| batch.attempts).max().unwrap_or_default();
                let most = self.process.config.transfer.max_attempts;
                match receipt(job.message.receives, attempts, most) {
                    Receipt::Work => {}
                    Receipt::Renew => return self.renew(job.message, batches).await,
                    Receipt::GiveUp => {
                        // Nobody carries its uploads on.
                        let threshold = self.process.config.transfer.multipart_threshold.bytes();
                        for batch in &batches {
                            uploads::clear_batch(&self.process, batch, threshold, Clear::All).await?;
                        }
                        let why = format!("its workers died or stalled at {} deliveries", job.message.receives);
                        return self.bury(job.message, &why).await;
                    }
                }
                let mut held = Some(held);
                for batch in &batches {
                    let disposal = self.work_batch(job, batch, &pairs, foreign, &mut held).await?;
                    if disposal != Disposal::Delete {
                        return Ok(disposal);
                    }
                }
                Ok(Disposal::Delete)
            }
        }
    }

    /// Sends a worn message's batches anew, with one try more behind them.
    async fn renew(&self, message: &ReceivedMessage, batches: Vec<Batch>) -> Result<Disposal, Interruption> {
        info!(message = message.id, receives = message.receives, "a worn message is renewed");
        let renewed = batches.into_iter().map(|batch| Batch { attempts: batch.attempts + 1, ..batch }.body());
        self.replace(message, renewed.collect()).await
    }

    async fn work_batch(
        &self,
        job: &Job<'_>,
        batch: &Batch,
        pairs: &[BucketPair],
        foreign: bool,
        held: &mut Option<Pending>,
    ) -> Result<Disposal, Interruption> {
        // Beside the parts of a large object one look costs nothing, and a late duplicate begins no upload.
        let threshold = self.process.config.transfer.multipart_threshold.bytes();
        let large = batch.objects.iter().any(|entry| entry.size > threshold);
        let may_have_ended = job.message.receives > 1 || foreign || large;
        let _at = self.process.activity.at_run(&batch.run);
        if may_have_ended && let Some(end) = self.ended(batch).await? {
            if end.remainder.is_empty() {
                let clear = if end.is_of_dead_letter() { Clear::All } else { Clear::Completed };
                uploads::clear_batch(&self.process, batch, threshold, clear).await?;
            }
            return self.finish(batch, &end).await;
        }
        if is_planted(Defect::AckBeforeVerify) {
            self.process.queue(|| self.process.ports.queue.delete(&job.message.receipt)).await?;
        }
        let at_once = self.process.config.transfer.files_per_worker as usize;
        let moves = batch.objects.iter().map(|entry| {
            let pending = self.limits.rooms.expect();
            let errand = Errand { batch, entry, redelivered: job.message.receives > 1, lost: job.lost.token() };
            self.one(errand, &job.progress, pending).boxed()
        });
        // Made before the stream: a closure inside it would have to hold for every lifetime.
        let moves: Vec<_> = moves.collect();
        // Its objects are counted now.
        held.take();
        let outcomes: Vec<EntryOutcome> = futures::stream::iter(moves).buffered(at_once).collect().await;
        if outcomes.contains(&EntryOutcome::Interrupted) {
            return Ok(Disposal::GiveBack);
        }
        self.end(job.message, batch, pairs, outcomes).await
    }

    /// Moves one object when there is room for it.
    async fn one(&self, errand: Errand<'_>, progress: &Progress, pending: Pending) -> EntryOutcome {
        let Some(room) = pending.enter().await else { return EntryOutcome::Interrupted };
        if self.process.stop.is_cancelled() {
            return EntryOutcome::Interrupted;
        }
        transfer(&self.process, &self.limits, errand, progress, room).await
    }

    async fn carry_range(&self, job: &Job<'_>, range: &PartRange, held: Pending) -> Result<Disposal, Interruption> {
        let _at = self.process.activity.at_run(&range.run);
        let Some(_room) = held.enter().await else { return Ok(Disposal::GiveBack) };
        let last_try = job.message.receives >= self.process.config.transfer.max_attempts;
        let end = carry(&self.process, &self.limits, range, &job.progress, job.lost.token(), last_try).await;
        Ok(match end {
            RangeEnd::Over => Disposal::Delete,
            RangeEnd::Interrupted => Disposal::GiveBack,
            RangeEnd::Retry(failure) => {
                info!(reason = failure.message, first = range.first, "a range is tried again");
                Disposal::Later(Duration::from_secs(remainder_delay(job.message.receives).into()))
            }
        })
    }

    /// The end of a batch, where the ledger has it.
    pub(super) async fn ended(&self, batch: &Batch) -> Result<Option<BatchEnd>, Interruption> {
        let key = records::batch_key(batch);
        let item = self.process.ledger(|| self.process.ports.ledger.get(&key)).await?;
        Ok(item.and_then(|item| item.read().ok()))
    }
}

impl Lost {
    /// Cancelled when the lease is lost.
    fn token(&self) -> &CancellationToken {
        &self.token
    }
}
