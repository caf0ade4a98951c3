//! Compares both sides independently of the run that copied, and records the result.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use migration_core::error::ServiceError;
use migration_core::finding::{Action, Finding};
use migration_core::pair::BucketPair;
use migration_core::records::{RunRecord, RunSides, VerificationRecord, verification_write};
use migration_core::verification::{Verification, VerifyMethod};
use migration_engine::scan::{DryRunError, Observer, Purpose, dry_run};
use migration_engine::{Process, Services};
use migration_ledger::{ReadError, view, write};

use crate::findings::{List, ListError};

/// Arguments of a verification.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// Method of the comparison.
    #[arg(long, default_value = "listing")]
    pub method: Method,
    /// Write one line per object that is missing, different or extra to this CSV file.
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
}

/// Methods of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Sizes and ETags from listings.
    Listing,
    /// If ETags are inconclusive, the checksums that both services store.
    Checksum,
    /// Read both sides and compare byte by byte.
    Read,
}

impl From<Method> for VerifyMethod {
    fn from(method: Method) -> Self {
        match method {
            Method::Listing => Self::Listing,
            Method::Checksum => Self::Checksum,
            Method::Read => Self::Read,
        }
    }
}

/// Why a verification has no result.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The last run could not be read.
    #[error(transparent)]
    Ledger(#[from] ReadError),
    /// The last run copied between other places.
    #[error("failed to verify the last run: the job has changed ({0}); start a new run")]
    Elsewhere(String),
    /// The list could not be written.
    #[error(transparent)]
    List(#[from] ListError),
    /// The scan failed.
    #[error(transparent)]
    Scan(#[from] DryRunError),
    /// The result could not be recorded.
    #[error("failed to record verification: {0}")]
    Record(ServiceError),
}

/// Sums up the findings of a verification, and lists the problems.
pub struct Verifier {
    /// Last run; `None` if there was none.
    run: Option<RunRecord>,
    verification: Mutex<Verification>,
    list: Option<List>,
}

impl Observer for Verifier {
    fn found(&self, pair: &BucketPair, finding: &Finding<'_>) {
        // If another thread panicked, the sums lack at most the finding it was adding.
        let since = self.run.as_ref().map(|run| run.started);
        self.verification.lock().unwrap_or_else(PoisonError::into_inner).add(finding, since);
        let well = matches!(finding.action(), Action::Skip | Action::Ignore);
        if let Some(list) = self.list.as_ref().filter(|_| !well) {
            list.add(pair, finding);
        }
    }
}

impl Verifier {
    /// Creates a verifier for the last run of a job. Fails if that run had other sides than the job has now.
    pub async fn new<P: Services>(process: &Process<P>, list: Option<&Path>) -> Result<Self, VerifyError> {
        let run = view::last_run(&process.ports.ledger, &process.config.job.uid).await?;
        let elsewhere = run.as_ref().and_then(|run| run.sides.as_ref()?.difference(&RunSides::of(&process.config)));
        if let Some(elsewhere) = elsewhere {
            return Err(VerifyError::Elsewhere(elsewhere));
        }
        let list = list.map(List::create).transpose()?;
        Ok(Self { run, verification: Mutex::default(), list })
    }

    /// Returns the purpose of a scan that reports to this verifier.
    pub fn purpose(self: &Arc<Self>, method: VerifyMethod) -> Purpose {
        Purpose { verify: Some(method), extras: true, observer: Some(self.clone()) }
    }

    /// Returns the sums so far.
    pub fn sums(&self) -> Verification {
        *self.verification.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the rest of the list.
    pub fn end(&self) -> Result<(), ListError> {
        self.list.as_ref().map_or(Ok(()), List::end)
    }
}

/// Verifies the last run by a method, lists the problems in a file, and records the result in the ledger. Writes to
/// neither side.
pub async fn verify<P>(
    process: Process<P>,
    method: VerifyMethod,
    list: Option<&Path>,
) -> Result<Verification, VerifyError>
where
    P: Services,
    P::Ledger: Clone,
{
    let verifier = Arc::new(Verifier::new(&process, list).await?);
    let (ledger, job) = (process.ports.ledger.clone(), process.config.job.uid.clone());
    let clock = process.runtime.clock.clone();
    dry_run(process, &verifier.purpose(method)).await?;
    let found = verifier.sums();
    if let Some(run) = &verifier.run {
        let record = VerificationRecord { at: clock.now(), method, found };
        let written = write::all(&ledger, &[verification_write(&job, &run.run, &record)]).await;
        written.map_err(VerifyError::Record)?;
    }
    verifier.end()?;
    Ok(found)
}

/// Describes the result of a verification in one line.
pub fn describe(found: &Verification) -> String {
    let Verification { proven, by_size, missing, different, newer, unmappable, ignored, extra } = found;
    format!(
        "{proven} objects verified at the destination, {by_size} more by size only; {missing} missing, {different} different \
         ({newer} of these changed since the run), {unmappable} without a valid key, {extra} extra, {ignored} ignored"
    )
}
