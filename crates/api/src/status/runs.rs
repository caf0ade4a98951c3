//! Runs that ended, with their verification and report.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use migration_core::records::RunResult;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cost::RunCost;
use super::progress::NotPreserved;
use crate::verify::VerifyMethod;

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// Identifier of the run.
    pub id: String,
    /// Start of the run.
    pub started_at: Time,
    /// End of the run.
    pub ended_at: Time,
    /// Result.
    pub result: RunResult,
    /// Objects copied.
    pub objects: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Objects that failed.
    pub failed: u64,
    /// What it has cost by the prices of that time. Absent if nothing recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<RunCost>,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// Identifier of the run.
    pub id: String,
    /// Time at which it began to list.
    pub started_at: Time,
    /// Time at which its last object was done.
    pub ended_at: Time,
    /// Result of the run.
    pub result: RunResult,
    /// Objects copied.
    pub objects: u64,
    /// Bytes of the objects copied.
    pub bytes: u64,
    /// Objects that failed.
    pub failed: u64,
    /// Objects that were not copied.
    pub skipped: u64,
    /// Attributes that copies lack. Absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_preserved: Option<NotPreserved>,
    /// Objects that only the destination had, with spec.mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extraneous: Option<Extraneous>,
    /// Reason, if the run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Objects that only the destination had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Extraneous {
    /// Found by the scan.
    pub found: u64,
    /// Deleted.
    pub deleted: u64,
}

/// Result of a verification, in numbers of objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationStatus {
    /// Identifier of the run.
    pub run: String,
    /// Time at which the verification ended.
    pub ended_at: Time,
    /// Method of the verification.
    pub method: VerifyMethod,
    /// Copies proven to have the content of their source.
    pub proven: u64,
    /// Copies of the right size whose content this method can't compare.
    pub by_size: u64,
    /// Objects missing at the destination.
    pub missing: u64,
    /// Objects with different content at the destination.
    pub different: u64,
    /// Missing or different objects whose source changed after the run began.
    pub newer: u64,
    /// Objects without a valid key at the destination.
    pub unmappable: u64,
    /// Objects at the destination that the source does not have.
    pub extra: u64,
}

/// A completion report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportStatus {
    /// Identifier of the run.
    pub run: String,
    /// Time at which it was written.
    pub written_at: Time,
    /// Location of its manifest.json at the destination's service: `s3://bucket/key`.
    pub manifest: String,
    /// Objects in it that are at the destination.
    pub succeeded: u64,
    /// Objects in it that failed.
    pub failed: u64,
    /// Objects missing from it: copied objects whose workers could not write to the report's bucket, and failed objects
    /// whose records in the ledger can't be read.
    pub unreported: u64,
}
