//! Counts what a process does, for metrics. Each number is an atomic at a place that an enum gives: counting waits for
//! nothing and looks nothing up. Programs export the numbers, and record what a run sends, by which its coordinator knows
//! its cost; nothing in the process itself decides by them.
//!
//! | what | counted in |
//! |---|---|
//! | requests, their answers, bytes and listed keys | [`Metered`], around each adapter |
//! | requests sent again | `Gate::pass` |
//! | ended objects and attempts | `worker/end.rs` |
//! | findings of scans | `scan/merge.rs` |
//!
//! [`transfer_lines`] tells of single transfers, for the log.

mod counters;
mod histogram;
mod metered;
mod objects;
mod requests;
pub mod transfer_lines;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use migration_core::error::{ErrorClass, Service};
use migration_core::finding::Action;
use migration_core::outcome::FailureClass;
use migration_core::records::Spending;

pub use counters::{Counters, Label};
pub use histogram::{Histogram, HistogramReading, SECONDS};
pub use metered::Metered;
pub use objects::{ObjectResult, ObjectTally, RetryReason};
pub use requests::{OperationCounters, RequestCounters, RequestStatus, RequestTimer};

/// The numbers of a process, from its start on. By default all are 0.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// Requests to all services.
    pub requests: RequestCounters,
    /// Requests that were sent again, by service and by what became of the try before.
    pub repeated: Counters<(Service, RequestStatus)>,
    /// Bytes of bodies that were read.
    pub downloaded: Counters<Service>,
    /// Bytes of bodies in requests that succeeded.
    pub uploaded: Counters<Service>,
    /// Keys in pages of listings.
    pub listed: Counters<Service>,
    /// Write units of requests to the ledger.
    pub written_units: Counters<()>,
    /// Read units of answers of the ledger.
    pub read_units: Counters<()>,
    /// Objects of recorded ends, by their result.
    pub objects: Counters<ObjectResult>,
    /// Bytes of the objects of recorded ends that are at the destination.
    pub completed: Counters<()>,
    /// Objects of recorded ends that failed, by class.
    pub failures: Counters<FailureClass>,
    /// Objects of recorded ends that are tried again.
    pub retries: Counters<RetryReason>,
    /// Time of the last attempt of each copied object.
    pub object_duration: Histogram,
    /// Findings of scans, by what a run does about them.
    pub found: Counters<Action>,
    last_end: AtomicI64,
}

impl Telemetry {
    /// Counts a request that is sent again after an error of this class.
    pub(crate) fn repeats(&self, side: Service, class: ErrorClass) {
        self.repeated.add((side, RequestStatus::of(class)), 1);
    }

    /// Counts the objects of a batch whose end was recorded at this time, in milliseconds since 1970.
    pub fn ended(&self, tally: &ObjectTally, now: i64) {
        tally.add_to(self);
        self.last_end.fetch_max(now, Ordering::Relaxed);
    }

    /// Returns what was sent, by price class: requests that have ended, whatever became of them, and bytes read.
    pub fn spent(&self) -> Spending {
        let mut spent = Spending {
            source_bytes: self.downloaded.get(Service::Source),
            destination_bytes: self.downloaded.get(Service::Destination),
            ledger_writes: self.written_units.get(()),
            ledger_reads: self.read_units.get(()),
            ..Spending::default()
        };
        for (side, operation, counters) in self.requests.read() {
            spent.add_requests(side, operation, counters.ended.read().map(|(_, number)| number).sum());
        }
        spent
    }

    /// Returns when the last end of a batch was recorded, in milliseconds since 1970. `None` if there was none yet.
    pub fn last_end(&self) -> Option<i64> {
        Some(self.last_end.load(Ordering::Relaxed)).filter(|time| *time > 0)
    }
}

/// Adds to a number that is only read for metrics.
fn add(number: &AtomicU64, amount: u64) {
    number.fetch_add(amount, Ordering::Relaxed);
}
