//! What the services of buckets can do: found out once, remembered in the ledger for all workers.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

use migration_core::mutants::{Mutant, is_active};
use migration_core::ports::{Condition, Item, Ledger, ObjectStore, Write};
use migration_core::records::{self, Ability, BucketRecord, Known, SourceBucketRecord, Support, is_amazon};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use tracing::info;

use crate::{Interruption, Process, Services, WriteOutcome};

/// How long a record is gone by before it is read again: what is unknown here another worker may have found out.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// How long an answer stands for all others that was the MD5 of the bytes sent.
const DIGESTS_STAND: Duration = Duration::from_mins(1);
/// How long one worker has the right to find out about conditions, in milliseconds.
const PROBING_MS: i64 = 60_000;
/// How often is looked whether another worker found out.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);
/// Tries to write a record that other workers write too.
const WRITES: u32 = 10;

/// What is known of buckets.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    known: Mutex<HashMap<String, (BucketRecord, Instant)>>,
    sources: Mutex<HashMap<String, (SourceBucketRecord, Instant)>>,
    /// Held by who finds out about conditions: the others wait for what comes of it.
    probe: Mutex<()>,
    /// Abilities that seem to be lacking, until bytes went through without them.
    suspected: std::sync::Mutex<HashSet<(String, Ability)>>,
    /// Source buckets whose ETags are no digests, as far as that was read.
    without_digests: std::sync::Mutex<HashSet<String>>,
    /// When destination buckets last answered with the MD5 of the bytes they got.
    digests: std::sync::Mutex<HashMap<String, Instant>>,
}

impl<P: Services> Process<P> {
    /// Whether the destination is Amazon's own: then there is nothing to find out.
    pub(crate) fn writes_to_amazon(&self) -> bool {
        is_amazon(self.config.destination.service.endpoint.as_deref())
    }

    /// What is known of a destination bucket.
    pub(crate) async fn bucket(&self, bucket: &str) -> Result<BucketRecord, Interruption> {
        if self.writes_to_amazon() {
            return Ok(BucketRecord::of_amazon());
        }
        let mut known = self.buckets.known.lock().await;
        if let Some((record, read)) = known.get(bucket)
            && read.elapsed() < READ_AGAIN
        {
            return Ok(record.clone());
        }
        let (record, _) = self.read_bucket(bucket).await?;
        known.insert(bucket.to_owned(), (record.clone(), Instant::now()));
        Ok(record)
    }

    /// Whether the service of a destination bucket has an ability.
    pub(crate) async fn support(&self, bucket: &str, ability: Ability) -> Result<Support, Interruption> {
        let one_for_all = is_active(Mutant::OneAbilityForAllConditions) && Ability::CONDITIONS.contains(&ability);
        let ability = if one_for_all { Ability::PutIfMatch } else { ability };
        Ok(self.bucket(bucket).await?.support(ability, self.clock.now()))
    }

    /// Remembers what was found out of a destination bucket, here and in the ledger.
    pub(crate) async fn learn(&self, bucket: &str, ability: Ability, support: Support) -> Result<(), Interruption> {
        let now = self.clock.now();
        self.suspected().remove(&(bucket.to_owned(), ability));
        let learned = |record: BucketRecord| {
            (record.support(ability, now) != support).then(|| record.learned(ability, support, now))
        };
        if self.change_bucket(bucket, learned).await? {
            info!(bucket, ?ability, ?support, "the destination's service was found out");
        }
        Ok(())
    }

    /// Something seems to be lacking: that is recorded only after the same bytes went through without it.
    pub(crate) fn suspect(&self, bucket: &str, ability: Ability) {
        self.suspected().insert((bucket.to_owned(), ability));
    }

    /// Whether something seems to be lacking.
    pub(crate) fn is_suspected(&self, bucket: &str, ability: Ability) -> bool {
        self.suspected().contains(&(bucket.to_owned(), ability))
    }

    /// Remembers that a destination bucket answered with the MD5 of the bytes it got.
    pub(crate) fn saw_digest(&self, bucket: &str) {
        let mut digests = self.digests();
        match digests.get_mut(bucket) {
            Some(seen) => *seen = Instant::now(),
            None => drop(digests.insert(bucket.to_owned(), Instant::now())),
        }
    }

    /// Whether a destination bucket did so lately: then an ETag that looks like another digest is one.
    pub(crate) fn has_digests(&self, bucket: &str) -> bool {
        self.digests().get(bucket).is_some_and(|seen| seen.elapsed() < DIGESTS_STAND)
    }

    fn digests(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        // A panic elsewhere leaves a whole map behind.
        self.buckets.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn suspected(&self) -> std::sync::MutexGuard<'_, HashSet<(String, Ability)>> {
        // A panic elsewhere leaves a whole set behind.
        self.buckets.suspected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to find out which of these conditions are kept; none where that is known, or can't be found out. While
    /// another task or worker is at it, this waits for what comes of it.
    pub(crate) async fn probing(
        &self,
        bucket: &str,
        conditions: &[Ability],
    ) -> Result<Option<MutexGuard<'_, ()>>, Interruption> {
        if !self.bucket(bucket).await?.is_unsure(conditions, self.clock.now()) {
            return Ok(None);
        }
        let right = self.buckets.probe.lock().await;
        loop {
            let (record, now) = (self.bucket(bucket).await?, self.clock.now());
            if !record.may_probe(conditions, now) && record.probing_until <= now {
                return Ok(None);
            }
            let claimed = |record: BucketRecord| {
                record.may_probe(conditions, now).then(|| BucketRecord { probing_until: now + PROBING_MS, ..record })
            };
            if self.change_bucket(bucket, claimed).await? {
                return Ok(Some(right));
            }
            // Another worker is at it: until it knows, each write would cost two looks.
            if self.bucket(bucket).await?.probing_until > now {
                self.pause(WAIT_FOR_OTHERS).await?;
            }
        }
    }

    /// What came of finding out about conditions, by so many requests.
    pub(crate) async fn probed(
        &self,
        bucket: &str,
        found: &[(Ability, Support)],
        requests: u32,
    ) -> Result<(), Interruption> {
        let now = self.clock.now();
        info!(bucket, ?found, requests, "the destination's service was found out");
        let learned = |record: BucketRecord| {
            let probes = record.probes + requests;
            let record = BucketRecord { probes, probing_until: 0, ..record };
            Some(found.iter().fold(record, |record, (ability, support)| record.learned(*ability, *support, now)))
        };
        self.change_bucket(bucket, learned).await.map(|_| ())
    }

    /// Changes a record that other workers change too. False where there was nothing to change.
    async fn change_bucket(
        &self,
        bucket: &str,
        change: impl Fn(BucketRecord) -> Option<BucketRecord> + Send + Sync,
    ) -> Result<bool, Interruption> {
        let key = records::bucket_key(&self.config.job.uid, bucket);
        for _ in 0..WRITES {
            let (before, there) = self.read_bucket(bucket).await?;
            let revision = before.revision;
            let changed = change(before.clone());
            let record = changed.clone().unwrap_or(before);
            let mut known = self.buckets.known.lock().await;
            if changed.is_none() {
                known.insert(bucket.to_owned(), (record, Instant::now()));
                return Ok(false);
            }
            let record = BucketRecord { revision: revision + 1, by: self.next_name(), ..record };
            let condition = match (there, revision) {
                (false, _) => Condition::Absent,
                // Written by an earlier version.
                (true, 0) => Condition::Always,
                (true, revision) => Condition::Revision(revision),
            };
            let written = self.replace(Item::of(key.clone(), &record), condition, Vec::new()).await?;
            if written == WriteOutcome::Written {
                known.insert(bucket.to_owned(), (record, Instant::now()));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the ledger has of a destination bucket, and whether it has something.
    async fn read_bucket(&self, bucket: &str) -> Result<(BucketRecord, bool), Interruption> {
        let key = records::bucket_key(&self.config.job.uid, bucket);
        let item = self.ledger(|| self.ports.ledger.get(&key)).await?;
        let there = item.is_some();
        let record: BucketRecord = item.and_then(|item| item.read().ok()).unwrap_or_default();
        let service = self.config.destination.service.endpoint.as_deref().unwrap_or_default();
        Ok((record.of_service(service), there))
    }

    /// Whether ETags of a source bucket that look like digests are to be held against contents.
    pub(crate) async fn source_has_digests(&self, bucket: &str) -> Result<bool, Interruption> {
        let service = self.config.source.service.endpoint.as_deref().unwrap_or_default();
        let mut sources = self.buckets.sources.lock().await;
        if let Some((record, read)) = sources.get(bucket)
            && read.elapsed() < READ_AGAIN
        {
            return Ok(record.has_digests(service, self.clock.now()));
        }
        let key = records::source_bucket_key(&self.config.job.uid, bucket);
        let item = self.ledger(|| self.ports.ledger.get(&key)).await?;
        let record: SourceBucketRecord = item.and_then(|item| item.read().ok()).unwrap_or_default();
        let has_digests = record.has_digests(service, self.clock.now());
        if has_digests {
            self.without_digests().remove(bucket);
        } else {
            self.without_digests().insert(bucket.to_owned());
        }
        sources.insert(bucket.to_owned(), (record, Instant::now()));
        Ok(has_digests)
    }

    /// Whether it is known here that a source bucket's ETags are no digests.
    pub(crate) fn is_without_digests(&self, bucket: &str) -> bool {
        self.without_digests().contains(bucket)
    }

    fn without_digests(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // A panic elsewhere leaves a whole set behind.
        self.buckets.without_digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that the ETags of a source bucket are no digests of contents.
    pub(crate) async fn learn_no_digests(&self, bucket: &str) -> Result<(), Interruption> {
        let service = self.config.source.service.endpoint.clone().unwrap_or_default();
        let etags_are_digests = Known { support: Support::No, at: self.clock.now() };
        let record = SourceBucketRecord { service, etags_are_digests };
        info!(bucket, "the source's ETags are no digests of contents");
        let key = records::source_bucket_key(&self.config.job.uid, bucket);
        let write = Write::Put { item: Item::of(key, &record), condition: Condition::Always };
        self.write(&[write]).await?;
        self.without_digests().insert(bucket.to_owned());
        self.buckets.sources.lock().await.insert(bucket.to_owned(), (record, Instant::now()));
        Ok(())
    }
}
