use migration_core::error::ServiceError;
use migration_core::operation::Operation;
use migration_core::ports::{Item, Ledger, LedgerKey, QueryPage, Write, WriteError};

use super::Metered;
use crate::telemetry::RequestStatus;

impl<L: Ledger> Ledger for Metered<L> {
    async fn get(&self, key: &LedgerKey) -> Result<Option<Item>, ServiceError> {
        let timer = self.begin(Operation::GetItem);
        timer.answered(self.inner.get(key).await)
    }

    async fn query(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, ServiceError> {
        let timer = self.begin(Operation::QueryItems);
        timer.answered(self.inner.query(partition, prefix, after, limit).await)
    }

    async fn write(&self, writes: &[Write]) -> Result<(), WriteError> {
        let timer = self.begin(Operation::WriteItems);
        let answer = self.inner.write(writes).await;
        timer.ended(match &answer {
            Ok(()) => RequestStatus::Ok,
            Err(WriteError::Condition(_)) => RequestStatus::PreconditionFailed,
            Err(WriteError::Service(error)) => RequestStatus::of(error.class),
        });
        answer
    }
}
