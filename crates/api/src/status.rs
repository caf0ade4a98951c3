//! Status of a job.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
pub use migration_core::records::RunResult;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions::ConditionType;
use crate::preflight::PreflightStatus;
use crate::trigger::EventTriggerStatus;

mod cost;
mod failures;
mod limits;
mod notifications;
mod progress;
mod runs;

pub use cost::{CostStatus, RunCost};
pub use failures::{ObjectFailure, RecordKind, UnreadableRecords};
pub use limits::{LimitStatus, LimitsStatus};
pub use notifications::{Delivery, GivenUp, NotificationsStatus, PendingEvent, Receiver};
pub use progress::{Counts, Display, EventCounts, EventWork, NotPreserved, Progress};
pub use runs::{Extraneous, LastRun, ReportStatus, RunSummary, VerificationStatus};

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
    /// also Verified, with spec.report also Reported, with the drivers Keda and Hpa of spec.scaling also
    /// ScalingActive, with spec.notify also Notified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// Progress of the current run, or the final state of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// What the current run has cost so far, or the last one in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostStatus>,

    /// Progress as text, for the columns of `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<Display>,

    /// Number of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,

    /// Messages in the queue. All numbers are approximate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueDepth>,

    /// The limits of spec.transfer that hold now, and how workers share them. Absent while nothing is limited, and while
    /// the job moves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsStatus>,

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

    /// Notifications. Absent without spec.notify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<NotificationsStatus>,

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
    /// spec.suspend is true, or the run has reached spec.limits.cost.
    Suspended,
}

impl Phase {
    /// All phases, in their order.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Scanning,
        Self::Transferring,
        Self::Verifying,
        Self::Complete,
        Self::PartiallyFailed,
        Self::Failed,
        Self::Watching,
        Self::Suspended,
    ];

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
