//! What is known of a job.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verify::VerifyMethod;

/// What the operator knows of the job. Written when something changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationJobStatus {
    /// metadata.generation of the resource that this was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The state in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// Ready, Progressing, Degraded, Complete and Suspended, with `verify.mode: Full` Verified, and with report Reported, each with a reason and
    /// a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// How far the current run is, or how far the last one got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// The same for people's eyes, and for the columns of `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<Display>,

    /// The workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,

    /// The queue. Its numbers are approximate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueDepth>,

    /// What was moved besides the runs: S3 events, and job messages of the predecessor, that stood in the queue. Absent
    /// until something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventWork>,

    /// Identifier of the run that is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_run: Option<String>,

    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,

    /// What the verification of that run found, with `verify.mode: Full`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationStatus>,

    /// The last report that is written, with spec.report; it names its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportStatus>,

    /// The first objects that could not be moved, at most 10. The ledger has all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<ObjectFailure>,

    /// The value of spec.trigger.manual whose run was started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_manual_run: Option<String>,

    /// Runs that the operator itself started: the first one and the manual ones. Runs of the schedule don't count.
    #[serde(default)]
    pub runs_started: u32,

    /// Queue and table in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// The state of a job in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// No run was yet, or the next one has not begun to list.
    Pending,
    /// The buckets are listed and compared; workers move what was found so far.
    Scanning,
    /// All is listed; workers move the rest.
    Transferring,
    /// The run has ended, and both sides are looked at once more.
    Verifying,
    /// The last run ended with every object in place.
    Complete,
    /// The last run ended with failures of single objects, or the verification found the copy not whole.
    PartiallyFailed,
    /// The last run could not be ended.
    Failed,
    /// spec.suspend is true.
    Suspended,
}

impl Phase {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Scanning => "Scanning",
            Self::Transferring => "Transferring",
            Self::Verifying => "Verifying",
            Self::Complete => "Complete",
            Self::PartiallyFailed => "PartiallyFailed",
            Self::Failed => "Failed",
            Self::Suspended => "Suspended",
        }
    }
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Numbers of objects.
    pub objects: Counts,
    /// Their bytes.
    pub bytes: Counts,
    /// Bytes a second that all workers move now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_per_second: Option<u64>,
    /// Seconds until the rest is moved at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// What could not be taken along with the objects that are done. Absent where all was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_preserved: Option<NotPreserved>,
    /// Objects that were found in place by less than their content: by size and time, or with `compare: Size` or `ETag`
    /// by size. Absent where there is none. `compare: Checksum` makes them fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_compared_by_content: Option<u64>,
}

/// What could not be taken along, in numbers of objects whose bytes are at the destination and verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NotPreserved {
    /// Objects without their tags.
    pub tags: u64,
    /// Objects without their retention or legal hold.
    pub object_locks: u64,
    /// Objects without some of their metadata or headers.
    pub metadata: u64,
    /// Objects in another storage class than the source's, which the destination does not have.
    pub storage_classes: u64,
    /// Objects without the encryption at rest that spec.destination.encryption asks for, which the service took and did
    /// not do. Looked at where objects are moved in parts.
    pub encryption: u64,
}

/// What was moved besides the runs, since the job was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventWork {
    /// Numbers of objects.
    pub objects: EventCounts,
    /// Bytes of those done.
    pub bytes: u64,
    /// What could not be taken along with the objects that are done. Absent where all was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_preserved: Option<NotPreserved>,
}

/// What became of objects that messages of others named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventCounts {
    /// At the destination and verified.
    pub done: u64,
    /// Could not be moved; the ledger says why.
    pub failed: u64,
}

/// What became of the objects that a run found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// To move, as far as the scan knows.
    pub total: u64,
    /// At the destination and verified.
    pub done: u64,
    /// Not moved: in place already, ignored, or gone from the source.
    pub skipped: u64,
    /// Could not be moved.
    pub failed: u64,
}

/// Progress for people's eyes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Display {
    /// Objects done, of those to move: `12/5003`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<String>,
    /// Bytes done, of those to move: `1.2 GiB / 2.0 GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// Rate now, or the mean of the last run: `85.1 MiB/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Time left: `4m10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<String>,
    /// Workers ready, of those wanted: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<String>,
}

/// The workers of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    /// Wanted.
    pub desired: u32,
    /// Running and ready.
    pub ready: u32,
}

/// Messages in the queue, as the service estimates them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueDepth {
    /// Waiting, those that are delayed included.
    pub visible: u64,
    /// With a worker.
    pub in_flight: u64,
    /// In the dead letter queue.
    pub dead_letters: u64,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// Its identifier.
    pub id: String,
    /// When it began to list.
    pub started_at: Time,
    /// When its last object was done.
    pub ended_at: Time,
    /// With what it ended.
    pub result: RunResult,
    /// Objects moved.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that could not be moved.
    pub failed: u64,
    /// Objects that did not have to be moved.
    pub skipped: u64,
    /// What could not be taken along with the objects moved. Absent where all was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_preserved: Option<NotPreserved>,
    /// What became of objects that only the destination had, where the job mirrors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extraneous: Option<Extraneous>,
    /// Why, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of objects that only the destination had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Extraneous {
    /// Found by the scan.
    pub found: u64,
    /// Deleted.
    pub deleted: u64,
}

/// What a verification found, in numbers of objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationStatus {
    /// The run.
    pub run: String,
    /// When it ended.
    pub ended_at: Time,
    /// By what.
    pub method: VerifyMethod,
    /// Copies that have the content of their sources.
    pub proven: u64,
    /// Copies of the right size, of whose content this method says nothing.
    pub by_size: u64,
    /// Objects that are not at the destination.
    pub missing: u64,
    /// Objects of which the destination has another content.
    pub different: u64,
    /// Of what is missing or different, objects that changed at the source since the run began.
    pub newer: u64,
    /// Objects that have no valid key at the destination.
    pub unmappable: u64,
    /// Objects of the destination that the source does not have.
    pub extra: u64,
}

/// A report that is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportStatus {
    /// The run.
    pub run: String,
    /// When it was written.
    pub written_at: Time,
    /// Where its manifest.json is: `s3://bucket/key`, at the destination's service.
    pub manifest: String,
    /// Objects in it that are at the destination.
    pub succeeded: u64,
    /// Objects in it that could not be moved.
    pub failed: u64,
    /// Objects that were moved and are not in it: their workers could not write to the report's bucket.
    pub unreported: u64,
}

/// With what a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunResult {
    /// Every object is in place.
    Complete,
    /// Every object is in place or has a failure record.
    PartiallyFailed,
    /// The scan could not be ended.
    Failed,
}

/// An object that could not be moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectFailure {
    /// Source bucket.
    pub bucket: String,
    /// Source key.
    pub key: String,
    /// The kind of failure.
    pub class: String,
    /// What happened.
    pub message: String,
}

/// What a job uses outside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// URL of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_url: Option<String>,
    /// URL of its dead letter queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_url: Option<String>,
    /// Name of the ledger's table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}
