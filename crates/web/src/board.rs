//! The jobs that are shown, with their series. Whoever knows the jobs writes them here; requests read.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::series::{Columns, Point, Series};
use crate::view::{JobName, JobRow, JobView};

/// Most jobs in a list. Further ones are counted.
pub const MOST_JOBS: usize = 1_000;
/// Most jobs that have a series.
pub const MOST_SERIES: usize = 1_000;

/// What tells readers that something has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Number of changes so far.
    pub number: u64,
    /// True once nothing will change any more.
    pub is_last: bool,
}

/// What a look at something that is followed finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is as it was sent.
    Same,
    /// What has changed of it, in JSON; at first all of it.
    News(String),
    /// It is not there any more.
    Gone,
}

/// What was sent of a job last.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its view.
    pub view: Arc<JobView>,
    /// Its latest point.
    pub last: Point,
}

/// The jobs. Clones are the same board.
#[derive(Clone, Debug)]
pub struct Board {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<Change>,
    since: i64,
    /// Tells the numbers of this process from those of others, such as the one before it.
    epoch: Arc<str>,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<JobName, Entry>,
    /// Number of jobs that have a series.
    with_series: usize,
    is_complete: bool,
}

#[derive(Debug)]
struct Entry {
    view: Arc<JobView>,
    last: Point,
    /// Of the run that the view names.
    series: Series,
}

impl State {
    /// Replaces the view of a job by that of `now`. Returns true if it or its latest point is another one.
    fn put(&mut self, view: JobView, now: i64) -> bool {
        let had_points = self.jobs.get(&view.name).is_some_and(|entry| !entry.series.is_empty());
        let has_room = || self.with_series < MOST_SERIES;
        let has_series = had_points || has_room() || (view.phase.is_moving() && self.make_room());
        let before = self.jobs.get(&view.name).map(|entry| (entry.view.clone(), entry.last));
        let entry = self.jobs.entry(view.name.clone()).or_insert_with(|| Entry::new(&view, now));
        entry.update(view, now, has_series);
        self.with_series += usize::from(!had_points && !entry.series.is_empty());
        before.is_none_or(|(view, last)| view != entry.view || last != entry.last)
    }

    /// Drops the series of a job that does not move. Returns false if there is none.
    fn make_room(&mut self) -> bool {
        let mut others = self.jobs.values_mut();
        let Some(other) = others.find(|entry| !entry.series.is_empty() && !entry.view.phase.is_moving()) else {
            return false;
        };
        other.series = Series::default();
        self.with_series -= 1;
        true
    }
}

impl Entry {
    fn new(view: &JobView, now: i64) -> Self {
        Self { view: Arc::new(view.clone()), last: Point::of(view, now), series: Series::default() }
    }

    /// Replaces the view by that of `now`.
    fn update(&mut self, view: JobView, now: i64, has_series: bool) {
        if self.view.run != view.run {
            *self = Self::new(&view, now);
        }
        let point = Point::of(&view, now);
        let is_idle = !view.phase.is_moving() && self.last.is_like(&point);
        // Days in which nothing moves would thin out the hours in which something did.
        if has_series && (!is_idle || !self.series.ends_with(&point)) {
            if !is_idle && !self.view.phase.is_moving() && !self.series.is_empty() {
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
    /// Further jobs of what the list is of.
    left_out: usize,
}

/// What is new of a job.
#[derive(Serialize)]
struct JobNews<'a> {
    /// The job, if something of it has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a JobView>,
    /// The latest point.
    point: Columns,
}

/// A job with its series.
#[derive(Serialize)]
struct JobPage<'a> {
    /// Another one in each process: a series of another epoch does not continue this one.
    epoch: &'a str,
    since: Option<i64>,
    job: &'a JobView,
    series: Columns,
}

impl Board {
    /// Creates an empty board at a time, in milliseconds since 1970.
    pub fn new(now: i64) -> Self {
        // Its seeds are random.
        let epoch = format!("{:016x}", RandomState::new().hash_one(now));
        Self { state: Arc::default(), changes: watch::Sender::default(), since: now, epoch: epoch.into() }
    }

    /// Replaces all jobs by these, as they are at `now`, and adds a point to the series of each that moves or changed.
    /// The series of a job is that of its run: the next one begins anew. Tells readers if something has changed.
    pub fn set(&self, views: Vec<JobView>, now: i64) {
        let mut state = self.lock();
        let names: BTreeSet<_> = views.iter().map(|view| &view.name).collect();
        let mut is_changed = !state.is_complete || state.jobs.keys().any(|name| !names.contains(name));
        state.jobs.retain(|name, _| names.contains(name));
        state.with_series = state.jobs.values().filter(|entry| !entry.series.is_empty()).count();
        for view in views {
            is_changed |= state.put(view, now);
        }
        state.is_complete = true;
        drop(state);
        if is_changed {
            self.changes.send_modify(|change| change.number += 1);
        }
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
        // What is left out is of those that are asked for: nothing of one namespace depends on the others.
        let shown = state.jobs.iter().filter(|(name, _)| is_shown(name));
        json(&JobList {
            since: self.since,
            is_complete: state.is_complete,
            left_out: shown.clone().count().saturating_sub(MOST_JOBS),
            jobs: shown.take(MOST_JOBS).map(|(_, entry)| JobRow::from(&*entry.view)).collect(),
        })
    }

    /// Returns a job with its series, in JSON.
    pub fn page(&self, name: &JobName) -> Option<String> {
        self.lock().jobs.get(name).map(|entry| self.page_of(entry))
    }

    fn page_of(&self, Entry { view, series, .. }: &Entry) -> String {
        json(&JobPage { epoch: &self.epoch, since: series.since(), job: view, series: series.columns() })
    }

    /// Returns what is new of a job to whom this was sent last: the whole page at first and for another run, then the
    /// latest point, with the job if that has changed.
    pub fn news(&self, name: &JobName, sent: &mut Option<Sent>) -> Seen {
        let state = self.lock();
        let Some(entry) = state.jobs.get(name) else { return Seen::Gone };
        let now = Sent { view: entry.view.clone(), last: entry.last };
        let before = sent.replace(now).filter(|before| before.view.run == entry.view.run);
        let Some(before) = before else { return Seen::News(self.page_of(entry)) };
        let job = (before.view != entry.view).then_some(&*entry.view);
        if job.is_none() && before.last == entry.last {
            return Seen::Same;
        }
        Seen::News(json(&JobNews { job, point: [&entry.last].into_iter().collect() }))
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
        assert_eq!(board.lock().jobs[&name()].last.at, 2_000_000);
    }

    #[test]
    fn readers_are_told_of_changes_alone() {
        let board = Board::new(0);
        let mut changes = board.subscribe();
        let mut is_told = |views: Vec<JobView>, now| {
            board.set(views, now);
            let is_told = changes.has_changed().unwrap();
            changes.mark_unchanged();
            is_told
        };
        let ended = |done| JobView { phase: Phase::Complete, ..view("n", "j", done) };
        assert!(is_told(vec![], 1_000), "there are none");
        assert!(!is_told(vec![], 2_000));
        assert!(is_told(vec![ended(1)], 3_000));
        assert!(!is_told(vec![ended(1)], 4_000));
        assert!(is_told(vec![ended(2)], 5_000));
        assert!(is_told(vec![], 6_000), "it is gone");
        assert!(is_told(vec![view("n", "j", 1)], 7_000));
        assert!(is_told(vec![view("n", "j", 1)], 8_000), "it moves: time goes on in its series");
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
    fn a_list_is_bounded_and_says_what_it_leaves_out_of_what_is_asked_for() {
        let board = Board::new(0);
        let many = (0..=MOST_JOBS).map(|number| view("a", &format!("j{number:05}"), 0));
        board.set(many.chain([view("z", "last", 0)]).collect(), 0);
        let shown = |namespace| {
            let list = read(&board.list(namespace));
            (list["jobs"].as_array().unwrap().len(), list["leftOut"].as_u64().unwrap())
        };
        assert_eq!(shown(None), (MOST_JOBS, 2));
        assert_eq!(shown(Some("a")), (MOST_JOBS, 1));
        assert_eq!(shown(Some("z")), (1, 0));
        assert!(board.job(&JobName { namespace: "z".into(), name: "last".into() }).is_some());
    }

    #[test]
    fn series_are_bounded_and_go_to_those_that_move() {
        let board = Board::new(0);
        let over = |number| JobView { phase: Phase::Complete, ..view("a", &format!("j{number:05}"), 1) };
        let all = |last: JobView| (0..MOST_SERIES).map(over).chain([last]).collect();
        let with_series = |board: &Board| board.lock().jobs.values().filter(|job| !job.series.is_empty()).count();
        let since = || read(&board.page(&name()).unwrap())["since"].as_i64();
        board.set(all(JobView { phase: Phase::Pending, ..view("n", "j", 0) }), 1_000);
        assert_eq!((with_series(&board), since()), (MOST_SERIES, None));
        board.set(all(view("n", "j", 0)), 2_000);
        assert_eq!((with_series(&board), since()), (MOST_SERIES, Some(2_000)));
        board.set(all(view("n", "j", 5)), 3_000);
        assert_eq!((with_series(&board), since()), (MOST_SERIES, Some(2_000)));
    }
}
