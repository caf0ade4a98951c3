//! Verification after a run, and deletion of objects that only the destination has.

use kube_derive::KubeSchema;
pub use migration_core::verification::VerifyMethod;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Verification after a run. Whatever is set here, each copy is verified as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// `Written`: nothing more. `Full`: after each run a separate Job lists and compares both sides again; the
    /// condition Verified and status.verification report what is missing, different or extra.
    #[serde(default)]
    pub mode: VerifyMode,

    /// Method of `Full`. `Listing`: sizes and ETags; only sizes if ETags are not digests of the content on both sides.
    /// `Checksum`: if ETags are inconclusive, the CRC-64/NVME checksums that both services store, for one more request
    /// to each side per object. `Read`: both sides are read and compared byte by byte.
    #[serde(default)]
    pub method: VerifyMethod,
}

/// Extent of the verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerifyMode {
    /// Each copy, as it is written.
    #[default]
    Written,
    /// In addition all objects, after each run.
    Full,
}

/// Deletion of objects at the destination that the source does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.deleteExtraneous || has(self.maxDeletes)").message(
    "mirror.deleteExtraneous needs mirror.maxDeletes: write the most objects that one run may delete; if more are extra, it deletes none",
))]
#[x_kube(validation = Rule::new("!self.deleteEvents || has(self.maxDeletes)").message(
    "mirror.deleteEvents needs mirror.maxDeletes: write the most objects that events may delete in a day",
))]
pub struct Mirror {
    /// Delete objects that the source does not have, after both sides have been listed completely. Each object is
    /// checked again at both sides first. Objects hidden by the filters, written since the scan began, or outside the
    /// pairs' destinations are kept. In buckets with versioning, deleted objects get a delete marker and their versions
    /// stay.
    #[serde(default)]
    pub delete_extraneous: bool,

    /// Follow removals at the source that events report (s3:ObjectRemoved:*). An object is deleted at the destination
    /// once the source says that it has none, unless the filters exclude it. Each object copied is looked at once more
    /// at the source, so that no copy outlives its original. Needs `trigger.events.enabled`, and buckets with versioning
    /// on both sides. `false` by default.
    #[serde(default)]
    pub delete_events: bool,

    /// Most objects that one run may delete: if more are extra, none is deleted and the run ends as PartiallyFailed. Also
    /// the most objects that events may delete in a day (UTC): further ones stay, and fail with TooManyDeletes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_deletes: Option<u64>,
}
