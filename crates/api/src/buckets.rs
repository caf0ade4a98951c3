//! Pairs of source and destination buckets.

use kube_derive::KubeSchema;
use migration_core::pair::BucketPair;
pub use migration_core::pair::PrefixMode;
use serde::{Deserialize, Serialize};

/// A source bucket and prefix, and the destination of its objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BucketMapping {
    /// Bucket to read from.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = bucket_name())]
    pub source_bucket: String,

    /// Only keys that start with this string are copied. Empty (the default) means all keys. It is a plain string, as
    /// in S3: end it with `/` to name a folder.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub source_prefix: String,

    /// Bucket to write to. It must exist.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = bucket_name())]
    pub destination_bucket: String,

    /// String put in front of each destination key. It is a plain string: end it with `/` to name a folder. Empty by
    /// default.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub destination_prefix: String,

    /// `Append` (the default): destination key = destinationPrefix + the whole source key. `Replace`: destination key =
    /// destinationPrefix + the source key without sourcePrefix.
    #[serde(default)]
    pub prefix_mode: PrefixMode,
}

/// Source: "General purpose bucket naming rules" in the S3 user guide.
pub(crate) fn is_bucket_name() -> kube_core::Rule {
    kube_core::Rule::new(r"self.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$') && !self.contains('..')")
}

fn bucket_name() -> kube_core::Rule {
    is_bucket_name().message(
        "not a bucket name: write its bare name, 3 to 63 lower-case letters, digits, dots and hyphens that begin and \
         end with a letter or digit; no ARN, URL or slash (prefixes go into sourcePrefix and destinationPrefix)",
    )
}

impl From<&BucketMapping> for BucketPair {
    fn from(mapping: &BucketMapping) -> Self {
        Self {
            source_bucket: mapping.source_bucket.clone(),
            source_prefix: mapping.source_prefix.clone(),
            destination_bucket: mapping.destination_bucket.clone(),
            destination_prefix: mapping.destination_prefix.clone(),
            prefix_mode: mapping.prefix_mode,
        }
    }
}
