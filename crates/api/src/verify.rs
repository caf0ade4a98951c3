//! What is proven of copies after a run, and what becomes of objects that only the destination has.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is proven of copies. Every copy is verified as it is written, whatever is set here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verify {
    /// `Written`: nothing more. `Full`: after each run both sides are listed again and compared by a Job of its own; the
    /// condition Verified and status.verification say what is missing, different or extra.
    #[serde(default)]
    pub mode: VerifyMode,

    /// By what `Full` proves copies. `Listing`: sizes and ETags; where ETags are no digests of the content on both sides,
    /// by size only. `Checksum`: where ETags say nothing, the CRC-64/NVME checksums that both services keep, for one
    /// request more at each side. `Read`: every object is read at both sides and compared byte by byte.
    #[serde(default)]
    pub method: VerifyMethod,
}

/// How much is proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerifyMode {
    /// Each copy as it is written.
    #[default]
    Written,
    /// Besides, everything after each run.
    Full,
}

/// By what copies are proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerifyMethod {
    /// By listings.
    #[default]
    Listing,
    /// By checksums, where ETags say nothing.
    Checksum,
    /// By reading both sides.
    Read,
}

impl VerifyMethod {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listing => "Listing",
            Self::Checksum => "Checksum",
            Self::Read => "Read",
        }
    }
}

impl From<migration_core::verification::VerifyMethod> for VerifyMethod {
    fn from(method: migration_core::verification::VerifyMethod) -> Self {
        use migration_core::verification::VerifyMethod as Core;
        match method {
            Core::Listing => Self::Listing,
            Core::Checksum => Self::Checksum,
            Core::Read => Self::Read,
        }
    }
}

/// What becomes of objects at the destination that the source does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.deleteExtraneous || has(self.maxDeletes)").message(
    "mirror.deleteExtraneous needs mirror.maxDeletes: write how many objects one run may delete at most; where more are extra, none is deleted",
))]
pub struct Mirror {
    /// Delete what the source does not have, after both sides were listed whole. Each object is looked at again at both
    /// sides before. Left alone is what the filters hide, what was written since the scan began, and whatever lies outside
    /// the pairs' destinations. In buckets that keep versions, the versions stay behind a delete marker.
    #[serde(default)]
    pub delete_extraneous: bool,

    /// Most objects that one run deletes. Where more are extra none is, and the run ends as PartiallyFailed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub max_deletes: Option<u64>,
}
