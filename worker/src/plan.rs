//! `jobsender plan`: shows what a run would do and estimates its cost.

use migration_core::size::human;
use migration_program::plan::{self, PlanArgs, PlanError};

use crate::exit::{End, FAILED};
use crate::setup::AwsProcess;

/// Runs the subcommand.
pub(crate) async fn plan(process: AwsProcess, args: &PlanArgs) -> End {
    match planned(process, args).await {
        Ok(message) => End { reason: "Planned", message, code: 0 },
        Err(error) => End { reason: "PlanFailed", message: error.to_string(), code: FAILED },
    }
}

async fn planned(process: AwsProcess, args: &PlanArgs) -> Result<String, PlanError> {
    let plan = plan::plan(process, args).await?;
    plan.print(args.output)?;
    let copied = plan.copied();
    Ok(format!("{} objects of {} to copy", copied.objects, human(copied.bytes)))
}
