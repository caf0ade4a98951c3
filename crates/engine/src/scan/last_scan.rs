//! The last complete scan before a run.

use migration_core::records::{self, RecordError, RunRecord};
use migration_ledger::Pager;
use tracing::warn;

use super::ScanError;
use crate::{Process, Services};

/// The last run before this one whose scan was complete. Those of work lists say nothing of other objects. A run that can't
/// be read is an error where it may have been that one: by an earlier run's start, or by none, objects would be taken for
/// in place that it failed to move. One that is older than the last complete one is left out.
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
                // Runs come in the order of their ids, which is that of their starts.
                Err(error) => unreadable = Some(error),
            }
        }
    }
    match (unreadable, &last) {
        (Some(error), Some(last)) if error.key.sort < records::run_key(&process.config.job.uid, &last.run).sort => {
            warn!(%error, "a run before the last complete one can't be read");
        }
        (Some(error), _) => return Err(error.into()),
        (None, _) => {}
    }
    Ok(last)
}
