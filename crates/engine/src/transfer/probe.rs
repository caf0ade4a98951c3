//! Finds out which write conditions the destination's service honors, using only keys and contents of the job: a small
//! object that was just written is written again, and completed from an upload of one part, under conditions that do
//! not hold. If the service performs the write anyway, the content is replaced by the same content.
//!
//! | request | condition honored | condition ignored |
//! |---|---|---|
//! | PUT, `If-None-Match: *` | 412 | success |
//! | PUT, `If-Match` with an ETag that no object has | 412 | success |
//! | `CreateMultipartUpload`, `UploadPart` | | |
//! | completion, `If-None-Match: *` | 412 | success |
//! | completion, `If-Match` with an ETag that no object has, if the upload still exists | 412 | success |
//! | `AbortMultipartUpload` | | |
//! | PUT, if a completion succeeded | | the object has the ETag of a PUT again |
//!
//! At most [`MOST_PROBES`](migration_core::records::MOST_PROBES) requests, once per job and bucket. What they do not
//! show remains unknown, which is as safe as "not honored". An empty object cannot be uploaded in parts, so it tests
//! PUT only; the next object with bytes tests completions.

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::integrity::{self, Proof};
use migration_core::part::PartLayout;
use migration_core::ports::{Ability, Body, Checksum, CompletedPart, Operation, Support, WriteCondition, Written};
use migration_core::records::UploadRecord;
use tracing::debug;

use super::Transfer;
use super::destination::Landed;
use super::error::{TransferError, transfer_error};
use super::single_put::Whole;
use crate::{Interruption, Services, WriteOutcome};

/// An ETag that no object has.
const NOTHING: &str = "00000000000000000000000000000000";

/// Results so far.
#[derive(Default)]
struct Probe {
    found: Vec<(Ability, Support)>,
    requests: u32,
    /// Response to the last write of the object.
    written: Option<Written>,
}

impl Probe {
    /// Adds the result of a write whose condition did not hold. Returns true if the write was performed.
    fn take(&mut self, ability: Ability, outcome: Result<Written, Interruption>) -> bool {
        self.requests += 1;
        let support = match &outcome {
            Ok(_) => Support::No,
            Err(Interruption::Service(error)) => verdict(error),
            Err(Interruption::Stopped) => Support::Unknown,
        };
        if support != Support::Unknown {
            self.found.push((ability, support));
        }
        match outcome {
            Ok(written) => {
                self.written = Some(written);
                true
            }
            Err(error) => {
                debug!(?ability, %error, "a write whose condition does not hold");
                false
            }
        }
    }

    fn support(&self, ability: Ability) -> Support {
        self.found.iter().find(|(found, _)| *found == ability).map_or(Support::Unknown, |(_, support)| *support)
    }
}

/// Returns what an error shows about the support of a condition. A rejected condition is unsupported, because the same
/// bytes were accepted without it just before.
fn verdict(error: &ServiceError) -> Support {
    match error.class {
        ErrorClass::PreconditionFailed => Support::Yes,
        ErrorClass::Refused => Support::No,
        _ => Support::Unknown,
    }
}

impl<P: Services> Transfer<'_, P> {
    /// Tests the conditions that are not known yet, with a small object that was just written under `condition`.
    pub(super) async fn find_out(
        &self,
        sent: &Whole,
        condition: &WriteCondition,
        landed: Landed,
    ) -> Result<Landed, TransferError> {
        let (bucket, destination) = (self.destination.bucket, &self.destination);
        self.suspect(&sent.fetched).await?;
        let known = self.process.bucket(bucket).await?;
        let now = self.process.runtime.clock.now();
        let mut probe = Probe::default();
        for (ability, condition) in [
            (Ability::PutIfNoneMatch, WriteCondition::Absent),
            (Ability::PutIfMatch, WriteCondition::Matches(ETag::new(NOTHING))),
        ] {
            if known.may_ask(ability, now) {
                let outcome = destination.put_once(&sent.fetched, &sent.carried, &condition).await;
                probe.take(ability, outcome);
            }
        }
        let has_bytes = !sent.fetched.bytes.is_empty();
        let ask = has_bytes && Ability::COMPLETIONS.iter().any(|ability| known.may_ask(*ability, now));
        let completed = if ask { self.complete_again(sent, &mut probe).await } else { Ok(()) };
        self.process.probed(bucket, &probe.found, probe.requests).await?;
        completed?;
        let kept = Ability::of_write(Operation::PutObject, condition)
            .is_some_and(|ability| probe.support(ability) == Support::Yes);
        Ok(Landed { written: probe.written.unwrap_or(landed.written), guarded: landed.guarded || kept })
    }

    /// Replaces the object by completing an upload of the same content, and then restores it by a PUT. The upload is
    /// announced and recorded like any other, so that another worker can find it after a crash.
    async fn complete_again(&self, sent: &Whole, probe: &mut Probe) -> Result<(), TransferError> {
        let Some(etag) = sent.fetched.head.etag.clone() else { return Ok(()) };
        let Self { source, destination, records, .. } = self;
        let content = source.content(etag, sent.fetched.head.version_id.clone());
        let size = sent.fetched.bytes.len() as u64;
        // An upload that an earlier attempt left is aborted at the end of this one.
        let is_ended = |record: &UploadRecord| record.upload_id.is_none() && !record.is_announcement();
        let Some(suspected) = records.read().await?.filter(is_ended) else { return Ok(()) };
        let announced = records.announcement(&content, PartLayout { size, part_size: size }, Some(&suspected));
        if records.write(&announced, suspected.revision).await? == WriteOutcome::Lost {
            return Ok(());
        }
        records.set_open(true);
        let mut tries = 0;
        let created = destination.create_upload(false, &sent.carried, &mut tries).await;
        probe.requests += tries;
        let Ok(id) = created else {
            // A response may have been lost, and the upload created.
            self.abort_announced(&announced).await?;
            return self.keep_suspecting(&announced).await;
        };
        let revision = announced.revision + 1;
        let record = UploadRecord { upload_id: Some(id.clone()), revision, ..announced.clone() };
        if !records.bind(&id, &record, (tries > 1).then_some(&announced)).await? {
            return Ok(());
        }
        let completed = self.complete_upload_again(sent, &id, probe).await;
        // Also after a completion that was reported as successful, because it may not have been performed.
        probe.requests += 1;
        let is_gone = match destination.abort_once(&id).await {
            Ok(()) => true,
            Err(Interruption::Service(error)) => error.class == ErrorClass::NoSuchUpload,
            Err(Interruption::Stopped) => false,
        };
        if is_gone {
            self.keep_suspecting(&record).await?;
        }
        if completed { self.restore(sent, probe).await } else { Ok(()) }
    }

    /// Ends the record of the upload, until the object is verified.
    async fn keep_suspecting(&self, record: &UploadRecord) -> Result<(), TransferError> {
        self.records.keep_damage(record).await?;
        self.records.set_open(true);
        Ok(())
    }

    /// Returns true if a completion was performed.
    async fn complete_upload_again(&self, sent: &Whole, id: &str, probe: &mut Probe) -> bool {
        let destination = &self.destination;
        let body = Body::Held { bytes: sent.fetched.bytes.clone(), md5: sent.fetched.digests.md5 };
        probe.requests += 1;
        let part = destination.put_part_once(id, 1, body, false).await;
        let Ok(part) = part else { return false };
        // A part that may be damaged must not become visible because of a test.
        let digests = &sent.fetched.digests;
        if integrity::written(&part, &digests.md5, Checksum(digests.crc64)) == Proof::Other {
            return false;
        }
        let parts = [CompletedPart { number: 1, etag: part.etag, checksum: None }];
        for (ability, condition) in [
            (Ability::CompleteIfNoneMatch, WriteCondition::Absent),
            (Ability::CompleteIfMatch, WriteCondition::Matches(ETag::new(NOTHING))),
        ] {
            if probe.take(ability, destination.complete_once(id, &parts, &condition).await) {
                return true;
            }
        }
        false
    }

    /// Restores the object by a PUT, after a completion replaced it.
    async fn restore(&self, sent: &Whole, probe: &mut Probe) -> Result<(), TransferError> {
        let completed = probe.written.as_ref().map(|written| written.etag.clone());
        let condition = match completed {
            Some(etag) if probe.support(Ability::PutIfMatch) == Support::Yes => WriteCondition::Matches(etag),
            _ => WriteCondition::Any,
        };
        probe.requests += 1;
        let written = self.destination.put_once(&sent.fetched, &sent.carried, &condition).await;
        probe.written =
            Some(written.map_err(|error| transfer_error(error, || TransferError::DestinationChanged(None)))?);
        Ok(())
    }
}
