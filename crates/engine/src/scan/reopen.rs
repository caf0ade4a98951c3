//! Finds what a run still lacks after its messages were lost, by comparing the ends of its batches with its ranges.

use migration_core::ports::Ledger;
use migration_core::records::{BATCH_PREFIX, BatchEnd, Counters, RangeRecord, RunRecord, run_partition};
use migration_core::reopen::{self, Ends};
use migration_core::view::ViewError;
use tracing::{info, warn};

use super::ScanError;
use crate::{Process, Services};

/// Ends per request.
const PAGE: u32 = 1_000;

/// Decides which ranges of a run being taken over are scanned again. Reads all ends of its batches once; memory grows
/// with the number of ranges, not of batches.
pub(super) async fn reopen<P: Services>(
    process: &Process<P>,
    record: RunRecord,
    ranges: &[RangeRecord],
) -> Result<RunRecord, ScanError> {
    let partition = run_partition(&process.config.job.uid, &record.run);
    let (mut ends, mut after) = (Ends::default(), None::<String>);
    loop {
        let query = || process.ports.ledger.query(&partition, BATCH_PREFIX, after.as_deref(), PAGE);
        let page = process.ledger(query).await?;
        for item in &page.items {
            let end: BatchEnd = item.read().map_err(ViewError::from)?;
            match end.id.place() {
                Some((range, _)) if !record.is_stale(&end.id) => ends.add(range, &Counters::of(&end)),
                _ => {}
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let reopened = reopen::reopen(record, ranges, &ends);
    let begun = reopened.reopened.last().map_or(0, |reopening| reopening.ranges.len());
    warn!(run = reopened.run, begun, of = ranges.len(), "messages were lost: scanning the ranges that lack ends again");
    info!(kept = reopened.kept.batches, "keeping the ends of the other ranges");
    Ok(reopened)
}
