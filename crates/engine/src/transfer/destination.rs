//! The object at the destination: what its service says of it, and the requests that write it.

mod conditional;
mod parts;
mod readback;
mod tags;
mod writes;

use migration_core::operation::RequestInfo;
use migration_core::part::PartLayout;
use migration_core::ports::{Ability, HeadRequest, ObjectHead, Operation, Support, UploadRef};

pub(super) use conditional::{Landed, condition_of};

use super::Limits;
use super::error::TransferError;
use super::progress::Progress;
use crate::{Interruption, Process, Services};

/// The object that is written.
pub(super) struct DestinationObject<'a, P: Services> {
    process: &'a Process<P>,
    limits: &'a Limits,
    /// Bucket of the object.
    pub(super) bucket: &'a str,
    /// Key of the object.
    pub(super) key: &'a str,
    progress: Progress,
}

impl<'a, P: Services> DestinationObject<'a, P> {
    pub(super) fn new(
        process: &'a Process<P>,
        limits: &'a Limits,
        (bucket, key): (&'a str, &'a str),
        progress: Progress,
    ) -> Self {
        Self { process, limits, bucket, key, progress }
    }

    /// What the destination has; none only by its service's own words.
    pub(super) async fn look(&self) -> Result<Option<ObjectHead>, TransferError> {
        Ok(self.process.look_at_destination(HeadRequest::new(self.bucket, self.key)).await?)
    }

    /// The same, with the checksum of the whole object where the service keeps one.
    pub(super) async fn look_with_checksum(&self) -> Result<Option<ObjectHead>, TransferError> {
        let request = HeadRequest { checksum: true, ..HeadRequest::new(self.bucket, self.key) };
        Ok(self.process.look_at_destination(request).await?)
    }

    /// The same before a write. That there is nothing need not be proven where the write asks for it itself: where the
    /// service keeps the condition of this kind.
    pub(super) async fn look_before_write(
        &self,
        absence: Option<Ability>,
    ) -> Result<Option<ObjectHead>, TransferError> {
        let support = match absence {
            Some(ability) => self.support(ability).await?,
            None => Support::No,
        };
        if support != Support::Yes {
            return self.look().await;
        }
        Ok(self.process.guess_destination(HeadRequest::new(self.bucket, self.key)).await?)
    }

    /// Whether the bucket's service has an ability.
    pub(super) async fn support(&self, ability: Ability) -> Result<Support, Interruption> {
        self.process.support(self.bucket, ability).await
    }

    /// Remembers what was found out of the bucket's service.
    pub(super) async fn learn(&self, ability: Ability, support: Support) -> Result<(), Interruption> {
        self.process.learn(self.bucket, ability, support).await
    }

    /// The longest part that may be sent, in bytes: where the service may want parts to be held, one that memory has room
    /// for, as long as the object can be cut into such.
    pub(super) fn longest_part(&self, size: u64) -> u64 {
        let settings = &self.process.config.transfer;
        let limit = settings.memory_limit.bytes();
        let fits = PartLayout::new(size, settings.part_size).is_ok_and(|layout| layout.longest() <= limit);
        if self.process.is_sure_of(Ability::StreamedParts) || !fits { u64::MAX } else { limit }
    }

    /// Names an upload of the object.
    pub(super) fn upload<'b>(&'b self, upload_id: &'b str) -> UploadRef<'b> {
        UploadRef { bucket: self.bucket, key: self.key, upload_id }
    }

    fn access(&self, operation: Operation) -> RequestInfo<'a> {
        RequestInfo::object(operation, self.bucket, self.key)
    }
}
