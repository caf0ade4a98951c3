//! The first step: what stands behind the resource's references, inside the cluster and outside.

pub mod authorities;
pub mod ledger;
pub mod patterns;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, ResourceExt};
use migration_api::MigrationJob;
use migration_api::status::{MigrationJobStatus, QueueDepth};
use migration_api::verify::VerifyMode;

use crate::cluster::{self, Cluster, refusals};
use crate::context::{Context, Memory};
use crate::followup;
use crate::names;
use crate::ownership::Owner;
use crate::problem::Problem;
use crate::secrets::{self, Secrets};
use crate::services::{Services, Wanted};
use crate::sharing::{self, Sharing};
use ledger::LedgerView;

/// What was found by the first step.
pub struct Found {
    /// The Secrets.
    pub secrets: Secrets,
    /// Patterns of the ignore list that stand in a `ConfigMap`.
    pub patterns: Vec<String>,
    /// Changes when the certificates of the sides do; none where the job names none.
    pub ca_version: Option<String>,
    /// What runs.
    pub cluster: Cluster,
    /// What Kubernetes refuses to make of it.
    pub refusals: Vec<Problem>,
    /// Queue and table; none where they can't be used.
    pub services: Option<Arc<Services>>,
    /// Messages; none where the queue does not answer.
    pub depth: Option<QueueDepth>,
    /// The ledger; none where it does not answer.
    pub ledger: Option<LedgerView>,
    /// What it means that another job has the same queue, where one has.
    pub sharing: Option<Sharing>,
    /// What the job needs and does not have.
    pub missing: Vec<Problem>,
}

/// Reads all that stands behind the resource.
pub async fn dereference(
    job: &MigrationJob,
    old: &MigrationJobStatus,
    context: &Context,
    memory: &mut Memory,
) -> Result<Found, kube::Error> {
    let namespace = job.namespace().unwrap_or_default();
    let secrets = secrets::read(&Api::<Secret>::namespaced(context.client.clone(), &namespace), &job.spec).await?;
    let cluster = cluster::read(&context.client, &namespace, &Owner::of(job)).await?;
    let refusals = refusals::read(&context.client, &namespace, &cluster, context.now()).await;
    let mut missing = secrets.problems.clone();
    let maps = Api::<ConfigMap>::namespaced(context.client.clone(), &namespace);
    let patterns = patterns::read(&maps, &job.spec.filters).await?.unwrap_or_else(|problem| {
        missing.push(problem);
        Vec::new()
    });
    let authorities = authorities::read(&context.client, &namespace, &job.spec).await?;
    missing.extend(authorities.problems);
    let ca_version = authorities.version;
    let mut found = Found {
        secrets,
        patterns,
        ca_version,
        cluster,
        refusals,
        services: None,
        depth: None,
        ledger: None,
        sharing: sharing(job, context),
        missing,
    };
    if let Some(Sharing::Younger(problem)) = &found.sharing {
        found.missing.push(problem.clone());
    }
    let Some(wanted) = Wanted::of(job, &found.secrets) else { return Ok(found) };
    match Services::find(wanted, memory.services.as_ref()).await {
        Ok(services) => {
            memory.services = Some(services.clone());
            look_outside(job, old, &services, &mut found, context.now()).await;
            // What answered wrongly is looked for again next time: it may have been removed or replaced.
            if found.depth.is_none() || found.ledger.is_none() {
                memory.services = None;
            }
            found.services = Some(services);
        }
        Err(problems) => {
            memory.services = None;
            found.missing.extend(problems);
        }
    }
    Ok(found)
}

fn sharing(job: &MigrationJob, context: &Context) -> Option<Sharing> {
    let all = context.all_jobs();
    let readable: Vec<_> = all.iter().filter_map(|other| other.0.as_ref().ok()).collect();
    sharing::decide(job, &readable)
}

/// What follows the job's runs.
pub fn followups(job: &MigrationJob) -> followup::Wanted {
    let verification = job.spec.verify.mode == VerifyMode::Full;
    followup::Wanted { verification, report: job.spec.report.is_some() }
}

/// Asks queue and ledger.
async fn look_outside(job: &MigrationJob, old: &MigrationJobStatus, services: &Services, found: &mut Found, now: i64) {
    match services.depths().await {
        Ok((queue, dead)) => {
            found.depth = Some(QueueDepth {
                visible: queue.visible + queue.delayed,
                in_flight: queue.in_flight,
                dead_letters: dead.visible + dead.in_flight + dead.delayed,
            });
        }
        Err(problem) => found.missing.push(problem),
    }
    let known = old.last_run.as_ref().map(|run| run.id.as_str());
    let wanted = followups(job);
    match ledger::read(&services.ledger, &job.uid().unwrap_or_default(), known, wanted, now).await {
        Ok(view) => found.ledger = Some(view),
        Err(error) => found.missing.push(ledger::problem(&services.external.table, &error)),
    }
}

/// How far the verification of the last run is.
pub fn verification(job: &MigrationJob, found: &Found) -> followup::Verification {
    let view = found.ledger.as_ref();
    let last = view.and_then(|view| view.run.as_ref()).map(|run| &run.record);
    let run = followups(job).verified(last);
    let name = run.map(|run| names::verify(&job.name_any(), &run.run)).unwrap_or_default();
    followup::state(run, view.and_then(|view| view.verification.as_ref()), &name, &found.cluster.followups)
}

/// How far the report of the last run is.
pub fn report(job: &MigrationJob, found: &Found) -> followup::Report {
    let view = found.ledger.as_ref();
    let last = view.and_then(|view| view.run.as_ref()).map(|run| &run.record);
    let run = followups(job).reported(last);
    let name = run.map(|run| names::report(&job.name_any(), &run.run)).unwrap_or_default();
    followup::state(run, view.and_then(|view| view.report.as_ref()), &name, &found.cluster.followups)
}
