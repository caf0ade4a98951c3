//! Bounds of requests and items, which are DynamoDB's.
//!
//! Sources: "Quotas in Amazon DynamoDB" in the developer guide, `TransactWriteItems` in the API reference.

use std::collections::BTreeSet;

use migration_core::error::{ErrorClass, Rejected, ServiceError};
use migration_core::ports::{LedgerKey, Operation, Write};

/// Writes per request.
const MAX_WRITES: usize = 100;
/// Bytes of a partition key.
const MAX_PARTITION: usize = 2_048;
/// Bytes of a sort key.
const MAX_SORT: usize = 1_024;
/// Bytes of an item, names and values.
const MAX_ITEM: usize = 400 << 10;
/// Bytes of all items of a request with several writes.
const MAX_REQUEST: usize = 4 << 20;
/// Names of the columns that DynamoDB tables of this program have beside an item's attributes.
const RESERVED: [&str; 3] = ["pk", "sk", "ttl"];

/// Returns the error for a request that is out of bounds: no retry succeeds.
pub fn refused(operation: Operation, message: &str) -> ServiceError {
    let error = ServiceError::new(ErrorClass::Refused, operation.as_str(), "ValidationException", message);
    error.rejecting(Rejected::Record)
}

/// Checks the lengths of a key.
pub fn check_key(operation: Operation, key: &LedgerKey) -> Result<(), ServiceError> {
    if !(1..=MAX_PARTITION).contains(&key.partition.len()) {
        return Err(refused(operation, "the partition key must have 1 to 2048 bytes"));
    }
    if !(1..=MAX_SORT).contains(&key.sort.len()) {
        return Err(refused(operation, "the sort key must have 1 to 1024 bytes"));
    }
    Ok(())
}

/// Checks the most items of a page.
pub fn check_limit(operation: Operation, limit: u32) -> Result<(), ServiceError> {
    if limit == 0 { Err(refused(operation, "the limit must be at least 1")) } else { Ok(()) }
}

/// Checks what can be checked before the items are known.
pub fn check_writes(writes: &[Write]) -> Result<(), ServiceError> {
    const WRITE: Operation = Operation::WriteItems;
    if !(1..=MAX_WRITES).contains(&writes.len()) {
        return Err(refused(WRITE, "a transaction must have 1 to 100 writes"));
    }
    let mut keys = BTreeSet::new();
    for write in writes {
        check_key(WRITE, write.key())?;
        if !keys.insert(write.key()) {
            return Err(refused(WRITE, "a transaction cannot contain multiple writes to one item"));
        }
        match write {
            Write::Add { deltas, expires_at: None, .. } if deltas.is_empty() => {
                return Err(refused(WRITE, "the addition has neither deltas nor an expiry"));
            }
            Write::Put { item, .. } if RESERVED.iter().any(|name| item.attributes.contains_key(*name)) => {
                return Err(refused(WRITE, "an attribute has a name that the table uses itself"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sizes of the items that a request writes, against their bounds.
#[derive(Debug)]
pub struct Sizes {
    is_single: bool,
    total: usize,
}

impl Sizes {
    /// Sizes of a request with this number of writes; only several have a bound for all.
    pub fn of(writes: usize) -> Self {
        Self { is_single: writes <= 1, total: 0 }
    }

    /// Counts an item of so many bytes, names and values.
    pub fn add(&mut self, bytes: usize) -> Result<(), ServiceError> {
        self.total = self.total.saturating_add(bytes);
        if bytes > MAX_ITEM {
            return Err(refused(Operation::WriteItems, "item size has exceeded the maximum allowed size"));
        }
        if !self.is_single && self.total > MAX_REQUEST {
            let message = "the aggregate size of the items in the transaction is over 4 MB";
            return Err(refused(Operation::WriteItems, message));
        }
        Ok(())
    }
}
