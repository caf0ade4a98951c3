//! `jobsender verify`: compares both sides independently of the run.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use migration_aws::{DynamoLedger, SystemClock};
use migration_core::finding::{Action, Finding};
use migration_core::pair::BucketPair;
use migration_core::ports::{Clock, Ledger, WriteError};
use migration_core::records::{RunRecord, RunSides, VerificationRecord, verification_write};
use migration_core::verification::{Verification, VerifyMethod};
use migration_engine::scan::{Observer, Purpose, ScanOutcome, dry_run};
use migration_ledger::view;

use crate::exit::{End, FAILED};
use crate::findings::List;
use crate::send;
use crate::setup::{AwsProcess, Common};

/// Exit code for an incomplete copy: a retry would find the same.
const DIFFERENT: u8 = 3;

/// Arguments of `jobsender verify`.
#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    /// Method of the comparison.
    #[arg(long, default_value = "listing")]
    method: Method,
    /// Write one line per object that is missing, different or extra to this CSV file.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Send missing and different objects to the queue, as a run.
    #[arg(long)]
    repair: bool,
}

/// Methods of the comparison.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Method {
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

/// Sums up findings and lists the problems.
struct Verifier {
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

/// Runs the subcommand: verifies the last run, or repairs it.
pub(crate) async fn verify(process: AwsProcess, common: &Common, args: &VerifyArgs) -> End {
    let failed = |message: String| End { reason: "VerifyFailed", message, code: FAILED };
    let (ledger, job) = (process.ports.ledger.clone(), process.config.job.uid.clone());
    let verifier = match verifier(&process, args).await {
        Ok(verifier) => Arc::new(verifier),
        Err(message) => return failed(message),
    };
    let purpose = Purpose { verify: Some(args.method.into()), extras: true, observer: Some(verifier.clone()) };
    let end = if args.repair {
        match send::send(process, common, &purpose).await {
            Ok(ScanOutcome::RunIsLive { run } | ScanOutcome::OtherSides { run }) => {
                failed(format!("failed to repair: run {run} is still in progress; try again after it has ended"))
            }
            sent => send::report_send(sent),
        }
    } else {
        match dry_run(process, &purpose).await {
            Ok(_) => {
                let found = *verifier.verification.lock().unwrap_or_else(PoisonError::into_inner);
                match record(&ledger, &job, &verifier, args.method.into(), found).await {
                    Ok(()) => end_of(found),
                    Err(error) => failed(error.to_string()),
                }
            }
            Err(error) => failed(error.to_string()),
        }
    };
    match verifier.list.as_ref().map(List::end) {
        Some(Err(error)) => failed(error.to_string()),
        _ => end,
    }
}

/// Records the verification of the last run in the ledger.
async fn record(
    ledger: &DynamoLedger,
    job: &str,
    verifier: &Verifier,
    method: VerifyMethod,
    found: Verification,
) -> Result<(), WriteError> {
    let Some(run) = &verifier.run else { return Ok(()) };
    let record = VerificationRecord { at: SystemClock.now(), method, found };
    ledger.write(&[verification_write(job, &run.run, &record)]).await
}

async fn verifier(process: &AwsProcess, args: &VerifyArgs) -> Result<Verifier, String> {
    let run = view::last_run(&process.ports.ledger, &process.config.job.uid).await.map_err(|e| e.to_string())?;
    let elsewhere = run.as_ref().and_then(|run| run.sides.as_ref()?.difference(&RunSides::of(&process.config)));
    if let Some(elsewhere) = elsewhere {
        return Err(format!("failed to verify the last run: the job has changed ({elsewhere}); start a new run"));
    }
    let list = args.list.as_deref().map(List::create).transpose().map_err(|error| error.to_string())?;
    Ok(Verifier { run, verification: Mutex::default(), list })
}

fn end_of(found: Verification) -> End {
    let Verification { proven, by_size, missing, different, newer, unmappable, ignored, extra } = found;
    let message = format!(
        "{proven} objects verified at the destination, {by_size} more by size only; {missing} missing, {different} different \
         ({newer} of these changed since the run), {unmappable} without a valid key, {extra} extra, {ignored} ignored"
    );
    if found.is_whole() {
        End { reason: "Verified", message, code: 0 }
    } else {
        End { reason: "Different", message, code: DIFFERENT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_fails() {
        let missing = Verification { proven: 5, missing: 1, ..Verification::default() };
        let end = end_of(missing);
        assert_eq!((end.reason, end.code), ("Different", DIFFERENT));
        assert!(end.message.contains("1 missing"), "{}", end.message);
        assert_eq!(end_of(Verification { newer: 1, ..missing }).code, 0);
    }
}
