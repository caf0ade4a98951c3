//! Sends conditional writes, also to services that ignore conditions or for which this is unknown.

use std::future::Future;

use migration_core::error::{ErrorClass, Rejected, ServiceError};
use migration_core::etag::ETag;
use migration_core::mutants::{Mutant, is_active};
use migration_core::ports::{Ability, ObjectHead, Operation, Support, WriteCondition, Written};

use super::DestinationObject;
use crate::Services;
use crate::transfer::error::{TransferError, write_error};

/// A write that made the object visible.
#[derive(Clone, Debug)]
pub(in crate::transfer) struct Landed {
    /// Response of the service.
    pub written: Written,
    /// True if the service is known to honor the condition. If false, both sides are read again after the write.
    pub guarded: bool,
}

impl<P: Services> DestinationObject<'_, P> {
    /// Sends a write that makes the object visible. `meant` is the ETag that the object is to have afterwards.
    ///
    /// | the service honors this condition of this operation | condition sent | `guarded` |
    /// |---|---|---|
    /// | yes, according to its adapter | yes | true |
    /// | yes, as tested | yes; if a proxy or another service rejects it, as below | true; false if rejected |
    /// | unknown | yes; if it is rejected, the write is sent without it | false |
    /// | no | no | false |
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
            // The attempt reads the destination again after the write.
            if !condition_holds(condition, self.look().await?.as_ref()) {
                return Err(TransferError::DestinationChanged(meant.cloned()));
            }
            return self.write_with(operation, WriteCondition::Any, meant, &request).await.map(landed(false));
        }
        let Some(ability) = Ability::of_write(operation, condition) else {
            let guarded = self.support(Ability::PutIfMatch).await? == Support::Yes;
            return self.write_with(operation, WriteCondition::Any, meant, &request).await.map(landed(guarded));
        };
        match self.support(ability).await? {
            Support::Yes if self.process.is_sure_of(ability) => {
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
        let sent = self.process.destination(self.access(operation), || request(condition.clone())).await;
        sent.map_err(|error| write_error(error, || TransferError::DestinationChanged(meant.cloned())))
    }

    /// Sends a write with a condition that may be unsupported. If it is rejected, sends it without the condition, and
    /// records the condition as unsupported if that succeeds. `guarded` is true if it was not rejected.
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
                if matches!(error.class, ErrorClass::Refused | ErrorClass::SignatureMismatch)
                    && !error.rejects(&Rejected::Digest) =>
            {
                let written = self.write_with(operation, WriteCondition::Any, meant, request).await?;
                self.learn(ability, Support::No).await?;
                Ok(Landed { written, guarded: false })
            }
            sent => sent.map(|written| Landed { written, guarded: true }),
        }
    }
}

/// Returns the condition that the destination has not changed since this HEAD.
pub(in crate::transfer) fn condition_of(found: Option<&ObjectHead>) -> WriteCondition {
    match found.map(|head| head.etag.clone()) {
        None => WriteCondition::Absent,
        Some(Some(etag)) => WriteCondition::Matches(etag),
        Some(None) => WriteCondition::Any,
    }
}

/// Returns true if the condition contains a weak ETag, which no service accepts in `If-Match`.
fn asks_weakly(condition: &WriteCondition) -> bool {
    matches!(condition, WriteCondition::Matches(etag) if etag.is_weak())
}

/// Returns true if the destination meets the condition of a write.
fn condition_holds(condition: &WriteCondition, found: Option<&ObjectHead>) -> bool {
    match condition {
        WriteCondition::Any => true,
        WriteCondition::Absent => found.is_none(),
        WriteCondition::Matches(etag) => found.is_some_and(|head| head.etag.as_ref() == Some(etag)),
    }
}
