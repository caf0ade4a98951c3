//! Switches that make a stand-in refuse requests until it is healed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use migration_core::error::{ErrorClass, ServiceError};

use crate::Operation;
use crate::lock;

/// Which requests are refused, and with what; clones are the same switches. One set belongs to one caller's handle of
/// a stand-in, so that a side can be denied to one set of credentials and open to another.
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
    /// Refuses every request with this class and code until [`Denials::heal`].
    pub fn deny_all(&self, class: ErrorClass, code: &str) {
        lock(&self.rules).all = Some(Refusal { class, code: code.to_owned() });
    }

    /// Refuses these requests with this class and code until [`Denials::heal`].
    pub fn deny(&self, operations: &[Operation], class: ErrorClass, code: &str) {
        let mut rules = lock(&self.rules);
        for operation in operations {
            rules.some.insert(*operation, Refusal { class, code: code.to_owned() });
        }
    }

    /// Refuses nothing any more.
    pub fn heal(&self) {
        *lock(&self.rules) = Rules::default();
    }

    /// The refusal of a request, where there is one.
    pub(crate) fn check(&self, operation: Operation) -> Result<(), ServiceError> {
        let rules = lock(&self.rules);
        match rules.all.as_ref().or_else(|| rules.some.get(&operation)) {
            Some(refusal) => {
                Err(ServiceError::new(refusal.class, operation.as_str(), &refusal.code, "refused by the test"))
            }
            None => Ok(()),
        }
    }
}
