//! How and when objects are moved.

use kube::KubeSchema;
use kube::core::Duration;
use migration_core::config::Preserve as CorePreserve;
use migration_core::part::PartSize;
use migration_core::size::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How objects are moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = memory_holds_a_part())]
#[x_kube(validation = only_large_objects_are_split())]
#[x_kube(validation = Rule::new("self.mode != 'ServerSide' || (self.preserve.metadata && self.preserve.tags)").message(
    "transfer.mode ServerSide takes metadata and tags along, since the service copies them with the object: write Auto or \
     Stream to leave them behind",
))]
pub struct Transfer {
    /// Size of the parts of large objects: `Auto` (16Mi) or a size from 5Mi to 5Gi. Larger where an object would have
    /// over 10,000 parts.
    #[serde(default = "part_size")]
    #[schemars(with = "String", length(max = 16))]
    #[x_kube(validation = part_size_form())]
    #[x_kube(validation = part_size_bounds())]
    pub part_size: PartSize,

    /// Objects larger than this are moved in parts. At most 5Gi.
    #[serde(default = "multipart_threshold")]
    #[schemars(with = "String", length(max = 16))]
    #[x_kube(validation = size_form())]
    #[x_kube(validation = at_most("5Gi", "multipartThreshold is over 5Gi, the largest object that S3 takes in one request: write 5Gi or less"))]
    pub multipart_threshold: ByteSize,

    /// Objects larger than this are carried by many workers at once, each a range of the parts. At least
    /// multipartThreshold, at most 50Ti, which is more than any object has: then nothing is split.
    #[serde(default = "split_threshold")]
    #[schemars(with = "String", length(max = 16))]
    #[x_kube(validation = size_form())]
    #[x_kube(validation = at_most("50Ti", "splitThreshold is over 50Ti, more than any object has: write 50Ti to split nothing"))]
    pub split_threshold: ByteSize,

    /// Objects that one worker moves at once.
    #[serde(default = "files_per_worker")]
    #[schemars(range(min = 1, max = 256))]
    pub files_per_worker: u32,

    /// Parts of one object that are moved at once.
    #[serde(default = "parts_per_file")]
    #[schemars(range(min = 1, max = 256))]
    pub parts_per_file: u32,

    /// Bound on the bytes of objects and parts that one worker holds at once. At least the larger of partSize and
    /// multipartThreshold.
    #[serde(default = "memory_limit")]
    #[schemars(with = "String", length(max = 16))]
    #[x_kube(validation = size_form())]
    #[x_kube(validation = at_most("1Ti", "memoryLimit is over 1Ti: write what a worker may hold, such as 256Mi"))]
    pub memory_limit: ByteSize,

    /// Tries of an object, over all deliveries of its message, before it counts as failed.
    #[serde(default = "max_attempts")]
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: u32,

    /// Who carries the bytes. `Auto`: the service itself where both sides are one service and are called with the same
    /// credentials, workers otherwise. `Stream`: workers. `ServerSide`: the service itself, metadata and tags
    /// included; the destination's credentials must have the right to read the source.
    #[serde(default)]
    pub mode: TransferMode,

    /// What is asked of a large object besides the digest of each of its parts. `Compare`: where both services keep a
    /// checksum of the whole object, the two are compared, for one more request on each large object. `Written`: what
    /// was written is verified as it is written, for no request more. Small objects are verified whole in either case.
    #[serde(default)]
    pub checksum: ChecksumMode,

    /// What is taken along with the bytes. Whatever can't be is counted in status.progress.notPreserved.
    #[serde(default)]
    pub preserve: Preserve,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            part_size: part_size(),
            multipart_threshold: multipart_threshold(),
            split_threshold: split_threshold(),
            files_per_worker: files_per_worker(),
            parts_per_file: parts_per_file(),
            memory_limit: memory_limit(),
            max_attempts: max_attempts(),
            mode: TransferMode::default(),
            checksum: ChecksumMode::default(),
            preserve: Preserve::default(),
        }
    }
}

/// Who carries the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TransferMode {
    /// The service itself where both sides are one service and are called with the same credentials, workers otherwise.
    #[default]
    Auto,
    /// Workers.
    Stream,
    /// The service itself.
    ServerSide,
}

/// What is asked of a large object besides the digest of each of its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChecksumMode {
    /// That the checksums of the whole object are equal, where both services keep one.
    #[default]
    Compare,
    /// Nothing.
    Written,
}

/// What is taken along with the bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Preserve {
    /// Content-Type and the other Content- headers, Cache-Control, Expires, user metadata and the website redirect.
    /// `true` by default.
    pub metadata: bool,

    /// Tags. Needs s3:GetObjectTagging at the source and s3:PutObjectTagging at the destination; costs one request for
    /// each object that has tags. `true` by default.
    pub tags: bool,

    /// Retention and legal hold. Needs Object Lock on the destination's buckets, and the rights to read and set both.
    /// `false` by default.
    pub object_lock: bool,

    /// What becomes of an object of which something can't be taken along that is to be: `Count` moves its bytes and counts
    /// it in status.progress.notPreserved; `Fail` makes it a failure of class NotPreserved, and the run ends
    /// PartiallyFailed. `Count` by default. What the destination drops without a word is found only where objects are
    /// moved in parts; with `Fail` the object is a failure then too, and its bytes are there.
    pub on_loss: OnLoss,
}

/// What becomes of an object of which something can't be taken along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnLoss {
    /// Its bytes are moved, and what is left behind is counted.
    #[default]
    Count,
    /// It fails.
    Fail,
}

impl Default for Preserve {
    fn default() -> Self {
        let CorePreserve { metadata, tags, object_lock, on_loss: _ } = CorePreserve::default();
        Self { metadata, tags, object_lock, on_loss: OnLoss::default() }
    }
}

/// What versions of source objects are for. All `false` by default: then each read asks for the content that was listed,
/// by its ETag, and versions play no part. Objects without versions are compared and read as without these switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Versioning {
    /// List the source's versions, and move every object whose newest version is not the one that was moved last, though
    /// its content may be equal. Needs s3:ListBucketVersions at the source; records one item in the ledger for each
    /// object moved.
    pub compare_version_id: bool,

    /// Ask for the source's version before an object is moved and again after it; one that changed meanwhile is moved
    /// again. Costs up to two requests for each object.
    pub update_version_id: bool,

    /// Read the version that is known from the listing, from updateVersionId or from an S3 event, and no other. Needs
    /// s3:GetObjectVersion at the source.
    pub get_object_with_version_id: bool,
}

/// What [`ByteSize`] reads, as a pattern.
pub(crate) const SIZE: &str = "^[0-9]{1,13}(Ki|Mi|Gi|Ti)?$";

pub(crate) fn size_form() -> kube::core::Rule {
    kube::core::Rule::new(format!("self.matches('{SIZE}')")).message(
        "not a size: write a whole number of bytes with an optional suffix Ki, Mi, Gi or Ti, such as 16Mi (not 16M or 16MB)",
    )
}

fn part_size_form() -> kube::core::Rule {
    kube::core::Rule::new(format!("self == 'Auto' || self.matches('{SIZE}')")).message(
        "not a part size: write Auto, or a whole number of bytes with an optional suffix Ki, Mi or Gi, such as 16Mi (not \
         16M or 16MB)",
    )
}

// Rules on values hold for whatever has no valid form, so that one mistake gives one message.
fn part_size_bounds() -> kube::core::Rule {
    kube::core::Rule::new(format!(
        "!self.matches('{SIZE}') || (quantity(self).compareTo(quantity('5Mi')) >= 0 && \
         quantity(self).compareTo(quantity('5Gi')) <= 0)"
    ))
    .message("partSize is outside of what S3 takes: write Auto or a size from 5Mi to 5Gi")
}

fn at_most(bound: &str, message: &str) -> kube::core::Rule {
    kube::core::Rule::new(format!("!self.matches('{SIZE}') || quantity(self).compareTo(quantity('{bound}')) <= 0"))
        .message(message)
}

fn memory_holds_a_part() -> kube::core::Rule {
    kube::core::Rule::new(format!(
        "!self.memoryLimit.matches('{SIZE}') || !self.multipartThreshold.matches('{SIZE}') || \
         !(self.partSize == 'Auto' || self.partSize.matches('{SIZE}')) || \
         (quantity(self.memoryLimit).compareTo(quantity(self.multipartThreshold)) >= 0 && \
         quantity(self.memoryLimit).compareTo(quantity(self.partSize == 'Auto' ? '16Mi' : self.partSize)) >= 0)"
    ))
    .message(
        "memoryLimit is smaller than what a worker must hold at once: write at least the larger of partSize (Auto is \
         16Mi) and multipartThreshold",
    )
}

fn only_large_objects_are_split() -> kube::core::Rule {
    kube::core::Rule::new(format!(
        "!self.splitThreshold.matches('{SIZE}') || !self.multipartThreshold.matches('{SIZE}') || \
         quantity(self.splitThreshold).compareTo(quantity(self.multipartThreshold)) >= 0"
    ))
    .message(
        "splitThreshold is smaller than multipartThreshold, and only objects in parts can be split: write at least \
         multipartThreshold, or 50Ti to split nothing",
    )
}

/// What a run may not go beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How much work the jobsender may be ahead of the workers, in seconds of theirs at the rate of the run so far; but
    /// 2,000 messages always. Beyond it the scan waits. 7200 by default.
    #[serde(default = "two_hours")]
    #[schemars(range(min = 60, max = 604_800))]
    pub backlog_seconds: u32,

    /// How long a run may take from its start, suspended and paused time included, as in `720h` or `36h30m`: at least 1m. A
    /// run that is not over by then ends as failed, and what it moved stays. Nothing set = as long as it takes: what was
    /// lost on the way is sent again after 7 days without progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 20))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+[hms])+$') && duration(self) >= duration('1m')").message(
        "limits.runDeadline is no time of at least a minute: write hours, minutes and seconds, as in 720h or 36h30m",
    ))]
    pub run_deadline: Option<Duration>,
}

impl Limits {
    /// How long a run may take, in milliseconds.
    pub fn run_deadline_ms(&self) -> Option<i64> {
        let deadline = std::time::Duration::from(self.run_deadline?);
        Some(i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX))
    }
}

const fn two_hours() -> u32 {
    2 * 3600
}

impl Default for Limits {
    fn default() -> Self {
        Self { backlog_seconds: two_hours(), run_deadline: None }
    }
}

/// When the job runs. Nothing set = once, when it is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.schedule) || !has(self.timeZone)").message(
    "trigger.timeZone is for a schedule: add trigger.schedule or remove timeZone",
))]
#[x_kube(validation = Rule::new("has(self.schedule) || !has(self.startingDeadlineSeconds)").message(
    "trigger.startingDeadlineSeconds is for a schedule: add trigger.schedule or remove startingDeadlineSeconds",
))]
pub struct Trigger {
    /// When runs start: minute, hour, day of the month, month, day of the week, as in `0 3 * * *`; or `@hourly`,
    /// `@daily`, `@weekly`, `@monthly`, `@yearly`. A run that is due while one is live is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = Rule::new(
        "self.matches('^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[0-9A-Za-z*,/?-]+( +[0-9A-Za-z*,/?-]+){4})$')",
    ).message(
        "not a schedule: write five fields (minute hour day-of-month month day-of-week) such as '0 3 * * *', or one of \
         @hourly, @daily, @weekly, @monthly, @yearly; the time zone goes into timeZone",
    ))]
    pub schedule: Option<String>,

    /// Time zone of the schedule, as the IANA database names it: `Europe/Berlin`. Absent = that of the cluster's
    /// controllers, mostly UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self != 'Local' && self.matches('^[A-Za-z][A-Za-z0-9_+/-]*$')").message(
        "not a time zone: write its name in the IANA database, such as Europe/Berlin or Etc/UTC",
    ))]
    pub time_zone: Option<String>,

    /// A run that could not start within this many seconds of its time is left out. Absent = it starts late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 31_536_000))]
    pub starting_deadline_seconds: Option<i64>,

    /// Any text: one run starts each time it changes, as soon as no other is live. status.lastManualRun echoes it when
    /// its run was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub manual: Option<String>,
}

/// How many workers there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas").message(
    "scaling.minReplicas is greater than scaling.maxReplicas: lower minReplicas or raise maxReplicas",
))]
pub struct Scaling {
    /// Fewest workers, also while there is no work.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub min_replicas: u32,

    /// Most workers.
    #[serde(default = "max_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: u32,

    /// Batches in the queue, waiting or in work, for each worker.
    #[serde(default = "target_batches_per_worker")]
    #[schemars(range(min = 1, max = 10000))]
    pub target_batches_per_worker: u32,

    /// How long fewer workers must suffice before there are fewer, in seconds.
    #[serde(default = "scale_down_delay_seconds")]
    #[schemars(range(min = 0, max = 86400))]
    pub scale_down_delay_seconds: u32,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            min_replicas: 0,
            max_replicas: max_replicas(),
            target_batches_per_worker: target_batches_per_worker(),
            scale_down_delay_seconds: scale_down_delay_seconds(),
        }
    }
}

// serde names defaults of fields by function; the derive of the rules knows no default of a whole struct.

const fn part_size() -> PartSize {
    PartSize::Auto
}

const fn multipart_threshold() -> ByteSize {
    ByteSize::mib(16)
}

const fn split_threshold() -> ByteSize {
    ByteSize::mib(8 << 10)
}

const fn files_per_worker() -> u32 {
    16
}

const fn parts_per_file() -> u32 {
    4
}

const fn memory_limit() -> ByteSize {
    ByteSize::mib(256)
}

const fn max_attempts() -> u32 {
    8
}

const fn max_replicas() -> u32 {
    10
}

const fn target_batches_per_worker() -> u32 {
    4
}

const fn scale_down_delay_seconds() -> u32 {
    30
}
