//! Brings a run to its end: starts the scan and the worker, records dead letters, and ends the run once every batch has
//! ended.

use std::sync::Arc;
use std::time::Duration;

use migration_core::error::Blocked;
use migration_core::ports::{MeasuredQueue, ObjectStore};
use migration_core::progress::RunProgress;
use migration_core::records::{RunRecord, RunSides};
use migration_engine::Runtime;
use migration_engine::heartbeat::{self, Activity};
use migration_engine::run::dead_letters::{self, LastDrain, Queues};
use migration_engine::run::end::{self, ScanState, Terms};
use migration_engine::run::look::{self, RunView};
use migration_engine::run::{RunError, reopen};
use migration_engine::scan::{self, ManifestError, Purpose, ScanError, ScanOutcome, SenderName};
use migration_engine::worker::Worker;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::progress::{final_progress, progress_of};
use super::{Migration, MigrationError, RunSummary, Stop, WORKER};
use crate::display::Display;
use crate::event::Event;
use crate::tracker::Tracker;

/// Interval between two looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Interval between two looks for lost messages.
const QUIET_EVERY: Duration = Duration::from_mins(10);
/// Name of the sender in the ledger.
const SENDER: &str = "sender";

/// The tasks of a run.
struct Tasks {
    /// `None` once its result was taken.
    scan: Option<JoinHandle<Result<ScanOutcome, ScanError>>>,
    worker: JoinHandle<()>,
}

/// State of the coordination between looks.
struct Coordination {
    last_drain: Option<LastDrain>,
    next_quiet: Instant,
    /// What earlier processes did in the run.
    before: Option<RunProgress>,
    /// ID of the run that an earlier process began.
    continues: Option<String>,
    announced: Option<String>,
    paused: Vec<Blocked>,
    /// Result of the scan.
    scan: ScanEnd,
    tracker: Arc<Tracker>,
    /// Of the sender and the worker.
    activities: [Arc<Activity>; 2],
}

/// How the scan of this process ended.
enum ScanEnd {
    Running,
    Done,
    /// It can't be completed: the run has failed.
    Unusable(String),
}

impl<S, D> Migration<S, D>
where
    S: ObjectStore + Clone,
    D: ObjectStore + Clone,
{
    /// Transfers until the run has ended, and returns its record and numbers.
    pub(super) async fn transfer(&self, display: &Arc<dyn Display>, stop: &Stop) -> Result<RunSummary, MigrationError> {
        let tracker = Arc::new(Tracker::new(display.clone()));
        let before = look::last(&self.ledger(), self.job(), None).await.map_err(RunError::Read)?;
        let live = before.as_ref().filter(|run| run.is_live());
        if let Some(run) = live {
            self.check_sides(&run.record)?;
        }
        let worker = Runtime { stop: stop.token(), ..Runtime::new(WORKER, self.clock.clone()) };
        // The ledger is a file here: a record per part costs little, and a killed process then loses the parts in flight.
        let worker = Runtime { observer: Some(tracker.clone()), verified_every: Duration::ZERO, ..worker };
        let sender = Runtime { stop: stop.token(), ..Runtime::new(SENDER, self.clock.clone()) };
        let mut state = Coordination {
            last_drain: None,
            next_quiet: Instant::now(),
            before: live.and_then(RunView::progress),
            continues: live.map(|run| run.record.run.clone()),
            announced: None,
            paused: Vec::new(),
            scan: ScanEnd::Running,
            tracker,
            activities: [sender.activity.clone(), worker.activity.clone()],
        };
        let stops = [sender.stop.clone(), worker.stop.clone()];
        let mut tasks = self.start(sender, worker);
        let result = loop {
            match self.look(&mut tasks, &mut state, display.as_ref(), stop).await {
                Ok(Some(summary)) => break Ok(summary),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            tokio::select! {
                () = stop.given() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        };
        stops.iter().for_each(CancellationToken::cancel);
        self.queue.stop_waiting();
        tasks.end().await;
        self.show_cost(display.as_ref()).await;
        result
    }

    /// Looks once at the tasks and the ledger. Returns the summary once the run has ended.
    async fn look(
        &self,
        tasks: &mut Tasks,
        state: &mut Coordination,
        display: &dyn Display,
        stop: &Stop,
    ) -> Result<Option<RunSummary>, MigrationError> {
        if stop.is_given() {
            display.show(&Event::Stopping);
            return Err(MigrationError::Stopped);
        }
        self.join_scan(tasks, state).await?;
        if tasks.worker.is_finished() && !stop.is_given() {
            return Err(MigrationError::Panicked("worker"));
        }
        let summary = self.advance(state, display).await?;
        if summary.is_none() {
            self.tell_pauses(state, display)?;
        }
        Ok(summary)
    }

    /// Fails if a live run has other sides: its messages could only wait for workers with these.
    fn check_sides(&self, run: &RunRecord) -> Result<(), MigrationError> {
        let other = run.sides.as_ref().and_then(|sides| sides.difference(&RunSides::of(&self.config)));
        other.map_or(Ok(()), |difference| Err(MigrationError::OtherSides { run: run.run.clone(), difference }))
    }

    fn start(&self, sender: Runtime, worker: Runtime) -> Tasks {
        let (sending, working) = (Arc::new(self.process_in(sender)), Arc::new(self.process_in(worker)));
        let scan = Some(tokio::spawn(async move {
            // A name by which every invocation differs, for a new run; a live one is continued by that of the process.
            let run = migration_program::new_run_id();
            let (name, purpose) = (SenderName { started_by: run.clone(), new_run: run }, Purpose::default());
            // Boxed: the future of a scan is large.
            let sent = Box::pin(scan::send_for(sending.clone(), &name, &purpose));
            heartbeat::during(&sending, sent).await
        }));
        let worker = tokio::spawn(async move {
            heartbeat::during(&working, Box::pin(Worker::new(working.clone()).run())).await;
        });
        Tasks { scan, worker }
    }

    /// Takes the result of the scan once it is there.
    async fn join_scan(&self, tasks: &mut Tasks, state: &mut Coordination) -> Result<(), MigrationError> {
        let Some(scan) = tasks.scan.take_if(|scan| scan.is_finished()) else { return Ok(()) };
        let sent = scan.await.map_err(|_| MigrationError::Panicked("scan"))?;
        state.scan = match sent {
            // An earlier process closed the scan; the worker ends what it left.
            Ok(ScanOutcome::Sent { .. } | ScanOutcome::AlreadySent { .. } | ScanOutcome::RunIsLive { .. }) => {
                ScanEnd::Done
            }
            Ok(ScanOutcome::OtherSides { run }) => {
                let difference = "the source or destination changed".to_owned();
                return Err(MigrationError::OtherSides { run, difference });
            }
            // The next try would read the same list.
            Err(ScanError::Manifest(error)) if !matches!(*error, ManifestError::Service { .. }) => {
                ScanEnd::Unusable(error.to_string())
            }
            Err(error) => return Err(error.into()),
        };
        Ok(())
    }

    /// Records what ended, and shows the state of the run. Returns the summary once the run has ended.
    async fn advance(
        &self,
        state: &mut Coordination,
        display: &dyn Display,
    ) -> Result<Option<RunSummary>, MigrationError> {
        let (ledger, job, now) = (self.ledger(), self.job(), self.clock.now());
        let Some(view) = look::last(&ledger, job, None).await.map_err(RunError::Read)? else { return Ok(None) };
        // Until the scan has taken its run, the ledger shows the one before.
        if state.announced.is_none() && !view.is_live() {
            return Ok(None);
        }
        if state.announced.as_ref() != Some(&view.record.run) {
            let (job, run) = (self.config.job.name.clone(), view.record.run.clone());
            state.announced = Some(run.clone());
            display.show(&Event::RunStarted { job, continued: state.continues.as_ref() == Some(&run), run });
        }
        self.drain(state, &view.record, now).await;
        if state.next_quiet <= Instant::now() {
            state.next_quiet = Instant::now() + QUIET_EVERY;
            reopen::ask_if_quiet(&ledger, job, migration_core::reopen::QUIET_MS, None, now).await?;
        }
        let seen = state.tracker.look(now);
        let view = if view.is_live() {
            display.show(&Event::Progress(progress_of(&view, state.before.as_ref(), &seen)));
            self.end_if_over(state, view, now).await?
        } else {
            view
        };
        // Last: a run that is over has an end, whatever it has cost.
        self.check_budget(&view)?;
        let Some(ended) = view.record.end.clone() else { return Ok(None) };
        let progress = final_progress(&view, &seen);
        let run = view.record.run.clone();
        let (result, message) = (ended.result, ended.message);
        let losses = view.tally.as_ref().map(|tally| tally.counted().counts.losses.kinds());
        let not_preserved = losses.filter(|kinds| !kinds.is_empty());
        display.show(&Event::RunEnded { run, result, message, not_preserved, progress });
        Ok(Some(RunSummary { record: view.record, verified: None }))
    }

    /// Writes the end of a live run that is over, and returns the run as it is then. If another writer was first, the next
    /// look decides again.
    async fn end_if_over(&self, state: &Coordination, view: RunView, now: i64) -> Result<RunView, MigrationError> {
        let scan = match &state.scan {
            ScanEnd::Unusable(why) => ScanState::Failed(why),
            ScanEnd::Running | ScanEnd::Done => ScanState::Possible,
        };
        let terms = Terms { scan, deadline_ms: self.terms.deadline_ms };
        let end = view.tally.as_ref().and_then(|tally| end::end(&view.record, tally, terms, now));
        let Some(end) = end else { return Ok(view) };
        let (ledger, job) = (self.ledger(), self.job());
        end::write_end(&ledger, job, &view.record, end, now).await?;
        let ended = look::last(&ledger, job, None).await.map_err(RunError::Read)?;
        Ok(ended.unwrap_or(view))
    }

    /// Turns dead letters of the run into failures. After an error the next look tries again.
    async fn drain(&self, state: &mut Coordination, run: &RunRecord, now: i64) {
        let (queue, ledger) = (&self.queue, self.ledger());
        let letters = queue.dead_letter_queue();
        let drained = async {
            let depth = letters.depth().await.map_err(dead_letters::DrainError::Queue)?.total();
            if !dead_letters::is_due(state.last_drain, depth, now) {
                return Ok(());
            }
            let queues = Queues { dead_letters: &letters, queue };
            let ended = dead_letters::drain(queues, &ledger, self.job(), run, now).await?;
            if ended > 0 {
                warn!(batches = ended, "recorded dead letters as failures");
            }
            state.last_drain = Some(LastDrain { depth, at: now });
            Ok::<_, dead_letters::DrainError>(())
        };
        if let Err(error) = drained.await {
            warn!(%error, "failed to record dead letters; trying again");
        }
    }

    /// Shows services that were paused or resumed. Fails once one has been paused for too long.
    fn tell_pauses(&self, state: &mut Coordination, display: &dyn Display) -> Result<(), MigrationError> {
        let paused: Vec<Blocked> = state.activities.iter().flat_map(|activity| activity.paused()).collect();
        let is_known = |blocked: &Blocked, of: &[Blocked]| {
            of.iter().any(|known| known.side == blocked.side && known.message == blocked.message)
        };
        for blocked in paused.iter().filter(|blocked| !is_known(blocked, &state.paused)) {
            display.show(&Event::Paused(blocked.clone()));
        }
        for before in &state.paused {
            if !paused.iter().any(|blocked| blocked.side == before.side) {
                display.show(&Event::Resumed { service: before.side });
            }
        }
        state.paused = paused;
        let now = self.clock.now();
        let patience = self.terms.patience;
        let too_long = |blocked: &&Blocked| {
            u64::try_from(now - blocked.since).is_ok_and(|millis| Duration::from_millis(millis) >= patience)
        };
        match state.paused.iter().find(too_long) {
            Some(blocked) => Err(MigrationError::Patience(Box::new(blocked.clone()), patience)),
            None => Ok(()),
        }
    }
}

impl Tasks {
    /// Waits for what was told to stop: work in flight is finished, messages are given back.
    async fn end(self) {
        // A panic in a task has been printed, and what it did is continued by the next run.
        let _ = self.worker.await;
        if let Some(scan) = self.scan {
            let _ = scan.await;
        }
    }
}
