//! What stands before the services: limits of requests and bytes, and the work list of a retry.

mod limits;
mod work_list;

use migration_aws::S3Store;
use migration_engine::limits::Limited;
use migration_local::ledger::LocalLedger;

pub use limits::LimitArgs;
pub use work_list::{Selection, WithWorkList, WorkList, WorkListError, is_retry, location};

/// The store to read from.
pub type SourceStore = WithWorkList<Limited<S3Store>, LocalLedger>;
/// The store to write to.
pub type DestinationStore = Limited<S3Store>;
