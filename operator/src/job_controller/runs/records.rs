//! Records in the ledger that a run ended or is reopened.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt};
use migration_api::{ConditionType, MigrationJob};
use migration_core::records::RunEnd;
use migration_engine::run::dead_letters::{self, LastDrain};
use migration_engine::run::end::{self, Terms};
use migration_engine::run::{look::RunView, reopen};
use migration_ledger::WriteOutcome;
use tracing::{info, warn};

use super::{RunsError, RunsInput, lifecycle, supersede};
use crate::job_controller::apply::or_problem;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::Observed;
use crate::job_controller::dereference::followups::followup_settings;
use crate::job_controller::dereference::ledger::{self, KnownRecords, LedgerView, LookSettings, SharesLook, ShownRuns};
use crate::job_controller::dereference::limits::is_limited;
use crate::job_controller::dereference::services::Services;
use crate::problem::Problem;

/// The records after the writes.
pub struct Recorded {
    /// As in [`super::RunsOutcome`].
    pub ledger: Option<Arc<LedgerView>>,
    /// Refusals of the API server.
    pub problems: Vec<Problem>,
    /// As in [`super::RunsOutcome`].
    pub last_drain: Option<LastDrain>,
}

/// Records what ended, and that a run is reopened. `is_blocked`: nothing new starts.
pub async fn advance(
    input: &RunsInput<'_>,
    is_blocked: bool,
    jobs: &Api<Job>,
    context: &Context,
) -> Result<Recorded, RunsError> {
    let RunsInput { job, observed, configs, last_drain, .. } = *input;
    let ledger = observed.ledger.clone();
    // What was read before decides nothing, and only the leader decides.
    let is_fresh = observed.fresh.ledger && context.fence.check().is_ok();
    let (Some(services), Some(ledger), true) = (&observed.services, ledger.clone(), is_fresh) else {
        return Ok(Recorded { ledger, problems: Vec::new(), last_drain });
    };
    let recorder = Recorder { job, observed, services, now: context.now() };
    let (ledger, last_drain) = recorder.drain_dead_letters(ledger, last_drain).await;
    let ledger = recorder.end_run(ledger).await?;
    let edited = configs.and_then(|configs| configs.edited.as_deref());
    let may_start = !is_blocked && !job.spec.suspend && observed.over_budget.is_none();
    let (ledger, problem) = recorder.supersede_run(ledger, edited.filter(|_| may_start), jobs).await?;
    let ledger =
        if configs.is_some() && may_start && problem.is_none() { recorder.reopen_run(ledger).await? } else { ledger };
    Ok(Recorded { ledger: Some(ledger), problems: problem.into_iter().collect(), last_drain })
}

/// Writes the records of one job. Each function takes the records as they were read and returns them as they are then.
struct Recorder<'a> {
    job: &'a MigrationJob,
    observed: &'a Observed,
    services: &'a Services,
    now: i64,
}

impl Recorder<'_> {
    /// Turns dead letters of the live run into failures. After an error the next reconciliation tries again.
    async fn drain_dead_letters(
        &self,
        view: Arc<LedgerView>,
        last_drain: Option<LastDrain>,
    ) -> (Arc<LedgerView>, Option<LastDrain>) {
        let (Some(depth), Some(live)) = (self.observed.depth, view.live()) else { return (view, last_drain) };
        if !dead_letters::is_due(last_drain, depth.dead_letters, self.now) {
            return (view, last_drain);
        }
        let Services { dead_letters: letters, queue, ledger, .. } = self.services;
        let queues = dead_letters::Queues { dead_letters: letters, queue };
        match dead_letters::drain(queues, ledger, &self.uid(), &live.record, self.now).await {
            Ok(ended) => {
                let drained = Some(LastDrain { depth: depth.dead_letters, at: self.now });
                if ended == 0 {
                    return (view, drained);
                }
                warn!(batches = ended, "recorded dead letters as failures");
                (self.reread(view).await, drained)
            }
            Err(error) => {
                warn!(%error, "dead letters are drained again by the next reconciliation");
                (view, last_drain)
            }
        }
    }

    /// Records the end of the live run if it is over.
    async fn end_run(&self, view: Arc<LedgerView>) -> Result<Arc<LedgerView>, RunsError> {
        let deadline_ms = self.job.spec.limits.run_deadline_ms();
        let end = |live: &RunView| {
            let scan = lifecycle::scan_state(&live.record, &self.observed.cluster.jobs, self.now);
            end::end(&live.record, live.tally.as_ref()?, Terms { scan, deadline_ms }, self.now)
        };
        match view.live().and_then(end) {
            Some(end) => self.write_end(view, end).await,
            None => Ok(view),
        }
    }

    /// Ends the live run if its sides were edited and another run is requested. Its Jobs are deleted first.
    async fn supersede_run(
        &self,
        view: Arc<LedgerView>,
        edited: Option<&str>,
        jobs: &Api<Job>,
    ) -> Result<(Arc<LedgerView>, Option<Problem>), RunsError> {
        let last_manual = self.job.status.as_ref().and_then(|status| status.last_manual_run.as_deref());
        let edited = edited.filter(|_| view.live().is_some());
        let requested = edited.filter(|_| supersede::is_requested(&self.job.spec.trigger, last_manual, edited));
        let Some(edited) = requested else { return Ok((view, None)) };
        let deleted = supersede::delete_senders(jobs, &self.observed.cluster.jobs).await;
        match or_problem(deleted)? {
            Ok(true) => Ok((self.write_end(view, supersede::end(edited, self.now)).await?, None)),
            Ok(false) => Ok((view, None)),
            Err(problem) => Ok((view, Some(problem))),
        }
    }

    /// Reopens the scan of the live run if its messages are lost. The Job that lists what lacks an end is then started as
    /// for any scan whose jobsender is gone.
    async fn reopen_run(&self, view: Arc<LedgerView>) -> Result<Arc<LedgerView>, RunsError> {
        let is_quiet = lifecycle::is_quiet(&view, self.resumed(), self.now);
        let Some(live) = view.live().filter(|_| is_quiet) else { return Ok(view) };
        let written = reopen::ask(&self.services.ledger, &self.uid(), &live.record, self.now).await?;
        if written == WriteOutcome::Written {
            warn!(run = live.record.run, "no batch ended for 7 days: batches without an end are listed and sent again");
        }
        Ok(self.reread(view).await)
    }

    /// Returns when the job was resumed, in milliseconds since 1970. The status of a job that was suspended until now does
    /// not have that time yet.
    fn resumed(&self) -> Option<i64> {
        let (is_suspended, condition) = self.job.status.as_ref()?.condition(ConditionType::Suspended)?;
        Some(if is_suspended { self.now } else { condition.last_transition_time.0.as_millisecond() })
    }

    /// Writes the end of the live run if nobody wrote its record since it was read, and reads the records again.
    async fn write_end(&self, view: Arc<LedgerView>, end: RunEnd) -> Result<Arc<LedgerView>, RunsError> {
        let Some(live) = view.live() else { return Ok(view) };
        let (run, result) = (&live.record.run, end.result);
        let written = end::write_end(&self.services.ledger, &self.uid(), &live.record, end, self.now).await?;
        if written == WriteOutcome::Written {
            info!(run, ?result, "run ended");
        }
        Ok(self.reread(view).await)
    }

    /// Reads the records again. Those read before stay if the ledger does not answer.
    async fn reread(&self, before: Arc<LedgerView>) -> Arc<LedgerView> {
        let known = KnownRecords { view: None, ..self.observed.known.records.clone() };
        let settings = LookSettings {
            uid: &self.uid(),
            known_run: None,
            shown: ShownRuns::of(self.job.status.as_ref()),
            followups: followup_settings(self.job),
            shares: if is_limited(self.job) { SharesLook::Read } else { SharesLook::Unlimited },
            has_room: true,
            now: self.now,
        };
        match ledger::read(&self.services.ledger, &known, settings).await {
            Ok(records) => records.view.unwrap_or(before),
            Err(error) => {
                warn!(%error, "failed to read the ledger again");
                before
            }
        }
    }

    fn uid(&self) -> String {
        self.job.uid().unwrap_or_default()
    }
}
