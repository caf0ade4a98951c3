//! What a scan is for, and who is told what it finds.

use std::sync::Arc;

use migration_core::finding::Finding;
use migration_core::pair::BucketPair;
use migration_core::verification::VerifyMethod;

/// Is told what a scan finds, once of each key. Ranges of keys are scanned at once, so that it is called from many tasks;
/// what it does must be quick, and it can't stop the scan. What was found since the last checkpoint of a sender that was
/// killed is told again.
pub trait Observer: Send + Sync {
    /// Something was found, of this pair.
    fn found(&self, pair: &BucketPair, finding: &Finding<'_>);
}

/// What a scan is for, besides sending what differs.
#[derive(Clone, Default)]
pub struct Purpose {
    /// Judges copies by nothing but their content: times, earlier runs and recorded versions play no part.
    pub verify: Option<VerifyMethod>,
    /// Also finds objects of the destination that the source does not have.
    pub extras: bool,
    /// Is told of all findings.
    pub observer: Option<Arc<dyn Observer>>,
}
