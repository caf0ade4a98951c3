//! The first step: reads what the resource refers to, in the cluster and in the queue and the ledger.

pub mod budget;
mod ca_bundles;
pub mod cadence;
pub mod cluster;
pub mod followups;
mod ignore_patterns;
pub mod labels;
pub mod ledger;
pub mod limits;
mod named;
mod reader;
pub mod secrets;
pub mod services;
pub mod sharing;

use std::sync::Arc;

use kube::ResourceExt;
use migration_api::status::QueueDepth;
use migration_api::{MigrationJob, MigrationJobSpec};

use crate::job_controller::context::Context;
use crate::job_controller::kubernetes::RequestError;
use crate::names;
use crate::problem::Problem;
use ca_bundles::CaBundles;
use cadence::{Pace, ReadLog};
use cluster::Cluster;
use ledger::{KnownRecords, LedgerView};
use named::Named;
use reader::Reader;
use services::Services;
use sharing::Sharing;

/// The objects and services that the resource refers to, as they were read.
pub struct Observed {
    /// Changes when the content of one of the Secrets changes; none if the job names none.
    pub secrets_version: Option<String>,
    /// The same of the Secrets that a preflight uses.
    pub tried_secrets_version: Option<String>,
    /// The ignore list of `filters.ignoreFrom`: empty if the job names none, none if it could not be used.
    pub ignore_patterns: Option<Vec<String>>,
    /// The certificates of both sides; none if some could not be used.
    pub ca_bundles: Option<CaBundles>,
    /// The job's objects in the cluster.
    pub cluster: Arc<Cluster>,
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
    /// Somebody said a short time ago that there are messages. The queue's numbers may be late.
    pub awaits_messages: bool,
    /// Why the live run has to pause: it has reached its budget. None if it may go on.
    pub over_budget: Option<Problem>,
    /// Prerequisites that are missing.
    pub problems: Vec<Problem>,
    /// The operator's policy refuses the job: nothing is called, created or started for it.
    pub is_refused: bool,
    /// What of it was read now. The rest is as it was read before.
    pub fresh: Fresh,
    /// What the next reconciliation reuses.
    pub known: Known,
}

/// What was read now, and not taken over from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// The job's objects in the cluster, and what its specification names: they may be written.
    pub cluster: bool,
    /// The records in the ledger: runs may be decided.
    pub ledger: bool,
}

/// What one reconciliation reuses of the one before.
#[derive(Clone, Default)]
pub struct Known {
    /// Queue and table. None makes the next reconciliation check both, as they may have been replaced.
    pub services: Option<Arc<Services>>,
    /// The records of the ledger.
    pub records: KnownRecords,
    whole: Option<Whole>,
    depth: Option<KnownDepth>,
    /// When the value by which a person has the queue looked at changed, in milliseconds since 1970.
    looked_at: Option<i64>,
    /// When records of the ledger were read, in milliseconds since 1970: any of them, and all of them.
    read_at: Option<i64>,
    all_read_at: Option<i64>,
    reads: ReadLog,
}

/// What a reconciliation that read everything found.
#[derive(Clone)]
struct Whole {
    at: i64,
    inputs: Inputs,
    named: Arc<Named>,
    cluster: Arc<Cluster>,
    refusals: Vec<Problem>,
}

/// The depth of the queue.
#[derive(Clone, Copy, Debug)]
struct KnownDepth {
    at: i64,
    depth: QueueDepth,
    /// Since when the queue has been empty, in milliseconds since 1970.
    empty_since: Option<i64>,
}

/// What makes a job be read as a whole when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Inputs {
    generation: Option<i64>,
    /// The value by which a person has the queue looked at.
    look: Option<String>,
    /// A digest of the children as they were seen last; none if nobody watches them.
    children: Option<u64>,
    /// The job's position among the jobs that share its queue.
    sharing: Option<Sharing>,
}

impl Inputs {
    fn of(job: &MigrationJob, context: &Context) -> Self {
        Self {
            generation: job.metadata.generation,
            look: job.annotations().get(names::LOOK_ANNOTATION).cloned(),
            children: context.children_of(&job.namespace().unwrap_or_default(), &job.name_any()),
            sharing: sharing(job, context),
        }
    }

    /// Returns true if nothing that is watched changed.
    fn are(&self, before: &Self) -> bool {
        self.children.is_some() && self == before
    }
}

/// Returns true if anything that is watched, or what the specification names, is no longer as it was when everything
/// was read. Reads only the latter.
pub async fn has_changed(job: &MigrationJob, known: &Known, context: &Context) -> Result<bool, DereferenceError> {
    let inputs = Inputs::of(job, context);
    match known.whole.as_ref().filter(|whole| inputs.are(&whole.inputs)) {
        Some(whole) => Ok(!whole.named.is(&Named::read(job, context).await?)),
        None => Ok(true),
    }
}

/// Why the step failed.
#[derive(Debug, thiserror::Error)]
pub enum DereferenceError {
    /// The API server could not be read.
    #[error(transparent)]
    Kubernetes(#[from] RequestError),
}

/// Reads what the resource refers to, as far as [`cadence`] says. `known` is [`Observed::known`] of the reconciliation
/// before, and `pace` what that said.
pub async fn dereference(
    job: &MigrationJob,
    known: Known,
    pace: Option<Pace>,
    context: &Context,
) -> Result<Observed, DereferenceError> {
    let mut reader = Reader::new(job, known, pace, context);
    let named = reader.named().await?;
    let services = reader.services(&named).await;
    let depth = reader.depth(services.as_deref()).await;
    let (cluster, refusals) = reader.cluster().await?;
    let (ledger, is_ledger_fresh) = reader.ledger(services.as_deref(), &cluster).await;

    let fresh = Fresh { cluster: reader.scope.cluster, ledger: is_ledger_fresh };
    let sharing = reader.inputs.sharing.clone();
    let mut problems = named.problems();
    if let Some(Sharing::Younger(problem)) = &sharing {
        problems.push(problem.clone());
    }
    let Reader { mut known, now, inputs, problems: of_services, .. } = reader;
    problems.extend(of_services);
    if known.whole.as_ref().is_some_and(|whole| whole.inputs.look != inputs.look) {
        known.looked_at = Some(now);
    }
    let awaits_messages = known.looked_at.is_some_and(|at| now - at < LATE_MS);
    if fresh.cluster {
        let (named, cluster, refusals) = (named.clone(), cluster.clone(), refusals.clone());
        known.whole = Some(Whole { at: now, inputs, named, cluster, refusals });
    }
    Ok(Observed {
        secrets_version: named.secrets.version(),
        tried_secrets_version: named.secrets.tried_version(),
        ignore_patterns: named.ignore_patterns.clone().ok(),
        ca_bundles: named.ca_bundles.clone().ok(),
        cluster,
        refusals,
        services,
        depth,
        over_budget: budget::over_budget(job, ledger.as_deref()),
        ledger,
        sharing,
        awaits_messages,
        problems,
        is_refused: !named.refusals.is_empty(),
        fresh,
        known,
    })
}

fn sharing(job: &MigrationJob, context: &Context) -> Option<Sharing> {
    let all = context.watched_jobs();
    let readable: Vec<_> = all.iter().filter_map(|other| other.0.as_ref().ok()).collect();
    sharing::decide(job, &readable)
}

/// Returns the interval at which the queue of an idle job is measured, in milliseconds. None if only the job itself
/// sends to it and no dead letters are known: then nothing comes while nothing runs, and a person who sends something
/// says so by an annotation. Dead letters are redriven and deleted by people who say nothing. `queue`: its last depth.
pub fn poll_ms(spec: &MigrationJobSpec, queue: Option<QueueDepth>) -> Option<i64> {
    if spec.trigger.events.enabled && !spec.suspend {
        return Some(EVENTS_POLL_MS);
    }
    let has_dead_letters = queue.is_some_and(|queue| queue.dead_letters > 0);
    (spec.queue.url.is_some() || has_dead_letters).then_some(POLL_MS)
}

/// The interval while S3 may send events, in milliseconds, so that the first one waits no longer.
const EVENTS_POLL_MS: i64 = 20_000;

/// How late the numbers of a queue may be, in milliseconds: they are approximate, and consistent about a minute after messages
/// stopped coming. Source: `GetQueueAttributes` in the SQS API reference.
const LATE_MS: i64 = 2 * 60_000;

/// The interval at which the queue that a job names, or that has dead letters, is measured while the job is idle, in
/// milliseconds.
const POLL_MS: i64 = 10 * 60_000;
