//! What tests of the engine and of the adapters stand on; never part of a program that is shipped.
//!
//! - [`MemoryStore`], [`MemoryQueue`] and [`MemoryLedger`] are faithful stand-ins of S3, SQS and `DynamoDB`: they refuse
//!   what the services refuse, in the error classes that the adapters give.
//! - [`SyntheticStore`] lists buckets of any size by computation, [`SinkQueue`] forgets what it is given: for scans that
//!   are too large to be stored.
//! - [`Faulty`] wraps any port; a [`FaultPlan`] shared by the wrappers counts every call and breaks chosen ones.
//! - [`Lying`] wraps any S3 port; its [`Lies`] answer chosen requests otherwise than S3 documents.
//! - [`MiniStack`] starts a real server of all three for a test, [`LocalStack`] a stricter one of S3 and SQS.
//! - [`conformance`] is one suite for each port. The stand-ins and the adapters pass the same suites, which is what
//!   makes a test against a stand-in say something about the service.

mod clock;
pub mod conformance;
mod denial;
mod faulty;
mod ledger;
mod localstack;
mod lying;
mod ministack;
mod queue;
mod server;
mod store;
mod synthetic;

pub use clock::TestClock;
pub use denial::Denials;
pub use faulty::{Call, Fault, FaultPlan, Faulty, ProcessId};
pub use ledger::MemoryLedger;
pub use localstack::{LOCALSTACK_VERSION, LocalStack};
pub use lying::{Carried, ETagStyle, Header, Lie, LieId, Lies, Lying, Modified, Named, Refusal, Scope, Told};
pub use migration_core::ports::Operation;
pub use ministack::{MINISTACK_VERSION, MiniStack};
pub use queue::{DeadLetter, MemoryQueue, QueueSettings, QueueStats, QueuedMessage, SinkQueue};
pub use store::{
    BucketSettings, Checksums, ConditionalWrites, MemoryStore, StoreSettings, StoredObject, StreamedBodies, Versioning,
    WriteLogEntry, crc64nvme,
};
pub use synthetic::{KeyShape, ListTraffic, SyntheticStore};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a test that panicked while it held the lock has failed already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
