//! `jobsender send`: scans both sides for a run.

use std::sync::Arc;

use migration_core::size;
use migration_engine::heartbeat;
use migration_engine::scan::{self, ManifestError, Purpose, ScanError, ScanOutcome, SenderName};

use crate::exit::{End, FAILED, UNUSABLE};
use crate::setup::{AwsProcess, Common};

/// Scans both sides as a run and sends the differences.
pub(crate) async fn send(process: AwsProcess, common: &Common, purpose: &Purpose) -> Result<ScanOutcome, ScanError> {
    let process = Arc::new(process);
    let name = sender_name(common, &process);
    heartbeat::during(&process, scan::send_for(process.clone(), &name, purpose)).await
}

fn sender_name(common: &Common, process: &AwsProcess) -> SenderName {
    SenderName {
        started_by: common.job_name.clone().unwrap_or_else(|| process.runtime.name.clone()),
        new_run: migration_program::new_run_id(),
    }
}

/// Maps the outcome of a scan to the result of the program.
pub(crate) fn report_send(result: Result<ScanOutcome, ScanError>) -> End {
    let (reason, message, code) = match result {
        Ok(ScanOutcome::Sent { run, counts }) => {
            let message = format!(
                "run {run}: {} objects of {} sent in {} batches; {} in place, {} ignored, {} failed",
                counts.objects,
                size::human(counts.bytes),
                counts.batches,
                counts.in_place,
                counts.ignored,
                counts.failed
            );
            ("Sent", message, 0)
        }
        Ok(ScanOutcome::AlreadySent { run }) => ("AlreadySent", format!("run {run} has already been sent"), 0),
        Ok(ScanOutcome::RunIsLive { run }) => {
            ("RunIsLive", format!("run {run} is still in progress; the next one starts after it"), 0)
        }
        Ok(ScanOutcome::OtherSides { run }) => {
            let message = format!(
                "run {run} is still in progress with the previous source and destination; the next one starts after it"
            );
            ("RunIsLive", message, 0)
        }
        // A retry would read the same list.
        Err(ScanError::Manifest(error)) if !matches!(*error, ManifestError::Service { .. }) => {
            ("ManifestInvalid", error.to_string(), UNUSABLE)
        }
        Err(error) => ("ScanFailed", error.to_string(), FAILED),
    };
    End { reason, message, code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::{ErrorClass, ServiceError};

    #[test]
    fn a_list_that_can_not_be_used_is_not_tried_again() {
        let (bucket, key) = (String::from("b"), String::from("k"));
        let end = report_send(Err(ManifestError::Missing { bucket: bucket.clone(), key: key.clone() }.into()));
        assert_eq!((end.reason, end.code), ("ManifestInvalid", UNUSABLE));
        let source = ServiceError::new(ErrorClass::Transient, "get object", "InternalError", "later");
        let end = report_send(Err(ManifestError::Service { bucket, key, source }.into()));
        assert_eq!((end.reason, end.code), ("ScanFailed", FAILED));
    }
}
