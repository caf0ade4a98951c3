//! Writes that ask for what the destination has, also where its service does not keep to that, or nobody knows.

use std::future::Future;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::mutants::{Mutant, is_active};
use migration_core::operation::RequestInfo;
use migration_core::ports::{Operation, WriteCondition, Written};
use migration_core::records::{Ability, Support};

use super::attempt::{asks_weakly, condition_holds};
use super::{Transfer, TransferError, transfer_error};
use crate::{Interruption, Services};

/// A write that made the object visible.
#[derive(Clone, Debug)]
pub(super) struct Landed {
    /// What the service said.
    pub(super) written: Written,
    /// Whether the service is known to keep the condition. Where it is not, both sides are looked at afterwards.
    pub(super) guarded: bool,
}

impl<P: Services> Transfer<'_, P> {
    /// Sends a write that makes the object visible, by this operation. `meant` is the ETag that it is to have then.
    ///
    /// | the service keeps this condition of this operation | the condition is sent | guarded |
    /// |---|---|---|
    /// | yes | yes; where that is refused all the same, as by a service or proxy in its place, as below | yes; then no |
    /// | nobody knows | yes; where that is refused, the write is sent without it | no |
    /// | no | no | no |
    pub(super) async fn write<F>(
        &self,
        operation: Operation,
        condition: &WriteCondition,
        meant: Option<&ETag>,
        request: impl Fn(WriteCondition) -> F + Send + Sync,
    ) -> Result<Landed, TransferError>
    where
        F: Future<Output = Result<Written, ServiceError>> + Send,
    {
        let landed = |guarded| move |written| Landed { written, guarded };
        if is_active(Mutant::UnconditionalWrite) {
            return self.write_with(operation, WriteCondition::Any, meant, &request).await.map(landed(true));
        }
        if asks_weakly(condition) {
            // The passes look once more after it.
            if !condition_holds(condition, self.look_at_destination().await?.as_ref()) {
                return Err(TransferError::DestinationChanged(meant.cloned()));
            }
            return self.write_with(operation, WriteCondition::Any, meant, &request).await.map(landed(false));
        }
        let bucket = &self.pair.destination_bucket;
        let Some(ability) = Ability::of_write(operation, condition) else {
            let guarded = self.process.support(bucket, Ability::PutIfMatch).await? == Support::Yes;
            return self.write_with(operation, WriteCondition::Any, meant, &request).await.map(landed(guarded));
        };
        match self.process.support(bucket, ability).await? {
            Support::Yes if self.process.writes_to_amazon() => {
                self.write_with(operation, condition.clone(), meant, &request).await.map(landed(true))
            }
            Support::No => self.write_with(operation, WriteCondition::Any, meant, &request).await.map(landed(false)),
            known => {
                let landed = self.write_unsure(operation, (condition, ability), meant, &request).await?;
                Ok(Landed { guarded: landed.guarded && known == Support::Yes, ..landed })
            }
        }
    }

    async fn write_with<F>(
        &self,
        operation: Operation,
        condition: WriteCondition,
        meant: Option<&ETag>,
        request: &(impl Fn(WriteCondition) -> F + Send + Sync),
    ) -> Result<Written, TransferError>
    where
        F: Future<Output = Result<Written, ServiceError>> + Send,
    {
        let access = RequestInfo::object(operation, &self.pair.destination_bucket, &self.destination_key);
        let sent = self.process.destination(access, || request(condition.clone())).await;
        sent.map_err(|error| write_error(error, || TransferError::DestinationChanged(meant.cloned())))
    }

    /// Sends a condition that may be refused: the write, without it, tells whether it was refused for that. Guarded where
    /// it was not.
    async fn write_unsure<F>(
        &self,
        operation: Operation,
        (condition, ability): (&WriteCondition, Ability),
        meant: Option<&ETag>,
        request: &(impl Fn(WriteCondition) -> F + Send + Sync),
    ) -> Result<Landed, TransferError>
    where
        F: Future<Output = Result<Written, ServiceError>> + Send,
    {
        match self.write_with(operation, condition.clone(), meant, request).await {
            Err(TransferError::Service(error))
                if matches!(error.class, ErrorClass::Refused | ErrorClass::SignatureMismatch) =>
            {
                let written = self.write_with(operation, WriteCondition::Any, meant, request).await?;
                self.process.learn(&self.pair.destination_bucket, ability, Support::No).await?;
                Ok(Landed { written, guarded: false })
            }
            sent => sent.map(|written| Landed { written, guarded: true }),
        }
    }
}

/// The same as [`transfer_error`] for a write, which may be a copy.
pub(super) fn write_error(error: Interruption, on_precondition: impl FnOnce() -> TransferError) -> TransferError {
    match transfer_error(error, on_precondition) {
        // Said of a copy: by the source's bucket or by the destination's, both of which are looked at again.
        TransferError::Service(error) if error.class == ErrorClass::NoSuchKey => TransferError::SourceChanged,
        error => error,
    }
}
