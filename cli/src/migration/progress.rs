//! The numbers of a run, from the ledger and from what this process did since it began.

use migration_core::progress::RunProgress;
use migration_engine::run::look::RunView;

use crate::event::Progress;
use crate::tracker::Tracked;

/// Returns the state of a live run: what earlier processes recorded, and what this one did since.
pub(super) fn progress_of(view: &RunView, before: Option<&RunProgress>, tracked: &Tracked) -> Progress {
    let now = view.progress().unwrap_or_default();
    let before = before.copied().unwrap_or_default();
    let counts = &view.record.scan.counts;
    // This process may see an object twice: never more than there is.
    let done = (before.done + tracked.done).max(now.done).min(now.objects);
    let done_bytes = (before.done_bytes + tracked.done_bytes).max(now.done_bytes).min(now.bytes);
    let left = now.bytes.saturating_sub(done_bytes + now.failed_bytes);
    let scanned = view.record.scan.closed;
    Progress {
        scanned,
        listed: counts.objects + counts.failed + counts.in_place + counts.ignored + counts.gone,
        objects: now.objects,
        bytes: now.bytes,
        done,
        done_bytes,
        skipped: now.skipped,
        failed: now.failed.max(before.failed + tracked.failed),
        failed_bytes: now.failed_bytes,
        rate: tracked.rate,
        eta_seconds: left.checked_div(tracked.rate).filter(|_| scanned),
        in_transfer: tracked.in_transfer.clone(),
    }
}

/// Returns the numbers of a run that has ended, from the ledger alone.
pub(super) fn final_progress(view: &RunView, tracked: &Tracked) -> Progress {
    let recorded = view.progress().unwrap_or_default();
    let nothing = Tracked { rate: tracked.rate, ..Tracked::default() };
    let progress = progress_of(view, None, &nothing);
    Progress {
        done: recorded.done,
        done_bytes: recorded.done_bytes,
        failed: recorded.failed,
        eta_seconds: None,
        ..progress
    }
}
