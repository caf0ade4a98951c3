//! Asks for permission right before a write.

use std::fmt;
use std::sync::Arc;

use migration_core::error::{ErrorClass, ServiceError};

/// Whether queues and tables may be written. It is asked right before each request that creates, changes or deletes
/// one. The default allows everything.
#[derive(Clone, Default)]
pub struct Guard(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Guard {
    /// Creates a guard that allows a write if `may_write` returns true.
    pub fn new(may_write: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(may_write)))
    }

    /// Fails with a transient error if the operation may not be sent.
    pub(crate) fn check(&self, operation: &str) -> Result<(), ServiceError> {
        match &self.0 {
            Some(may_write) if !may_write() => {
                let text = "this process may not write any more";
                Err(ServiceError::new(ErrorClass::Transient, operation, "NotSent", text))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.0.is_some()).finish()
    }
}
