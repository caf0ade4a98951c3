//! Detects the abilities of the services behind buckets, once, and shares the results with all workers through the
//! ledger.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

use migration_core::mutants::{Mutant, is_active};
use migration_core::ports::{Ability, Condition, Item, ObjectStore, Support, Write};
use migration_core::records::{self, BucketRecord, Known, SourceBucketRecord};
use migration_ledger::LedgerRead;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;
use tracing::info;

use crate::{Interruption, Process, Services, WriteOutcome, read_or_warn};

/// Time for which a cached record is used before it is read again: another worker may have detected more.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// Time for which one ETag that was the MD5 of the bytes sent vouches for the others of its bucket.
const DIGESTS_STAND: Duration = Duration::from_mins(1);
/// Time for which one worker has the exclusive right to probe conditions, in milliseconds.
const PROBING_MS: i64 = 60_000;
/// Interval at which to check whether another worker has finished probing.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);
/// Tries to write a record that other workers also write.
const WRITES: u32 = 10;

/// Abilities of buckets, cached.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    known: Mutex<HashMap<String, (BucketRecord, Instant)>>,
    sources: Mutex<HashMap<String, (SourceBucketRecord, Instant)>>,
    /// Held by the task that probes conditions; the others wait for its result.
    probe: Mutex<()>,
    /// Abilities that seem to be missing, until the same bytes were accepted without them.
    suspected: std::sync::Mutex<HashSet<(String, Ability)>>,
    /// Source buckets whose ETags are known not to be digests.
    without_digests: std::sync::Mutex<HashSet<String>>,
    /// When each destination bucket last answered with the MD5 of the bytes sent.
    digests: std::sync::Mutex<HashMap<String, Instant>>,
    /// When each source bucket last gave bytes that have the MD5 that their ETag names.
    named: std::sync::Mutex<HashMap<String, Instant>>,
    /// Destination buckets that were sent a wrong Content-MD5.
    asked_for_md5: std::sync::Mutex<HashSet<String>>,
}

/// Records that a bucket has just shown something.
fn note(seen: &std::sync::Mutex<HashMap<String, Instant>>, bucket: &str) {
    let mut seen = entries(seen);
    match seen.get_mut(bucket) {
        Some(at) => *at = Instant::now(),
        None => drop(seen.insert(bucket.to_owned(), Instant::now())),
    }
}

/// Returns true if a bucket has shown it recently.
fn is_recent(seen: &std::sync::Mutex<HashMap<String, Instant>>, bucket: &str) -> bool {
    entries(seen).get(bucket).is_some_and(|at| at.elapsed() < DIGESTS_STAND)
}

/// Locks a collection. A panic elsewhere leaves it consistent.
fn entries<T>(of: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<P: Services> Process<P> {
    /// Whether the destination's adapter knows that its service has an ability, so that requests rely on it.
    pub(crate) fn is_sure_of(&self, ability: Ability) -> bool {
        self.ports.destination.capabilities().support(ability) == Support::Yes
    }

    /// What is known of a destination bucket: by the adapter, or by what was found out.
    pub(crate) async fn bucket(&self, bucket: &str) -> Result<BucketRecord, Interruption> {
        let capabilities = self.ports.destination.capabilities();
        let found = if capabilities.is_complete() { BucketRecord::default() } else { self.found_out(bucket).await? };
        Ok(found.declared(&capabilities, self.runtime.clock.now()))
    }

    /// What was found out of a destination bucket, by this process or others.
    async fn found_out(&self, bucket: &str) -> Result<BucketRecord, Interruption> {
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

    /// Returns whether the service of a destination bucket supports an ability.
    pub(crate) async fn support(&self, bucket: &str, ability: Ability) -> Result<Support, Interruption> {
        let one_for_all = is_active(Mutant::OneAbilityForAllConditions) && Ability::CONDITIONS.contains(&ability);
        let ability = if one_for_all { Ability::PutIfMatch } else { ability };
        Ok(self.bucket(bucket).await?.support(ability, self.runtime.clock.now()))
    }

    /// Like [`support`](Self::support), with what other workers have recorded until now.
    pub(crate) async fn support_now(&self, bucket: &str, ability: Ability) -> Result<Support, Interruption> {
        self.buckets.known.lock().await.remove(bucket);
        self.support(bucket, ability).await
    }

    /// Records a detected ability of a destination bucket, here and in the ledger.
    pub(crate) async fn learn(&self, bucket: &str, ability: Ability, support: Support) -> Result<(), Interruption> {
        let now = self.runtime.clock.now();
        self.suspected().remove(&(bucket.to_owned(), ability));
        let learned = |record: BucketRecord| {
            (record.support(ability, now) != support).then(|| record.learned(ability, support, now))
        };
        if self.change_bucket(bucket, learned).await? {
            info!(bucket, ?ability, ?support, "detected an ability of the destination's service");
        }
        Ok(())
    }

    /// Notes that an ability seems to be missing. It is recorded only after the same bytes were accepted without it.
    pub(crate) fn suspect(&self, bucket: &str, ability: Ability) {
        self.suspected().insert((bucket.to_owned(), ability));
    }

    /// Returns true if an ability seems to be missing.
    pub(crate) fn is_suspected(&self, bucket: &str, ability: Ability) -> bool {
        self.suspected().contains(&(bucket.to_owned(), ability))
    }

    /// Notes that a destination bucket answered with the MD5 of the bytes sent.
    pub(crate) fn saw_digest(&self, bucket: &str) {
        note(&self.buckets.digests, bucket);
    }

    /// Returns true if a destination bucket did so recently: an ETag that looks like another digest is then one.
    pub(crate) fn has_digests(&self, bucket: &str) -> bool {
        is_recent(&self.buckets.digests, bucket)
    }

    /// Notes that a source bucket gave bytes that have the MD5 that their ETag names.
    pub(crate) fn saw_named_md5(&self, bucket: &str) {
        note(&self.buckets.named, bucket);
    }

    /// Notes that a source bucket gave bytes that don't have it.
    pub(crate) fn saw_other_md5(&self, bucket: &str) {
        entries(&self.buckets.named).remove(bucket);
    }

    /// Returns true if the ETags of a source bucket were recently the MD5s that they name.
    pub(crate) fn names_md5s(&self, bucket: &str) -> bool {
        is_recent(&self.buckets.named, bucket) && !self.is_without_digests(bucket)
    }

    /// Returns true if a destination bucket is to be sent a wrong Content-MD5: nothing is known of it, and this process
    /// has not done so.
    pub(crate) async fn may_ask_for_md5(&self, bucket: &str) -> Result<bool, Interruption> {
        Ok(self.support(bucket, Ability::ChecksMd5).await? == Support::Unknown
            && entries(&self.buckets.asked_for_md5).insert(bucket.to_owned()))
    }

    fn suspected(&self) -> std::sync::MutexGuard<'_, HashSet<(String, Ability)>> {
        entries(&self.buckets.suspected)
    }

    /// Claims the right to probe which of these conditions are honoured. Returns `None` if that is known, or cannot be
    /// probed. Waits for the result while another task or worker is probing.
    pub(crate) async fn probing(
        &self,
        bucket: &str,
        conditions: &[Ability],
    ) -> Result<Option<MutexGuard<'_, ()>>, Interruption> {
        if !self.bucket(bucket).await?.is_unsure(conditions, self.runtime.clock.now()) {
            return Ok(None);
        }
        let right = self.buckets.probe.lock().await;
        loop {
            let (record, now) = (self.bucket(bucket).await?, self.runtime.clock.now());
            let name = &self.runtime.name;
            if !record.may_probe(conditions, name, now) && !record.is_probed_by_another(name, now) {
                return Ok(None);
            }
            let claimed = |record: BucketRecord| {
                let claim = || {
                    let (probing_until, prober) = (now + PROBING_MS, Some(name.clone()));
                    BucketRecord { probing_until, prober, ..record.clone() }
                };
                record.may_probe(conditions, name, now).then(claim)
            };
            if self.change_bucket(bucket, claimed).await? {
                return Ok(Some(right));
            }
            // Another worker is probing: until it has finished, each write would cost two HEAD requests.
            if self.bucket(bucket).await?.is_probed_by_another(name, now) {
                self.pause(WAIT_FOR_OTHERS).await?;
            }
        }
    }

    /// Records the result of probing conditions, which took this many requests.
    pub(crate) async fn probed(
        &self,
        bucket: &str,
        found: &[(Ability, Support)],
        requests: u32,
    ) -> Result<(), Interruption> {
        let now = self.runtime.clock.now();
        info!(bucket, ?found, requests, "detected an ability of the destination's service");
        let learned = |record: BucketRecord| {
            let probes = record.probes + requests;
            let record = BucketRecord { probes, probing_until: 0, prober: None, ..record };
            Some(found.iter().fold(record, |record, (ability, support)| record.learned(*ability, *support, now)))
        };
        self.change_bucket(bucket, learned).await.map(|_| ())
    }

    /// Changes a record that other workers also change. Returns false if there was nothing to change.
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

    /// Reads the record of a destination bucket. Returns a default record and false if there is none. A record that
    /// cannot be read counts as unknown abilities: they are tested again, and the record is overwritten.
    async fn read_bucket(&self, bucket: &str) -> Result<(BucketRecord, bool), Interruption> {
        let key = records::bucket_key(&self.config.job.uid, bucket);
        let item = self.get_item(&key).await?;
        let there = item.is_some();
        let consequence = "what the destination's service supports is tested again";
        let record: BucketRecord = item.and_then(|item| read_or_warn(&item, consequence)).unwrap_or_default();
        let service = self.config.destination.service.endpoint.as_deref().unwrap_or_default();
        Ok((record.of_service(service), there))
    }

    /// Returns true if ETags of a source bucket that look like digests may be compared with contents.
    pub(crate) async fn source_has_digests(&self, bucket: &str) -> Result<bool, Interruption> {
        let service = self.config.source.service.endpoint.as_deref().unwrap_or_default();
        let mut sources = self.buckets.sources.lock().await;
        if let Some((record, read)) = sources.get(bucket)
            && read.elapsed() < READ_AGAIN
        {
            return Ok(record.has_digests(service, self.runtime.clock.now()));
        }
        let key = records::source_bucket_key(&self.config.job.uid, bucket);
        let record = self.get_or_warn(&key, "the source's ETags are taken for digests until they are seen to be none");
        let record: SourceBucketRecord = record.await?.unwrap_or_default();
        let has_digests = record.has_digests(service, self.runtime.clock.now());
        if has_digests {
            self.without_digests().remove(bucket);
        } else {
            self.without_digests().insert(bucket.to_owned());
        }
        sources.insert(bucket.to_owned(), (record, Instant::now()));
        Ok(has_digests)
    }

    /// Returns true if the ETags of a source bucket are known, in this process, not to be digests.
    pub(crate) fn is_without_digests(&self, bucket: &str) -> bool {
        self.without_digests().contains(bucket)
    }

    fn without_digests(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        entries(&self.buckets.without_digests)
    }

    /// Records that the ETags of a source bucket are not digests of contents.
    pub(crate) async fn learn_no_digests(&self, bucket: &str) -> Result<(), Interruption> {
        let service = self.config.source.service.endpoint.clone().unwrap_or_default();
        let etags_are_digests = Known { support: Support::No, at: self.runtime.clock.now() };
        let record = SourceBucketRecord { service, etags_are_digests };
        info!(bucket, "the source's ETags are not digests of contents");
        let key = records::source_bucket_key(&self.config.job.uid, bucket);
        let write = Write::Put { item: Item::of(key, &record), condition: Condition::Always };
        self.write(&[write]).await?;
        self.without_digests().insert(bucket.to_owned());
        self.buckets.sources.lock().await.insert(bucket.to_owned(), (record, Instant::now()));
        Ok(())
    }
}
