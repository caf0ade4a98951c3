//! Types and instances of the services of a job.

use migration_core::ports::{Ledger, ObjectStore, Queue};

/// The types of a job's services, as one type parameter. Implemented by tuples of the four types.
pub trait Services: Send + Sync + 'static {
    /// The S3 service to read from.
    type Source: ObjectStore;
    /// The S3 service to write to.
    type Destination: ObjectStore;
    /// The job's queue.
    type Queue: Queue;
    /// The job's ledger.
    type Ledger: Ledger;
}

impl<S: ObjectStore, D: ObjectStore, Q: Queue, L: Ledger> Services for (S, D, Q, L) {
    type Source = S;
    type Destination = D;
    type Queue = Q;
    type Ledger = L;
}

/// The services of a job.
#[derive(Debug)]
pub struct Ports<P: Services> {
    /// The side to read from.
    pub source: P::Source,
    /// The side to write to.
    pub destination: P::Destination,
    /// The job's queue.
    pub queue: P::Queue,
    /// The job's ledger.
    pub ledger: P::Ledger,
}

impl<S: ObjectStore, D: ObjectStore, Q: Queue, L: Ledger> Ports<(S, D, Q, L)> {
    /// Combines four services, whose types are inferred.
    pub fn new(source: S, destination: D, queue: Q, ledger: L) -> Self {
        Self { source, destination, queue, ledger }
    }
}
