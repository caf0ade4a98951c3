//! Types and reasons of conditions, and reasons of events. Scripts may rely on them.

/// The job's prerequisites are there and its parts are applied.
pub const READY: &str = "Ready";
/// A run is under way.
pub const PROGRESSING: &str = "Progressing";
/// Something keeps the job from working; the reason says what, the message what to do.
pub const DEGRADED: &str = "Degraded";
/// The last run ended with every object in place, and no other is under way.
pub const COMPLETE: &str = "Complete";
/// The last run was verified, and the copy is whole.
pub const VERIFIED: &str = "Verified";
/// The report of the last run is written, and every object that it is about is in it.
pub const REPORTED: &str = "Reported";
/// The job is suspended.
pub const SUSPENDED: &str = "Suspended";

/// Nothing is wrong.
pub const AS_EXPECTED: &str = "AsExpected";
/// Queue, table and all that runs in the cluster are in place.
pub const RESOURCES_APPLIED: &str = "ResourcesApplied";
/// What the job needs is missing or refused; the condition Degraded says what.
pub const PREREQUISITES_MISSING: &str = "PrerequisitesMissing";
/// No run was yet.
pub const NO_RUN_YET: &str = "NoRunYet";
/// A run was asked for and has not begun.
pub const RUN_STARTING: &str = "RunStarting";
/// The buckets are listed.
pub const SCANNING: &str = "Scanning";
/// The scan stands still until the workers have done more.
pub const SCAN_WAITING: &str = "ScanWaiting";
/// Objects are moved.
pub const TRANSFERRING: &str = "Transferring";
/// The run ended; every object is in place.
pub const RUN_COMPLETE: &str = "RunComplete";
/// The run ended; some objects could not be moved.
pub const OBJECTS_FAILED: &str = "ObjectsFailed";
/// The run could not be ended.
pub const RUN_FAILED: &str = "RunFailed";
/// Both sides are looked at once more.
pub const VERIFYING: &str = "Verifying";
/// The copy is whole.
pub const COPY_WHOLE: &str = "CopyWhole";
/// Objects are missing at the destination, or have another content there.
pub const COPY_DIFFERS: &str = "CopyDiffers";
/// The verification could not be ended.
pub const VERIFY_FAILED: &str = "VerifyFailed";
/// The report is being written.
pub const REPORT_BEING_WRITTEN: &str = "ReportBeingWritten";
/// The report is written.
pub const REPORT_WRITTEN: &str = "ReportWritten";
/// The report is written, and objects are missing in it.
pub const REPORT_INCOMPLETE: &str = "ReportIncomplete";
/// The report could not be written.
pub const REPORT_FAILED: &str = "ReportFailed";
/// spec.suspend is true.
pub const SUSPENDED_BY_USER: &str = "SuspendedByUser";
/// spec.suspend is false.
pub const NOT_SUSPENDED: &str = "NotSuspended";

/// The last run was not over at spec.limits.runDeadline.
pub const RUN_DEADLINE_EXCEEDED: &str = "RunDeadlineExceeded";
/// Messages of the run were lost: what lacks its end is listed and sent again.
pub const RUN_REOPENED: &str = "RunReopened";

/// A Secret that the resource names is not there.
pub const SECRET_MISSING: &str = "SecretMissing";
/// A Secret lacks a key, or has it empty.
pub const SECRET_INCOMPLETE: &str = "SecretIncomplete";
/// A ConfigMap that the resource names is not there, or lacks the key.
pub const CONFIG_MAP_MISSING: &str = "ConfigMapMissing";
/// What spec.source.caBundle or spec.destination.caBundle names is not there, or holds no certificate.
pub const CA_BUNDLE_INVALID: &str = "CaBundleInvalid";
/// The specification passes the schema and still can't be used.
pub const SPEC_INVALID: &str = "SpecInvalid";
/// The queue of spec.queue.url has no redrive policy.
pub const DEAD_LETTERS_MISSING: &str = "QueueDeadLettersMissing";
/// Another job has the same queue: the younger of the two waits.
pub const QUEUE_SHARED: &str = "QueueShared";
/// The table has other keys than the ledger's.
pub const TABLE_SCHEMA_WRONG: &str = "LedgerSchemaWrong";
/// What stands in the ledger can't be read.
pub const LEDGER_RECORD_UNREADABLE: &str = "LedgerRecordUnreadable";
/// Kubernetes refuses something that the job needs.
pub const APPLY_FAILED: &str = "ApplyFailed";
/// What the job needs to call its own is somebody else's; the message names it and what can be done.
pub const NAME_TAKEN: &str = "NameTaken";
/// What has the name that the job needs is on its way out; the job goes on by itself.
pub const NAME_NOT_FREE_YET: &str = "NameNotFreeYet";
/// Kubernetes makes no Job of the schedule.
pub const JOB_FAILED_CREATE: &str = "JobFailedCreate";
/// A jobsender failed for good.
pub const JOBSENDER_FAILED: &str = "JobsenderFailed";
/// A pod of the job can't start; what comes after the prefix is Kubernetes' own reason.
pub const POD_PREFIX: &str = "Pod";

/// Reason of a side's fault: `DestinationCredentialsInvalid`, `SourceBucketNotFound`, `QueueNotFound`.
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
