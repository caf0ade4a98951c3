//! Switches that make an in-memory service reject requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use migration_core::error::{ErrorClass, ServiceError};

use crate::Operation;
use crate::lock;
use crate::rejected::rejected;

/// Requests to reject, and the errors to reject them with. Clones share the switches. Each handle of a service has its
/// own set, so that one set of credentials can be denied while others are not.
#[derive(Clone, Debug, Default)]
pub struct Denials {
    rules: Arc<Mutex<Rules>>,
}

#[derive(Debug, Default)]
struct Rules {
    all: Option<Refusal>,
    some: BTreeMap<Operation, Refusal>,
}

#[derive(Clone, Debug)]
struct Refusal {
    class: ErrorClass,
    code: String,
}

impl Denials {
    /// Rejects every request with this class and code until [`Denials::heal`].
    pub fn deny_all(&self, class: ErrorClass, code: &str) {
        lock(&self.rules).all = Some(Refusal { class, code: code.to_owned() });
    }

    /// Rejects these operations with this class and code until [`Denials::heal`].
    pub fn deny(&self, operations: &[Operation], class: ErrorClass, code: &str) {
        let mut rules = lock(&self.rules);
        for operation in operations {
            rules.some.insert(*operation, Refusal { class, code: code.to_owned() });
        }
    }

    /// Removes all rejections.
    pub fn heal(&self) {
        *lock(&self.rules) = Rules::default();
    }

    /// Returns the error of a rejected request.
    pub(crate) fn check(&self, operation: Operation) -> Result<(), ServiceError> {
        let rules = lock(&self.rules);
        match rules.all.as_ref().or_else(|| rules.some.get(&operation)) {
            Some(refusal) => {
                let told = ServiceError::new(refusal.class, operation.as_str(), &refusal.code, "refused by the test");
                Err(told.rejecting(rejected(operation, &refusal.code)))
            }
            None => Ok(()),
        }
    }
}
