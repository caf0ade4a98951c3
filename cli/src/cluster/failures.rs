//! `s3migrate cluster failures`.

use std::io::Write;

use clap::Args;
use migration_api::MigrationJobStatus;
use migration_api::status::{ObjectFailure, RecordKind};
use serde::Serialize;

use super::ClusterError;
use super::jobs::Jobs;
use crate::exit::Exit;
use crate::table::{self, Output};

/// Arguments of `s3migrate cluster failures`.
#[derive(Args, Clone, Debug)]
pub struct FailuresArgs {
    /// Name of the MigrationJob.
    #[arg(value_name = "NAME")]
    job: String,
    /// Form of the output.
    #[arg(long, short, default_value = "table")]
    output: Output,
}

/// A failed object.
#[derive(Debug, Serialize)]
struct FailureRow<'a> {
    bucket: &'a str,
    key: &'a str,
    class: &'a str,
    message: &'a str,
}

impl<'a> From<&'a ObjectFailure> for FailureRow<'a> {
    fn from(failure: &'a ObjectFailure) -> Self {
        let ObjectFailure { bucket, key, class, message } = failure;
        Self { bucket, key, class, message }
    }
}

/// Prints the failures that the status has, and says if there are more.
pub async fn failures(args: &FailuresArgs, jobs: &Jobs, out: &mut (dyn Write + Send)) -> Result<Exit, ClusterError> {
    let status = jobs.get(&args.job).await?.status.unwrap_or_default();
    let rows: Vec<FailureRow<'_>> = status.failures.iter().map(Into::into).collect();
    table::write(out, &rows, args.output)?;
    if let Some(more) = more(&status) {
        eprintln!("s3migrate: {more}");
    }
    Ok(Exit::Done)
}

/// Says where the failures are that the status leaves out. Returns `None` if it has all of them.
fn more(status: &MigrationJobStatus) -> Option<String> {
    let shown = u64::try_from(status.failures.len()).unwrap_or(u64::MAX);
    let all = status.progress.as_ref().map_or(0, |progress| progress.objects.failed);
    let unreadable: u64 =
        status.unreadable.iter().filter(|records| records.kind == RecordKind::Failure).map(|found| found.number).sum();
    if all <= shown && unreadable == 0 {
        return None;
    }
    let table = status.resources.as_ref().and_then(|resources| resources.table.as_deref()).unwrap_or("of the job");
    let mut text = format!("these are {shown} of {all} failed objects; the ledger, table {table}, has all of them");
    if let Some(report) = &status.report {
        text = format!("{text}, and so has the report of run {}, {}", report.run, report.manifest);
    }
    if unreadable > 0 {
        text = format!("{text}; {unreadable} records can't be read");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_status_leaves_out_is_said() {
        let one = json!({"bucket": "b", "key": "k", "class": "Archived", "message": "restore it"});
        let counts = |failed: u64| json!({"total": 9, "done": 0, "skipped": 0, "failed": failed});
        let status = |failed: u64, more: serde_json::Value| {
            let mut status = json!({
                "failures": [one.clone()], "progress": {"objects": counts(failed), "bytes": counts(0)},
                "resources": {"table": "photos-ledger"},
            });
            status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<MigrationJobStatus>(status).unwrap()
        };
        assert_eq!(more(&status(1, json!({}))), None);
        assert_eq!(more(&MigrationJobStatus::default()), None);
        let all = more(&status(57, json!({}))).unwrap();
        assert_eq!(all, "these are 1 of 57 failed objects; the ledger, table photos-ledger, has all of them");
        let report = json!({"report": {
            "run": "r1", "writtenAt": "2026-01-01T00:00:00Z", "manifest": "s3://reports/r1/manifest.json",
            "succeeded": 0, "failed": 57, "unreported": 0,
        }});
        assert!(more(&status(57, report)).unwrap().ends_with("the report of run r1, s3://reports/r1/manifest.json"));
        let unreadable = json!({"unreadable": [{"kind": "Failure", "number": 3, "message": "no"}]});
        assert!(more(&status(1, unreadable)).unwrap().ends_with("; 3 records can't be read"));
    }
}
