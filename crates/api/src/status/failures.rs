//! What failed: objects, and records that can't be read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An object that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectFailure {
    /// Source bucket.
    pub bucket: String,
    /// Source key.
    pub key: String,
    /// Class of the failure.
    pub class: String,
    /// Description of the failure.
    pub message: String,
}

/// Records of one kind that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnreadableRecords {
    /// Kind of the records.
    pub kind: RecordKind,
    /// Number of records.
    pub number: u64,
    /// Error of the first record, with its key in the table and its member.
    pub message: String,
}

/// A kind of record that the status shows one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordKind {
    /// An object that failed and is missing from `failures`. Only records read on the way to the first 10 failures count.
    Failure,
    /// The activity of a worker or jobsender: its rate and the sides it has paused.
    Heartbeat,
    /// What a process holds of the limits of spec.transfer. Nobody else gets these parts until the record expires.
    Share,
}
