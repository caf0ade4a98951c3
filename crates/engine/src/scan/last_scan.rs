//! Finds the last complete scan before a run.

use migration_core::records::{self, RecordError, RunRecord};
use migration_ledger::Pager;
use tracing::warn;

use super::ScanError;
use crate::{Process, Services};

/// Returns the last run before this one whose scan was complete. Runs over a work list are skipped, because they say
/// nothing about other objects. A run that cannot be read is an error if it may have been that run: with the start of
/// an earlier run, or of none, objects that it failed to copy would be treated as in place. An unreadable run that is
/// older than the last complete one is skipped.
pub(super) async fn last_scanned<P: Services>(
    process: &Process<P>,
    run: &RunRecord,
) -> Result<Option<RunRecord>, ScanError> {
    let job = records::job_partition(&process.config.job.uid);
    let (mut last, mut unreadable) = (None::<RunRecord>, None::<RecordError>);
    let mut pager = Pager::new(job, records::RUN_PREFIX, 100);
    while let Some(items) = pager.next_page(process).await? {
        for item in &items {
            match item.read::<RunRecord>() {
                Ok(other) if other.run == run.run || !other.scan.closed || other.listed_by_manifest => {}
                Ok(other) => last = last.into_iter().chain([other]).max_by_key(|run| run.started),
                // Runs are listed in the order of their IDs, which is the order of their starts.
                Err(error) => unreadable = Some(error),
            }
        }
    }
    match (unreadable, &last) {
        (Some(error), Some(last)) if error.key.sort < records::run_key(&process.config.job.uid, &last.run).sort => {
            warn!(%error, "failed to read record of a run before the last complete one");
        }
        (Some(error), _) => return Err(error.into()),
        (None, _) => {}
    }
    Ok(last)
}
