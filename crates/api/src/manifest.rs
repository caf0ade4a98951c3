//! A work list in place of listings, and where the result of each object goes.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::buckets::is_bucket_name;

/// A list of the objects that runs are about, in place of all that the source has under the pairs' prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Whose service has the list, and whose credentials read it.
    #[serde(default)]
    pub side: BucketSide,

    /// The bucket of the list.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = bucket_name())]
    pub bucket: String,

    /// The key of the list: a `manifest.json` of S3 Inventory (CSV or Parquet), a `manifest.json` of a completion report,
    /// of which what failed is tried again, or a CSV file as S3 Batch Operations takes it, gzipped or not: bucket and key,
    /// URL-encoded, and perhaps versionId, without a header.
    #[schemars(length(min = 1, max = 1024))]
    pub key: String,
}

fn bucket_name() -> kube::core::Rule {
    is_bucket_name().message(
        "not a bucket name: write its bare name, 3 to 63 lower-case letters, digits, dots and hyphens that begin and \
         end with a letter or digit; no ARN, URL or slash (what follows the bucket goes into key or prefix)",
    )
}

/// One of the two sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BucketSide {
    /// The source.
    #[default]
    Source,
    /// The destination.
    Destination,
}

impl From<&Manifest> for migration_core::manifest::ManifestLocation {
    fn from(manifest: &Manifest) -> Self {
        use migration_core::manifest::BucketSide as Core;
        let side = match manifest.side {
            BucketSide::Source => Core::Source,
            BucketSide::Destination => Core::Destination,
        };
        Self { side, bucket: manifest.bucket.clone(), key: manifest.key.clone() }
    }
}

/// Where the result of each object goes after a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// A bucket at the destination's service. Reports may not lie among the objects that pairs write.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = bucket_name())]
    pub bucket: String,

    /// What the keys of reports begin with, a plain string. Then come the job's name and the first digits of its UID, the
    /// run, and `manifest.json`, `results/*.csv` and `objects-*.jsonl`.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub prefix: String,

    /// `AllTasks`: every object that was moved or could not be. Workers write one small object more for each batch.
    /// `FailedTasksOnly`: what could not be moved. Objects found in place are in neither.
    #[serde(default)]
    pub scope: ReportScope,
}

/// What is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReportScope {
    /// Every object that was moved or could not be.
    #[default]
    AllTasks,
    /// What could not be moved.
    FailedTasksOnly,
}

impl From<&Report> for migration_core::config::ReportSettings {
    fn from(report: &Report) -> Self {
        use migration_core::config::ReportScope as Core;
        let scope = match report.scope {
            ReportScope::AllTasks => Core::AllTasks,
            ReportScope::FailedTasksOnly => Core::FailedTasksOnly,
        };
        Self { bucket: report.bucket.clone(), prefix: report.prefix.clone(), scope }
    }
}
