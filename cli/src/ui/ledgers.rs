//! The ledgers of the jobs that are shown, for their failures and what their scans have found.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use migration_core::error::ServiceError;
use migration_ledger::failures::failure_page;
use migration_ledger::{ReadError, view};
use migration_local::ledger::LocalLedger;
use migration_web::found::{RunScan, Terms};
use migration_web::source::{FailureQuery, RunFailures, Source, SourceError};
use migration_web::view::JobName;

/// The ledger of a job, and what is known of the job.
#[derive(Clone, Debug)]
pub struct OfJob {
    /// The ledger.
    pub ledger: LocalLedger,
    /// The UID that its records have.
    pub uid: String,
    /// The terms of its last run; none if it sets no prices.
    pub terms: Option<Terms>,
}

/// The ledger of each job.
#[derive(Debug, Default)]
pub struct Ledgers(Mutex<BTreeMap<JobName, OfJob>>);

impl Ledgers {
    /// Replaces all ledgers by these.
    pub fn set(&self, ledgers: BTreeMap<JobName, OfJob>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ledgers;
    }

    fn of(&self, job: &JobName) -> Option<OfJob> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(job).cloned()
    }
}

fn failed(error: &ReadError) -> SourceError {
    SourceError::Ledger(error.to_string())
}

impl Source for Ledgers {
    async fn failures(&self, job: &JobName, query: &FailureQuery) -> Result<RunFailures, SourceError> {
        let OfJob { ledger, uid, .. } = self.of(job).ok_or(SourceError::NoRun)?;
        let run = match &query.run {
            Some(run) => view::run(&ledger, &uid, run).await,
            None => view::last_run(&ledger, &uid).await,
        };
        let run = run.map_err(|error| failed(&error))?.ok_or(SourceError::NoRun)?;
        let page = failure_page(&ledger, &uid, &run, &query.filter, query.from.clone(), query.bounds).await;
        let page = page.map_err(|error: ServiceError| failed(&ReadError::Request(error)))?;
        Ok(RunFailures { run: run.run, pairs: run.pairs, page })
    }

    async fn scan(&self, job: &JobName) -> Result<RunScan, SourceError> {
        let OfJob { ledger, uid, terms } = self.of(job).ok_or(SourceError::NoRun)?;
        let run = view::last_run(&ledger, &uid).await.map_err(|error| failed(&error))?;
        Ok(RunScan::of(&run.ok_or(SourceError::NoRun)?, terms))
    }
}
