//! The first step: reads what the resource refers to, in the cluster and in the queue and the ledger.

mod ca_bundles;
pub mod cluster;
pub mod followups;
mod ignore_patterns;
pub mod ledger;
pub mod secrets;
pub mod services;
pub mod sharing;

use std::sync::Arc;

use kube::ResourceExt;
use migration_api::MigrationJob;
use migration_api::status::QueueDepth;

use crate::job_controller::context::Context;
use crate::job_controller::kubernetes::RequestError;
use crate::job_controller::ownership::Owner;
use crate::problem::Problem;
use ca_bundles::CaBundles;
use cluster::{Cluster, refusals};
use followups::followup_settings;
use ledger::LedgerView;
use secrets::Secrets;
use services::{Services, ServicesSpec};
use sharing::Sharing;

/// The objects and services that the resource refers to, as they were read.
pub struct Observed {
    /// Changes when one of the Secrets changes; none if the job names none.
    pub secrets_version: Option<String>,
    /// The ignore list of `filters.ignoreFrom`: empty if the job names none, none if it could not be used.
    pub ignore_patterns: Option<Vec<String>>,
    /// The certificates of both sides; none if some could not be used.
    pub ca_bundles: Option<CaBundles>,
    /// The job's objects in the cluster.
    pub cluster: Cluster,
    /// Objects that Kubernetes refused to create for them.
    pub refusals: Vec<Problem>,
    /// Queue and table; none if they cannot be used.
    pub services: Option<Arc<Services>>,
    /// The depth of the queue; none if the queue did not answer.
    pub depth: Option<QueueDepth>,
    /// The records of the job; none if the ledger did not answer.
    pub ledger: Option<Arc<LedgerView>>,
    /// The job's position among the jobs that share its queue; none if it has the queue to itself.
    pub sharing: Option<Sharing>,
    /// Prerequisites that are missing.
    pub problems: Vec<Problem>,
    /// Queue and table for the next reconciliation. None makes it check both again, as they may have been replaced.
    pub reusable_services: Option<Arc<Services>>,
}

/// Why the step failed.
#[derive(Debug, thiserror::Error)]
pub enum DereferenceError {
    /// The API server could not be read.
    #[error(transparent)]
    Kubernetes(#[from] RequestError),
}

/// Reads what the resource refers to. `known` is [`Observed::reusable_services`] of the reconciliation before.
pub async fn dereference(
    job: &MigrationJob,
    known: Option<Arc<Services>>,
    context: &Context,
) -> Result<Observed, DereferenceError> {
    let namespace = job.namespace().unwrap_or_default();
    let secrets = secrets::read(&context.api(&namespace), &job.spec).await?;
    let cluster = cluster::read(context, &namespace, &Owner::of(job)).await?;
    let refusals = refusals::read(context, &namespace, &cluster).await;
    let ignore_patterns = ignore_patterns::read(&context.api(&namespace), &job.spec.filters).await?;
    let ca_bundles = ca_bundles::read(context, &namespace, &job.spec).await?;
    let sharing = sharing(job, context);
    let outside = read_services(job, &secrets, known, context.now()).await;

    let mut problems = secrets.problems;
    let ignore_patterns = ignore_patterns.map_err(|problem| problems.push(problem)).ok();
    let ca_bundles = ca_bundles.map_err(|found| problems.extend(found)).ok();
    if let Some(Sharing::Younger(problem)) = &sharing {
        problems.push(problem.clone());
    }
    problems.extend(outside.problems);
    Ok(Observed {
        secrets_version: secrets.version,
        ignore_patterns,
        ca_bundles,
        cluster,
        refusals,
        services: outside.services,
        depth: outside.depth,
        ledger: outside.ledger.map(Arc::new),
        sharing,
        problems,
        reusable_services: outside.reusable,
    })
}

fn sharing(job: &MigrationJob, context: &Context) -> Option<Sharing> {
    let all = context.watched_jobs();
    let readable: Vec<_> = all.iter().filter_map(|other| other.0.as_ref().ok()).collect();
    sharing::decide(job, &readable)
}

/// The answers of queue and ledger.
#[derive(Default)]
struct QueueAndLedger {
    services: Option<Arc<Services>>,
    depth: Option<QueueDepth>,
    ledger: Option<LedgerView>,
    problems: Vec<Problem>,
    reusable: Option<Arc<Services>>,
}

/// Reads queue and ledger, after creating them if they are the job's own.
async fn read_services(
    job: &MigrationJob,
    secrets: &Secrets,
    known: Option<Arc<Services>>,
    now: i64,
) -> QueueAndLedger {
    let Some(spec) = ServicesSpec::of(job, secrets) else {
        return QueueAndLedger { reusable: known, ..QueueAndLedger::default() };
    };
    let services = match Services::ensure(spec, known.as_ref()).await {
        Ok(services) => services,
        Err(problems) => return QueueAndLedger { problems, ..QueueAndLedger::default() },
    };
    let mut problems = Vec::new();
    let depth = services.depth().await.map_err(|problem| problems.push(problem)).ok();
    let known_run = job.status.as_ref().and_then(|status| status.last_run.as_ref()).map(|run| run.id.as_str());
    let uid = job.uid().unwrap_or_default();
    let ledger = ledger::read(&services.ledger, &uid, known_run, followup_settings(job), now).await;
    let ledger = ledger.map_err(|error| problems.push(ledger::problem(&services.queue_and_table.table, &error))).ok();
    let reusable = Some(services.clone()).filter(|_| depth.is_some() && ledger.is_some());
    QueueAndLedger { services: Some(services), depth, ledger, problems, reusable }
}
