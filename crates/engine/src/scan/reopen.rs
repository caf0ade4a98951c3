//! Finds what a run still lacks after its messages were lost, by comparing the ends of its batches with its ranges.

use migration_core::records::{BATCH_PREFIX, BatchEnd, Counters, RangeRecord, RunRecord, run_partition};
use migration_core::reopen::{self, Ends};
use migration_ledger::Pager;
use tracing::{info, warn};

use super::ScanError;
use crate::{Process, Services};

/// Decides which ranges of a run that is being taken over are scanned again. Reads all ends of its batches once; memory
/// use grows with the number of ranges, not of batches. An end that cannot be read is an error, because ranges would be
/// kept with wrong totals.
pub(super) async fn reopen<P: Services>(
    process: &Process<P>,
    record: RunRecord,
    ranges: &[RangeRecord],
) -> Result<RunRecord, ScanError> {
    let partition = run_partition(&process.config.job.uid, &record.run);
    let (mut ends, mut pager) = (Ends::default(), Pager::all(partition, BATCH_PREFIX));
    while let Some(items) = pager.next_page(process).await? {
        for item in &items {
            let end: BatchEnd = item.read()?;
            match end.id.place() {
                Some((range, _)) if !record.is_stale(&end.id) => ends.add(range, &Counters::of(&end)),
                _ => {}
            }
        }
    }
    let reopened = reopen::reopen(record, ranges, &ends);
    let begun = reopened.reopened.last().map_or(0, |reopening| reopening.ranges.len());
    warn!(begun, of = ranges.len(), "messages were lost: scanning the ranges that lack ends again");
    info!(kept = reopened.kept.batches, "keeping the ends of the other ranges");
    Ok(reopened)
}
