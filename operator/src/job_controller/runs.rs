//! Starts, ends and reopens runs, and starts what follows them.

pub mod followups;
mod held_back;
pub mod history;
pub mod lifecycle;
mod records;
pub mod supersede;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use migration_api::MigrationJob;
use migration_engine::run::RunError;
use migration_engine::run::dead_letters::LastDrain;
use migration_engine::run::start::{self, EventScan, Start, StartInput};
use tracing::info;

use crate::job_controller::apply::{self, ApplyError, JobCreation, or_problem};
use crate::job_controller::build;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::Observed;
use crate::job_controller::dereference::cluster::ObservedJob;
use crate::job_controller::dereference::ledger::LedgerView;
use crate::job_controller::events::EventsOutcome;
use crate::job_controller::ownership::Owner;
use crate::job_controller::validate::ValidatedJob;
use crate::job_controller::validate::run_configs::RunConfigs;
use crate::problem::Problem;
use followups::{FollowupState, Report, Verification};
use held_back::held_back;

/// The input of the step.
#[derive(Clone, Copy)]
pub struct RunsInput<'a> {
    /// The resource.
    pub job: &'a MigrationJob,
    /// The output of the first step.
    pub observed: &'a Observed,
    /// The configurations of its runs; none if they cannot be known.
    pub configs: Option<&'a RunConfigs>,
    /// The state of the events that start transfers.
    pub events: &'a EventsOutcome,
    /// The buckets were tried, as far as that is asked for: a new run may start.
    pub is_checked: bool,
    /// An earlier step had a problem: nothing new starts.
    pub is_blocked: bool,
    /// [`RunsOutcome::last_drain`] of the reconciliation before.
    pub last_drain: Option<LastDrain>,
}

/// The output of the step.
pub struct RunsOutcome {
    /// The records of the job after the writes of this step; none if the ledger did not answer.
    pub ledger: Option<Arc<LedgerView>>,
    /// The next `status.runsStarted`.
    pub runs_started: u32,
    /// The last of them is no run: its name belongs to somebody else's Job.
    pub is_number_skipped: bool,
    /// The next `status.lastManualRun`.
    pub last_manual_run: Option<String>,
    /// A run is requested, and its Job was created only now or could not be created yet.
    pub start_pending: bool,
    /// The verification of the last run.
    pub verification: Verification,
    /// The report of the last run.
    pub report: Report,
    /// Refusals of the API server, and names that are taken.
    pub problems: Vec<Problem>,
    /// When the dead letters were drained last.
    pub last_drain: Option<LastDrain>,
    /// The time until the next ended Job is to be removed.
    pub next_removal: Option<Duration>,
}

/// Why the step failed.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// A Job or a pod could not be changed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The end of a run, or that it is reopened, could not be recorded.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Brings the runs of a job forward:
///
/// 1. suspends or resumes Jobs, and passes new Secrets to running pods
/// 2. records what ended: dead letters, the run itself; and that a run is reopened
/// 3. deletes a Job whose next pod Kubernetes holds back
/// 4. starts the report of the last run, the next run, or the verification of the last run
/// 5. removes the Jobs of earlier runs
///
/// Where another writer of a record was faster, the next reconciliation decides again.
pub async fn advance(input: &RunsInput<'_>, context: &Context) -> Result<RunsOutcome, RunsError> {
    let RunsInput { job, observed, configs, events, is_checked, is_blocked, .. } = *input;
    let jobs = context.api::<Job>(&job.namespace().unwrap_or_default());
    let mut problems = Vec::new();
    if observed.fresh.cluster {
        problems = change_jobs_and_pods(job, observed, &jobs, context).await?;
    }
    // A run that was read before may have ended since, and another one may live.
    let is_blocked = is_blocked || !observed.fresh.ledger;
    let recorded = records::advance(input, is_blocked || !problems.is_empty(), &jobs, context).await?;
    problems.extend(recorded.problems);
    let ledger = recorded.ledger;

    let starter = Starter { job, configs, observed, events, is_checked, ledger: ledger.as_deref(), jobs: &jobs };
    problems.extend(starter.replace_held_back(is_blocked || !problems.is_empty(), context.now()).await?);
    problems.extend(starter.start_report(is_blocked || !problems.is_empty()).await?);
    // What is written between a scan and the configuration of its bucket would be missed.
    let run = starter.start_run(is_blocked || !problems.is_empty() || !events.is_ready, context.now()).await?;
    problems.extend(run.problem);
    if !run.is_pending {
        problems.extend(starter.start_verification(is_blocked || !problems.is_empty()).await?);
    }
    let removed = history::remove(job, ledger.as_deref(), &observed.cluster, &jobs, context.now()).await;
    let next_removal = or_problem(removed)?.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    Ok(RunsOutcome {
        next_removal,
        verification: followups::verification(job, ledger.as_deref(), &observed.cluster.followups),
        report: followups::report(job, ledger.as_deref(), &observed.cluster.followups),
        runs_started: run.number,
        is_number_skipped: run.is_skipped,
        last_manual_run: run.manual,
        start_pending: run.is_pending,
        last_drain: recorded.last_drain,
        ledger,
        problems,
    })
}

/// Suspends or resumes the Jobs that have not finished, and annotates pods whose Secrets changed.
async fn change_jobs_and_pods(
    job: &MigrationJob,
    observed: &Observed,
    jobs: &Api<Job>,
    context: &Context,
) -> Result<Vec<Problem>, RunsError> {
    let (cluster, suspend) = (&observed.cluster, job.spec.suspend || observed.over_budget.is_some());
    if observed.is_refused && !suspend {
        // Resumed Jobs would start pods that the operator's policy refuses.
        return Ok(Vec::new());
    }
    let senders = or_problem(apply::suspend_jobs(jobs, &cluster.jobs, suspend).await)?;
    let followups = or_problem(apply::suspend_jobs(jobs, &cluster.followups, suspend).await)?;
    let annotated = match &observed.secrets_version {
        Some(version) => {
            let pods = context.api(&job.namespace().unwrap_or_default());
            or_problem(apply::annotate_pods(&pods, &cluster.pods, version).await)?
        }
        None => Ok(()),
    };
    Ok([senders, followups, annotated].into_iter().filter_map(Result::err).collect())
}

/// Starts Jobs of a resource.
struct Starter<'a> {
    job: &'a MigrationJob,
    configs: Option<&'a RunConfigs>,
    observed: &'a Observed,
    events: &'a EventsOutcome,
    is_checked: bool,
    ledger: Option<&'a LedgerView>,
    jobs: &'a Api<Job>,
}

/// The counters of the status after a run was started, or was not.
struct Started {
    number: u32,
    /// The number was used up by an object of somebody else: no run has it.
    is_skipped: bool,
    manual: Option<String>,
    is_pending: bool,
    problem: Option<Problem>,
}

impl<'a> Starter<'a> {
    /// Returns the configurations if something may start.
    fn configs(&self, is_blocked: bool) -> Option<&'a RunConfigs> {
        let stops = self.job.spec.suspend || self.observed.over_budget.is_some();
        self.configs.filter(|_| !is_blocked && !stops)
    }

    /// Starts the report of the last run if it is due. It does not wait for a run that is about to start, since that would
    /// become the last run.
    async fn start_report(&self, is_blocked: bool) -> Result<Option<Problem>, ApplyError> {
        if followups::report(self.job, self.ledger, &self.observed.cluster.followups) != FollowupState::Due {
            return Ok(None);
        }
        self.start_followup(is_blocked, build::followup::report).await
    }

    /// Starts the verification of the last run if it is due. Runs have precedence over it.
    async fn start_verification(&self, is_blocked: bool) -> Result<Option<Problem>, ApplyError> {
        let followups = &self.observed.cluster.followups;
        let is_due = followups::verification(self.job, self.ledger, followups) == FollowupState::Due;
        if !is_due || self.observed.cluster.jobs.iter().any(ObservedJob::is_unfinished) {
            return Ok(None);
        }
        self.start_followup(is_blocked, build::followup::verify).await
    }

    /// Creates a Job that follows the last run, built with that run's sides.
    async fn start_followup(
        &self,
        is_blocked: bool,
        build: fn(&ValidatedJob, &str) -> Job,
    ) -> Result<Option<Problem>, ApplyError> {
        let Some(configs) = self.configs(is_blocked) else { return Ok(None) };
        let Some(last) = self.ledger.and_then(|view| view.run.as_ref()) else { return Ok(None) };
        let (run, wanted) = (&last.record.run, build(&configs.last, &last.record.run));
        Ok(match or_problem(apply::create_job(self.jobs, &wanted, &Owner::of(self.job)).await)? {
            Ok(JobCreation::Created) => {
                info!(run, name = wanted.name_any(), "created the Job that follows a run");
                None
            }
            Ok(JobCreation::NameTaken(conflict)) => Some(conflict.problem()),
            Err(problem) => Some(problem),
        })
    }

    /// Deletes the Job of a scan whose next pod Kubernetes holds back. Once it is gone, another one continues the scan.
    async fn replace_held_back(&self, is_blocked: bool, now: i64) -> Result<Option<Problem>, ApplyError> {
        let (cluster, live) = (&self.observed.cluster, self.ledger.and_then(LedgerView::live));
        // A pod that Kubernetes can't create is none that it holds back.
        let is_refused = !self.observed.refusals.is_empty();
        let may_replace = self.configs(is_blocked || is_refused).is_some() && self.observed.fresh.cluster;
        let held = live.filter(|_| may_replace).and_then(|live| held_back(&live.record, &cluster.jobs, now));
        let Some(held) = held else { return Ok(None) };
        let deleted = apply::delete(self.jobs, &held.object(), DeleteParams::background()).await;
        if deleted.is_ok() {
            info!(name = held.name, "deleted a Job whose next pod is held back");
        }
        Ok(or_problem(deleted)?.err())
    }

    /// Starts a run if one is due.
    async fn start_run(&self, is_blocked: bool, now: i64) -> Result<Started, ApplyError> {
        let (number, manual) = started_before(self.job, &self.observed.cluster.jobs);
        let Some(start) = self.due(number, manual.as_deref(), now) else {
            return Ok(Started { number, is_skipped: false, manual, is_pending: false, problem: None });
        };
        let pending = Started { number, is_skipped: false, manual, is_pending: true, problem: None };
        // A Job that continues a scan has the sides of the scan's run.
        let is_live = self.ledger.is_some_and(|view| view.live().is_some());
        let is_blocked = is_blocked || !(self.is_checked || is_live);
        let Some(configs) = self.configs(is_blocked) else { return Ok(pending) };
        let config = if is_live { configs.workers() } else { &configs.next };
        let wanted = build::job::build(config, start.number, start.manual.as_deref());
        Ok(match or_problem(apply::create_job(self.jobs, &wanted, &Owner::of(self.job)).await)? {
            Ok(JobCreation::Created) => {
                info!(number = start.number, "started run");
                Started { number: start.number, manual: start.manual, ..pending }
            }
            // The number is used up: the next reconciliation takes the next one.
            Ok(JobCreation::NameTaken(conflict)) => {
                info!(number = start.number, %conflict, "skipped the number of a run");
                Started { number: start.number, is_skipped: true, ..pending }
            }
            Err(problem) => Started { problem: Some(problem), ..pending },
        })
    }

    /// Returns whether the events still need a scan. A run that was started since then is that scan, though the status does
    /// not say so yet.
    fn event_scan(&self, started: u32) -> EventScan {
        let before = self.job.status.as_ref().map_or(0, |status| status.runs_started);
        if self.events.needs_scan && started == before { EventScan::Due } else { EventScan::Settled }
    }

    /// Returns the run to start, if one is due. `started` is the number of runs that were started, `last_manual` the request
    /// that was answered last.
    fn due(&self, started: u32, last_manual: Option<&str>, now: i64) -> Option<Start> {
        let scan = self.event_scan(started);
        let jobs = &self.observed.cluster.jobs;
        start::start(&start_input(self.job, self.ledger?, jobs, (started, last_manual), scan, now))
    }
}

/// Returns true if runs are still to come or to go on, without an edit.
pub fn may_follow(job: &MigrationJob, ledger: &LedgerView, jobs: &[ObservedJob], now: i64) -> bool {
    let (started, last_manual) = started_before(job, jobs);
    start::may_follow(&start_input(job, ledger, jobs, (started, last_manual.as_deref()), EventScan::Settled, now))
}

/// Returns the number of runs that were started, and the request that was answered last.
fn started_before(job: &MigrationJob, jobs: &[ObservedJob]) -> (u32, Option<String>) {
    let status = job.status.as_ref();
    let started = status.map_or(0, |status| status.runs_started);
    lifecycle::created_before(&job.name_any(), jobs, started, status.and_then(|status| status.last_manual_run.clone()))
}

/// Returns the facts that decide whether a run starts.
fn start_input<'a>(
    job: &'a MigrationJob,
    ledger: &'a LedgerView,
    jobs: &[ObservedJob],
    (started, last_manual): (u32, Option<&'a str>),
    event_scan: EventScan,
    now: i64,
) -> StartInput<'a> {
    let trigger = &job.spec.trigger;
    StartInput {
        is_scheduled: trigger.schedule.is_some(),
        events: trigger.events.enabled.then_some(event_scan),
        manual: trigger.manual.as_deref(),
        last_manual,
        started,
        last_run: ledger.run.as_ref().map(|run| &run.record),
        is_sending: jobs.iter().any(ObservedJob::is_unfinished),
        now,
    }
}
