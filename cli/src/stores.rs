//! What stands before the services: limits of requests and bytes, how connections are made, and the work list of a retry.

mod limits;
mod network;
mod work_list;

use migration_aws::S3Store;
use migration_engine::limits::Limited;
use migration_local::ledger::LocalLedger;

pub use limits::LimitArgs;
pub use network::NetworkArgs;
pub use work_list::{Selection, WithWorkList, WorkList, WorkListError, is_retry, location};

/// The store to read from.
pub type SourceStore = WithWorkList<Limited<S3Store>, LocalLedger>;
/// The store to write to.
pub type DestinationStore = Limited<S3Store>;
