//! The cost of runs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use migration_core::cost::Money;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a run has cost by spec.prices: its scan and its transfer, as the processes recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CostStatus {
    /// Identifier of the run.
    pub run: String,
    /// Currency of the amounts.
    pub currency: String,
    /// Sum of the amounts below, as a decimal number.
    #[schemars(with = "String")]
    pub total: Money,
    /// Requests to source and destination.
    #[schemars(with = "String")]
    pub requests: Money,
    /// Data transfer out of source and destination.
    #[schemars(with = "String")]
    pub transfer: Money,
    /// Requests to queue and ledger.
    #[schemars(with = "String")]
    pub coordination: Money,
    /// spec.limits.cost. Absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub limit: Option<Money>,
    /// When a process last recorded what it sent. Absent if none has yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
}

/// The cost of a run that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunCost {
    /// The amount, as a decimal number.
    #[schemars(with = "String")]
    pub total: Money,
    /// Its currency.
    pub currency: String,
}
