//! Reads failures, and what scans have found, from the ledgers of jobs.

use std::sync::Arc;

use kube::runtime::reflector::{ObjectRef, Store};
use migration_api::MigrationJob;
use migration_api::config::is_server_side;
use migration_core::cost::PriceTable;
use migration_ledger::failures::failure_page;
use migration_ledger::{ReadError, view};
use migration_web::found::{RunScan, Terms};
use migration_web::source::{FailureQuery, RunFailures, Source, SourceError};
use migration_web::view::JobName;

use crate::job_controller::context::Context;
use crate::job_controller::readable_ledger::{self, ReadableLedger};
use crate::job_controller::watched::WatchedJob;

/// The ledgers of the jobs that are watched. Each is opened for a request: Secrets are read anew, as they may have
/// changed.
pub struct Ledgers {
    context: Context,
    jobs: Store<WatchedJob>,
}

impl Ledgers {
    /// Creates it for these jobs.
    pub fn new(context: Context, jobs: Store<WatchedJob>) -> Self {
        Self { context, jobs }
    }

    fn job(&self, name: &JobName) -> Option<Arc<WatchedJob>> {
        self.jobs.get(&ObjectRef::new(&name.name).within(&name.namespace))
    }

    async fn open(&self, job: &MigrationJob) -> Result<ReadableLedger, SourceError> {
        let opened = Box::pin(readable_ledger::open(job, &self.context)).await;
        opened.map_err(|error| SourceError::Ledger(error.to_string()))
    }
}

/// Returns an error as it may be shown.
fn failed(opened: &ReadableLedger, error: ReadError) -> SourceError {
    SourceError::Ledger(match error {
        ReadError::Request(error) => opened.shown(error).to_string(),
        ReadError::Record(error) => error.to_string(),
    })
}

/// Returns the terms of a job that sets prices. The public ones would be wrong for many.
fn terms(job: &MigrationJob) -> Option<Terms> {
    let prices = job.spec.prices.as_ref()?;
    Some(Terms { prices: PriceTable::of(&prices.into()), is_server_side: is_server_side(&job.spec) })
}

/// Returns the resource that is watched.
fn resource(watched: &WatchedJob) -> Result<&MigrationJob, SourceError> {
    watched.0.as_ref().map_err(|invalid| SourceError::Ledger(invalid.error.clone()))
}

impl Source for Ledgers {
    async fn failures(&self, job: &JobName, query: &FailureQuery) -> Result<RunFailures, SourceError> {
        let watched = self.job(job).ok_or(SourceError::NoRun)?;
        let job = resource(&watched)?;
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let opened = self.open(job).await?;
        let run = match &query.run {
            Some(run) => view::run(&opened.ledger, &uid, run).await,
            None => view::last_run(&opened.ledger, &uid).await,
        };
        let run = run.map_err(|error| failed(&opened, error))?.ok_or(SourceError::NoRun)?;
        let page = failure_page(&opened.ledger, &uid, &run, &query.filter, query.from.clone(), query.bounds).await;
        let page = page.map_err(|error| failed(&opened, ReadError::Request(error)))?;
        Ok(RunFailures { run: run.run, pairs: run.pairs, page })
    }

    async fn scan(&self, job: &JobName) -> Result<RunScan, SourceError> {
        let watched = self.job(job).ok_or(SourceError::NoRun)?;
        let job = resource(&watched)?;
        let uid = job.metadata.uid.clone().unwrap_or_default();
        let opened = self.open(job).await?;
        let run = view::last_run(&opened.ledger, &uid).await;
        let run = run.map_err(|error| failed(&opened, error))?.ok_or(SourceError::NoRun)?;
        Ok(RunScan::of(&run, terms(job)))
    }
}
