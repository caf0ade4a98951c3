//! A ledger on one machine: [`Ledger`] in the state file.
//!
//! It keeps the bounds and rules of DynamoDB, so that a job behaves as on a cluster: up to 100 writes to different
//! items in a request, of 4 MiB together, items of up to 400 KiB, pages of up to 1 MiB.

pub mod bounds;
mod table;

use migration_core::error::ServiceError;
use migration_core::ports::{Item, Ledger, LedgerKey, Operation, QueryPage, Write, WriteError};

use crate::state::{Database, State};

/// The ledger of a state directory. Clones are the same ledger.
#[derive(Clone, Debug)]
pub struct LocalLedger {
    database: Database,
}

impl LocalLedger {
    /// Returns the ledger of this state. It can be used until the state is dropped.
    pub fn new(state: &State) -> Self {
        Self { database: state.database() }
    }
}

impl Ledger for LocalLedger {
    async fn get(&self, key: &LedgerKey) -> Result<Option<Item>, ServiceError> {
        const GET: Operation = Operation::GetItem;
        bounds::check_key(GET, key)?;
        let key = key.clone();
        self.database.execute(GET, move |connection| table::get(connection, &key)).await
    }

    /// A full page has a continuation even if nothing follows, as in DynamoDB.
    async fn query(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, ServiceError> {
        const QUERY: Operation = Operation::QueryItems;
        bounds::check_limit(QUERY, limit)?;
        let range = table::Range::new(partition, prefix, after);
        self.database.execute(QUERY, move |connection| table::query(connection, &range, limit)).await
    }

    async fn write(&self, writes: &[Write]) -> Result<(), WriteError> {
        bounds::check_writes(writes)?;
        let writes = writes.to_vec();
        self.database.execute(Operation::WriteItems, move |connection| table::write(connection, writes)).await
    }
}
