//! Test support for the engine and the adapters; not part of any shipped program.
//!
//! - [`MemoryStore`], [`MemoryQueue`] and [`MemoryLedger`] are faithful fakes of S3, SQS and DynamoDB: they reject what
//!   the services reject, with the error classes of the adapters. The S3 service itself is that of `migration-local`.
//! - [`SyntheticStore`] computes the listings of buckets of any size, and [`SinkQueue`] discards its messages, for
//!   scans too large to store.
//! - [`Faulty`] wraps any port. A [`FaultPlan`] shared by the wrappers counts every call and injects faults.
//! - [`Lying`] wraps any S3 port. Its [`Lies`] answer selected requests contrary to S3's documentation.
//! - [`ApiObjects`] is a Kubernetes API server without a network, as far as the operator relies on it.
//! - [`MiniStack`] starts a real server of all three services for a test, [`LocalStack`] a stricter one of S3 and SQS.
//! - [`metrics`] compares what a program exports with `docs/METRICS.md`.
//! - [`conformance`] has one suite per port. Fakes and adapters pass the same suites, which is why tests against a fake
//!   are valid for the service.

mod api_server;
mod clock;
pub mod conformance;
mod denial;
mod faulty;
mod ledger;
mod localstack;
mod lying;
pub mod metrics;
mod ministack;
mod queue;
mod rejected;
pub mod samples;
mod server;
mod store;
mod synthetic;

pub use api_server::{ApiFault, ApiObjects, ApiRequest, NAMESPACE, Reviews};
pub use clock::TestClock;
pub use denial::Denials;
pub use faulty::{Call, Fault, FaultPlan, Faulty, ProcessId};
pub use ledger::MemoryLedger;
pub use localstack::{LOCALSTACK_VERSION, LocalStack};
pub use lying::{Carried, ETagStyle, Header, Lie, LieId, Lies, Lying, Modified, Named, Refusal, Scope, Told};
pub use migration_core::ports::Operation;
pub use ministack::{MINISTACK_VERSION, MiniStack};
pub use queue::{DeadLetter, MemoryDeadLetters, MemoryQueue, QueueSettings, QueueStats, QueuedMessage, SinkQueue};
pub use store::{
    BucketSettings, Checksums, ConditionalWrites, MemoryStore, StoreSettings, StoredObject, StreamedBodies, Versioning,
    WriteLogEntry, crc64nvme,
};
pub use synthetic::{KeyShape, ListTraffic, SyntheticStore};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex. A poisoned one is used as it is: the test that panicked has failed anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
