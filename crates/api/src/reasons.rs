//! Types and reasons of conditions, and reasons of events. Scripts may rely on them.

/// The job's prerequisites exist and its resources are applied.
pub const READY: &str = "Ready";
/// A run is in progress.
pub const PROGRESSING: &str = "Progressing";
/// Something keeps the job from working. The reason names the cause, the message the remedy.
pub const DEGRADED: &str = "Degraded";
/// The last run ended with every object in place, and no other run is in progress.
pub const COMPLETE: &str = "Complete";
/// The last run was verified, and the copy is complete.
pub const VERIFIED: &str = "Verified";
/// The report of the last run is written and complete.
pub const REPORTED: &str = "Reported";
/// The job is suspended.
pub const SUSPENDED: &str = "Suspended";

/// No problem is known.
pub const AS_EXPECTED: &str = "AsExpected";
/// Queue, table and cluster resources are in place.
pub const RESOURCES_APPLIED: &str = "ResourcesApplied";
/// A prerequisite is missing or rejected; the condition Degraded names it.
pub const PREREQUISITES_MISSING: &str = "PrerequisitesMissing";
/// No run has been started yet.
pub const NO_RUN_YET: &str = "NoRunYet";
/// A run was requested but has not started.
pub const RUN_STARTING: &str = "RunStarting";
/// The buckets are being listed.
pub const SCANNING: &str = "Scanning";
/// The scan waits until the workers have caught up.
pub const SCAN_WAITING: &str = "ScanWaiting";
/// Objects are being copied.
pub const TRANSFERRING: &str = "Transferring";
/// The run ended, and every object is in place.
pub const RUN_COMPLETE: &str = "RunComplete";
/// The run ended, and some objects failed.
pub const OBJECTS_FAILED: &str = "ObjectsFailed";
/// The run failed.
pub const RUN_FAILED: &str = "RunFailed";
/// Both sides are being compared again.
pub const VERIFYING: &str = "Verifying";
/// The copy is complete.
pub const COPY_WHOLE: &str = "CopyWhole";
/// Objects are missing at the destination or have different content there.
pub const COPY_DIFFERS: &str = "CopyDiffers";
/// The verification failed.
pub const VERIFY_FAILED: &str = "VerifyFailed";
/// The report is being written.
pub const REPORT_BEING_WRITTEN: &str = "ReportBeingWritten";
/// The report is written.
pub const REPORT_WRITTEN: &str = "ReportWritten";
/// The report is written, but objects are missing from it.
pub const REPORT_INCOMPLETE: &str = "ReportIncomplete";
/// Writing the report failed.
pub const REPORT_FAILED: &str = "ReportFailed";
/// spec.suspend is true.
pub const SUSPENDED_BY_USER: &str = "SuspendedByUser";
/// spec.suspend is false.
pub const NOT_SUSPENDED: &str = "NotSuspended";

/// The last run exceeded spec.limits.runDeadline.
pub const RUN_DEADLINE_EXCEEDED: &str = "RunDeadlineExceeded";
/// Messages of the run were lost; the unfinished key ranges are listed and sent again.
pub const RUN_REOPENED: &str = "RunReopened";

/// A Secret named in the resource does not exist.
pub const SECRET_MISSING: &str = "SecretMissing";
/// A Secret lacks a key, or its value is empty.
pub const SECRET_INCOMPLETE: &str = "SecretIncomplete";
/// A ConfigMap named in the resource does not exist or lacks the key.
pub const CONFIG_MAP_MISSING: &str = "ConfigMapMissing";
/// The object named in spec.source.caBundle or spec.destination.caBundle does not exist or holds no certificate.
pub const CA_BUNDLE_INVALID: &str = "CaBundleInvalid";
/// The spec passes the schema but can't be used.
pub const SPEC_INVALID: &str = "SpecInvalid";
/// The queue of spec.queue.url has no redrive policy.
pub const DEAD_LETTERS_MISSING: &str = "QueueDeadLettersMissing";
/// Another job uses the same queue; the younger of the two waits.
pub const QUEUE_SHARED: &str = "QueueShared";
/// The table's keys differ from the ledger's.
pub const TABLE_SCHEMA_WRONG: &str = "LedgerSchemaWrong";
/// A record in the ledger can't be read.
pub const LEDGER_RECORD_UNREADABLE: &str = "LedgerRecordUnreadable";
/// Kubernetes rejects a resource that the job needs.
pub const APPLY_FAILED: &str = "ApplyFailed";
/// A resource that the job needs belongs to somebody else; the message names it and the remedy.
pub const NAME_TAKEN: &str = "NameTaken";
/// A resource with a name that the job needs is being deleted; the job continues by itself.
pub const NAME_NOT_FREE_YET: &str = "NameNotFreeYet";
/// Kubernetes can't create a Job from the schedule.
pub const JOB_FAILED_CREATE: &str = "JobFailedCreate";
/// A jobsender failed permanently.
pub const JOBSENDER_FAILED: &str = "JobsenderFailed";
/// A pod of the job can't start; the rest of the reason is Kubernetes' own.
pub const POD_PREFIX: &str = "Pod";

/// Returns the reason for a side's fault, such as `DestinationCredentialsInvalid`, `SourceBucketNotFound`,
/// `QueueNotFound`.
pub fn side_fault(side: migration_core::error::Side, fault: migration_core::error::SideFault) -> String {
    use migration_core::error::{Side, SideFault};
    let (side, bucket) = match side {
        Side::Source => ("Source", "Bucket"),
        Side::Destination => ("Destination", "Bucket"),
        Side::Queue => ("Queue", ""),
        Side::Ledger => ("Ledger", ""),
    };
    match fault {
        SideFault::NotFound => format!("{side}{bucket}NotFound"),
        SideFault::CredentialsInvalid => format!("{side}CredentialsInvalid"),
        SideFault::CredentialsExpired => format!("{side}CredentialsExpired"),
        SideFault::CredentialsMissing => format!("{side}CredentialsMissing"),
        SideFault::AccessDenied => format!("{side}AccessDenied"),
        SideFault::WrongRegion => format!("{side}WrongRegion"),
        SideFault::ClockSkewed => format!("{side}ClockSkewed"),
        SideFault::Unreachable => format!("{side}Unreachable"),
        SideFault::Throttled => format!("{side}Throttled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::{Side, SideFault};

    #[test]
    fn a_fault_names_side_and_kind() {
        for (side, fault, expected) in [
            (Side::Source, SideFault::NotFound, "SourceBucketNotFound"),
            (Side::Queue, SideFault::NotFound, "QueueNotFound"),
            (Side::Destination, SideFault::CredentialsInvalid, "DestinationCredentialsInvalid"),
            (Side::Ledger, SideFault::AccessDenied, "LedgerAccessDenied"),
        ] {
            assert_eq!(side_fault(side, fault), expected);
        }
    }
}
