//! A range of keys being scanned: state shared by the tasks that list, split and record it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use migration_core::mutants::{Mutant, is_active};
use migration_core::object::ListedObject;
use migration_core::pair::BucketPair;
use migration_core::range::KeyRange;
use migration_core::range_split::{Alphabet, CutSearch, Rest, pages_left};
use migration_core::records::{RangeRecord, RunRecord, ScanCounts};
use tokio::sync::Notify;

/// Pages after which a listing counts as long. Shorter ones are never split, so small buckets cost no probes.
const LONG: u64 = 4;
/// Keys of a page that are sampled for the alphabet of keys.
const SEEN_OF_A_PAGE: usize = 100;
/// Minimum number of remaining pages that is worth the probes and records of a split.
pub(super) const WORTH_CUTTING: f64 = 8.0;

/// A checkpoint: all keys up to here were processed and their differences are in the queue. With the counts so far.
pub(super) type Mark = (String, ScanCounts);

/// A range of keys being scanned.
pub(super) struct OpenRange {
    pub(super) number: u32,
    /// Index of the pair in the run.
    pub(super) pair_number: u32,
    pub(super) pair: BucketPair,
    pub(super) run: String,
    pub(super) epoch: u32,
    /// The listing begins after this source key.
    pub(super) begin: Option<String>,
    /// Counts of the keys before that.
    pub(super) before: ScanCounts,
    checkpoint_due: AtomicBool,
    moved: Arc<Notify>,
    state: Mutex<RangeState>,
}

#[derive(Default)]
struct RangeState {
    until: Option<String>,
    /// Last source key of the last page, and of the page before it.
    frontier: Option<String>,
    page_before: Option<String>,
    pages: u64,
    /// Number of pages after which it can be split.
    cut_from: u64,
    /// Every key of the range has been listed.
    ended: bool,
    being_cut: bool,
    /// No keys were found between this and the end.
    top: Option<String>,
    /// Keys were found after this.
    beyond: Option<String>,
    alphabet: Alphabet,
    counts: ScanCounts,
    mark: Option<Mark>,
}

impl OpenRange {
    /// Creates the remainder of a recorded range, or `None` if its pair does not exist any more.
    pub(super) fn new(record: &RangeRecord, run: &RunRecord, moved: Arc<Notify>) -> Option<Self> {
        let KeyRange { after, until } = record.rest();
        let pair = run.pairs.get(usize::try_from(record.pair).ok()?)?.clone();
        Some(Self {
            number: record.range,
            pair_number: record.pair,
            pair,
            run: run.run.clone(),
            epoch: run.epoch,
            begin: after,
            before: record.counts,
            checkpoint_due: AtomicBool::new(false),
            moved,
            state: Mutex::new(RangeState { until, counts: record.counts, cut_from: LONG, ..RangeState::default() }),
        })
    }

    /// Marks the range as split off: its listing is known to be long, and the search knows the bounds of its last part.
    pub(super) fn cut_off(self, (top, beyond): (Option<String>, Option<String>)) -> Self {
        let mut state = self.state();
        state.cut_from = 1;
        state.top = top;
        state.beyond = beyond;
        drop(state);
        self
    }

    fn state(&self) -> MutexGuard<'_, RangeState> {
        // A panic elsewhere leaves the values consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the last source key that can be in the range. It never increases.
    pub(super) fn until(&self) -> Option<String> {
        self.state().until.clone()
    }

    /// Returns true if a key of the destination is after all keys that can be in the range.
    pub(super) fn is_behind(&self, destination_key: &str) -> bool {
        let until = self.until().and_then(|until| self.pair.map_bound(&until));
        until.is_some_and(|until| destination_key > until.as_str())
    }

    /// Takes a page of the source: its keys belong to this range from now on, and keys after the range are removed from
    /// the page. Returns true if the range continues after the page.
    pub(super) fn listed(&self, objects: &mut Vec<ListedObject>, more: bool) -> bool {
        let mut state = self.state();
        if let Some(until) = &state.until {
            let is_over = objects.last().is_some_and(|last| last.key >= *until);
            let within = |key: &String| if is_active(Mutant::CutKeyLost) { key < until } else { key <= until };
            objects.truncate(objects.partition_point(|object| within(&object.key)));
            state.ended = is_over;
        }
        state.ended |= !more;
        state.pages += 1;
        for object in objects.iter().rev().take(SEEN_OF_A_PAGE) {
            state.alphabet.see(&object.key);
        }
        if let Some(last) = objects.last() {
            state.page_before = state.frontier.replace(last.key.clone());
        }
        let goes_on = !state.ended;
        drop(state);
        self.moved.notify_one();
        goes_on
    }

    /// Publishes the counts so far.
    pub(super) fn found(&self, counts: ScanCounts) {
        self.state().counts = counts;
    }

    /// Returns the counts so far.
    pub(super) fn counts(&self) -> ScanCounts {
        self.state().counts
    }

    /// Requests a checkpoint from the task that scans the range.
    pub(super) fn want_checkpoint(&self) {
        self.checkpoint_due.store(true, Ordering::Relaxed);
    }

    /// Returns true if a checkpoint was requested, and clears the request.
    pub(super) fn is_checkpoint_due(&self) -> bool {
        self.checkpoint_due.load(Ordering::Relaxed) && self.checkpoint_due.swap(false, Ordering::Relaxed)
    }

    /// Stores a checkpoint.
    pub(super) fn mark(&self, position: String, counts: ScanCounts) {
        self.state().mark = Some((position, counts));
    }

    /// Takes the last checkpoint, if there is a new one.
    pub(super) fn take_mark(&self) -> Option<Mark> {
        self.state().mark.take()
    }

    /// Returns an estimate of the remaining pages, if the range can be split and is worth it.
    pub(super) fn worth_cutting(&self) -> Option<f64> {
        let state = self.state();
        if state.ended || state.being_cut || state.pages < state.cut_from {
            return None;
        }
        let frontier = state.frontier.as_deref()?;
        let before = state.page_before.as_ref().or(self.begin.as_ref());
        let left = before.map_or(f64::INFINITY, |before| pages_left(before, frontier, state.last(frontier)));
        (left >= WORTH_CUTTING).then_some(left)
    }

    /// Begins a search for splits into this many parts. No other search begins until [`Self::cut`] or
    /// [`Self::leave_whole`].
    pub(super) fn search(&self, parts: usize) -> Option<CutSearch> {
        let mut state = self.state();
        let frontier = state.frontier.clone()?;
        state.being_cut = true;
        let (high, beyond) = (state.last(&frontier), state.beyond.as_deref());
        let rest = Rest { low: &frontier, high, prefix: self.pair.source_prefix.len(), beyond };
        Some(CutSearch::new(&rest, state.alphabet, parts))
    }

    /// Ends the range at the first split key that the listing has not reached, and returns the other parts in order.
    /// Returns nothing if the listing has passed all split keys.
    pub(super) fn cut(&self, cuts: &[String]) -> Vec<KeyRange> {
        let mut state = self.state();
        state.being_cut = false;
        if state.ended {
            return Vec::new();
        }
        let mut left = KeyRange { after: state.frontier.clone(), until: state.until.clone() };
        let mut parts: Vec<KeyRange> = cuts.iter().rev().filter_map(|at| left.cut(at)).collect();
        parts.reverse();
        if !parts.is_empty() {
            state.until = left.until;
            state.top = None;
            state.beyond = None;
        }
        parts
    }

    /// Ends a search that found nothing to split. The next one begins after twice as many pages.
    pub(super) fn leave_whole(&self) {
        let mut state = self.state();
        state.being_cut = false;
        state.cut_from = state.pages * 2;
    }
}

impl RangeState {
    /// Returns the last key that there may be, as far as is known.
    fn last(&self, frontier: &str) -> Option<&str> {
        let top = self.top.as_deref().filter(|top| *top > frontier);
        // New keys may have been written after the former top.
        top.or(self.until.as_deref())
    }
}
