//! Finds out which conditions of writes the destination's service keeps, by the work's own keys and contents only: a small
//! object that was just written is written again, and completed from an upload of one part, under conditions that do not
//! hold. What the service does all the same has put the same content in place of itself.
//!
//! | request | kept | not kept |
//! |---|---|---|
//! | PUT, `If-None-Match: *` | 412 | done |
//! | PUT, `If-Match` of what nothing has | 412 | done |
//! | `CreateMultipartUpload`, `UploadPart` | | |
//! | completion, `If-None-Match: *` | 412 | done |
//! | completion, `If-Match` of what nothing has, where the upload is still there | 412 | done |
//! | `AbortMultipartUpload` | | |
//! | PUT, where a completion was done | | the object has the ETag of a PUT again |
//!
//! These are at most [`MOST_PROBES`](migration_core::records::MOST_PROBES), once a job and bucket. What they don't show
//! stays unknown, which is as safe as a no. An empty object, which makes no upload, asks about PUT alone; the next one
//! that has bytes asks about completions.

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::fidelity::Carried;
use migration_core::integrity::{self, Proof};
use migration_core::part::PartLayout;
use migration_core::ports::{Ability, Body, Checksum, CompletedPart, Operation, Support, WriteCondition, Written};
use migration_core::records::UploadRecord;
use tracing::debug;

use super::Transfer;
use super::destination::Landed;
use super::error::{TransferError, transfer_error};
use super::source::Fetched;
use crate::{Interruption, Services, WriteOutcome};

/// An ETag that nothing has.
const NOTHING: &str = "00000000000000000000000000000000";

/// A small object as it is written.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) fetched: &'a Fetched,
    pub(super) carried: &'a Carried,
}

/// What was found out so far.
#[derive(Default)]
struct Probe {
    found: Vec<(Ability, Support)>,
    requests: u32,
    /// What the object was written as last.
    written: Option<Written>,
}

impl Probe {
    /// Takes what came of a write whose condition did not hold. Whether it was done.
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

/// What an error says of a condition. One that is refused is lacking: the same bytes went through without it just before.
fn verdict(error: &ServiceError) -> Support {
    match error.class {
        ErrorClass::PreconditionFailed => Support::Yes,
        ErrorClass::Refused => Support::No,
        _ => Support::Unknown,
    }
}

impl<P: Services> Transfer<'_, P> {
    /// Finds out what is not known yet, with a small object that was just written under `condition`.
    pub(super) async fn find_out(
        &self,
        sent: Sent<'_>,
        condition: &WriteCondition,
        landed: Landed,
    ) -> Result<Landed, TransferError> {
        let (bucket, destination) = (self.destination.bucket, &self.destination);
        let known = self.process.bucket(bucket).await?;
        let now = self.process.clock.now();
        let mut probe = Probe::default();
        for (ability, condition) in [
            (Ability::PutIfNoneMatch, WriteCondition::Absent),
            (Ability::PutIfMatch, WriteCondition::Matches(ETag::new(NOTHING))),
        ] {
            if known.may_ask(ability, now) {
                let outcome = destination.put_once(sent.fetched, sent.carried, &condition).await;
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

    /// Completes an upload of the object's content over it, and leaves the object as a PUT leaves it. The upload is
    /// announced and recorded like any other, so that whoever comes next finds it.
    async fn complete_again(&self, sent: Sent<'_>, probe: &mut Probe) -> Result<(), TransferError> {
        let Some(etag) = sent.fetched.head.etag.clone() else { return Ok(()) };
        let Self { source, destination, records, .. } = self;
        let content = source.content(etag, sent.fetched.head.version_id.clone());
        let size = sent.fetched.bytes.len() as u64;
        let announced = records.announcement(&content, PartLayout { size, part_size: size }, None);
        if records.write(&announced, 0).await? == WriteOutcome::Lost {
            return Ok(());
        }
        records.set_open(true);
        let mut tries = 0;
        let created = destination.create_upload(false, sent.carried, &mut tries).await;
        probe.requests += tries;
        let Ok(id) = created else {
            // An answer may have been lost, and the upload be there.
            self.abort_announced(&announced).await?;
            return records.forget(announced.revision).await;
        };
        let revision = announced.revision + 1;
        let record = UploadRecord { upload_id: Some(id.clone()), revision, ..announced.clone() };
        if !records.bind(&id, &record, (tries > 1).then_some(&announced)).await? {
            return Ok(());
        }
        let completed = self.complete_upload_again(sent, &id, probe).await;
        // Also where a completion says that it was done: it may not have been.
        probe.requests += 1;
        let is_gone = match destination.abort_once(&id).await {
            Ok(()) => true,
            Err(Interruption::Service(error)) => error.class == ErrorClass::NoSuchUpload,
            Err(Interruption::Stopped) => false,
        };
        if is_gone {
            records.forget(record.revision).await?;
        }
        if completed { self.restore(sent, probe).await } else { Ok(()) }
    }

    /// Whether a completion was done.
    async fn complete_upload_again(&self, sent: Sent<'_>, id: &str, probe: &mut Probe) -> bool {
        let destination = &self.destination;
        let body = Body::Held { bytes: sent.fetched.bytes.clone(), md5: sent.fetched.digests.md5 };
        probe.requests += 1;
        let part = destination.put_part_once(id, 1, body, false).await;
        let Ok(part) = part else { return false };
        // A part that may be damaged is not made visible for the sake of finding something out.
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

    /// Writes the object as it was before a completion took its place.
    async fn restore(&self, sent: Sent<'_>, probe: &mut Probe) -> Result<(), TransferError> {
        let completed = probe.written.as_ref().map(|written| written.etag.clone());
        let condition = match completed {
            Some(etag) if probe.support(Ability::PutIfMatch) == Support::Yes => WriteCondition::Matches(etag),
            _ => WriteCondition::Any,
        };
        probe.requests += 1;
        let written = self.destination.put_once(sent.fetched, sent.carried, &condition).await;
        probe.written =
            Some(written.map_err(|error| transfer_error(error, || TransferError::DestinationChanged(None)))?);
        Ok(())
    }
}
