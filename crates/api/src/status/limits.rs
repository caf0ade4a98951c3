//! The limits of a job's bytes and requests, and how its processes share them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The limits in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsStatus {
    /// Bytes, by spec.transfer.bandwidthLimit. Absent without that, and while its timetable says `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<LimitStatus>,
    /// Requests to each side, by spec.transfer.requestLimit. Absent without that, and while its timetable says `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<LimitStatus>,
}

/// A limit, and what processes hold of it. A process sends no more than it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitStatus {
    /// Bytes or requests per second that all processes may send together now, by the timetable.
    pub per_second: u64,
    /// What processes hold of that, as the ledger said within about a minute. Absent if it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_per_second: Option<u64>,
    /// Workers, jobsenders and others that hold a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holders: Option<u32>,
    /// Those that wait for a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u32>,
}
