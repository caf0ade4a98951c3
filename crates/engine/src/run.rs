//! Coordinates the runs of a job: decides when a run starts and when it is over, and handles messages that were moved
//! to the dead-letter queue or lost. Uses only the ledger and the queue. Facts about jobsenders (Kubernetes Jobs, or
//! tasks of this process) are passed in as values.
//!
//! | module | purpose |
//! |---|---|
//! | [`look`] | reads the last run and its batches |
//! | [`start`] | decides when a run starts |
//! | [`end`] | decides when a run is over, and writes its end |
//! | [`reopen`] | requests the reopening of runs whose messages are lost |
//! | [`dead_letters`] | records batches in the dead-letter queue as failures |

pub mod dead_letters;
pub mod end;
pub mod look;
pub mod reopen;
pub mod start;

use migration_core::error::ServiceError;
use migration_ledger::ReadError;

/// Why a run could not be coordinated. The next check retries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The ledger could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The end of the run, or the request to reopen it, could not be written.
    #[error("failed to write run record: {0}")]
    Write(ServiceError),
}
