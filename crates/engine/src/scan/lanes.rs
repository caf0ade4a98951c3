//! Scans several ranges at once, each in a lane. An idle lane splits the range with most keys left and takes the rest,
//! so that all lanes work until the end, however the keys are distributed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use migration_core::pair::MAX_KEY_BYTES;
use migration_core::range_split::{CutSearch, CutStep};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::debug;

use super::findings::ASKED_AT_ONCE;
use super::last_scan::last_scanned;
use super::listing::first_after;
use super::manifest::{Manifest, scan_rows};
use super::merge::{self, Scanner};
use super::range::{OpenRange, WORTH_CUTTING};
use super::run::Run;
use super::verdict::READ_AT_ONCE;
use super::{Purpose, ScanError};
use crate::log_context::inherit;
use crate::{Process, Services};

/// Result of a lane.
enum Ended {
    /// The range was closed.
    Closed(u32),
    /// A range was split into these further ranges; empty if it was left whole.
    Cut(Vec<Arc<OpenRange>>),
}

/// Scans every range that is not closed.
pub(super) async fn scan_all<P: Services>(
    process: &Arc<Process<P>>,
    purpose: &Purpose,
    run: &Arc<Run>,
) -> Result<(), ScanError> {
    let record = run.record().await;
    let last = last_scanned(process, &record).await?;
    let purpose = purpose.clone();
    let extras = AtomicU64::new(record.mirror.unwrap_or_default().deletions(run.counts().await.extra));
    let manifest = match &process.config.manifest {
        Some(location) => {
            let manifest = Manifest::open(process, location).await?;
            run.work_by(&manifest).await?;
            Some(Arc::new(manifest))
        }
        None => None,
    };
    let scanner = Arc::new(Scanner {
        process: process.clone(),
        purpose,
        last,
        run: run.clone(),
        extras,
        manifest,
        asking: Semaphore::new(ASKED_AT_ONCE),
        reading: Semaphore::new(READ_AT_ONCE),
    });
    let mut waiting: VecDeque<Arc<OpenRange>> = run.open().await.into();
    let mut under_work: BTreeMap<u32, Arc<OpenRange>> = BTreeMap::new();
    // Dropping this ends all lanes.
    let mut lanes = JoinSet::new();
    loop {
        while lanes.len() < process.ranges_in_flight {
            if let Some(range) = waiting.pop_front() {
                under_work.insert(range.number, range.clone());
                lanes.spawn(inherit(close_one(scanner.clone(), range)));
            } else if let Some((range, search)) = most_left(&under_work, process.ranges_in_flight - lanes.len()) {
                lanes.spawn(inherit(cut_one(scanner.clone(), range, search)));
            } else {
                break;
            }
        }
        tokio::select! {
            biased;
            ended = lanes.join_next() => match ended {
                None => return Ok(()),
                Some(ended) => match ended.map_err(|error| ScanError::Broken(error.to_string()))?? {
                    Ended::Closed(number) => drop(under_work.remove(&number)),
                    Ended::Cut(rest) => waiting.extend(rest),
                },
            },
            () = run.moved() => {}
        }
    }
}

/// Returns the range with most keys left, if it is worth splitting, and a search for as many parts as its share of the
/// idle lanes.
fn most_left(ranges: &BTreeMap<u32, Arc<OpenRange>>, idle: usize) -> Option<(Arc<OpenRange>, CutSearch)> {
    let worth: Vec<_> = ranges.values().filter_map(|range| Some((range.worth_cutting()?, range))).collect();
    let (left, range) = worth.iter().max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let mut parts = 1 + idle.div_ceil(worth.len());
    while parts > 2 && *left / WORTH_CUTTING < f64::from(u32::try_from(parts).unwrap_or(u32::MAX)) {
        parts -= 1;
    }
    Some((Arc::clone(range), range.search(parts)?))
}

async fn close_one<P: Services>(scanner: Arc<Scanner<P>>, range: Arc<OpenRange>) -> Result<Ended, ScanError> {
    debug!(range = range.number, after = range.begin, "scanning");
    let counts = match &scanner.manifest {
        Some(manifest) => scan_rows(&scanner, manifest, &range).await?,
        None => merge::scan_range(&scanner, &range).await?,
    };
    scanner.run.close_range(&scanner.process, &range, counts).await?;
    Ok(Ended::Closed(range.number))
}

async fn cut_one<P: Services>(
    scanner: Arc<Scanner<P>>,
    range: Arc<OpenRange>,
    mut search: CutSearch,
) -> Result<Ended, ScanError> {
    let mut step = search.begin();
    loop {
        match step {
            // Services need not accept keys longer than the maximum.
            CutStep::Probe(text) if text.len() > MAX_KEY_BYTES => step = CutStep::Nothing,
            CutStep::Probe(text) => {
                let found = first_after(&scanner.process, &range, &text).await?;
                let within = found.filter(|key| range.until().is_none_or(|until| *key <= until));
                step = search.answered(within.as_deref());
            }
            CutStep::Cut(cut) => return Ok(Ended::Cut(scanner.run.cut(&scanner.process, &range, cut).await?)),
            CutStep::Nothing => {
                range.leave_whole();
                return Ok(Ended::Cut(Vec::new()));
            }
        }
    }
}
