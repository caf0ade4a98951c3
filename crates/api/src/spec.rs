//! The resource and the rules that span several of its fields.

use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::buckets::BucketMapping;
use crate::filters::{CompareMode, Filters};
use crate::logs::Logs;
use crate::manifest::{Manifest, Report};
use crate::notify::Notify;
use crate::pods::PodSettings;
use crate::prices::{self, Prices};
use crate::scaling::Scaling;
use crate::services::{Destination, Ledger, Queue, Source};
use crate::status::MigrationJobStatus;
use crate::transfer::{Limits, Transfer, Trigger, Versioning};
use crate::verify::{Mirror, Verify};

/// A migration: its buckets, its schedule and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "s3migration.dev",
    version = "v1alpha1",
    kind = "MigrationJob",
    plural = "migrationjobs",
    shortname = "mj",
    category = "migration",
    namespaced,
    doc = "Migrates objects between S3 buckets that can't copy from each other, and keeps them in sync.",
    status = "MigrationJobStatus",
    derive = "PartialEq",
    validation = name_fits(),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Objects",
        type_ = "string",
        json_path = ".status.display.objects",
        description = "Objects copied, of those to copy"
    ),
    printcolumn(
        name = "Bytes",
        type_ = "string",
        json_path = ".status.display.bytes",
        description = "Bytes copied, of those to copy"
    ),
    printcolumn(
        name = "Failed",
        type_ = "integer",
        json_path = ".status.progress.objects.failed",
        description = "Objects that failed"
    ),
    printcolumn(
        name = "Rate",
        type_ = "string",
        json_path = ".status.display.rate",
        description = "Current rate, or the average of the last run"
    ),
    printcolumn(name = "ETA", type_ = "string", json_path = ".status.display.eta", description = "Remaining time"),
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
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Source",
        type_ = "string",
        json_path = ".status.display.source",
        description = "Source of the first pair, and the number of others",
        priority = 1
    ),
    printcolumn(
        name = "Destination",
        type_ = "string",
        json_path = ".status.display.destination",
        description = "Destination of the first pair, and the number of others",
        priority = 1
    ),
    printcolumn(
        name = "Next-Run",
        type_ = "string",
        json_path = ".status.nextScheduleTime",
        description = "Time at which the next scheduled run is due",
        priority = 1
    ),
    printcolumn(
        name = "Cost",
        type_ = "string",
        json_path = ".status.display.cost",
        description = "Cost of the current run so far, or of the last one",
        priority = 1
    ),
    printcolumn(
        name = "Driver",
        type_ = "string",
        json_path = ".spec.scaling.driver",
        description = "What sets the number of workers",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = sides_do_not_overlap())]
#[x_kube(validation = sides_do_not_overlap_the_other_way())]
#[x_kube(validation = server_side_needs_one_service())]
#[x_kube(validation = no_mirror_of_a_list())]
#[x_kube(validation = reports_are_not_among_copies())]
#[x_kube(validation = keda_reads_with_one_identity())]
#[x_kube(validation = strangers_do_not_configure_buckets())]
#[x_kube(validation = removals_come_as_events())]
#[x_kube(validation = only_workers_have_a_grace_period())]
pub struct MigrationJobSpec {
    /// Pairs of buckets to copy between, 1 to 50. A change applies from the next run.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = destinations_do_not_overlap())]
    pub buckets: Vec<BucketMapping>,

    /// The S3 service to read from.
    pub source: Source,

    /// The S3 service to write to.
    pub destination: Destination,

    /// Objects to leave out. None by default.
    #[serde(default)]
    pub filters: Filters,

    /// Start of runs. Empty = one run, when the job is created.
    #[serde(default)]
    pub trigger: Trigger,

    /// Comparison that decides which objects at the destination are up to date. Objects of different size never are;
    /// for others:
    /// - `Default`: equal ETags. If ETags are not digests of the content on both sides, the source must be older than
    ///   its copy and than the last complete scan.
    /// - `Size`: nothing more.
    /// - `ETag`: equal ETags, or ETags that are not digests; times don't matter.
    /// - `Checksum`: equal ETags. If they are inconclusive, equal CRC-64/NVME checksums, at the cost of one more
    ///   request to each side per object; if a service stores none, as Default.
    ///
    /// Objects found up to date without comparing content are counted in status.progress.notComparedByContent.
    #[serde(default)]
    pub compare: CompareMode,

    /// Use of object versions at the source. Empty = versions are ignored.
    #[serde(default)]
    pub versioning: Versioning,

    /// List of the objects to copy. Nothing is listed; each object named is looked up at both sides. Absent = all
    /// objects under the source prefixes of the pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,

    /// Destination of a completion report after each run. Absent = no report; failures are recorded in the ledger, and
    /// the first of them in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,

    /// Verification after a run. Empty = each copy is verified as it is written.
    #[serde(default)]
    pub verify: Verify,

    /// Deletion of objects at the destination that the source does not have. Empty = they stay.
    #[serde(default)]
    pub mirror: Mirror,

    /// Settings of the transfer.
    #[serde(default)]
    pub transfer: Transfer,

    /// Limits of a run.
    #[serde(default)]
    pub limits: Limits,

    /// Prices by which the cost of runs is computed, for status.cost and limits.cost. Absent = the public prices of
    /// Amazon in us-east-1, in USD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = prices::currency())]
    pub prices: Option<Prices>,

    /// The SQS queue that carries the work.
    pub queue: Queue,

    /// The DynamoDB table that records the state of runs and objects.
    pub ledger: Ledger,

    /// Number of workers, and what sets it.
    #[serde(default)]
    pub scaling: Scaling,

    /// Settings of the workers' pods.
    #[serde(default)]
    pub worker: PodSettings,

    /// Settings of the pods that list both sides and send the work.
    #[serde(default)]
    pub jobsender: PodSettings,

    /// Notifications about the end of runs and about problems. Absent = none; the status and Kubernetes' events tell of
    /// both in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// Logs of these pods. Empty = as the operator's.
    #[serde(default)]
    pub logs: Logs,

    /// Suspend the job: no run starts, and jobsender and workers stop without losing work. `false` resumes it.
    #[serde(default)]
    pub suspend: bool,

    /// Number of ended Jobs of runs that stay, with their pods and logs: of jobsenders, verifications and reports each.
    /// A Job whose result is still needed stays beyond it. 3 by default.
    #[serde(default = "runs_history_limit")]
    #[schemars(range(min = 1, max = 100))]
    pub runs_history_limit: u32,

    /// Seconds after which an ended Job of a run is removed, with its pods and logs. The last jobsender, verification
    /// or report stays if it failed. Absent = only runsHistoryLimit applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<u32>,

    /// `Delete` (the default): the queue and table created for the job are deleted with it. `Retain`: they stay.
    /// Migrated data always stays.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What a CronJob keeps of Jobs that succeeded.
const fn runs_history_limit() -> u32 {
    3
}

/// Handling of the queue and table created for a job when it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are deleted.
    #[default]
    Delete,
    /// They stay.
    Retain,
}

fn name_fits() -> kube_core::Rule {
    kube_core::Rule::new("self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$')").message(
        "metadata.name is too long or has dots: write at most 40 lower-case letters, digits and hyphens, since the \
         names of pods and queue are derived from it",
    )
}

/// Returns a CEL expression for the prefix of all keys that a pair writes.
fn range_of(pair: &str) -> String {
    format!("({pair}.destinationPrefix + ({pair}.prefixMode == 'Append' ? {pair}.sourcePrefix : ''))")
}

// Destinations of different pairs must not overlap.
//
// The API server limits the worst-case cost of a rule, here the square of the number of pairs times the length of their
// prefixes. Hence the limit of 50 pairs.
fn destinations_do_not_overlap() -> kube_core::Rule {
    // Each pair's range starts with its own prefix; if it also starts with another pair's, the two overlap.
    kube_core::Rule::new(format!(
        "self.all(a, self.exists_one(b, a.destinationBucket == b.destinationBucket && {}.startsWith({})))",
        range_of("a"),
        range_of("b")
    ))
    .message(
        "two pairs of buckets write to the same keys: give them different destination buckets, or destinationPrefixes \
         none of which begins with another",
    )
}

/// CEL expression: both sides are the same service, by endpoint or by AWS partition.
const SAME_SERVICE: &str = "(has(self.source.endpoint) || has(self.destination.endpoint) ? \
     has(self.source.endpoint) && has(self.destination.endpoint) && self.source.endpoint == self.destination.endpoint : \
     self.source.region.startsWith('cn-') == self.destination.region.startsWith('cn-') && \
     self.source.region.startsWith('us-gov-') == self.destination.region.startsWith('us-gov-'))";

const OVERLAP: &str = "a destination lies within a source of the same service, or the other way round, so the job \
     would copy its own copies: choose another destinationBucket, or prefixes neither of which begins with the other";

fn sides_do_not_overlap() -> kube_core::Rule {
    kube_core::Rule::new(format!(
        "!{SAME_SERVICE} || !self.buckets.exists(a, self.buckets.exists(b, a.destinationBucket == b.sourceBucket && \
         {}.startsWith(b.sourcePrefix)))",
        range_of("a")
    ))
    .message(OVERLAP)
}

fn sides_do_not_overlap_the_other_way() -> kube_core::Rule {
    // If each starts with the other they are equal, which the first rule already rejects.
    kube_core::Rule::new(format!(
        "!{SAME_SERVICE} || !self.buckets.exists(a, self.buckets.exists(b, a.destinationBucket == b.sourceBucket && \
         {0} != b.sourcePrefix && b.sourcePrefix.startsWith({0})))",
        range_of("a")
    ))
    .message(OVERLAP)
}

fn no_mirror_of_a_list() -> kube_core::Rule {
    kube_core::Rule::new("!has(self.manifest) || !(self.mirror.deleteExtraneous || self.mirror.deleteEvents)").message(
        "mirror and manifest exclude each other: a manifest does not say what else the source has, and may name old \
         versions; remove one of them",
    )
}

fn removals_come_as_events() -> kube_core::Rule {
    kube_core::Rule::new("!self.mirror.deleteEvents || self.trigger.events.enabled").message(
        "mirror.deleteEvents follows the events of trigger.events: write trigger.events.enabled: true, or use \
         mirror.deleteExtraneous, by which runs delete what the source does not have",
    )
}

fn strangers_do_not_configure_buckets() -> kube_core::Rule {
    kube_core::Rule::new(
        "!self.trigger.events.enabled || !self.trigger.events.configureBucketNotifications || \
         !has(self.source.credentials) || !has(self.source.credentials.anonymous)",
    )
    .message(
        "trigger.events configures the source buckets, and source.credentials is anonymous: give credentials that may do so, \
         or write trigger.events.configureBucketNotifications: false and let the buckets' owner send events to the queue",
    )
}

fn only_workers_have_a_grace_period() -> kube_core::Rule {
    kube_core::Rule::new("!has(self.jobsender.terminationGracePeriodSeconds)").message(
        "jobsender.terminationGracePeriodSeconds has no use, since a jobsender ends within 30 s: remove it, or set that of \
         worker",
    )
}

fn reports_are_not_among_copies() -> kube_core::Rule {
    kube_core::Rule::new(format!(
        "!has(self.report) || !self.buckets.exists(a, a.destinationBucket == self.report.bucket && \
         self.report.prefix.startsWith({}))",
        range_of("a")
    ))
    .message(
        "reports would lie among the objects that a pair writes: give report another bucket, or a prefix that does not \
         begin with the pair's destinationPrefix",
    )
}

fn keda_reads_with_one_identity() -> kube_core::Rule {
    kube_core::Rule::new(
        "!(has(self.scaling.keda) && has(self.scaling.keda.roleArn) && has(self.queue.credentials))",
    )
    .message(
        "scaling.keda.roleArn and queue.credentials exclude each other: remove roleArn, so that KEDA reads the queue with \
         the Secret of queue.credentials, or write scaling.keda.authenticationRef instead",
    )
}

fn server_side_needs_one_service() -> kube_core::Rule {
    kube_core::Rule::new(format!("self.transfer.mode != 'ServerSide' || {SAME_SERVICE}")).message(
        "transfer.mode ServerSide needs both buckets in one service, with the same endpoint or in AWS regions of one \
         partition: write Auto or Stream to copy through the workers",
    )
}
