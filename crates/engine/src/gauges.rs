//! Tells what a process holds and waits for at this moment, for metrics.

use std::sync::Arc;

use migration_core::error::{Blocked, Service};

use crate::gates::Gates;
use crate::heartbeat::Activity;
use crate::limits::{Limits, Shares};
use crate::{Process, Services};

/// Tells the state of a process. Clones tell the same.
#[derive(Clone)]
pub struct Gauges {
    gates: Arc<Gates>,
    activity: Arc<Activity>,
    limits: Limits,
}

impl<P: Services> Process<P> {
    /// Returns what tells the state of this process.
    pub fn gauges(&self) -> Gauges {
        Gauges { gates: self.gates.clone(), activity: self.runtime.activity.clone(), limits: self.limits.clone() }
    }
}

/// The state of a process at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessState {
    /// The services that are paused, with the reasons.
    pub paused: Vec<Blocked>,
    /// Messages that are held.
    pub messages: u32,
    /// The buckets that throttle, with the number of requests that may be in flight to each.
    pub request_limits: Vec<(Service, String, f64)>,
    /// What it may take of the limits of its job.
    pub shares: Shares,
}

impl Gauges {
    /// Returns the state now.
    pub fn read(&self) -> ProcessState {
        let sides = [(Service::Source, &self.gates.source), (Service::Destination, &self.gates.destination)];
        let limits = sides.into_iter().flat_map(|(side, gate)| {
            gate.request_limits().into_iter().map(move |(bucket, limit)| (side, bucket, limit))
        });
        ProcessState {
            paused: self.activity.paused(),
            messages: self.activity.messages(),
            request_limits: limits.collect(),
            shares: self.limits.shares(),
        }
    }
}
