//! `jobsender verify`: compares both sides independently of the run.

use std::sync::Arc;

use clap::Args;
use migration_core::verification::Verification;
use migration_engine::scan::ScanOutcome;
use migration_program::verification::{self, Verifier, VerifyArgs, VerifyError};

use crate::exit::{End, FAILED};
use crate::send;
use crate::setup::{AwsProcess, Common};

/// Exit code for an incomplete copy: a retry would find the same.
const DIFFERENT: u8 = 3;

/// Arguments of `jobsender verify`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    verify: VerifyArgs,
    /// Send missing and different objects to the queue, as a run.
    #[arg(long)]
    repair: bool,
}

/// Runs the subcommand: verifies the last run, or repairs it.
pub(crate) async fn verify(process: AwsProcess, common: &Common, args: &Arguments) -> End {
    let end = if args.repair {
        Box::pin(repair(process, common, &args.verify)).await
    } else {
        verification::verify(process, args.verify.method.into(), args.verify.list.as_deref())
            .await
            .map(|found| end_of(&found))
    };
    end.unwrap_or_else(|error| failed(error.to_string()))
}

async fn repair(process: AwsProcess, common: &Common, args: &VerifyArgs) -> Result<End, VerifyError> {
    let verifier = Arc::new(Verifier::new(&process, args.list.as_deref()).await?);
    let end = match send::send(process, common, &verifier.purpose(args.method.into())).await {
        Ok(ScanOutcome::RunIsLive { run } | ScanOutcome::OtherSides { run }) => {
            failed(format!("failed to repair: run {run} is still in progress; try again after it has ended"))
        }
        sent => send::report_send(sent),
    };
    verifier.end()?;
    Ok(end)
}

fn failed(message: String) -> End {
    End { reason: "VerifyFailed", message, code: FAILED }
}

fn end_of(found: &Verification) -> End {
    let message = verification::describe(found);
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
        let end = end_of(&missing);
        assert_eq!((end.reason, end.code), ("Different", DIFFERENT));
        assert!(end.message.contains("1 missing"), "{}", end.message);
        assert_eq!(end_of(&Verification { newer: 1, ..missing }).code, 0);
    }
}
