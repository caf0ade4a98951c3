//! Settings for the report of a run.

use serde::{Deserialize, Serialize};

/// Location and content of the reports. They are written to the destination's service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReportSettings {
    /// Bucket of the reports.
    pub bucket: String,
    /// Prefix of the reports' keys.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// The objects to report.
    #[serde(default)]
    pub scope: ReportScope,
}

/// The objects that a report covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ReportScope {
    /// Every object that the run moved or failed to move. Costs one small object for each batch during the run.
    #[default]
    AllTasks,
    /// Only the objects that the run failed to move.
    FailedTasksOnly,
}
