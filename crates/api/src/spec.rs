//! The resource itself and the rules that join its fields.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::buckets::BucketMapping;
use crate::filters::{CompareMode, Filters};
use crate::manifest::{Manifest, Report};
use crate::pods::PodSettings;
use crate::services::{Destination, Ledger, Queue, Source};
use crate::status::MigrationJobStatus;
use crate::transfer::{Limits, Scaling, Transfer, Trigger, Versioning};
use crate::verify::{Mirror, Verify};

/// What is moved from where to where, when, and by how much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "s3migration.dev",
    version = "v1alpha1",
    kind = "MigrationJob",
    plural = "migrationjobs",
    shortname = "mj",
    namespaced,
    doc = "Moves objects between S3 buckets that can't copy from each other, and keeps them in step.",
    status = "MigrationJobStatus",
    derive = "PartialEq",
    validation = name_fits(),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Objects",
        type_ = "string",
        json_path = ".status.display.objects",
        description = "Objects done, of those to move"
    ),
    printcolumn(
        name = "Bytes",
        type_ = "string",
        json_path = ".status.display.bytes",
        description = "Bytes done, of those to move"
    ),
    printcolumn(
        name = "Failed",
        type_ = "integer",
        json_path = ".status.progress.objects.failed",
        description = "Objects that could not be moved"
    ),
    printcolumn(
        name = "Rate",
        type_ = "string",
        json_path = ".status.display.rate",
        description = "Bytes a second now, or the mean of the last run"
    ),
    printcolumn(name = "ETA", type_ = "string", json_path = ".status.display.eta", description = "Time left at this rate"),
    printcolumn(
        name = "Workers",
        type_ = "string",
        json_path = ".status.display.workers",
        description = "Workers ready, of those wanted"
    ),
    printcolumn(
        name = "Last-Run",
        type_ = "date",
        json_path = ".status.lastRun.endedAt",
        description = "Time since the last run ended"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = sides_do_not_overlap())]
#[x_kube(validation = sides_do_not_overlap_the_other_way())]
#[x_kube(validation = server_side_needs_one_service())]
#[x_kube(validation = no_mirror_of_a_list())]
#[x_kube(validation = reports_are_not_among_copies())]
pub struct MigrationJobSpec {
    /// What is moved where: 1 to 50 pairs of buckets. A change applies from the next run.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = destinations_do_not_overlap())]
    pub buckets: Vec<BucketMapping>,

    /// The S3 service that is read.
    pub source: Source,

    /// The S3 service that is written.
    pub destination: Destination,

    /// Which objects are left out. None by default.
    #[serde(default)]
    pub filters: Filters,

    /// When the job runs. Nothing set = once, when it is created.
    #[serde(default)]
    pub trigger: Trigger,

    /// By what an object is found to be in place already, once it is there in equal size. `Default`: equal ETags; where
    /// these are no digests of the content on both sides, the source must be older than its copy and than the last
    /// complete scan. `Size`: nothing more. `ETag`: ETags, where they are digests; times play no part. `Checksum`: ETags,
    /// and where these say nothing the CRC-64/NVME checksums that both services keep, for one request more at each side
    /// for each such object; where one is not kept, as Default. What was decided by less than content is counted in
    /// status.progress.notComparedByContent.
    #[serde(default)]
    pub compare: CompareMode,

    /// What versions of source objects are for. Nothing set = they play no part.
    #[serde(default)]
    pub versioning: Versioning,

    /// A list of the objects that runs are about: nothing is listed, each object that it names is asked for at both sides.
    /// Nothing set = all that the source has under the pairs' prefixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,

    /// Where the result of each object goes after a run. Nothing set = failures stand in the ledger, and the first of them
    /// in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,

    /// What is proven of copies after a run. Nothing set = each copy as it is written.
    #[serde(default)]
    pub verify: Verify,

    /// What becomes of objects at the destination that the source does not have. Nothing set = they stay.
    #[serde(default)]
    pub mirror: Mirror,

    /// How objects are moved.
    #[serde(default)]
    pub transfer: Transfer,

    /// What a run may not go beyond.
    #[serde(default)]
    pub limits: Limits,

    /// The SQS queue that carries the work.
    pub queue: Queue,

    /// The DynamoDB table that records what was done.
    pub ledger: Ledger,

    /// How many workers there are.
    #[serde(default)]
    pub scaling: Scaling,

    /// Settings of the workers' pods.
    #[serde(default)]
    pub worker: PodSettings,

    /// Settings of the pods that list both sides and send the work.
    #[serde(default)]
    pub jobsender: PodSettings,

    /// Stop: no run starts, jobsender and workers end, nothing is lost. `false` goes on where it was left.
    #[serde(default)]
    pub suspend: bool,

    /// What becomes of queue and table that were made for the job when it is deleted. Migrated data always stays.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What becomes of queue and table that were made for the job when it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are deleted.
    #[default]
    Delete,
    /// They stay.
    Retain,
}

fn name_fits() -> kube::core::Rule {
    kube::core::Rule::new("self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$')").message(
        "metadata.name is too long or has dots: write at most 40 lower-case letters, digits and hyphens, since the names \
         of pods and queue are made from it",
    )
}

/// CEL for the prefix of all keys that a pair writes.
fn range_of(pair: &str) -> String {
    format!("({pair}.destinationPrefix + ({pair}.prefixMode == 'Append' ? {pair}.sourcePrefix : ''))")
}

// The API server bounds what a rule may cost at worst, here the square of the number of pairs times the length of their
// prefixes: that is where the bound of 50 pairs comes from.
fn destinations_do_not_overlap() -> kube::core::Rule {
    // Each pair's range begins with its own; if it begins with another pair's too, the two overlap.
    kube::core::Rule::new(format!(
        "self.all(a, self.exists_one(b, a.destinationBucket == b.destinationBucket && {}.startsWith({})))",
        range_of("a"),
        range_of("b")
    ))
    .message(
        "two pairs of buckets write into the same keys: give them different destination buckets, or destinationPrefixes \
         of which none begins with another",
    )
}

/// CEL for whether both sides are the same service: one endpoint, or AWS in one partition.
const SAME_SERVICE: &str = "(has(self.source.endpoint) || has(self.destination.endpoint) ? \
     has(self.source.endpoint) && has(self.destination.endpoint) && self.source.endpoint == self.destination.endpoint : \
     self.source.region.startsWith('cn-') == self.destination.region.startsWith('cn-') && \
     self.source.region.startsWith('us-gov-') == self.destination.region.startsWith('us-gov-'))";

const OVERLAP: &str = "a destination lies within a source of the same service, or the other way round, so that the job \
     would copy its own copies: choose another destinationBucket, or prefixes of which none begins with the other";

fn sides_do_not_overlap() -> kube::core::Rule {
    kube::core::Rule::new(format!(
        "!{SAME_SERVICE} || !self.buckets.exists(a, self.buckets.exists(b, a.destinationBucket == b.sourceBucket && \
         {}.startsWith(b.sourcePrefix)))",
        range_of("a")
    ))
    .message(OVERLAP)
}

fn sides_do_not_overlap_the_other_way() -> kube::core::Rule {
    // Where both begin with each other they are equal, and the first rule has said so.
    kube::core::Rule::new(format!(
        "!{SAME_SERVICE} || !self.buckets.exists(a, self.buckets.exists(b, a.destinationBucket == b.sourceBucket && \
         {0} != b.sourcePrefix && b.sourcePrefix.startsWith({0})))",
        range_of("a")
    ))
    .message(OVERLAP)
}

fn no_mirror_of_a_list() -> kube::core::Rule {
    kube::core::Rule::new("!has(self.manifest) || !self.mirror.deleteExtraneous").message(
        "mirror.deleteExtraneous and manifest exclude each other: a list says nothing of what else the source has; leave \
         one out",
    )
}

fn reports_are_not_among_copies() -> kube::core::Rule {
    kube::core::Rule::new(format!(
        "!has(self.report) || !self.buckets.exists(a, a.destinationBucket == self.report.bucket && \
         self.report.prefix.startsWith({}))",
        range_of("a")
    ))
    .message(
        "reports would lie among the objects that a pair writes: give report another bucket, or a prefix that does not \
         begin with the pair's destinationPrefix",
    )
}

fn server_side_needs_one_service() -> kube::core::Rule {
    kube::core::Rule::new(format!("self.transfer.mode != 'ServerSide' || {SAME_SERVICE}")).message(
        "transfer.mode ServerSide is for two buckets of one service: both sides need the same endpoint, or regions of one \
         partition of AWS; write Auto or Stream to let workers carry the bytes",
    )
}
