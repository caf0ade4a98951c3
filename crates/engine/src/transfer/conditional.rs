//! Writes that ask for what the destination has, also where nobody knows yet whether its service keeps to that.

use std::future::Future;

use migration_core::error::ErrorClass;
use migration_core::etag::ETag;
use migration_core::planted::{Defect, is_planted};
use migration_core::ports::{Ledger, ObjectStore, Operation, Queue, WriteCondition, Written};
use migration_core::records::{BucketRecord, Support};

use super::passes::{asks_weakly, condition_holds};
use super::{Halt, Transfer, halt_of};
use crate::Interruption;
use crate::gate::Access;

/// An ETag that nothing has.
const NOTHING: &str = "00000000000000000000000000000000";

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    /// Sends a write that makes the object visible, by this operation. `meant` is the ETag that it is to have then.
    ///
    /// Where it is not known whether the service keeps conditions, the write itself finds out: it first asks for an ETag
    /// that nothing has. A service that keeps conditions refuses; one that doesn't has written the object, after a look
    /// that the destination was as wanted.
    pub(super) async fn write<F>(
        &self,
        operation: Operation,
        condition: &WriteCondition,
        meant: Option<&ETag>,
        request: impl Fn(WriteCondition) -> F + Send + Sync,
    ) -> Result<Written, Halt>
    where
        F: Future<Output = Result<Written, migration_core::error::ServiceError>> + Send,
    {
        let bucket = &self.pair.destination_bucket;
        if is_planted(Defect::UnconditionalWrite) {
            return self.write_with(operation, WriteCondition::Any, meant, &request).await;
        }
        if asks_weakly(condition) {
            // The passes look once more after it.
            if !condition_holds(condition, self.look_at_destination().await?.as_ref()) {
                return Err(Halt::DestinationChanged(meant.cloned()));
            }
            return self.write_with(operation, WriteCondition::Any, meant, &request).await;
        }
        let known = self.process.bucket(bucket).await?.conditional_writes;
        match known {
            Support::Yes => self.write_with(operation, condition.clone(), meant, &request).await,
            Support::No => self.write_with(operation, WriteCondition::Any, meant, &request).await,
            Support::Unknown if *condition == WriteCondition::Any => {
                self.write_with(operation, WriteCondition::Any, meant, &request).await
            }
            Support::Unknown => self.write_probing(operation, condition, meant, &request).await,
        }
    }

    async fn write_with<F>(
        &self,
        operation: Operation,
        condition: WriteCondition,
        meant: Option<&ETag>,
        request: &(impl Fn(WriteCondition) -> F + Send + Sync),
    ) -> Result<Written, Halt>
    where
        F: Future<Output = Result<Written, migration_core::error::ServiceError>> + Send,
    {
        let access = Access::object(operation, &self.pair.destination_bucket, &self.destination_key);
        let sent = self.process.destination(access, || request(condition.clone())).await;
        sent.map_err(|error| halt_of(error, || Halt::DestinationChanged(meant.cloned())))
    }

    async fn write_probing<F>(
        &self,
        operation: Operation,
        condition: &WriteCondition,
        meant: Option<&ETag>,
        request: &(impl Fn(WriteCondition) -> F + Send + Sync),
    ) -> Result<Written, Halt>
    where
        F: Future<Output = Result<Written, migration_core::error::ServiceError>> + Send,
    {
        let bucket = &self.pair.destination_bucket;
        let probing = self.process.probing().await;
        let known = self.process.bucket(bucket).await?.conditional_writes;
        if known != Support::Unknown {
            drop(probing);
            let condition = if known == Support::Yes { condition.clone() } else { WriteCondition::Any };
            return self.write_with(operation, condition, meant, request).await;
        }
        if !condition_holds(condition, self.look_at_destination().await?.as_ref()) {
            return Err(Halt::DestinationChanged(meant.cloned()));
        }
        let access = Access::object(operation, bucket, &self.destination_key);
        let nothing = WriteCondition::Matches(ETag::new(NOTHING));
        let probed = self.process.destination(access, || request(nothing.clone())).await;
        let learned = |conditional_writes| BucketRecord { conditional_writes, ..BucketRecord::default() };
        match probed {
            Ok(written) => {
                self.process.learn(bucket, learned(Support::No)).await?;
                Ok(written)
            }
            Err(Interruption::Service(error)) if error.class == ErrorClass::PreconditionFailed => {
                self.process.learn(bucket, learned(Support::Yes)).await?;
                drop(probing);
                self.write_with(operation, condition.clone(), meant, request).await
            }
            Err(Interruption::Service(error)) if error.class == ErrorClass::Refused => {
                // Refused for its condition, or for the object itself: without a condition it shows.
                let written = self.write_with(operation, WriteCondition::Any, meant, request).await?;
                self.process.learn(bucket, learned(Support::No)).await?;
                Ok(written)
            }
            Err(error) => Err(halt_of(error, || Halt::DestinationChanged(meant.cloned()))),
        }
    }
}
