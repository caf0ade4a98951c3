//! Coordinates the runs of a job: when one starts, when it is over, and what is done where messages were given up or lost.
//! Knows the ledger and the queue only. What else is known of senders (Jobs of Kubernetes, or tasks of this process) is passed
//! in as values.
//!
//! | module | purpose |
//! |---|---|
//! | [`look`] | the last run and its batches |
//! | [`start`] | when a run starts |
//! | [`end`] | when a run is over, and the write of its end |
//! | [`reopen`] | runs whose messages are lost |
//! | [`dead_letters`] | batches that the queue has given up become failures |

pub mod dead_letters;
pub mod end;
pub mod look;
pub mod reopen;
pub mod start;

use migration_core::error::ServiceError;
use migration_ledger::ReadError;

/// Why a run could not be coordinated. The next look at it tries again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The ledger could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// That the run is over, or reopened, could not be written.
    #[error("failed to write run record: {0}")]
    Write(ServiceError),
}
