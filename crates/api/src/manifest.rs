//! Work lists that replace listings, and completion reports.

use kube_derive::KubeSchema;
pub use migration_core::config::ReportScope;
pub use migration_core::manifest::BucketSide;
use serde::{Deserialize, Serialize};

use crate::buckets::is_bucket_name;

/// A list of the objects to copy, instead of everything under the source prefixes of the pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Side whose service holds the list and whose credentials read it.
    #[serde(default)]
    pub side: BucketSide,

    /// Bucket of the list.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = bucket_name())]
    pub bucket: String,

    /// Key of the list. It is one of: a `manifest.json` of S3 Inventory (CSV or Parquet); a `manifest.json` of a
    /// completion report, whose failed objects are tried again; or a CSV file as for S3 Batch Operations, optionally
    /// gzipped, without a header: bucket, URL-encoded key and, optionally, version id.
    #[schemars(length(min = 1, max = 1024))]
    pub key: String,
}

fn bucket_name() -> kube_core::Rule {
    is_bucket_name().message(
        "not a bucket name: write its bare name, 3 to 63 lower-case letters, digits, dots and hyphens that begin and \
         end with a letter or digit; no ARN, URL or slash (what follows the bucket goes into key or prefix)",
    )
}

impl From<&Manifest> for migration_core::manifest::ManifestLocation {
    fn from(manifest: &Manifest) -> Self {
        Self { side: manifest.side, bucket: manifest.bucket.clone(), key: manifest.key.clone() }
    }
}

/// Destination of the completion reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Bucket at the destination's service. Reports may not lie among the objects that pairs write.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = bucket_name())]
    pub bucket: String,

    /// Prefix of the keys of reports, a plain string. It is followed by the job's name and the first digits of its UID,
    /// the run, and `manifest.json`, `results/*.csv` or `objects-*.jsonl`.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub prefix: String,

    /// `AllTasks`: all objects that were copied or failed. Workers then write one more small object for each batch.
    /// `FailedTasksOnly`: only objects that failed. Neither includes objects that were already up to date.
    #[serde(default)]
    pub scope: ReportScope,
}

impl From<&Report> for migration_core::config::ReportSettings {
    fn from(report: &Report) -> Self {
        Self { bucket: report.bucket.clone(), prefix: report.prefix.clone(), scope: report.scope }
    }
}
