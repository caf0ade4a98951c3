//! State of the preflight.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
pub use migration_core::preflight::{Finding, Shortcoming};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of the preflight: a Job with the workers' ServiceAccount and credentials tries a few requests on each bucket
/// before objects are moved, without making anything visible.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PreflightStatus {
    /// Identifies what is checked: sides, buckets, credentials, what is written with objects, and the workers' identity.
    pub checked: String,

    /// Generation of the resource, and the value of the annotation s3migration.dev/look, at the last attempt. A failed
    /// preflight is repeated at once when either changes.
    pub request: String,

    /// Number of preflights so far, the last one included.
    pub number: u32,

    /// A preflight is in progress.
    pub running: bool,

    /// Number of preflights in a row that failed.
    pub failures: u32,

    /// When the last one ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,

    /// Result of the last one with these settings. Absent until one has ended, and for a job that had its first run
    /// without a preflight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<PreflightResult>,

    /// What it found, the faults of whole sides first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,

    /// Why it could not be completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Result of a preflight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PreflightResult {
    /// Everything that was tried works.
    Passed,
    /// Runs start, though some of what they need for some objects does not work.
    Warned,
    /// No run starts: a side can't be used, or the preflight could not be completed.
    Failed,
}
