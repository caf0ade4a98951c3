//! Reads and writes the object at the destination.

mod conditional;
mod parts;
mod readback;
mod tags;
mod writes;

use migration_core::operation::RequestInfo;
use migration_core::part::PartLayout;
use migration_core::ports::{Ability, HeadRequest, ObjectHead, Operation, Support, UploadRef};

pub(super) use conditional::{Landed, condition_of};
pub(super) use readback::ReadBack;

use super::TransferLimits;
use super::error::TransferError;
use super::progress::LastProgress;
use crate::observer::ObjectName;
use crate::telemetry::transfer_lines::{Way, tell};
use crate::{Interruption, Process, Services};

/// The destination object of a transfer.
pub(super) struct DestinationObject<'a, P: Services> {
    process: &'a Process<P>,
    limits: &'a TransferLimits,
    /// Bucket of the object.
    pub(super) bucket: &'a str,
    /// Key of the object.
    pub(super) key: &'a str,
    progress: LastProgress,
}

impl<'a, P: Services> DestinationObject<'a, P> {
    pub(super) fn new(
        process: &'a Process<P>,
        limits: &'a TransferLimits,
        (bucket, key): (&'a str, &'a str),
        progress: LastProgress,
    ) -> Self {
        Self { process, limits, bucket, key, progress }
    }

    /// Returns the object's name, for observers.
    pub(super) fn name(&self) -> ObjectName<'a> {
        ObjectName { bucket: self.bucket, key: self.key }
    }

    /// Reads the object. Returns `None` only if the service itself says that it does not exist.
    pub(super) async fn look(&self) -> Result<Option<ObjectHead>, TransferError> {
        Ok(self.process.look_at_destination(HeadRequest::new(self.bucket, self.key)).await?)
    }

    /// Like [`look`](Self::look), with the checksum of the whole object if the service stores one.
    pub(super) async fn look_with_checksum(&self) -> Result<Option<ObjectHead>, TransferError> {
        let request = HeadRequest { checksum: true, ..HeadRequest::new(self.bucket, self.key) };
        Ok(self.process.look_at_destination(request).await?)
    }

    /// Like [`look`](Self::look), before a write. If the service honors the condition `absence` of that write, the
    /// absence of the object need not be proven here, because the write verifies it.
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

    /// Returns whether the bucket's service has an ability.
    pub(super) async fn support(&self, ability: Ability) -> Result<Support, Interruption> {
        self.process.support(self.bucket, ability).await
    }

    /// Records whether the bucket's service has an ability.
    pub(super) async fn learn(&self, ability: Ability, support: Support) -> Result<(), Interruption> {
        self.process.learn(self.bucket, ability, support).await
    }

    /// Returns the maximum part size, in bytes. If the service may require parts to be held in memory, this is the
    /// memory limit, as long as the object can be divided into such parts.
    pub(super) fn longest_part(&self, size: u64) -> u64 {
        let settings = &self.process.config.transfer;
        let limit = settings.memory_limit.bytes();
        let fits = PartLayout::new(size, settings.part_size).is_ok_and(|layout| layout.longest() <= limit);
        if self.process.is_sure_of(Ability::StreamedParts) || !fits { u64::MAX } else { limit }
    }

    /// Returns the reference to an upload of the object.
    pub(super) fn upload<'b>(&'b self, upload_id: &'b str) -> UploadRef<'b> {
        UploadRef { bucket: self.bucket, key: self.key, upload_id }
    }

    /// Tells the log of bytes that the destination has accepted.
    fn uploaded<T, E>(&self, bytes: u64, answer: Result<T, E>) -> Result<T, E> {
        answer.inspect(|_| tell(Way::Uploading, bytes, self.bucket, self.key))
    }

    fn access(&self, operation: Operation) -> RequestInfo<'a> {
        RequestInfo::object(operation, self.bucket, self.key)
    }
}
