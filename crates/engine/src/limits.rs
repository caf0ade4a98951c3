//! Limits the bytes and requests per second of a process, or of all processes of a job together.
//!
//! | module | purpose |
//! |---|---|
//! | `limited` | a store whose requests wait for their turn |
//! | `paced` | bodies that pass at a limited rate |
//! | `bandwidth` | divides the bytes among the bodies in flight |
//! | `pacer` | what waits for a limit: its timetable, the share of this process, the turn of each caller |
//! | `keeper` | gets the share from the ledger and renews it |
//! | `stopping` | ends the waits when the process has to stop |
//!
//! A limit of one process is its own. One of a job is divided by [`migration_core::shares`].

mod bandwidth;
mod keeper;
mod limited;
mod paced;
mod pacer;
mod stopping;

use std::sync::Arc;

use migration_core::config::RateLimits;
use migration_core::error::Service;
use migration_core::pace::{Moment, Validity};
use migration_core::ports::{Clock, ObjectStore};
use migration_core::records::Portions;
use tokio::sync::Notify;
use tokio::time::Instant;

use bandwidth::Bandwidth;
use pacer::Pacer;

pub use keeper::{Keeper, Keeping};
pub use limited::Limited;
pub use stopping::Stopping;

/// Returns the local time of a Unix time, both in milliseconds. Local time is that of a clock on the wall, as if its
/// zone were UTC.
pub type LocalTime = fn(i64) -> i64;

/// Times of day in UTC.
pub const UTC: LocalTime = |unix| unix;

/// What a process may take of the limits of its job in a second now. `None` where nothing is limited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    /// Bytes.
    pub bandwidth: Option<f64>,
    /// Requests to the source.
    pub source: Option<f64>,
    /// Requests to the destination.
    pub destination: Option<f64>,
}

/// Who a limit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fleet {
    /// This process alone.
    Alone,
    /// All processes of the job: this one has no share until a [`Keeper`] gets one.
    Shared,
}

/// The clocks of a process.
#[derive(Clone)]
struct Times {
    started: Instant,
    clock: Arc<dyn Clock>,
    local: LocalTime,
}

impl Times {
    fn now(&self) -> Moment {
        Moment { monotonic: self.started.elapsed(), wall: self.clock.now() }
    }
}

/// The limits of a process. Clones share them. By default there are none.
#[derive(Clone, Default)]
pub struct Limits {
    source: Option<Arc<Pacer>>,
    destination: Option<Arc<Pacer>>,
    bandwidth: Option<Arc<Bandwidth>>,
    /// Told when something waits for a share.
    wanted: Arc<Notify>,
}

impl Limits {
    /// Creates the limits of a process.
    pub fn new(rates: &RateLimits, fleet: Fleet, clock: &Arc<dyn Clock>, local: LocalTime) -> Self {
        let times = Times { started: Instant::now(), clock: clock.clone(), local };
        let wanted = Arc::new(Notify::new());
        let pacer = |table: &_| Arc::new(Pacer::new(Clone::clone(table), times.clone(), fleet, wanted.clone()));
        let requests = || rates.requests.as_ref().map(pacer);
        let bandwidth = rates.bandwidth.as_ref().map(|table| Arc::new(Bandwidth::new(pacer(table))));
        Self { source: requests(), destination: requests(), bandwidth, wanted }
    }

    /// Returns these limits, and those of `others` where there is none. For processes that are alone.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            source: self.source.or(others.source),
            destination: self.destination.or(others.destination),
            bandwidth: self.bandwidth.or(others.bandwidth),
            wanted: self.wanted,
        }
    }

    /// Puts a store of one side under the limits, until the process has to stop.
    pub fn limit<S: ObjectStore>(&self, store: S, side: Service, stopping: &Stopping) -> Limited<S> {
        let requests = if side == Service::Source { &self.source } else { &self.destination };
        Limited::new(store, requests.clone(), self.bandwidth.clone(), stopping.clone())
    }

    /// Returns true if nothing is limited.
    pub fn is_none(&self) -> bool {
        self.pacers().next().is_none()
    }

    /// Returns true if something waits for a limit for long, or did so a few minutes ago: work that made no progress
    /// meanwhile is not stuck.
    pub(crate) fn is_waiting(&self) -> bool {
        self.pacers().any(|pacer| pacer.is_waiting())
    }

    /// Returns what this process may take now.
    pub fn shares(&self) -> Shares {
        let share = |pacer: &Arc<Pacer>| pacer.share();
        Shares {
            bandwidth: self.bandwidth.as_ref().and_then(|bandwidth| share(bandwidth.pacer())),
            source: self.source.as_ref().and_then(share),
            destination: self.destination.as_ref().and_then(share),
        }
    }

    /// Describes the limits that hold now, each with its timetable if it changes. Empty if there are none.
    pub fn describe(&self) -> Vec<String> {
        let bytes = |rate| format!("{}/s", migration_core::size::human(rate));
        let bandwidth = self.bandwidth.as_ref().map(|bandwidth| bandwidth.pacer().describe(bytes));
        let requests = |rate| format!("{rate} requests/s to each side");
        bandwidth.into_iter().chain(self.source.as_ref().map(|pacer| pacer.describe(requests))).collect()
    }

    fn pacers(&self) -> impl Iterator<Item = &Arc<Pacer>> {
        let bandwidth = self.bandwidth.as_ref().map(|bandwidth| bandwidth.pacer());
        bandwidth.into_iter().chain(&self.source).chain(&self.destination)
    }

    /// Sets what this process may take.
    fn set(&self, (parts, validity): (Portions, Validity)) {
        if let Some(bandwidth) = &self.bandwidth {
            bandwidth.pacer().set(parts.bytes, validity);
        }
        for pacer in [&self.source, &self.destination].into_iter().flatten() {
            pacer.set(parts.requests, validity);
        }
    }

    /// Returns what this process could use.
    fn need(&self) -> Portions {
        let requests = [&self.source, &self.destination].into_iter().flatten().map(|pacer| pacer.need()).max();
        Portions {
            bytes: self.bandwidth.as_ref().map(|bandwidth| bandwidth.pacer().need()).unwrap_or_default(),
            requests: requests.unwrap_or_default(),
        }
    }
}
