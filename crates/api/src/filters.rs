//! Selection of objects, and the comparison that decides which are up to date.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::KubeSchema;
pub use migration_core::compare::CompareMode;
use migration_core::size::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sizes;

/// The largest size of a filter: far more than any object, and less than a number of JSON holds.
const LARGEST: ByteSize = ByteSize(1 << 60);

/// Objects to leave out. They are not copied and count as skipped. All filters apply to S3 events too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = sizes_leave_room())]
#[x_kube(validation = Rule::new(
    "!has(self.modifiedAfter) || !has(self.modifiedBefore) || self.modifiedAfter < self.modifiedBefore",
).message("filters.modifiedBefore is not later than modifiedAfter, so no object matches: make it later, or remove one"))]
pub struct Filters {
    /// Leaves out objects whose `bucket/key` matches one of these patterns. `*` matches any characters, `/` included;
    /// `?` one character; `[abc]` one of these characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10000), inner(length(min = 1, max = 2048)))]
    pub ignore: Vec<String>,

    /// Further patterns, from a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_from: Option<IgnoreFrom>,

    /// Leaves out smaller objects. A number of bytes, or a size such as `1Ki` or `1.5Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "sizes::schema")]
    #[x_kube(validation = sizes::form())]
    #[x_kube(validation = sizes::at_most(
        LARGEST, "filters.minSize is over 1Ei, which no object exceeds: write a size up to 1Ei, or remove it",
    ))]
    pub min_size: Option<ByteSize>,

    /// Leaves out larger objects. A number of bytes, or a size such as `1Ki` or `1.5Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "sizes::schema")]
    #[x_kube(validation = sizes::form())]
    #[x_kube(validation = sizes::at_most(
        LARGEST, "filters.maxSize is over 1Ei, which no object exceeds: write a size up to 1Ei, or remove it",
    ))]
    pub max_size: Option<ByteSize>,

    /// Leaves out objects modified before this time, such as `2026-01-31T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub modified_after: Option<Time>,

    /// Leaves out objects modified at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub modified_before: Option<Time>,

    /// Copies only objects of these storage classes, such as STANDARD. Empty = all classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 40), regex(pattern = "^[A-Z][A-Z0-9_]*$")))]
    pub storage_classes: Vec<String>,
}

/// Source of further patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IgnoreFrom {
    /// Key of a ConfigMap in the job's namespace. Each line is a pattern, used as it is: there are no comments and no
    /// trimming; empty lines are ignored. A change is noticed within minutes and applies from the next run.
    pub config_map_key_ref: ConfigMapKey,
}

/// Key of a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn sizes_leave_room() -> kube_core::Rule {
    let (known, amount) = (sizes::is_known, sizes::amount);
    kube_core::Rule::new(format!(
        "!has(self.minSize) || !has(self.maxSize) || !({} && {}) || {}.compareTo({}) <= 0",
        known("self.minSize"),
        known("self.maxSize"),
        amount("self.minSize"),
        amount("self.maxSize")
    ))
    .message("filters.maxSize is smaller than minSize, so no object matches: raise maxSize or lower minSize")
}
