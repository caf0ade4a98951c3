//! Looks up both sides of an object that a work list names.

use std::sync::Arc;

use migration_core::compare::{Verdict, compare};
use migration_core::manifest::ManifestRow;
use migration_core::object::ListedObject;
use migration_core::outcome::{Failure, FailureClass};
use migration_core::ports::{Ability, HeadRequest, LedgerKey, ObjectHead, Support};
use migration_core::records::{VersionRecord, failure_partition, version_key};
use migration_ledger::LedgerRead;

use super::super::ScanError;
use super::super::merge::Scanner;
use super::super::range::OpenRange;
use super::super::verdict::{Judge, Memory, is_of_one_object};
use crate::{Interruption, Services};

/// Result of looking up a row.
#[derive(Debug)]
pub(super) enum Looked {
    /// The comparison's verdict.
    Judged { source: ListedObject, there: Option<ListedObject>, verdict: Verdict },
    /// The filters hide it.
    Hidden(ListedObject),
    /// It was listed in an inventory and has been deleted since.
    Gone(ListedObject),
    /// It cannot be transferred.
    Unmovable(ListedObject, Failure),
}

/// Why a lookup failed.
enum LookupError {
    /// The object cannot be transferred.
    Unmovable(Failure),
    /// The scan cannot continue.
    Scan(ScanError),
}

impl<E: Into<ScanError>> From<E> for LookupError {
    fn from(error: E) -> Self {
        Self::Scan(error.into())
    }
}

/// Looks up an object that a list names: at the destination always, at the source unless the row of an inventory
/// already shows that it has to be transferred. The worker then reads exactly that content or looks it up again. An
/// object that an inventory shows to be in place may have changed since.
pub(super) async fn look<P: Services>(
    scanner: Arc<Scanner<P>>,
    range: Arc<OpenRange>,
    row: ManifestRow,
) -> Result<Looked, ScanError> {
    let judge = scanner.judge(&range);
    match (Lookup { scanner: &scanner, range: &range, judge, row: &row }).at_both().await {
        Ok(looked) => Ok(looked),
        Err(LookupError::Unmovable(failure)) => Ok(Looked::Unmovable(named(&row), failure)),
        Err(LookupError::Scan(error)) => Err(error),
    }
}

/// Returns the object as its row describes it.
fn named(row: &ManifestRow) -> ListedObject {
    ListedObject {
        key: row.key.clone(),
        size: row.size.unwrap_or_default(),
        etag: row.etag.clone(),
        // The oldest time, so that the object is looked up instead of being taken for newer than its copy.
        modified: 0,
        version_id: None,
        storage_class: None,
    }
}

struct Lookup<'a, P: Services> {
    scanner: &'a Scanner<P>,
    range: &'a OpenRange,
    judge: Judge<'a, P>,
    row: &'a ManifestRow,
}

impl<P: Services> Lookup<'_, P> {
    async fn at_both(&self) -> Result<Looked, LookupError> {
        let pair = &self.range.pair;
        if self.scanner.process.config.ignore_list().ignores(&pair.source_bucket, &self.row.key) {
            return Ok(Looked::Hidden(named(self.row)));
        }
        let mapped = pair
            .map_key(&self.row.key)
            .map_err(|error| LookupError::Unmovable(Failure::new(FailureClass::KeyNotMappable, error.to_string())))?;
        let memory = self.memory().await?;
        if self.says_enough() {
            let (source, there) = (named(self.row), self.at_destination(&mapped).await?);
            let context = self.judge.context(&memory);
            if let verdict @ Verdict::Transfer(_) = compare(&source, there.as_ref(), context) {
                return Ok(Looked::Judged { source, there, verdict });
            }
            return self.judged(self.at_source().await?, there, &memory).await;
        }
        let (source, there) = tokio::try_join!(self.at_source(), self.at_destination(&mapped))?;
        self.judged(source, there, &memory).await
    }

    /// Returns true if the row may suffice for the verdict: only content is compared.
    fn says_enough(&self) -> bool {
        let config = &self.scanner.process.config;
        let has_content = self.row.size.is_some() && self.row.etag.is_some();
        let asks_more = !config.filter.is_default()
            || config.versioning.compare_version_id
            || self.scanner.purpose.verify.is_some()
            || self.row.version_id.is_some();
        has_content && !asks_more
    }

    async fn judged(
        &self,
        source: Option<ObjectHead>,
        there: Option<ListedObject>,
        memory: &Memory,
    ) -> Result<Looked, LookupError> {
        let config = &self.scanner.process.config;
        let Some(head) = source else {
            if self.row.is_inventory {
                return Ok(Looked::Gone(named(self.row)));
            }
            let why = "failed to find object: the list names it, but the source does not have it";
            return Err(LookupError::Unmovable(Failure::new(FailureClass::NotFound, why)));
        };
        if let Some(meant) = self.row.version_id.as_ref().filter(|meant| Some(*meant) != head.version_id.as_ref()) {
            let why = format!(
                "failed to move version {meant} of object: it is not the latest one, and only that is moved; remove the version from the list"
            );
            return Err(LookupError::Unmovable(Failure::new(FailureClass::OldVersion, why)));
        }
        let mut source = listed(&self.row.key, head);
        if !config.versioning.compare_version_id {
            // As in listings without versions.
            source.version_id = None;
        }
        if !config.filter.keeps(source.size, source.modified, source.storage_class.as_deref()) {
            return Ok(Looked::Hidden(source));
        }
        let verdict = self.judge.verdict(&source, there.as_ref(), memory).await?;
        Ok(Looked::Judged { source, there, verdict })
    }

    async fn at_source(&self) -> Result<Option<ObjectHead>, LookupError> {
        let request = HeadRequest::new(&self.range.pair.source_bucket, &self.row.key);
        of_one(self.scanner.process.look_at_source(request).await)
    }

    async fn at_destination(&self, key: &str) -> Result<Option<ListedObject>, LookupError> {
        let (process, bucket) = (&self.scanner.process, &self.range.pair.destination_bucket);
        let request = HeadRequest::new(bucket, key);
        // The following write has a condition if the service honours it; only then does an unproven absence suffice.
        let known = process.bucket(bucket).await?;
        let now = process.runtime.clock.now();
        let asks = [Ability::PutIfNoneMatch, Ability::CompleteIfNoneMatch]
            .iter()
            .all(|ability| known.support(*ability, now) == Support::Yes);
        let asks = asks && self.scanner.purpose.verify.is_none();
        let head =
            if asks { process.guess_destination(request).await } else { process.look_at_destination(request).await };
        let head = of_one(head)?;
        Ok(head.map(|head| listed(key, head)))
    }

    /// Returns the results of earlier runs for the object.
    async fn memory(&self) -> Result<Memory, LookupError> {
        let (process, pair, key) = (&self.scanner.process, &self.range.pair, &self.row.key);
        let job = &process.config.job.uid;
        let mut memory = Memory::default();
        if self.scanner.purpose.verify.is_some() {
            return Ok(memory);
        }
        if let Some((run, place)) = self.scanner.left_over(pair) {
            let record = LedgerKey::new(failure_partition(job, run, place), key.as_str());
            memory.failed_last = process.get_item(&record).await?.is_some();
        }
        if process.config.versioning.compare_version_id {
            let record = version_key(job, pair, key);
            let record = process.get_or_warn::<VersionRecord>(&record, "its object counts as never copied");
            let record = record.await?;
            let place = process.config.destination.place_name();
            memory.version_id = record.and_then(|record| record.at_place(&place).map(ToOwned::to_owned));
        }
        Ok(memory)
    }
}

fn listed(key: &str, head: ObjectHead) -> ListedObject {
    let ObjectHead { size, etag, version_id, modified, attributes, .. } = head;
    ListedObject { key: key.to_owned(), size, etag, modified, version_id, storage_class: attributes.storage_class }
}

/// Turns an error that concerns only this object into its failure.
fn of_one<T>(result: Result<T, Interruption>) -> Result<T, LookupError> {
    result.map_err(|error| match error {
        Interruption::Service(error) if is_of_one_object(&Interruption::Service(error.clone())) => {
            LookupError::Unmovable(Failure::of(&error))
        }
        error => LookupError::Scan(error.into()),
    })
}
