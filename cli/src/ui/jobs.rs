//! Reads the state of jobs on this machine, as `s3migrate status` does.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use migration_api::MigrationJob;
use migration_api::config::is_server_side;
use migration_api::verify::VerifyMode;
use migration_core::cost::PriceTable;
use migration_core::pair::BucketPair;
use migration_core::ports::MeasuredQueue;
use migration_core::progress::{eta_seconds, progress};
use migration_core::records::{Heartbeat, RunEnd, RunRecord, RunResult};
use migration_engine::run::look::{self, RunView};
use migration_ledger::{ReadError, view};
use migration_local::ledger::LocalLedger;
use migration_local::queue::LocalQueue;
use migration_local::state::State;
use migration_web::found::Terms;
use migration_web::view::{
    JobName, JobView, MOST_PAIRS, MOST_RUNS, Numbers, PairLine, Phase, PlanLine, QueueLine, RunLine, VerificationLine,
    WorkersLine,
};

use super::ledgers::{Ledgers, OfJob};
use crate::migration::{self, WORKER};
use crate::state_dir::{JobDirectory, StateError, StateRoot};

/// Which jobs are shown.
#[derive(Clone, Debug)]
pub enum Selection {
    /// All below a root, those that appear later too.
    All(StateRoot),
    /// These alone. No other is opened, nor looked for.
    Only(Vec<JobDirectory>),
}

impl Selection {
    fn directories(&self) -> Result<Vec<JobDirectory>, StateError> {
        match self {
            Self::All(root) => root.jobs(),
            Self::Only(directories) => Ok(directories.clone()),
        }
    }
}

/// The jobs that are shown.
pub struct Jobs {
    selection: Selection,
    /// The open jobs, by name of their directory.
    open: BTreeMap<String, OpenJob>,
    ledgers: Arc<Ledgers>,
}

/// A job whose state is open beside the process that may run it.
struct OpenJob {
    ledger: LocalLedger,
    queue: LocalQueue,
    state: State,
    /// The runs that have ended, and what they were read for: the last run and whether it had ended.
    runs: (Option<(String, bool)>, Vec<RunLine>),
}

/// What a look at a live run adds to its record.
#[derive(Default)]
struct Now {
    is_running: bool,
    beats: Vec<Heartbeat>,
    /// True if its process is there and compares the whole copy: it ends the record first.
    is_verifying: bool,
}

impl Jobs {
    /// Creates a reader that gives the ledgers that it opens to `ledgers`.
    pub fn new(selection: Selection, ledgers: Arc<Ledgers>) -> Self {
        Self { selection, open: BTreeMap::new(), ledgers }
    }

    /// Reads the jobs. One that can't be read says so. Returns `None` if the root can't be read now: it was, or will be,
    /// and no job is gone for that.
    pub async fn look(&mut self, now: i64) -> Option<Vec<JobView>> {
        let directories = self.selection.directories().ok()?;
        self.open.retain(|name, _| directories.iter().any(|directory| directory.name == *name));
        let (mut views, mut ledgers) = (Vec::new(), BTreeMap::new());
        for directory in &directories {
            let resource = match directory.resource() {
                Ok(Some(resource)) => resource,
                Ok(None) => continue,
                Err(error) => {
                    views.push(JobView::unreadable(name_of(directory), &error.to_string()));
                    continue;
                }
            };
            let mut shown = empty(&resource);
            let uid = resource.metadata.uid.clone().unwrap_or_default();
            let verifies = resource.spec.verify.mode == VerifyMode::Full;
            match self.open(directory) {
                Ok(job) => {
                    if let Err(error) = job.read(&uid, verifies, now, &mut shown).await {
                        shown.message = Some(error.to_string());
                    }
                    let of_job = OfJob { ledger: job.ledger.clone(), uid, terms: terms(&resource) };
                    ledgers.insert(shown.name.clone(), of_job);
                }
                Err(error) => shown.message = Some(error.to_string()),
            }
            shown.plan = directory.plan().ok().flatten().map(|kept| PlanLine { at: kept.at, plan: kept.plan });
            views.push(shown);
        }
        self.ledgers.set(ledgers);
        Some(views)
    }

    fn open(&mut self, directory: &JobDirectory) -> Result<&mut OpenJob, StateError> {
        match self.open.entry(directory.name.clone()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let state = directory.attach()?;
                let (ledger, queue) = (LocalLedger::new(&state), migration::queue(&state));
                Ok(entry.insert(OpenJob { ledger, queue, state, runs: (None, Vec::new()) }))
            }
        }
    }
}

impl OpenJob {
    /// Reads the job's state into a view. `verifies` is true if its runs compare the whole copy at their end.
    async fn read(&mut self, uid: &str, verifies: bool, now: i64, shown: &mut JobView) -> Result<(), ReadError> {
        let Some(last) = look::last(&self.ledger, uid, None).await? else { return Ok(()) };
        shown.queue = Some(queue_line(&self.queue).await?);
        // The heartbeats of a killed process outlive it; its lock does not.
        let is_in_use = self.state.is_in_use().unwrap_or(false);
        let found = view::verification(&self.ledger, uid, &last.record.run).await?;
        let is_verifying = is_in_use && verifies && found.is_none() && last.record.end.as_ref().is_some_and(ended_well);
        let beats = view::heartbeats(&self.ledger, uid, now).await.map_err(ReadError::Request)?;
        let now = Now { is_running: last.is_live() && is_in_use, beats: beats.records, is_verifying };
        describe(&last, &now, shown);
        shown.verification = found.map(|record| VerificationLine {
            run: last.record.run.clone(),
            at: record.at,
            method: record.method,
            whole: record.found.is_whole(),
            found: record.found,
        });
        self.read_runs(uid, &last.record).await?;
        shown.runs.clone_from(&self.runs.1);
        Ok(())
    }

    /// Reads the runs that have ended, if there may be others than before.
    async fn read_runs(&mut self, uid: &str, last: &RunRecord) -> Result<(), ReadError> {
        let known = Some((last.run.clone(), last.end.is_some()));
        if self.runs.0 == known {
            return Ok(());
        }
        let all = view::runs(&self.ledger, uid).await.map_err(ReadError::Request)?.records;
        let mut lines = Vec::new();
        for run in all.iter().rev().filter(|run| run.end.is_some()).take(MOST_RUNS) {
            let numbers = progress(run, &view::tally(&self.ledger, uid, run).await?);
            lines.extend(run.end.as_ref().map(|end| RunLine {
                run: run.run.clone(),
                started: run.started,
                ended: end.at,
                result: end.result,
                done: numbers.done,
                done_bytes: numbers.done_bytes,
                skipped: Some(numbers.skipped),
                failed: numbers.failed,
                message: end.message.clone(),
            }));
        }
        self.runs = (known, lines);
        Ok(())
    }
}

async fn queue_line(queue: &LocalQueue) -> Result<QueueLine, ReadError> {
    let depth = queue.depth().await.map_err(ReadError::Request)?;
    let dead = queue.dead_letter_queue().depth().await.map_err(ReadError::Request)?;
    let (visible, in_flight) = (depth.visible + depth.delayed, depth.in_flight);
    Ok(QueueLine { visible, in_flight, dead_letters: dead.total() })
}

/// Returns the view of a job of which nothing is known but its resource.
fn empty(resource: &MigrationJob) -> JobView {
    let pairs = resource.spec.buckets.iter();
    let lines = pairs.clone().take(MOST_PAIRS).map(|pair| PairLine {
        from: format!("{}/{}", pair.source_bucket, pair.source_prefix),
        to: format!("{}/{}", pair.destination_bucket, pair.destination_prefix),
    });
    let name = JobName {
        namespace: resource.metadata.namespace.clone().unwrap_or_default(),
        name: resource.metadata.name.clone().unwrap_or_default(),
    };
    let more_pairs = pairs.len().saturating_sub(MOST_PAIRS);
    JobView { pairs: lines.collect(), more_pairs, ..JobView::new(name) }
}

/// Returns the terms of a job that sets prices: who pays nothing wants to know nothing of it.
fn terms(resource: &MigrationJob) -> Option<Terms> {
    let prices = resource.spec.prices.as_ref()?;
    Some(Terms { prices: PriceTable::of(&prices.into()), is_server_side: is_server_side(&resource.spec) })
}

/// Returns the name that a directory has.
fn name_of(directory: &JobDirectory) -> JobName {
    let (namespace, name) = directory.name.split_once('/').unwrap_or(("default", &directory.name));
    JobName { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// Adds what is known of the last run.
fn describe(last: &RunView, now: &Now, shown: &mut JobView) {
    let (record, numbers) = (&last.record, last.progress().unwrap_or_default());
    let beats = if now.is_running { &now.beats[..] } else { &[] };
    shown.run = Some(record.run.clone());
    shown.numbers = Some(Numbers::from(numbers));
    shown.rate = beats.iter().map(|beat| beat.rate).sum();
    shown.eta_seconds = eta_seconds(&numbers, shown.rate).filter(|_| now.is_running);
    let ready = u32::try_from(beats.iter().filter(|beat| beat.name == WORKER).count()).unwrap_or(u32::MAX);
    shown.workers = Some(WorkersLine { desired: u32::from(now.is_running), ready });
    shown.pairs = record.pairs.iter().take(MOST_PAIRS).map(pair_line).collect();
    shown.more_pairs = record.pairs.len().saturating_sub(MOST_PAIRS);
    shown.phase = match &record.end {
        Some(_) if now.is_verifying => Phase::Verifying,
        Some(end) => Phase::from(end.result),
        None if !now.is_running => Phase::Interrupted,
        None if record.scan.closed => Phase::Transferring,
        None => Phase::Scanning,
    };
    let waiting = beats.iter().flat_map(|beat| &beat.blocked).next();
    shown.message = match &record.end {
        Some(_) if now.is_verifying => Some("all objects were copied or failed; the copy is being verified".to_owned()),
        Some(end) => end.message.clone(),
        None if !now.is_running => Some("its process has ended: the same command continues the run".to_owned()),
        None => waiting.map(|blocked| format!("waiting for the {}: {}", blocked.side, blocked.message)),
    };
}

/// Returns true if a verification follows a run that ended like this.
fn ended_well(end: &RunEnd) -> bool {
    end.result != RunResult::Failed
}

fn pair_line(pair: &BucketPair) -> PairLine {
    PairLine {
        from: format!("{}/{}", pair.source_bucket, pair.source_prefix),
        to: format!("{}/{}", pair.destination_bucket, pair.destination_prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::config::JobIdentity;
    use migration_core::progress::Tally;
    use migration_core::records::{Counters, EndCounts, ScanCounts};
    use migration_testkit::samples::run_record;

    use crate::state_dir::StateArgs;

    fn resource(name: &str) -> MigrationJob {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "s3migration.dev/v1alpha1", "kind": "MigrationJob", "metadata": {"name": name},
            "spec": {
                "buckets": [{"sourceBucket": "a", "destinationBucket": "b", "destinationPrefix": "x/"}],
                "source": {"region": "r"}, "destination": {"region": "r"}, "queue": {"region": "r"}, "ledger": {"region": "r"},
            },
        }))
        .unwrap()
    }

    fn shown(is_running: bool, result: Option<RunResult>) -> JobView {
        shown_beside(&Now { is_running, ..Now::default() }, result)
    }

    fn shown_beside(now: &Now, result: Option<RunResult>) -> JobView {
        let mut record = run_record(true);
        record.end = result.map(|result| RunEnd { at: 9, result, message: Some("why".into()), cause: None });
        record.scan.counts = ScanCounts { objects: 10, bytes: 1_000, ..ScanCounts::default() };
        let counts = EndCounts { done: 4, done_bytes: 400, failed: 1, failed_bytes: 100, ..EndCounts::default() };
        let tally = Tally { ended: Counters { counts, ..Counters::default() }, ..Tally::default() };
        let beat = |name: &str, rate| Heartbeat {
            name: name.into(),
            at: 0,
            messages: 1,
            rate,
            ranges: vec![],
            blocked: vec![],
            paused: None,
            runs: vec![],
            refused_algorithm: None,
        };
        let beats = vec![beat("sender", 0), beat(WORKER, 50)];
        let now = Now { is_running: now.is_running, is_verifying: now.is_verifying, beats };
        let mut view = empty(&resource("j"));
        assert_eq!((view.pairs[0].from.as_str(), view.pairs[0].to.as_str()), ("a/", "b/x/"));
        describe(&RunView { record, tally: Some(tally) }, &now, &mut view);
        view
    }

    #[test]
    fn a_live_run_has_the_numbers_of_its_ledger_and_heartbeats() {
        let view = shown(true, None);
        let numbers = view.numbers.unwrap();
        assert_eq!((numbers.objects, numbers.done, numbers.failed, view.rate), (10, 4, 1, 50));
        assert_eq!((view.phase, view.eta_seconds), (Phase::Transferring, Some(10)));
        assert_eq!(view.workers, Some(WorkersLine { desired: 1, ready: 1 }));
    }

    #[test]
    fn a_run_whose_process_ended_moves_nothing() {
        let view = shown(false, None);
        assert_eq!((view.phase, view.rate, view.eta_seconds), (Phase::Interrupted, 0, None));
        assert_eq!(view.workers, Some(WorkersLine::default()));
        let ended = shown(false, Some(RunResult::PartiallyFailed));
        assert_eq!((ended.phase, ended.message.as_deref()), (Phase::PartiallyFailed, Some("why")));
    }

    #[test]
    fn a_copy_that_is_being_verified_is_not_called_complete() {
        let now = Now { is_verifying: true, ..Now::default() };
        let view = shown_beside(&now, Some(RunResult::Complete));
        assert_eq!((view.phase, view.rate), (Phase::Verifying, 0));
        assert!(view.message.unwrap().contains("being verified"));
        assert_eq!(shown(false, Some(RunResult::Complete)).phase, Phase::Complete);
    }

    #[tokio::test]
    async fn a_job_whose_file_is_broken_is_shown_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let job = directory.path().join("team/photos");
        std::fs::create_dir_all(&job).unwrap();
        std::fs::write(job.join("job.json"), "{").unwrap();
        let root = StateArgs { state_dir: Some(directory.path().to_owned()) }.root().unwrap();
        let views = Jobs::new(Selection::All(root), Arc::default()).look(0).await.unwrap();
        let name = JobName { namespace: "team".into(), name: "photos".into() };
        assert_eq!((&views[0].name, views[0].phase), (&name, Phase::Failed));
        let message = views[0].message.as_deref().unwrap();
        assert!(message.starts_with("can't be read: failed to read") && message.contains("job.json"), "{message}");
    }

    #[tokio::test]
    async fn a_root_that_cannot_be_read_is_not_taken_for_empty() {
        let directory = tempfile::tempdir().unwrap();
        // Its entries can't be read, whoever asks: the name is too long.
        let root = directory.path().join("x".repeat(300));
        let root = StateArgs { state_dir: Some(root) }.root().unwrap();
        assert_eq!(Jobs::new(Selection::All(root), Arc::default()).look(0).await, None);
    }

    #[tokio::test]
    async fn no_job_is_opened_but_those_that_are_shown() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["mine", "other"] {
            let job = directory.path().join("default").join(name);
            std::fs::create_dir_all(&job).unwrap();
            std::fs::write(job.join("job.json"), serde_json::to_vec(&resource(name)).unwrap()).unwrap();
        }
        let root = StateArgs { state_dir: Some(directory.path().to_owned()) }.root().unwrap();
        let directories = root.jobs().unwrap();
        for directory in &directories {
            drop(directory.open().unwrap());
        }
        let mine = directories.iter().find(|directory| directory.name == "mine").unwrap();
        // One of a run that has not written its file yet.
        let next = root.job(&JobIdentity { namespace: "default".into(), name: "next".into(), uid: "u".into() });
        let mut jobs = Jobs::new(Selection::Only(vec![mine.clone(), next]), Arc::default());
        let names = |views: &[JobView]| views.iter().map(|view| view.name.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&jobs.look(0).await.unwrap()), ["mine"]);
        assert_eq!(jobs.open.keys().collect::<Vec<_>>(), ["mine"], "the other's ledger is left alone");
        let all = Jobs::new(Selection::All(root), Arc::default()).look(0).await.unwrap();
        assert_eq!(names(&all), ["mine", "other"]);
    }
}
