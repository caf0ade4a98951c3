//! Where the report of a run goes, and what it has of the objects.

use serde::{Deserialize, Serialize};

/// Where reports go: to the destination's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReportSettings {
    /// The bucket.
    pub bucket: String,
    /// What the keys of reports begin with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// What is reported.
    #[serde(default)]
    pub scope: ReportScope,
}

/// What is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportScope {
    /// Every object that the run moved or could not move. Costs one small object for each batch while the run goes on.
    #[default]
    AllTasks,
    /// Those that it could not move.
    FailedTasksOnly,
}
