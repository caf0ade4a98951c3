//! Settings of transfers and schedule.

use kube_core::Duration;
use kube_derive::KubeSchema;
use migration_core::concurrency::FilesPerWorker;
use migration_core::config::Preserve as CorePreserve;
pub use migration_core::config::{OnLoss, TransferMode};
pub use migration_core::congestion::CongestionControl;
use migration_core::cost::Money;
use migration_core::part::{MAX_PART, MIN_PART, PartSize};
use migration_core::size::ByteSize;
use migration_core::timetable::{Unit, pattern};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::trigger::EventTrigger;
use crate::{prices, sizes};

/// Settings of the transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = memory_holds_a_part())]
#[x_kube(validation = only_large_objects_are_split())]
#[x_kube(validation = Rule::new("self.mode != 'ServerSide' || (self.preserve.metadata && self.preserve.tags)").message(
    "transfer.mode ServerSide always copies metadata and tags: write Auto or Stream to leave them out",
))]
pub struct Transfer {
    /// Size of the parts of large objects: `Auto` (16Mi) or a size from 5Mi to 5Gi, such as `64Mi`, `1.5Gi` or
    /// `67108864`. Larger for objects that would otherwise have more than 10,000 parts.
    #[serde(default = "part_size")]
    #[schemars(schema_with = "sizes::schema")]
    #[x_kube(validation = sizes::auto_or_form())]
    #[x_kube(validation = sizes::within(
        ByteSize(MIN_PART), ByteSize(MAX_PART), "partSize is outside the limits of S3: write Auto or a size from 5Mi to 5Gi",
    ))]
    pub part_size: PartSize,

    /// Objects larger than this are copied in parts. At most 5Gi.
    #[serde(default = "multipart_threshold")]
    #[schemars(schema_with = "sizes::schema")]
    #[x_kube(validation = sizes::form())]
    #[x_kube(validation = sizes::at_most(ByteSize(MAX_PART), "multipartThreshold is over 5Gi, the largest object that S3 accepts in one request: write 5Gi or less"))]
    pub multipart_threshold: ByteSize,

    /// Objects larger than this are divided among many workers, by ranges of parts. At least multipartThreshold, at
    /// most 50Ti, which no object exceeds: then no object is divided.
    #[serde(default = "split_threshold")]
    #[schemars(schema_with = "sizes::schema")]
    #[x_kube(validation = sizes::form())]
    #[x_kube(validation = sizes::at_most(ByteSize::mib(50 << 20), "splitThreshold is over 50Ti, which no object exceeds: write 50Ti to split nothing"))]
    pub split_threshold: ByteSize,

    /// Most objects that one worker copies at once, from 1 to 256. Each worker finds by itself how many both sides answer
    /// without queueing, beginning with 16. `Auto` or absent: up to 256, of which up to 16 in parts; a number bounds both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "files_per_worker")]
    #[x_kube(validation = Rule::new("self == 'Auto' || (string(self) != self && self >= 1 && self <= 256)").message(
        "not a number of objects: write Auto, or a number from 1 to 256",
    ))]
    pub files_per_worker: Option<FilesPerWorker>,

    /// Parts of one object that are copied at once.
    #[serde(default = "parts_per_file")]
    #[schemars(range(min = 1, max = 256))]
    pub parts_per_file: u32,

    /// Limit on the bytes of objects and parts that one worker holds in memory at once. At least the larger of partSize
    /// and multipartThreshold.
    #[serde(default = "memory_limit")]
    #[schemars(schema_with = "sizes::schema")]
    #[x_kube(validation = sizes::form())]
    #[x_kube(validation = sizes::at_most(ByteSize::mib(1 << 20), "memoryLimit is over 1Ti: write how much memory a worker may use for objects, such as 256Mi"))]
    pub memory_limit: ByteSize,

    /// Attempts per object, over all deliveries of its message, before it counts as failed.
    #[serde(default = "max_attempts")]
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: u32,

    /// Path of the bytes. `Auto`: server-side copy if both sides are the same service with the same credentials,
    /// otherwise through the workers. `Stream`: through the workers. `ServerSide`: server-side copy, metadata and tags
    /// included; the destination's credentials must be allowed to read the source.
    #[serde(default)]
    pub mode: TransferMode,

    /// Verification of large objects besides the digest of each part. `Compare`: if both services store a checksum of
    /// the whole object, the two are compared, at the cost of one more request per large object. `Written`: nothing
    /// more. Small objects are verified as a whole in either case.
    #[serde(default)]
    pub checksum: ChecksumMode,

    /// Attributes to copy with the bytes. Objects whose copies lack some are counted in status.progress.notPreserved.
    #[serde(default)]
    pub preserve: Preserve,

    /// Bytes per second that all workers of the job together copy, such as `10M`: k, M, G and T are powers of 1024, and
    /// a number alone is in KiB; at least 1k. Or a timetable of limits, each from its time on, such as
    /// `08:00,512k 20:00,off` or `Mon-08:00,10M Sat-00:00,off`; times are in UTC. Each byte counts once; server-side
    /// copies don't count. `off` or absent = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    #[x_kube(validation = Rule::new(format!("self.matches('{}')", pattern(Unit::Bytes))).message(
        "not a bandwidth limit: write bytes per second such as 10M (with k, M, G or T, powers of 1024; at least 1k), off, \
         or a timetable in UTC such as '08:00,512k 20:00,off' or 'Mon-08:00,10M Sat-00:00,off'",
    ))]
    pub bandwidth_limit: Option<String>,

    /// Requests per second that all processes of the job together send to each side, such as `50`; or a timetable, as
    /// for bandwidthLimit: `08:00,50 20:00,off`. Listings count; preflights and the cleanup after a deletion don't. At most
    /// 1000000. `off` or absent = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "request_limit")]
    #[x_kube(validation = Rule::new(format!(
        "string(self) == self ? self.matches('{}') : self >= 0 && self <= 1000000", pattern(Unit::Requests),
    )).message(
        "not a request limit: write requests per second up to 1000000 such as 50, off, or a timetable in UTC such as \
         '08:00,50 20:00,off' or 'Mon-08:00,50 Sat-00:00,off'",
    ))]
    pub request_limit: Option<LimitText>,

    /// TCP congestion control of the workers' connections to both S3 services, which sets how fast uploads go over long or
    /// lossy links. `Auto`, the default: BBR where the nodes allow it, otherwise their default. `NodeDefault`: the nodes'
    /// default. `BBR`, `Cubic`, `Reno`: that one; where a node refuses it, its default is used, and the condition Degraded
    /// names the node's setting.
    #[serde(default, skip_serializing_if = "CongestionControl::is_default")]
    pub tcp_congestion_control: CongestionControl,
}

/// A limit that is written as a number or as a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "NumberOrText", into = "String")]
pub struct LimitText(pub String);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    /// API servers accept `5.0` as an integer.
    Number(f64),
    Text(String),
}

impl From<NumberOrText> for LimitText {
    fn from(written: NumberOrText) -> Self {
        match written {
            NumberOrText::Number(number) => Self(number.to_string()),
            NumberOrText::Text(text) => Self(text),
        }
    }
}

impl From<LimitText> for String {
    fn from(limit: LimitText) -> Self {
        limit.0
    }
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            part_size: part_size(),
            multipart_threshold: multipart_threshold(),
            split_threshold: split_threshold(),
            files_per_worker: None,
            parts_per_file: parts_per_file(),
            memory_limit: memory_limit(),
            max_attempts: max_attempts(),
            mode: TransferMode::default(),
            checksum: ChecksumMode::default(),
            preserve: Preserve::default(),
            bandwidth_limit: None,
            request_limit: None,
            tcp_congestion_control: CongestionControl::default(),
        }
    }
}

/// Verification of large objects besides the digest of each part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChecksumMode {
    /// The checksums of the whole object are equal, if both services store one.
    #[default]
    Compare,
    /// Nothing more.
    Written,
}

/// Attributes to copy with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Preserve {
    /// Content-Type and the other Content- headers, Cache-Control, Expires, user metadata and the website redirect.
    /// `true` by default.
    pub metadata: bool,

    /// Tags. Needs s3:GetObjectTagging at the source and s3:PutObjectTagging at the destination, and one more request
    /// per object with tags. `true` by default.
    pub tags: bool,

    /// Retention and legal hold. Needs Object Lock on the destination's buckets, and the permissions to read and set
    /// both. `false` by default.
    pub object_lock: bool,

    /// Handling of objects with an attribute that should be copied but can't be. `Count` (the default): the object is
    /// copied and counted in status.progress.notPreserved. `Fail`: the object fails with class NotPreserved, and the
    /// run ends PartiallyFailed. Attributes that the destination drops silently are detected only for objects copied in
    /// parts; with `Fail` such an object fails too, although its bytes have been copied.
    pub on_loss: OnLoss,
}

impl Default for Preserve {
    fn default() -> Self {
        let CorePreserve { metadata, tags, object_lock, on_loss: _ } = CorePreserve::default();
        Self { metadata, tags, object_lock, on_loss: OnLoss::default() }
    }
}

/// Use of object versions at the source. All `false` (the default): versions are ignored, and reads are bound to the
/// listed content by its ETag. Objects without versions are always treated so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Versioning {
    /// List the source's versions, and copy every object whose newest version differs from the one copied last, even if
    /// its content is equal. Needs s3:ListBucketVersions at the source; records one item in the ledger per object
    /// copied.
    pub compare_version_id: bool,

    /// Request the source's version before and after copying an object; if it has changed meanwhile, the object is
    /// copied again. Costs up to two requests per object.
    pub update_version_id: bool,

    /// Read exactly the version known from the listing, from updateVersionId or from an S3 event. Needs
    /// s3:GetObjectVersion at the source.
    pub get_object_with_version_id: bool,
}

fn memory_holds_a_part() -> kube_core::Rule {
    let (memory, threshold, part) = ("self.memoryLimit", "self.multipartThreshold", "self.partSize");
    let (known, amount) = (sizes::is_known, sizes::amount);
    kube_core::Rule::new(format!(
        "!({} && {} && ({part} == 'Auto' || {})) || ({held}.compareTo({}) >= 0 && \
         {held}.compareTo({part} == 'Auto' ? quantity('16Mi') : {}) >= 0)",
        known(memory),
        known(threshold),
        known(part),
        amount(threshold),
        amount(part),
        held = amount(memory),
    ))
    .message(
        "memoryLimit is smaller than what a worker must hold at once: write at least the larger of partSize (Auto is \
         16Mi) and multipartThreshold",
    )
}

fn only_large_objects_are_split() -> kube_core::Rule {
    let (split, threshold) = ("self.splitThreshold", "self.multipartThreshold");
    let (known, amount) = (sizes::is_known, sizes::amount);
    kube_core::Rule::new(format!(
        "!({} && {}) || {}.compareTo({}) >= 0",
        known(split),
        known(threshold),
        amount(split),
        amount(threshold)
    ))
    .message(
        "splitThreshold is smaller than multipartThreshold, and only objects in parts can be split: write at least \
         multipartThreshold, or 50Ti to split nothing",
    )
}

/// Limits of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How far the jobsender may be ahead of the workers, in seconds of their work at the average rate of the run;
    /// always at least 2,000 messages. Beyond it the scan waits. 7200 by default.
    #[serde(default = "two_hours")]
    #[schemars(range(min = 60, max = 604_800))]
    pub backlog_seconds: u32,

    /// Longest duration of a run, time suspended or paused included, as in `720h` or `36h30m`; at least 1m. A run that
    /// exceeds it ends as failed, and what it copied stays. Absent = unlimited: work whose messages were lost is sent
    /// again after 7 days without progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 20))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+[hms])+$') && duration(self) >= duration('1m')").message(
        "limits.runDeadline is not a duration of at least a minute: write hours, minutes and seconds, as in 720h or 36h30m",
    ))]
    pub run_deadline: Option<Duration>,

    /// Most that a run may cost by spec.prices, in their currency, such as `500` or `'12.50'`. A run that reaches it is
    /// paused as with `suspend: true`, with the condition Suspended and the reason OverBudget, and goes on where it was
    /// when this is raised. What is under way when it is reached is still paid. Absent = unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "prices::amount")]
    #[x_kube(validation = prices::cost())]
    pub cost: Option<Money>,
}

impl Limits {
    /// Returns the deadline in milliseconds.
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
        Self { backlog_seconds: two_hours(), run_deadline: None, cost: None }
    }
}

/// Start of runs. Empty = one run, when the job is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.schedule) || !has(self.timeZone)").message(
    "trigger.timeZone is for a schedule: add trigger.schedule or remove timeZone",
))]
#[x_kube(validation = Rule::new("has(self.schedule) || !has(self.startingDeadlineSeconds)").message(
    "trigger.startingDeadlineSeconds is for a schedule: add trigger.schedule or remove startingDeadlineSeconds",
))]
pub struct Trigger {
    /// Schedule of runs: minute, hour, day of the month, month, day of the week, as in `0 3 * * *`; or `@hourly`,
    /// `@daily`, `@weekly`, `@monthly`, `@yearly`. A run that is due during another run is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = Rule::new(
        "self.matches('^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[0-9A-Za-z*,/?-]+( +[0-9A-Za-z*,/?-]+){4})$')",
    ).message(
        "not a schedule: write five fields (minute hour day-of-month month day-of-week) such as '0 3 * * *', or one of \
         @hourly, @daily, @weekly, @monthly, @yearly; the time zone goes into timeZone",
    ))]
    pub schedule: Option<String>,

    /// Time zone of the schedule, by its IANA name: `Europe/Berlin`. Absent = the time zone of the cluster's
    /// controllers, usually UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self != 'Local' && self.matches('^[A-Za-z][A-Za-z0-9_+/-]*$')").message(
        "not a time zone: write its name in the IANA database, such as Europe/Berlin or Etc/UTC",
    ))]
    pub time_zone: Option<String>,

    /// Scheduled runs that can't start within this many seconds are skipped: because another one is starting, or the
    /// job was suspended or had no schedule at that time. 300 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 31_536_000))]
    pub starting_deadline_seconds: Option<i64>,

    /// Any text. Each change starts a run, as soon as no other is in progress. status.lastManualRun repeats the value
    /// once its run has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub manual: Option<String>,

    /// Copy objects when S3 reports that they were written. Empty = only runs copy.
    #[serde(default)]
    pub events: EventTrigger,
}

fn request_limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 500})
}

fn files_per_worker(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 24})
}

// serde takes defaults of fields from functions, and the derive of the rules supports no default of a whole struct.

const fn part_size() -> PartSize {
    PartSize::Auto
}

const fn multipart_threshold() -> ByteSize {
    ByteSize::mib(16)
}

const fn split_threshold() -> ByteSize {
    ByteSize::mib(8 << 10)
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
