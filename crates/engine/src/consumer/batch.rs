//! One batch: its objects are moved, many at once, under a lease that is renewed while they move.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{FutureExt, StreamExt};
use migration_core::message::{Batch, Entry};
use migration_core::outcome::{EntryOutcome, after_attempts};
use migration_core::pair::BucketPair;
use migration_core::ports::{Ledger, ObjectStore, Queue, ReceivedMessage};
use migration_core::records::{self, BatchEnd};
use tokio_util::sync::CancellationToken;

use super::lease::keep;
use super::{Consumer, Disposal};
use crate::Interruption;
use crate::transfer::{Progress, transfer};

impl<S: ObjectStore, Q: Queue, L: Ledger> Consumer<S, Q, L> {
    /// Works a batch off, keeping its message meanwhile.
    pub(super) async fn work_off(
        &self,
        message: &ReceivedMessage,
        batch: Batch,
        pairs: &Arc<[BucketPair]>,
    ) -> Result<Disposal, Interruption> {
        let lost = self.abandon.child_token();
        let progress = Progress::default();
        let work = self.work_under_lease(message, &batch, pairs, &progress, &lost);
        tokio::select! {
            biased;
            result = work => result,
            // Ends only by cancelling `lost` and waiting for the work to notice.
            () = keep(&self.process, &message.receipt, &progress, &lost) => Ok(Disposal::GiveBack),
        }
    }

    async fn work_under_lease(
        &self,
        message: &ReceivedMessage,
        batch: &Batch,
        pairs: &[BucketPair],
        progress: &Progress,
        lost: &CancellationToken,
    ) -> Result<Disposal, Interruption> {
        let redelivered = message.receives > 1;
        if redelivered && let Some(end) = self.ended(batch).await? {
            return self.finish(batch, &end).await;
        }
        let count = u32::try_from(batch.objects.len()).unwrap_or(u32::MAX);
        self.pending.fetch_add(count, Ordering::Relaxed);
        let at_once = self.process.config.transfer.files_per_worker as usize;
        let moves = batch.objects.iter().map(|entry| self.one(batch, entry, redelivered, progress, lost).boxed());
        // Made before the stream: a closure inside it would have to hold for every lifetime.
        let moves: Vec<_> = moves.collect();
        let outcomes: Vec<EntryOutcome> = futures::stream::iter(moves).buffered(at_once).collect().await;
        if outcomes.contains(&EntryOutcome::Interrupted) {
            return Ok(Disposal::GiveBack);
        }
        self.end(batch, pairs, outcomes).await
    }

    /// Moves one object when there is room for it.
    async fn one(
        &self,
        batch: &Batch,
        entry: &Entry,
        redelivered: bool,
        progress: &Progress,
        lost: &CancellationToken,
    ) -> EntryOutcome {
        let outcome = match self.limits.files.acquire().await {
            Ok(_room) if !self.process.stop.is_cancelled() => {
                transfer(&self.process, &self.limits, &batch.pair, entry, redelivered, progress, lost).await
            }
            _ => EntryOutcome::Interrupted,
        };
        self.pending.fetch_sub(1, Ordering::Relaxed);
        self.room.notify_one();
        after_attempts(outcome, batch.attempts + 1, self.process.config.transfer.max_attempts)
    }

    /// The end of a batch, where the ledger has it.
    pub(super) async fn ended(&self, batch: &Batch) -> Result<Option<BatchEnd>, Interruption> {
        let key = records::batch_key(batch);
        let item = self.process.ledger(|| self.process.ports.ledger.get(&key)).await?;
        Ok(item.and_then(|item| item.read().ok()))
    }
}
