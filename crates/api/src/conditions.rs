//! Types and reasons of conditions. Scripts may rely on their names.

use std::fmt;

use migration_core::error::{Service, ServiceFault};
use migration_core::preflight::Shortcoming;

/// The conditions of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// The prerequisites exist and all parts of the job are applied.
    Ready,
    /// A run is in progress.
    Progressing,
    /// The job cannot work as specified; the reason and the message say why, and what to do.
    Degraded,
    /// The last run ended with every object in place, and no other run is in progress.
    Complete,
    /// The last run was verified, and the copy is whole.
    Verified,
    /// The report of the last run is written and complete.
    Reported,
    /// The job is suspended.
    Suspended,
    /// The last run ended, and some objects are not in place. False while the next run is in progress.
    Failed,
    /// The specification is not applied yet, and the operator tries again by itself. For tools that follow kstatus.
    Reconciling,
    /// Nothing goes on without a person. For tools that follow kstatus.
    Stalled,
    /// The driver of `spec.scaling` sets the number of workers. Only with the drivers Keda and Hpa, and while the driver
    /// changes.
    ScalingActive,
    /// The requests that the preflight tried on the buckets work, as far as runs depend on them.
    Preflight,
    /// The receivers of spec.notify have every notification whose delivery was tried. Only with spec.notify.
    Notified,
}

impl ConditionType {
    /// The name, as in `status.conditions[].type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Complete => "Complete",
            Self::Verified => "Verified",
            Self::Reported => "Reported",
            Self::Suspended => "Suspended",
            Self::Failed => "Failed",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::ScalingActive => "ScalingActive",
            Self::Preflight => "Preflight",
            Self::Notified => "Notified",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a condition has its status.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing is wrong.
    AsExpected,
    /// Queue, table and everything in the cluster are in place.
    ResourcesApplied,
    /// A prerequisite is missing or refused; the condition Degraded names it.
    PrerequisitesMissing,
    /// There was no run yet.
    NoRunYet,
    /// A run was requested and has not started to list.
    RunStarting,
    /// The buckets are being listed.
    Scanning,
    /// The scan waits until the workers have caught up.
    ScanWaiting,
    /// The listing is complete; the remaining objects are being moved.
    Transferring,
    /// The run ended with every object in place.
    RunComplete,
    /// The run ended; some objects could not be moved.
    ObjectsFailed,
    /// The run ended before it was complete.
    RunFailed,
    /// Both sides are being compared after the run.
    Verifying,
    /// The copy is whole.
    CopyWhole,
    /// Objects are missing or different at the destination.
    CopyDiffers,
    /// The verification could not be completed.
    VerifyFailed,
    /// The report is being written.
    ReportBeingWritten,
    /// The report is written.
    ReportWritten,
    /// The report is written, but some objects are missing from it.
    ReportIncomplete,
    /// The report could not be written.
    ReportFailed,
    /// `spec.suspend` is true.
    SuspendedByUser,
    /// The run has reached `spec.limits.cost`.
    OverBudget,
    /// `spec.suspend` is false.
    NotSuspended,
    /// The last run did not end before `spec.limits.runDeadline`.
    RunDeadlineExceeded,
    /// Messages of the run were lost: batches without an end are listed and sent again.
    RunReopened,
    /// A Secret that the resource names does not exist.
    SecretMissing,
    /// A Secret lacks a key, or the key is empty.
    SecretIncomplete,
    /// A ConfigMap that the resource names does not exist or lacks the key.
    ConfigMapMissing,
    /// The object named by `spec.source.caBundle` or `spec.destination.caBundle` does not exist or holds no certificate.
    CaBundleInvalid,
    /// The operator's policy does not allow what the specification asks for.
    NotAllowed,
    /// The specification passes the schema and cannot be used.
    SpecInvalid,
    /// The queue of `spec.queue.url` has no redrive policy.
    QueueDeadLettersMissing,
    /// Another job uses the same queue; the younger job waits.
    QueueShared,
    /// S3 cannot send events to the queue, which is in another region or partition than the source.
    EventsQueueElsewhere,
    /// The source buckets could not be configured to send their events to the queue.
    EventsNotConfigured,
    /// The table's key schema is not the ledger's.
    LedgerSchemaWrong,
    /// A record of the ledger cannot be read.
    LedgerRecordUnreadable,
    /// Failure records or heartbeats cannot be read and are missing from the status; `status.unreadable` counts them.
    LedgerRecordsLeftOut,
    /// The API server refuses a request that the job needs.
    ApplyFailed,
    /// An object of somebody else has the name of a child; the message names the object and the ways out.
    NameTaken,
    /// The object that has the name of a child is being deleted; the job continues by itself.
    NameNotFreeYet,
    /// Kubernetes cannot create a Job of the schedule.
    JobFailedCreate,
    /// A jobsender failed for good.
    JobsenderFailed,
    /// A node does not let workers use the algorithm of `spec.transfer.tcpCongestionControl`; its default is used.
    CongestionControlRefused,
    /// KEDA or the HorizontalPodAutoscaler sets the number of workers.
    AutoscalerActive,
    /// The cluster has no scaling to zero, so that one worker stays where `spec.scaling.minReplicas` is 0.
    MinReplicasRaised,
    /// The objects of the old driver of `spec.scaling` are being removed; the new one waits for that.
    DriverChanging,
    /// `spec.scaling.driver` is Keda, and KEDA is not installed.
    KedaMissing,
    /// KEDA or the HorizontalPodAutoscaler cannot set the number of workers; the message has its words.
    AutoscalerInactive,
    /// The preflight is in progress.
    PreflightRunning,
    /// Everything that the preflight tried works.
    PreflightPassed,
    /// The preflight could not be completed.
    PreflightFailed,
    /// No notification waits for another attempt.
    NotificationsDelivered,
    /// A notification could not be delivered yet, and is tried again.
    NotificationsRetried,
    /// A notification could not be delivered for a day, or too many waited.
    NotificationGivenUp,
    /// Some of what the job needs for some objects does not work: `SourceTagsDenied`, `DestinationUploadLeft`.
    Shortcoming(Service, Shortcoming),
    /// A pod of the job cannot be created or started; holds Kubernetes' own reason, which follows the word `Pod`.
    Pod(String),
    /// A whole service cannot be used: `DestinationCredentialsInvalid`, `SourceBucketNotFound`, `QueueNotFound`.
    Service(Service, ServiceFault),
}

impl Reason {
    /// Returns true if the problem stays until a person changes the resource, or something that it names. What may only
    /// be late, such as a Secret that is applied after the resource, is none of these.
    pub const fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::NotAllowed
                | Self::SpecInvalid
                | Self::QueueDeadLettersMissing
                | Self::EventsQueueElsewhere
                | Self::LedgerSchemaWrong
                | Self::LedgerRecordUnreadable
                | Self::NameTaken
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsExpected => "AsExpected",
            Self::ResourcesApplied => "ResourcesApplied",
            Self::PrerequisitesMissing => "PrerequisitesMissing",
            Self::NoRunYet => "NoRunYet",
            Self::RunStarting => "RunStarting",
            Self::Scanning => "Scanning",
            Self::ScanWaiting => "ScanWaiting",
            Self::Transferring => "Transferring",
            Self::RunComplete => "RunComplete",
            Self::ObjectsFailed => "ObjectsFailed",
            Self::RunFailed => "RunFailed",
            Self::Verifying => "Verifying",
            Self::CopyWhole => "CopyWhole",
            Self::CopyDiffers => "CopyDiffers",
            Self::VerifyFailed => "VerifyFailed",
            Self::ReportBeingWritten => "ReportBeingWritten",
            Self::ReportWritten => "ReportWritten",
            Self::ReportIncomplete => "ReportIncomplete",
            Self::ReportFailed => "ReportFailed",
            Self::SuspendedByUser => "SuspendedByUser",
            Self::OverBudget => "OverBudget",
            Self::NotSuspended => "NotSuspended",
            Self::RunDeadlineExceeded => "RunDeadlineExceeded",
            Self::RunReopened => "RunReopened",
            Self::SecretMissing => "SecretMissing",
            Self::SecretIncomplete => "SecretIncomplete",
            Self::ConfigMapMissing => "ConfigMapMissing",
            Self::CaBundleInvalid => "CaBundleInvalid",
            Self::NotAllowed => "NotAllowed",
            Self::SpecInvalid => "SpecInvalid",
            Self::QueueDeadLettersMissing => "QueueDeadLettersMissing",
            Self::QueueShared => "QueueShared",
            Self::EventsQueueElsewhere => "EventsQueueElsewhere",
            Self::EventsNotConfigured => "EventsNotConfigured",
            Self::LedgerSchemaWrong => "LedgerSchemaWrong",
            Self::LedgerRecordUnreadable => "LedgerRecordUnreadable",
            Self::LedgerRecordsLeftOut => "LedgerRecordsLeftOut",
            Self::ApplyFailed => "ApplyFailed",
            Self::NameTaken => "NameTaken",
            Self::NameNotFreeYet => "NameNotFreeYet",
            Self::JobFailedCreate => "JobFailedCreate",
            Self::JobsenderFailed => "JobsenderFailed",
            Self::CongestionControlRefused => "CongestionControlRefused",
            Self::AutoscalerActive => "AutoscalerActive",
            Self::MinReplicasRaised => "MinReplicasRaised",
            Self::DriverChanging => "DriverChanging",
            Self::KedaMissing => "KedaMissing",
            Self::AutoscalerInactive => "AutoscalerInactive",
            Self::PreflightRunning => "PreflightRunning",
            Self::PreflightPassed => "PreflightPassed",
            Self::PreflightFailed => "PreflightFailed",
            Self::NotificationsDelivered => "NotificationsDelivered",
            Self::NotificationsRetried => "NotificationsRetried",
            Self::NotificationGivenUp => "NotificationGivenUp",
            Self::Pod(reason) => return write!(f, "Pod{reason}"),
            Self::Shortcoming(side, problem) => return write!(f, "{}{problem:?}", side_name(*side)),
            Self::Service(side, fault) => return write!(f, "{}{}", side_name(*side), fault_name(*side, *fault)),
        })
    }
}

const fn side_name(side: Service) -> &'static str {
    match side {
        Service::Source => "Source",
        Service::Destination => "Destination",
        Service::Queue => "Queue",
        Service::Ledger => "Ledger",
    }
}

const fn fault_name(side: Service, fault: ServiceFault) -> &'static str {
    match (fault, side) {
        (ServiceFault::NotFound, Service::Source | Service::Destination) => "BucketNotFound",
        (ServiceFault::NotFound, Service::Queue | Service::Ledger) => "NotFound",
        (ServiceFault::CredentialsInvalid, _) => "CredentialsInvalid",
        (ServiceFault::CredentialsExpired, _) => "CredentialsExpired",
        (ServiceFault::CredentialsMissing, _) => "CredentialsMissing",
        (ServiceFault::AccessDenied, _) => "AccessDenied",
        (ServiceFault::WrongRegion, _) => "WrongRegion",
        (ServiceFault::ClockSkewed, _) => "ClockSkewed",
        (ServiceFault::Unreachable, _) => "Unreachable",
        (ServiceFault::Throttled, _) => "Throttled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_side_and_kind() {
        for (side, fault, expected) in [
            (Service::Source, ServiceFault::NotFound, "SourceBucketNotFound"),
            (Service::Queue, ServiceFault::NotFound, "QueueNotFound"),
            (Service::Destination, ServiceFault::CredentialsInvalid, "DestinationCredentialsInvalid"),
            (Service::Ledger, ServiceFault::AccessDenied, "LedgerAccessDenied"),
        ] {
            assert_eq!(Reason::Service(side, fault).to_string(), expected);
        }
    }

    #[test]
    fn a_shortcoming_names_side_and_kind() {
        let reason = Reason::Shortcoming(Service::Source, Shortcoming::TagsDenied);
        assert_eq!(reason.to_string(), "SourceTagsDenied");
    }

    #[test]
    fn a_pod_keeps_the_reason_of_kubernetes() {
        assert_eq!(Reason::Pod("ImagePullBackOff".into()).to_string(), "PodImagePullBackOff");
    }
}
