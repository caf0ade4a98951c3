//! Writes that ask for what the destination has, also where its service does not keep to that, or nobody knows.

use std::future::Future;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::mutants::{Mutant, is_active};
use migration_core::ports::{Ability, ObjectHead, Operation, Support, WriteCondition, Written};

use super::DestinationObject;
use crate::Services;
use crate::transfer::error::{TransferError, write_error};

/// A write that made the object visible.
#[derive(Clone, Debug)]
pub(in crate::transfer) struct Landed {
    /// The service's response.
    pub written: Written,
    /// Whether the service is known to keep the condition. Where it is not, both sides are looked at afterwards.
    pub guarded: bool,
}

impl<P: Services> DestinationObject<'_, P> {
    /// Sends a write that makes the object visible, by this operation. `meant` is the ETag that it is to have then.
    ///
    /// | the service keeps this condition of this operation | the condition is sent | guarded |
    /// |---|---|---|
    /// | yes, by its adapter | yes | yes |
    /// | yes, as was found out | yes; where that is refused all the same, as by a service or proxy in its place, as below | yes; then no |
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
                self.learn(ability, Support::No).await?;
                Ok(Landed { written, guarded: false })
            }
            sent => sent.map(|written| Landed { written, guarded: true }),
        }
    }
}

/// What to ask of the destination after having looked at it.
pub(in crate::transfer) fn condition_of(found: Option<&ObjectHead>) -> WriteCondition {
    match found.map(|head| head.etag.clone()) {
        None => WriteCondition::Absent,
        Some(Some(etag)) => WriteCondition::Matches(etag),
        Some(None) => WriteCondition::Any,
    }
}

/// Whether a write asks for a content by a weak ETag, which no service can be asked for.
fn asks_weakly(condition: &WriteCondition) -> bool {
    matches!(condition, WriteCondition::Matches(etag) if etag.is_weak())
}

/// Whether the destination is as a write wants it.
fn condition_holds(condition: &WriteCondition, found: Option<&ObjectHead>) -> bool {
    match condition {
        WriteCondition::Any => true,
        WriteCondition::Absent => found.is_none(),
        WriteCondition::Matches(etag) => found.is_some_and(|head| head.etag.as_ref() == Some(etag)),
    }
}
