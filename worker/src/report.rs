//! `jobsender report`: writes the completion report of a run.

use std::sync::Arc;

use clap::Args;
use migration_engine::heartbeat;
use migration_engine::report::{self, ReportError};

use crate::exit::{End, FAILED};
use crate::setup::AwsProcess;

/// Arguments of `jobsender report`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// Run to report on. The last one by default.
    #[arg(long)]
    run: Option<String>,
}

/// Runs the subcommand.
pub(crate) async fn report(process: AwsProcess, args: &ReportArgs) -> End {
    let process = Arc::new(process);
    let now = migration_program::report_time();
    end_of(heartbeat::during(&process, report::write(&process, args.run.as_deref(), now)).await)
}

fn end_of(result: Result<migration_core::records::ReportRecord, ReportError>) -> End {
    match result {
        Ok(record) => {
            let (bucket, key) = (record.bucket, record.key);
            let numbers = format!("{} objects succeeded, {} failed", record.succeeded, record.failed);
            let missing = match record.unreported {
                0 => String::new(),
                unreported => format!("; {unreported} are missing in it"),
            };
            End { reason: "Reported", message: format!("s3://{bucket}/{key}: {numbers}{missing}"), code: 0 }
        }
        Err(error) => End { reason: "ReportFailed", message: error.to_string(), code: FAILED },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::records::ReportRecord;

    #[test]
    fn what_is_missing_is_said() {
        let record = ReportRecord { bucket: "b".into(), key: "k".into(), succeeded: 3, ..ReportRecord::default() };
        assert_eq!(end_of(Ok(record.clone())).message, "s3://b/k: 3 objects succeeded, 0 failed");
        let end = end_of(Ok(ReportRecord { unreported: 2, ..record }));
        assert!(end.message.ends_with("; 2 are missing in it") && end.code == 0, "{}", end.message);
        assert_eq!(end_of(Err(ReportError::NoRun)).code, FAILED);
    }
}
