//! What a job does by itself, besides what is applied for it: runs start, end and are reopened, dead letters become
//! failures.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use migration_api::status::MigrationJobStatus;
use migration_api::{MigrationJob, reasons};
use migration_core::ports::{Condition, Item, Ledger, Write, WriteError};
use migration_core::records::{self, RunEnd};
use migration_core::reopen;
use tracing::{info, warn};

use crate::apply::{self, Made, told};
use crate::build;
use crate::cluster::SendJob;
use crate::context::{Context, Memory};
use crate::dead_letters::{self, Look};
use crate::dereference::ledger::{self, LedgerView};
use crate::dereference::{Found, followups, report, verification};
use crate::error::ReconcileError;
use crate::followup::State;
use crate::give_way;
use crate::ownership::Owner;
use crate::plans::Plans;
use crate::runs::{self, StartInput};
use crate::services::Services;
use crate::status;
use crate::validate::ValidatedJob;

/// Ends and starts runs, holds Jobs back, nudges pods. Says whether a run is asked for that could not be started.
pub async fn act(
    job: &MigrationJob,
    old: &mut MigrationJobStatus,
    plans: Option<&Plans>,
    found: &mut Found,
    context: &Context,
    memory: &mut Memory,
) -> Result<bool, ReconcileError> {
    let namespace = job.namespace().unwrap_or_default();
    let jobs = Api::<Job>::namespaced(context.client.clone(), &namespace);
    let (cluster, problems) = (&found.cluster, &mut found.missing);
    told(apply::suspend_jobs(&jobs, &cluster.jobs, job.spec.suspend).await, problems)?;
    told(apply::suspend_jobs(&jobs, &cluster.followups, job.spec.suspend).await, problems)?;
    if let Some(version) = &found.secrets.version {
        let pods = Api::<Pod>::namespaced(context.client.clone(), &namespace);
        told(apply::nudge_pods(&pods, &cluster.pods, version).await, problems)?;
    }
    if let Some(services) = found.services.clone() {
        drain_dead_letters(job, &services, found, context, memory).await;
        end_run(job, &services, found, context).await?;
        give_way(job, old.last_manual_run.as_deref(), plans, &services, found, context).await?;
        if plans.is_some() {
            reopen_run(job, &services, old, found, context).await?;
        }
    }
    start_report(job, plans, found, &jobs).await?;
    (old.runs_started, old.last_manual_run) =
        runs::made_before(&job.name_any(), &found.cluster.jobs, old.runs_started, old.last_manual_run.take());
    let due = start_run(job, old, plans, found, &jobs, context.now()).await?;
    if !due {
        start_verification(job, plans, found, &jobs).await?;
    }
    Ok(due)
}

/// Starts the report of the last run where it is due. A run that is on its way does not keep it waiting: it would be the
/// last run then.
async fn start_report(
    job: &MigrationJob,
    plans: Option<&Plans>,
    found: &mut Found,
    jobs: &Api<Job>,
) -> Result<(), ReconcileError> {
    if report(job, found) != State::Due {
        return Ok(());
    }
    follow(job, plans, found, jobs, build::followup::report).await
}

/// Starts the verification of the last run where it is due. A run that is on its way is the better use of the sources.
async fn start_verification(
    job: &MigrationJob,
    plans: Option<&Plans>,
    found: &mut Found,
    jobs: &Api<Job>,
) -> Result<(), ReconcileError> {
    if found.cluster.jobs.iter().any(SendJob::is_unfinished) || verification(job, found) != State::Due {
        return Ok(());
    }
    follow(job, plans, found, jobs, build::followup::verify).await
}

/// Makes a Job that follows the last run.
async fn follow(
    job: &MigrationJob,
    plans: Option<&Plans>,
    found: &mut Found,
    jobs: &Api<Job>,
    built: fn(&ValidatedJob, &str) -> Job,
) -> Result<(), ReconcileError> {
    let Some(plans) = plans.filter(|_| found.missing.is_empty() && !job.spec.suspend) else { return Ok(()) };
    let last = found.ledger.as_ref().and_then(|view| view.run.as_ref()).map(|run| run.record.run.clone());
    let run = last.unwrap_or_default();
    let due = built(&plans.last, &run);
    match told(apply::job(jobs, &due, &Owner::of(job)).await, &mut found.missing)? {
        None => {}
        Some(Made::Yes) => info!(job = job.name_any(), run, name = due.name_any(), "what follows the run is started"),
        Some(Made::NameTaken(taken)) => found.missing.push(taken.problem()),
    }
    Ok(())
}

/// Starts a run where one is due. Says whether one is asked for that sends nothing yet.
async fn start_run(
    job: &MigrationJob,
    old: &mut MigrationJobStatus,
    plans: Option<&Plans>,
    found: &mut Found,
    jobs: &Api<Job>,
    now: i64,
) -> Result<bool, ReconcileError> {
    let Some(view) = &found.ledger else { return Ok(false) };
    let input = StartInput {
        trigger: &job.spec.trigger,
        started: old.runs_started,
        last_manual: old.last_manual_run.as_deref(),
        last_run: view.run.as_ref().map(|run| &run.record),
        jobs: &found.cluster.jobs,
        now,
    };
    let Some(start) = runs::start(&input) else { return Ok(false) };
    // Who goes on with a scan has the sides of its run.
    let goes_on = view.live().is_some();
    let Some(plans) = plans.filter(|_| found.missing.is_empty() && !job.spec.suspend) else { return Ok(true) };
    let wanted = if goes_on { plans.workers() } else { &plans.next };
    let wanted = build::job::build(wanted, start.number, start.manual.as_deref());
    let made = apply::job(jobs, &wanted, &Owner::of(job)).await;
    let Some(made) = told(made, &mut found.missing)? else { return Ok(true) };
    info!(job = job.name_any(), number = start.number, ?made, "run started");
    // The number is used up also where another Job has the name: the next look takes the next one.
    old.runs_started = start.number;
    if made == Made::Yes {
        old.last_manual_run = start.manual;
    }
    Ok(true)
}

/// Turns dead letters of a live run into failures. What goes wrong is tried again with the next look.
async fn drain_dead_letters(
    job: &MigrationJob,
    services: &Services,
    found: &mut Found,
    context: &Context,
    memory: &mut Memory,
) {
    let (Some(depth), Some(view)) = (found.depth, &found.ledger) else { return };
    let (Some(live), now) = (view.live(), context.now()) else { return };
    if !dead_letters::due(memory.look, depth.dead_letters, now) {
        return;
    }
    let uid = job.uid().unwrap_or_default();
    match dead_letters::drain(&services.dead_letters, &services.ledger, &uid, &live.record, now).await {
        Ok(ended) => {
            memory.look = Some(Look { depth: depth.dead_letters, at: now });
            if ended > 0 {
                warn!(job = job.name_any(), ended, "batches among the dead letters became failures");
                reread(job, services, found, now).await;
            }
        }
        Err(error) => warn!(job = job.name_any(), %error, "dead letters are looked at again"),
    }
}

/// Writes the end of a run that is over.
async fn end_run(
    job: &MigrationJob,
    services: &Services,
    found: &mut Found,
    context: &Context,
) -> Result<(), ReconcileError> {
    let Some(live) = found.ledger.as_ref().and_then(LedgerView::live) else { return Ok(()) };
    let deadline = job.spec.limits.run_deadline_ms();
    let Some(end) = runs::end(live, &found.cluster.jobs, deadline, context.now()) else { return Ok(()) };
    write_end(job, services, found, end, context).await
}

/// Ends a run that works elsewhere than the specification says by now, where somebody asks for another one.
async fn give_way(
    job: &MigrationJob,
    last_manual: Option<&str>,
    plans: Option<&Plans>,
    services: &Services,
    found: &mut Found,
    context: &Context,
) -> Result<(), ReconcileError> {
    let is_live = found.ledger.as_ref().is_some_and(|view| view.live().is_some());
    let edited = plans.and_then(|plans| plans.edited.as_deref()).filter(|_| is_live);
    let is_ready = found.missing.is_empty() && !job.spec.suspend;
    let Some(edited) = edited.filter(|_| is_ready && give_way::is_asked_for(&job.spec.trigger, last_manual, edited))
    else {
        return Ok(());
    };
    let jobs = Api::<Job>::namespaced(context.client.clone(), &job.namespace().unwrap_or_default());
    let stopped = give_way::stop_senders(&jobs, &found.cluster.jobs).await;
    if told(stopped, &mut found.missing)? != Some(true) {
        return Ok(());
    }
    write_end(job, services, found, give_way::end(edited, context.now()), context).await
}

/// Writes the end of the live run. Where another writer was first, the next look decides anew.
async fn write_end(
    job: &MigrationJob,
    services: &Services,
    found: &mut Found,
    end: RunEnd,
    context: &Context,
) -> Result<(), ReconcileError> {
    let now = context.now();
    let Some(live) = found.ledger.as_ref().and_then(LedgerView::live) else { return Ok(()) };
    let uid = job.uid().unwrap_or_default();
    let (mut record, before) = (live.record.clone(), live.record.revision);
    info!(job = job.name_any(), run = record.run, result = ?end.result, "run ended");
    (record.end, record.revision) = (Some(end), before + 1);
    let item = Item::of(records::run_key(&uid, &record.run), &record).expiring(now + records::RETENTION_MS);
    match services.ledger.write(&[Write::Put { item, condition: Condition::Revision(before) }]).await {
        Ok(()) | Err(WriteError::Condition) => {
            reread(job, services, found, now).await;
            Ok(())
        }
        Err(error) => Err(ReconcileError::End(error)),
    }
}

/// Opens the scan of a run again whose messages are lost; the next sender finds out which. The Job that sends is started
/// by [`start_run`], as for any scan that its sender left. Where another writer was first, the next look decides anew.
async fn reopen_run(
    job: &MigrationJob,
    services: &Services,
    old: &MigrationJobStatus,
    found: &mut Found,
    context: &Context,
) -> Result<(), ReconcileError> {
    if job.spec.suspend || !found.missing.is_empty() {
        return Ok(());
    }
    let now = context.now();
    let Some(view) = &found.ledger else { return Ok(()) };
    // The status does not know yet of what was suspended until this look.
    let resumed = status::conditions::of(old, reasons::SUSPENDED)
        .map(|(holds, condition)| if holds { now } else { condition.last_transition_time.0.as_millisecond() });
    let heartbeats = [&view.heartbeats[..], &view.old_heartbeats].concat();
    let Some(live) = view.live().filter(|live| runs::is_quiet(live, &heartbeats, resumed, now)) else {
        return Ok(());
    };
    let (uid, before) = (job.uid().unwrap_or_default(), live.record.revision);
    let asked = reopen::ask(&live.record, now);
    warn!(job = job.name_any(), run = asked.run, "no batch ended for 7 days: what lacks its end is sent again");
    let item = Item::of(records::run_key(&uid, &asked.run), &asked);
    match services.ledger.write(&[Write::Put { item, condition: Condition::Revision(before) }]).await {
        Ok(()) | Err(WriteError::Condition) => {
            reread(job, services, found, now).await;
            Ok(())
        }
        Err(error) => Err(ReconcileError::End(error)),
    }
}

async fn reread(job: &MigrationJob, services: &Services, found: &mut Found, now: i64) {
    match ledger::read(&services.ledger, &job.uid().unwrap_or_default(), None, followups(job), now).await {
        Ok(view) => found.ledger = Some(view),
        Err(error) => warn!(%error, "the ledger is read again with the next look"),
    }
}
