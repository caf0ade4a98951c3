//! Which objects a job is about, and by what they are found to be in place.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use migration_core::size::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::transfer::{SIZE, size_form};

/// Which objects are left out: not moved, and counted as skipped. All of these apply to S3 events too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = sizes_leave_room())]
#[x_kube(validation = Rule::new(
    "!has(self.modifiedAfter) || !has(self.modifiedBefore) || self.modifiedAfter < self.modifiedBefore",
).message("filters.modifiedBefore is not later than modifiedAfter, so that nothing is left: make it later, or remove one"))]
pub struct Filters {
    /// Objects whose `bucket/key` matches one of these patterns are left out. `*` stands for any characters, `/`
    /// included, `?` for one, `[abc]` for one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10000), inner(length(min = 1, max = 2048)))]
    pub ignore: Vec<String>,

    /// More such patterns, in a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_from: Option<IgnoreFrom>,

    /// Smaller objects are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 16))]
    #[x_kube(validation = size_form())]
    pub min_size: Option<ByteSize>,

    /// Larger objects are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 16))]
    #[x_kube(validation = size_form())]
    pub max_size: Option<ByteSize>,

    /// Objects that were modified before this time are left out, such as `2026-01-31T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_after: Option<Time>,

    /// Objects that were modified at this time or later are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_before: Option<Time>,

    /// Only objects of these storage classes are moved, such as STANDARD; empty = of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 40), regex(pattern = "^[A-Z][A-Z0-9_]*$")))]
    pub storage_classes: Vec<String>,
}

/// Where more patterns are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IgnoreFrom {
    /// A key of a ConfigMap in the job's namespace. Each line of its text is a pattern, taken as it is: no comments, no
    /// trimming; an empty line is none. A change is seen within minutes, and applies from the next run.
    pub config_map_key_ref: ConfigMapKey,
}

/// A key of a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn sizes_leave_room() -> kube::core::Rule {
    kube::core::Rule::new(format!(
        "!has(self.minSize) || !has(self.maxSize) || !self.minSize.matches('{SIZE}') || !self.maxSize.matches('{SIZE}') || \
         quantity(self.minSize).compareTo(quantity(self.maxSize)) <= 0"
    ))
    .message("filters.maxSize is smaller than minSize, so that nothing is left: raise maxSize or lower minSize")
}

/// By what an object is found to be in place already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CompareMode {
    /// Size; ETags where they are digests of the content, else times.
    #[default]
    Default,
    /// Size alone.
    Size,
    /// Size, and ETags where they are digests of the content.
    ETag,
    /// Size, ETags, and where these say nothing the checksums that both services keep.
    Checksum,
}

impl From<CompareMode> for migration_core::compare::CompareMode {
    fn from(mode: CompareMode) -> Self {
        match mode {
            CompareMode::Default => Self::Default,
            CompareMode::Size => Self::Size,
            CompareMode::ETag => Self::ETag,
            CompareMode::Checksum => Self::Checksum,
        }
    }
}
