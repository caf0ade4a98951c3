//! How reads are sent, and the read of one record.

use std::future::Future;

use migration_core::error::ServiceError;
use migration_core::ports::{Item, Ledger, LedgerKey, QueryPage};
use migration_core::records::RecordError;
use serde::de::DeserializeOwned;

/// Sends the reads of a ledger. A [`Ledger`] sends each as it is; who bounds, repeats or counts requests does so here, and
/// every typed read works the same through it.
pub trait LedgerRead: Sync {
    /// Why a read was not answered.
    type Error: Send;

    /// As [`Ledger::get`].
    fn get_item(&self, key: &LedgerKey) -> impl Future<Output = Result<Option<Item>, Self::Error>> + Send;

    /// As [`Ledger::query`].
    fn query_items(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> impl Future<Output = Result<QueryPage, Self::Error>> + Send;
}

impl<L: Ledger> LedgerRead for L {
    type Error = ServiceError;

    async fn get_item(&self, key: &LedgerKey) -> Result<Option<Item>, ServiceError> {
        self.get(key).await
    }

    async fn query_items(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, ServiceError> {
        self.query(partition, prefix, after, limit).await
    }
}

/// Why a record is not known. `E` is why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E = ServiceError> {
    /// The request was not answered.
    #[error(transparent)]
    Request(E),
    /// What stands there is not the record that its key promises.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Reads one record; none where there is no item.
pub async fn get<T: DeserializeOwned, R: LedgerRead>(
    ledger: &R,
    key: &LedgerKey,
) -> Result<Option<T>, ReadError<R::Error>> {
    let item = ledger.get_item(key).await.map_err(ReadError::Request)?;
    Ok(item.map(|item| item.read()).transpose()?)
}
