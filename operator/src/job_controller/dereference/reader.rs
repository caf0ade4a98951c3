//! Reads one thing after the other, and what the looks before found where that is enough.

use std::sync::Arc;

use kube::ResourceExt;
use migration_api::MigrationJob;
use migration_api::status::QueueDepth;
use migration_core::error::Service;
use migration_ledger::ReadError;

use super::cadence::{self, LedgerInput, LedgerLook, Pace, Scope, ScopeInput};
use super::cluster::{self, Cluster, ObservedJob, refusals};
use super::followups::followup_settings;
use super::ledger::{self, Counted, KnownRecords, LedgerView, LookSettings, SharesLook, ShownRuns};
use super::limits::is_limited;
use super::named::Named;
use super::services::{Services, ServicesSpec};
use super::{Inputs, Known, KnownDepth, poll_ms};
use crate::job_controller::context::Context;
use crate::job_controller::kubernetes::RequestError;
use crate::job_controller::ownership::Owner;
use crate::notify::COST_SETTLES_MS;
use crate::problem::Problem;

/// The pairs whose failures may be read beside a look.
const ROOM: usize = 2;

/// Reads for one job.
pub struct Reader<'a> {
    job: &'a MigrationJob,
    context: &'a Context,
    pace: Option<Pace>,
    /// What is read. Grows if something is found that the looks before did not know.
    pub scope: Scope,
    /// What the looks before found, and what this one adds.
    pub known: Known,
    /// What makes the job be read as a whole when it changes.
    pub inputs: Inputs,
    /// Problems of queue and ledger.
    pub problems: Vec<Problem>,
    /// Milliseconds since 1970.
    pub now: i64,
}

impl<'a> Reader<'a> {
    /// Decides what to read.
    pub fn new(job: &'a MigrationJob, known: Known, pace: Option<Pace>, context: &'a Context) -> Self {
        let (now, inputs) = (context.now(), Inputs::of(job, context));
        let scope = cadence::scope(&ScopeInput {
            pace: pace.filter(|_| known.whole.is_some()),
            changed: known.whole.as_ref().is_some_and(|whole| !inputs.are(&whole.inputs)),
            since_whole: known.whole.as_ref().map_or(0, |whole| now - whole.at),
            since_records: known.read_at.map_or(0, |at| now - at),
            since_depth: known.depth.map_or(i64::MAX, |depth| now - depth.at),
            poll: poll_ms(&job.spec, known.depth.map(|known| known.depth)),
        });
        Self { job, context, pace, scope, known, inputs, problems: Vec::new(), now }
    }

    /// Returns what the specification names.
    pub async fn named(&mut self) -> Result<Arc<Named>, RequestError> {
        let before = self.known.whole.as_ref().map(|whole| whole.named.clone());
        if let Some(before) = before.clone().filter(|_| !self.scope.named) {
            return Ok(before);
        }
        let named = Named::read(self.job, self.context).await?;
        match before {
            Some(before) if before.is(&named) && !self.scope.cluster => Ok(before),
            _ => {
                self.scope = Scope::WHOLE;
                Ok(Arc::new(named))
            }
        }
    }

    /// Returns queue and table, which are created where they are the job's own.
    pub async fn services(&mut self, named: &Named) -> Option<Arc<Services>> {
        // What is missing is for the next leader to create.
        self.context.fence.check().ok()?;
        // Without keys nothing is known to be wrong with queue and table.
        let spec = ServicesSpec::of(self.job, &named.secrets).filter(|_| named.refusals.is_empty())?;
        match Box::pin(Services::ensure(spec, self.known.services.as_ref(), &self.context.clients)).await {
            Ok(services) => {
                self.known.services = Some(services.clone());
                Some(services)
            }
            Err(problems) => {
                self.problems.extend(problems);
                self.known.services = None;
                None
            }
        }
    }

    /// Returns the depth of the queue. Messages that nobody announced make the rest be read, too.
    pub async fn depth(&mut self, services: Option<&Services>) -> Option<QueueDepth> {
        let services = services?;
        let before = self.known.depth;
        if let Some(before) = before.filter(|_| !self.scope.depth) {
            return Some(before.depth);
        }
        match services.depth().await {
            Ok(depth) => {
                let is_empty = depth.visible + depth.in_flight == 0;
                let since = before.and_then(|before| before.empty_since).unwrap_or(self.now);
                self.known.depth = Some(KnownDepth { at: self.now, depth, empty_since: is_empty.then_some(since) });
                if self.pace == Some(Pace::Settled) && !is_empty {
                    self.scope = Scope::WHOLE;
                }
                Some(depth)
            }
            Err(problem) => {
                self.problems.push(problem);
                (self.known.services, self.known.depth) = (None, None);
                None
            }
        }
    }

    /// Returns the job's objects in the cluster, and what Kubernetes refused to create for them.
    pub async fn cluster(&self) -> Result<(Arc<Cluster>, Vec<Problem>), RequestError> {
        if let Some(before) = self.known.whole.as_ref().filter(|_| !self.scope.cluster) {
            return Ok((before.cluster.clone(), before.refusals.clone()));
        }
        let namespace = self.job.namespace().unwrap_or_default();
        let cluster = cluster::read(self.context, &namespace, &Owner::of(self.job)).await?;
        let refusals = refusals::read(self.context, &namespace, &cluster).await;
        Ok((Arc::new(cluster), refusals))
    }

    /// Returns the records of the job, and whether they were read now.
    pub async fn ledger(&mut self, services: Option<&Services>, cluster: &Cluster) -> (Option<Arc<LedgerView>>, bool) {
        let Some(services) = services else { return (None, false) };
        let wanted = self.wants_records(cluster);
        let look = self.ledger_look(wanted);
        if look == LedgerLook::Keep {
            return (self.known.records.view.clone(), false);
        }
        let counted = Counted::new(&services.ledger);
        let read = self.read_records(&counted, look).await;
        // What a change causes must not delay the looks that show rates and paused sides.
        if !wanted {
            self.known.reads.add(counted.reads(), self.now);
        }
        match read {
            Ok(records) => {
                self.known.read_at = Some(self.now);
                if look == LedgerLook::Full {
                    self.known.all_read_at = Some(self.now);
                }
                self.known.records = records;
                (self.known.records.view.clone(), true)
            }
            Err(error) => {
                let error = match error {
                    ReadError::Request(error) => ReadError::Request(services.spec().shown(Service::Ledger, error)),
                    error @ ReadError::Record(_) => error,
                };
                self.problems.push(ledger::problem(&services.queue_and_table.table, &error));
                (self.known.services, self.known.records) = (None, KnownRecords::default());
                (None, false)
            }
        }
    }

    /// Returns true if a change or something unfinished makes the records be read.
    fn wants_records(&self, cluster: &Cluster) -> bool {
        let before = self.known.whole.as_ref();
        let edited = before.is_none_or(|whole| {
            (whole.inputs.generation, &whole.inputs.look) != (self.inputs.generation, &self.inputs.look)
        });
        let have_changed = before.is_none_or(|whole| states(&whole.cluster) != states(cluster));
        let awaits = matches!(self.pace, None | Some(Pace::Waiting | Pace::Slow | Pace::Settled)) && self.scope.cluster;
        self.known.records.view.is_none() || edited || have_changed || awaits
    }

    fn ledger_look(&mut self, wanted: bool) -> LedgerLook {
        let view = self.known.records.view.as_deref();
        let is_sent = view.and_then(LedgerView::live).is_some_and(|run| run.record.scan.closed);
        let empty_since = self.known.depth.and_then(|depth| depth.empty_since);
        cadence::ledger_look(&LedgerInput {
            wanted,
            whole: self.scope.cluster,
            since_all: self.known.all_read_at.map_or(i64::MAX, |at| self.now - at),
            drained: empty_since.filter(|_| is_sent).map(|since| self.now - since),
            reads: self.known.reads.in_last_minute(self.now),
        })
    }

    async fn read_records(
        &mut self,
        counted: &Counted<'_, migration_sqs_dynamodb::DynamoLedger>,
        look: LedgerLook,
    ) -> Result<KnownRecords, ReadError> {
        let uid = self.job.uid().unwrap_or_default();
        if look == LedgerLook::Tally {
            return ledger::read_tally(counted, &self.known.records, &uid).await;
        }
        let known_run = known_run(self.job, self.now);
        let is_limited = is_limited(self.job);
        let shares = match self.known.reads.has_room(cadence::LOOK_READS + 1, self.now) {
            _ if !is_limited => SharesLook::Unlimited,
            true => SharesLook::Read,
            false => SharesLook::Keep,
        };
        let settings = LookSettings {
            uid: &uid,
            known_run,
            shown: ShownRuns::of(self.job.status.as_ref()),
            followups: followup_settings(self.job),
            shares,
            has_room: self.known.reads.has_room(cadence::LOOK_READS + ROOM + usize::from(is_limited), self.now),
            now: self.now,
        };
        ledger::read(counted, &self.known.records, settings).await
    }
}

/// Returns the run whose final numbers the status has. Not yet one that has just ended: processes record what they sent
/// last, by which its cost is computed, up to some seconds later.
fn known_run(job: &MigrationJob, now: i64) -> Option<&str> {
    let last = job.status.as_ref()?.last_run.as_ref()?;
    (now - last.ended_at.0.as_millisecond() >= COST_SETTLES_MS).then_some(last.id.as_str())
}

/// Returns what of the Jobs decides over runs: a run starts as soon as the Jobs before it have ended.
fn states(cluster: &Cluster) -> Vec<(&str, &cluster::JobState)> {
    let jobs = cluster.jobs.iter().chain(&cluster.followups).chain(&cluster.notifiers);
    let jobs = jobs.chain(cluster.preflights.iter().map(|preflight| &preflight.job));
    jobs.map(|job: &ObservedJob| (job.uid.as_str(), &job.state)).collect()
}
