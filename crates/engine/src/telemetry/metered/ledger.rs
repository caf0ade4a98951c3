use migration_core::error::ServiceError;
use migration_core::operation::Operation;
use migration_core::ports::{Item, Ledger, LedgerKey, QueryPage, Write, WriteError};
use migration_core::records::{read_units, write_units};

use super::Metered;
use crate::telemetry::RequestStatus;

impl<L: Ledger> Ledger for Metered<L> {
    async fn get(&self, key: &LedgerKey) -> Result<Option<Item>, ServiceError> {
        let timer = self.begin(Operation::GetItem);
        let answer = timer.answered(self.inner.get(key).await);
        answer.inspect(|item| self.telemetry.read_units.add((), read_units(item)))
    }

    async fn query(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, ServiceError> {
        let timer = self.begin(Operation::QueryItems);
        let answer = timer.answered(self.inner.query(partition, prefix, after, limit).await);
        answer.inspect(|page| self.telemetry.read_units.add((), read_units(&page.items)))
    }

    async fn write(&self, writes: &[Write]) -> Result<(), WriteError> {
        let timer = self.begin(Operation::WriteItems);
        // Also if it fails: the service prices what breaks a condition, and the answer may be lost.
        self.telemetry.written_units.add((), write_units(writes));
        let answer = self.inner.write(writes).await;
        timer.ended(match &answer {
            Ok(()) => RequestStatus::Ok,
            Err(WriteError::Condition(_)) => RequestStatus::PreconditionFailed,
            Err(WriteError::Service(error)) => RequestStatus::of(error.class),
        });
        answer
    }
}
