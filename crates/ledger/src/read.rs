//! Sends reads to the ledger, and reads one record.

use std::future::Future;

use migration_core::error::ServiceError;
use migration_core::ports::{Item, Ledger, LedgerKey, QueryPage};
use migration_core::records::RecordError;
use serde::de::DeserializeOwned;

/// Sends read requests to a ledger. A [`Ledger`] sends each request unchanged. Other implementations limit, retry or
/// count requests; all typed reads of this crate work through this trait.
pub trait LedgerRead: Sync {
    /// Error of a request.
    type Error: Send;

    /// Like [`Ledger::get`].
    fn get_item(&self, key: &LedgerKey) -> impl Future<Output = Result<Option<Item>, Self::Error>> + Send;

    /// Like [`Ledger::query`].
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

/// Why a record could not be read. `E` is the error of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E = ServiceError> {
    /// The request failed.
    #[error(transparent)]
    Request(E),
    /// The item is not a valid record of the kind that its key names.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Reads one record. Returns `None` if there is no such item.
pub async fn get<T: DeserializeOwned, R: LedgerRead>(
    ledger: &R,
    key: &LedgerKey,
) -> Result<Option<T>, ReadError<R::Error>> {
    let item = ledger.get_item(key).await.map_err(ReadError::Request)?;
    Ok(item.map(|item| item.read()).transpose()?)
}
