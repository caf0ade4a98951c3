//! The services of a job: which types they have, and one of each.

use migration_core::ports::{Ledger, ObjectStore, Queue};

/// The types of a job's services. What is generic over them names this one parameter; a tuple of the four types is one.
pub trait Services: Send + Sync + 'static {
    /// The S3 service that is read.
    type Source: ObjectStore;
    /// The S3 service that is written.
    type Destination: ObjectStore;
    /// The queue.
    type Queue: Queue;
    /// The ledger.
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
    /// The side that is read.
    pub source: P::Source,
    /// The side that is written.
    pub destination: P::Destination,
    /// The job's queue.
    pub queue: P::Queue,
    /// The job's ledger.
    pub ledger: P::Ledger,
}

impl<S: ObjectStore, D: ObjectStore, Q: Queue, L: Ledger> Ports<(S, D, Q, L)> {
    /// These four, whose types are inferred.
    pub fn new(source: S, destination: D, queue: Q, ledger: L) -> Self {
        Self { source, destination, queue, ledger }
    }
}
