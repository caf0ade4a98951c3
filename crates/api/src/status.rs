//! Status of a job.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
pub use migration_core::records::RunResult;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::ConditionType;
use crate::preflight::PreflightStatus;
use crate::trigger::EventTriggerStatus;
use crate::verify::VerifyMethod;

/// Observed state of the job. Written when something has changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationJobStatus {
    /// metadata.generation of the resource that this status is based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Summary of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// Conditions, each with a reason and a message: Ready, Progressing, Degraded, Complete, Failed and Suspended;
    /// Reconciling and Stalled for tools that follow kstatus; after a preflight also Preflight, with `verify.mode: Full`
    /// also Verified, with spec.report also Reported, with the drivers Keda and Hpa of spec.scaling also ScalingActive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// Progress of the current run, or the final state of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// Progress as text, for the columns of `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<Display>,

    /// Number of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,

    /// Messages in the queue. All numbers are approximate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueDepth>,

    /// Objects copied outside of runs: because of S3 events, or of job messages of the predecessor in the queue. Absent
    /// until there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventWork>,

    /// State of spec.trigger.events. Absent unless events are enabled or notification entries are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_trigger: Option<EventTriggerStatus>,

    /// The preflight, which tries the buckets before objects are moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<PreflightStatus>,

    /// Identifier of the current run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_run: Option<String>,

    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,

    /// The runs that ended last, at most 10, the newest one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunSummary>,

    /// When the next scheduled run is due. Absent without a schedule, and while the job is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,

    /// Result of the verification of that run, with `verify.mode: Full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationStatus>,

    /// The last report written, with spec.report; it names its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportStatus>,

    /// The first objects that failed, at most 10. The ledger has all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<ObjectFailure>,

    /// Records of the ledger that can't be read and are missing from this status. Absent if all can be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableRecords>,

    /// The value of spec.trigger.manual that started a run last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_manual_run: Option<String>,

    /// Number of runs started by the operator: the first one and manual ones. Scheduled runs don't count.
    #[serde(default)]
    pub runs_started: u32,

    /// Queue and table in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

impl MigrationJobStatus {
    /// Returns the condition of a type and whether its status is `True`.
    pub fn condition(&self, kind: ConditionType) -> Option<(bool, &Condition)> {
        let condition = self.conditions.iter().find(|condition| condition.type_ == kind.as_str())?;
        Some((condition.status == "True", condition))
    }
}

/// Summary of the state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// No run has started yet, or the next one has not begun to list.
    Pending,
    /// The buckets are being listed and compared; workers copy what has been found so far.
    Scanning,
    /// Listing is complete; workers copy the rest.
    Transferring,
    /// The run has ended, and both sides are being compared again.
    Verifying,
    /// The last run ended with every object in place.
    Complete,
    /// In the last run some objects failed, or the verification found the copy incomplete.
    PartiallyFailed,
    /// The last run failed.
    Failed,
    /// No run is in progress, and objects are copied when S3 reports them: spec.trigger.events.
    Watching,
    /// spec.suspend is true.
    Suspended,
}

impl Phase {
    /// Returns the name used in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Scanning => "Scanning",
            Self::Transferring => "Transferring",
            Self::Verifying => "Verifying",
            Self::Complete => "Complete",
            Self::PartiallyFailed => "PartiallyFailed",
            Self::Failed => "Failed",
            Self::Watching => "Watching",
            Self::Suspended => "Suspended",
        }
    }
}

/// Progress of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Number of objects.
    pub objects: Counts,
    /// Bytes of these objects.
    pub bytes: Counts,
    /// Current rate of all workers, in bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_per_second: Option<u64>,
    /// Seconds until the rest is copied at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// Attributes that copies lack. Absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_preserved: Option<NotPreserved>,
    /// Objects found up to date without comparing content: by size and time, or with `compare: Size` or `ETag` by size.
    /// Absent if there are none. `compare: Checksum` reduces their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_compared_by_content: Option<u64>,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// Identifier of the run.
    pub id: String,
    /// Start of the run.
    pub started_at: Time,
    /// End of the run.
    pub ended_at: Time,
    /// Result.
    pub result: RunResult,
    /// Objects copied.
    pub objects: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Objects that failed.
    pub failed: u64,
}

/// Number of objects whose content was copied and verified, but whose copies lack attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NotPreserved {
    /// Objects without their tags.
    pub tags: u64,
    /// Objects without their retention or legal hold.
    pub object_locks: u64,
    /// Objects without some of their metadata or headers.
    pub metadata: u64,
    /// Objects in another storage class, since the destination does not support the source's.
    pub storage_classes: u64,
    /// Objects without the encryption requested by spec.destination.encryption, which the service accepted but did not
    /// apply. Checked for objects copied in parts.
    pub encryption: u64,
}

/// Objects copied outside of runs since the job was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventWork {
    /// Number of objects.
    pub objects: EventCounts,
    /// Bytes of the objects done.
    pub bytes: u64,
    /// Attributes that copies lack. Absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_preserved: Option<NotPreserved>,
}

/// Results of objects named in events and foreign messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventCounts {
    /// At the destination and verified.
    pub done: u64,
    /// Failed; the ledger has the reasons.
    pub failed: u64,
    /// Not copied: no longer at the source, excluded by the filters, or older than the newest version. With
    /// `mirror.deleteEvents`, what the source no longer has was deleted at the destination too.
    #[serde(default)]
    pub skipped: u64,
}

/// Results of the objects of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// To copy, as far as the scan has found.
    pub total: u64,
    /// At the destination and verified.
    pub done: u64,
    /// Not copied: up to date, filtered out, or no longer at the source.
    pub skipped: u64,
    /// Failed.
    pub failed: u64,
}

/// Progress as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Display {
    /// Objects copied, of those to copy: `12/5003`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<String>,
    /// Bytes copied, of those to copy: `1.2 GiB / 2.0 GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// Current rate, or the average of the last run: `85.1 MiB/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Remaining time: `4m10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<String>,
    /// Workers ready, of those wanted: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<String>,
    /// Source bucket and prefix of the first pair, with the number of the others: `photos/2026/ (+2)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Destination bucket and prefix of the first pair, with the number of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// Number of workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    /// Desired workers.
    pub desired: u32,
    /// Workers running and ready.
    pub ready: u32,
}

/// Messages in the queue, as the service estimates them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueDepth {
    /// Messages waiting, delayed ones included.
    pub visible: u64,
    /// Messages being processed by a worker.
    pub in_flight: u64,
    /// Messages in the dead letter queue.
    pub dead_letters: u64,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// Identifier of the run.
    pub id: String,
    /// Time at which it began to list.
    pub started_at: Time,
    /// Time at which its last object was done.
    pub ended_at: Time,
    /// Result of the run.
    pub result: RunResult,
    /// Objects copied.
    pub objects: u64,
    /// Bytes of the objects copied.
    pub bytes: u64,
    /// Objects that failed.
    pub failed: u64,
    /// Objects that were not copied.
    pub skipped: u64,
    /// Attributes that copies lack. Absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_preserved: Option<NotPreserved>,
    /// Objects that only the destination had, with spec.mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extraneous: Option<Extraneous>,
    /// Reason, if the run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Objects that only the destination had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Extraneous {
    /// Found by the scan.
    pub found: u64,
    /// Deleted.
    pub deleted: u64,
}

/// Result of a verification, in numbers of objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationStatus {
    /// Identifier of the run.
    pub run: String,
    /// Time at which the verification ended.
    pub ended_at: Time,
    /// Method of the verification.
    pub method: VerifyMethod,
    /// Copies proven to have the content of their source.
    pub proven: u64,
    /// Copies of the right size whose content this method can't compare.
    pub by_size: u64,
    /// Objects missing at the destination.
    pub missing: u64,
    /// Objects with different content at the destination.
    pub different: u64,
    /// Missing or different objects whose source changed after the run began.
    pub newer: u64,
    /// Objects without a valid key at the destination.
    pub unmappable: u64,
    /// Objects at the destination that the source does not have.
    pub extra: u64,
}

/// A completion report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportStatus {
    /// Identifier of the run.
    pub run: String,
    /// Time at which it was written.
    pub written_at: Time,
    /// Location of its manifest.json at the destination's service: `s3://bucket/key`.
    pub manifest: String,
    /// Objects in it that are at the destination.
    pub succeeded: u64,
    /// Objects in it that failed.
    pub failed: u64,
    /// Objects missing from it: copied objects whose workers could not write to the report's bucket, and failed objects
    /// whose records in the ledger can't be read.
    pub unreported: u64,
}

/// An object that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectFailure {
    /// Source bucket.
    pub bucket: String,
    /// Source key.
    pub key: String,
    /// Class of the failure.
    pub class: String,
    /// Description of the failure.
    pub message: String,
}

/// Records of one kind that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnreadableRecords {
    /// Kind of the records.
    pub kind: RecordKind,
    /// Number of records.
    pub number: u64,
    /// Error of the first record, with its key in the table and its member.
    pub message: String,
}

/// A kind of record that the status shows one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordKind {
    /// An object that failed and is missing from `failures`. Only records read on the way to the first 10 failures count.
    Failure,
    /// The activity of a worker or jobsender: its rate and the sides it has paused.
    Heartbeat,
}

/// Resources of a job outside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// URL of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_url: Option<String>,
    /// URL of the dead letter queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_url: Option<String>,
    /// Name of the ledger's table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}
