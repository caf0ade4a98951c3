//! What codes of S3 say that is not taken, as the adapters read them.

use migration_core::error::Rejected;
use migration_core::ports::Operation;

/// What an error with this code says that is not taken; nothing where its words would have to be read.
pub fn rejected(operation: Operation, code: &str) -> Option<Rejected> {
    match code {
        "InvalidRange" => Some(Rejected::Range),
        "BadDigest" | "InvalidDigest" => Some(Rejected::Digest),
        "InvalidTag" => Some(Rejected::Tags),
        "InvalidStorageClass" => Some(Rejected::StorageClass),
        "MetadataTooLarge" => Some(Rejected::Metadata(Vec::new())),
        "NotImplemented" if operation == Operation::DeleteObject => Some(Rejected::Condition),
        _ => None,
    }
}
