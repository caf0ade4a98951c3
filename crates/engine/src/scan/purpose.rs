//! Purpose of a scan, and the observer of its findings.

use std::sync::Arc;

use migration_core::finding::Finding;
use migration_core::pair::BucketPair;
use migration_core::verification::VerifyMethod;

/// Receives the findings of a scan, once per key. Called from many tasks, since ranges are scanned at once. Must return
/// quickly, and cannot stop the scan. After a jobsender was killed, findings since its last checkpoint are repeated.
pub trait Observer: Send + Sync {
    /// Receives a finding about an object of this pair.
    fn found(&self, pair: &BucketPair, finding: &Finding<'_>);
}

/// Purpose of a scan, besides sending differences.
#[derive(Clone, Default)]
pub struct Purpose {
    /// Compares copies only by content: times, earlier runs and recorded versions are ignored.
    pub verify: Option<VerifyMethod>,
    /// Also finds objects of the destination that the source does not have.
    pub extras: bool,
    /// Receives all findings.
    pub observer: Option<Arc<dyn Observer>>,
}
