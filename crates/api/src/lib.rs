//! The `MigrationJob` resource: its fields, their bounds, and what its status says.
//!
//! The documentation of the fields is what `kubectl explain migrationjob.spec` shows. Whatever can be refused when a
//! resource is applied is refused there, by the schema or by a rule in CEL with a message that says what to write.
//! Rules whose message matters are in CEL and not in a `pattern`, since the API server shows a pattern as it is.

#![allow(clippy::doc_markdown, reason = "kubectl shows the documentation of fields as plain text, backticks and all")]

pub mod buckets;
pub mod crd;
pub mod filters;
pub mod manifest;
pub mod pods;
pub mod reasons;
pub mod services;
pub mod spec;
pub mod status;
pub mod transfer;
pub mod verify;

pub use crd::crd;
pub use spec::{MigrationJob, MigrationJobSpec};
pub use status::MigrationJobStatus;

/// The resource's API group; also the prefix of annotations and labels of ours.
pub const GROUP: &str = "s3migration.dev";
