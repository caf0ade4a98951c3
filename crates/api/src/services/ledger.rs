//! The ledger.

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credentials::KeyCredentials;
use super::rules::{SAME_SERVICE_AS_BEFORE, endpoint, region};

/// The DynamoDB table that records the state of runs and objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.tableName) && has(self.create))").message(
    "ledger takes either create (a table of the job's own) or tableName (one that exists): remove one of them",
))]
#[x_kube(validation = Rule::new(
    "has(self.tableName) == has(oldSelf.tableName) && (!has(self.tableName) || self.tableName == oldSelf.tableName)",
).message("ledger.tableName can't change, since the run's records would be lost: create a new MigrationJob instead"))]
#[x_kube(validation = Rule::new(SAME_SERVICE_AS_BEFORE).message(
    "ledger.region and ledger.endpoint can't change, since the run's records would be lost: create a new MigrationJob instead",
))]
pub struct Ledger {
    /// Region of the table. Immutable.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = region())]
    pub region: String,

    /// URL of the DynamoDB service if it is not AWS. Absent = the AWS endpoint of the region. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint())]
    pub endpoint: Option<String>,

    /// Credentials of operator, jobsender and workers for the table. Absent = the identity of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<KeyCredentials>,

    /// Create an on-demand table for this job. The default if `tableName` is absent. There are no settings: write
    /// `create: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<LedgerCreate>,

    /// Name of an existing table, which jobs may share. Its partition key must be the string `pk` and its sort key the
    /// string `sk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_.-]+$')").message(
        "not the name of a table: write its bare name, of letters, digits, '_', '.' and '-'; no ARN",
    ))]
    pub table_name: Option<String>,
}

/// Create a table for the job. There are no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerCreate {}
