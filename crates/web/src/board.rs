//! The jobs that are shown, with their series. Whoever knows the jobs writes them here; requests read.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::series::{Columns, Point, Series};
use crate::view::{JobName, JobRow, JobView};

/// Most jobs on a board. Further ones are counted.
pub const MOST_JOBS: usize = 1_000;

/// What tells readers that something has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Number of changes so far.
    pub number: u64,
    /// True once nothing will change any more.
    pub is_last: bool,
}

/// The jobs. Clones are the same board.
#[derive(Clone, Debug)]
pub struct Board {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<Change>,
    since: i64,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<JobName, Entry>,
    left_out: usize,
    is_complete: bool,
}

#[derive(Debug)]
struct Entry {
    view: Arc<JobView>,
    last: Point,
    /// Of the run that the view names.
    series: Series,
}

impl Entry {
    fn new(view: JobView, now: i64) -> Self {
        let mut series = Series::default();
        let last = Point::of(&view, now);
        series.push(last);
        Self { view: Arc::new(view), last, series }
    }

    /// Replaces the view by that of `now`.
    fn update(&mut self, view: JobView, now: i64) {
        if self.view.run != view.run {
            *self = Self::new(view, now);
            return;
        }
        let point = Point::of(&view, now);
        let is_idle = !view.phase.is_moving() && self.last.is_like(&point);
        // Days in which nothing moves would thin out the hours in which something did.
        if !is_idle || !self.series.ends_with(&point) {
            if !is_idle && !self.view.phase.is_moving() {
                // So it was until now: no slope over the time without points.
                self.series.push(self.last.moved_to(now - 1));
            }
            self.series.push(point);
        }
        if !is_idle {
            self.last = point;
        }
        self.view = Arc::new(view);
    }
}

/// A list of jobs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JobList<'a> {
    /// When the first numbers were seen, as Unix time in milliseconds.
    since: i64,
    /// False until all jobs have been read once.
    is_complete: bool,
    jobs: Vec<JobRow<'a>>,
    /// Jobs that are not on the board.
    left_out: usize,
}

/// A job with its latest point.
#[derive(Serialize)]
struct JobNow<'a> {
    job: &'a JobView,
    point: Columns,
}

/// A job with its series.
#[derive(Serialize)]
struct JobPage<'a> {
    since: Option<i64>,
    job: &'a JobView,
    series: Columns,
}

impl Board {
    /// Creates an empty board at a time, in milliseconds since 1970.
    pub fn new(now: i64) -> Self {
        Self { state: Arc::default(), changes: watch::Sender::default(), since: now }
    }

    /// Replaces all jobs by these, as they are at `now`, and adds a point to the series of each that moves or changed.
    /// The series of a job is that of its run: the next one begins anew.
    pub fn set(&self, mut views: Vec<JobView>, now: i64) {
        let mut state = self.lock();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        state.left_out = views.len().saturating_sub(MOST_JOBS);
        views.truncate(MOST_JOBS);
        let names: BTreeSet<_> = views.iter().map(|view| &view.name).collect();
        state.jobs.retain(|name, _| names.contains(name));
        for view in views {
            match state.jobs.entry(view.name.clone()) {
                btree_map::Entry::Occupied(mut entry) => entry.get_mut().update(view, now),
                btree_map::Entry::Vacant(entry) => {
                    entry.insert(Entry::new(view, now));
                }
            }
        }
        state.is_complete = true;
        drop(state);
        self.changes.send_modify(|change| change.number += 1);
    }

    /// Tells readers that nothing will change any more.
    pub fn close(&self) {
        self.changes.send_modify(|change| change.is_last = true);
    }

    /// Returns true once all jobs have been read.
    pub fn is_complete(&self) -> bool {
        self.lock().is_complete
    }

    /// Returns what tells about changes.
    pub fn subscribe(&self) -> watch::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Returns a job.
    pub fn job(&self, name: &JobName) -> Option<Arc<JobView>> {
        self.lock().jobs.get(name).map(|entry| entry.view.clone())
    }

    /// Returns the jobs of a namespace, or of all, in JSON.
    pub fn list(&self, namespace: Option<&str>) -> String {
        let state = self.lock();
        let is_shown = |name: &JobName| namespace.is_none_or(|namespace| name.namespace == namespace);
        let shown = state.jobs.iter().filter(|(name, _)| is_shown(name));
        json(&JobList {
            since: self.since,
            is_complete: state.is_complete,
            jobs: shown.map(|(_, entry)| JobRow::from(&*entry.view)).collect(),
            left_out: state.left_out,
        })
    }

    /// Returns a job with its series, in JSON.
    pub fn page(&self, name: &JobName) -> Option<String> {
        let state = self.lock();
        let Entry { view, series, .. } = state.jobs.get(name)?;
        Some(json(&JobPage { since: series.since(), job: view, series: series.columns() }))
    }

    /// Returns a job with its latest point, in JSON.
    pub fn now(&self, name: &JobName) -> Option<String> {
        let state = self.lock();
        let Entry { view, last, .. } = state.jobs.get(name)?;
        Some(json(&JobNow { job: view, point: [last].into_iter().collect() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // If another thread panicked, one job shows older numbers.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json<T: Serialize>(value: &T) -> String {
    // Maps with other keys than texts are what can't be serialized, and there are none.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::view::{Numbers, Phase};

    pub(crate) fn view(namespace: &str, name: &str, done: u64) -> JobView {
        JobView {
            name: JobName { namespace: namespace.into(), name: name.into() },
            phase: Phase::Transferring,
            message: None,
            pairs: Vec::new(),
            more_pairs: 0,
            run: Some("r".into()),
            numbers: Some(Numbers { objects: 10, done, ..Numbers::default() }),
            rate: 5,
            eta_seconds: None,
            queue: None,
            workers: None,
            runs: Vec::new(),
            verification: None,
            plan: None,
        }
    }

    fn read(text: &str) -> serde_json::Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_board_shows_the_jobs_of_a_namespace_and_forgets_those_that_are_gone() {
        let board = Board::new(7);
        let mut changes = board.subscribe();
        assert_eq!(read(&board.list(None))["isComplete"], false);
        board.set(vec![view("b", "x", 1), view("a", "y", 2)], 1_000);
        assert!(changes.has_changed().unwrap() && changes.borrow_and_update().number == 1);
        let all = read(&board.list(None));
        assert_eq!(
            (&all["since"], &all["jobs"][0]["name"], &all["jobs"][1]["name"]),
            (&7.into(), &"y".into(), &"x".into())
        );
        assert_eq!(read(&board.list(Some("b")))["jobs"].as_array().unwrap().len(), 1);
        assert_eq!(read(&board.list(Some("c")))["jobs"].as_array().unwrap().len(), 0);
        board.set(vec![view("b", "x", 4)], 2_000);
        let name = JobName { namespace: "b".into(), name: "x".into() };
        let page = read(&board.page(&name).unwrap());
        assert_eq!((&page["since"], &page["series"]["done"]), (&1_000.into(), &serde_json::json!([1, 4])));
        assert_eq!(read(&board.now(&name).unwrap())["point"]["done"], serde_json::json!([4]));
        assert!(board.job(&JobName { namespace: "a".into(), name: "y".into() }).is_none());
    }

    fn name() -> JobName {
        JobName { namespace: "n".into(), name: "j".into() }
    }

    #[test]
    fn days_without_a_run_leave_its_series_as_it_was() {
        let board = Board::new(0);
        let series = || read(&board.page(&name()).unwrap())["series"].clone();
        for second in 0..2_000 {
            board.set(vec![view("n", "j", second)], i64::try_from(second * 1_000).unwrap());
        }
        let during = series()["at"].as_array().unwrap().len();
        let ended = || JobView { phase: Phase::Complete, rate: 0, ..view("n", "j", 2_000) };
        for second in 2_000..100_000 {
            board.set(vec![ended()], second * 1_000);
        }
        let after = series();
        assert_eq!(after["at"].as_array().unwrap().len(), during + 1, "the end, and nothing after it");
        assert_eq!(after["done"].as_array().unwrap().last(), Some(&2_000.into()));
        assert_eq!(read(&board.now(&name()).unwrap())["point"]["at"], serde_json::json!([2_000_000]));
    }

    #[test]
    fn the_next_run_has_a_series_of_its_own() {
        let board = Board::new(0);
        board.set(vec![view("n", "j", 9)], 1_000);
        board.set(vec![JobView { run: Some("next".into()), ..view("n", "j", 1) }], 2_000);
        let page = read(&board.page(&name()).unwrap());
        assert_eq!((&page["since"], &page["series"]["done"]), (&2_000.into(), &serde_json::json!([1])));
    }

    #[test]
    fn a_board_is_bounded_and_says_what_it_leaves_out() {
        let board = Board::new(0);
        board.set((0..=MOST_JOBS).map(|number| view("n", &format!("j{number:05}"), 0)).collect(), 0);
        let list = read(&board.list(None));
        assert_eq!((list["jobs"].as_array().unwrap().len(), &list["leftOut"]), (MOST_JOBS, &1.into()));
    }
}
