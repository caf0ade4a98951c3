//! What codes of services say that is not taken, as the adapters read them.

use migration_core::error::Rejected;

use crate::Operation;

/// What an error with this code says that is not taken; nothing where its words would have to be read.
pub(crate) fn rejected(operation: Operation, code: &str) -> Option<Rejected> {
    match code {
        "ValidationException" => Some(Rejected::Record),
        _ => migration_local::store::rejected(operation, code),
    }
}
