//! What follows a run: its verification and its report.

use std::sync::Arc;

use migration_core::ports::ObjectStore;
use migration_core::records::{RunRecord, RunResult};
use migration_engine::report;
use migration_program::verification;

use super::{Migration, MigrationError, Stop};
use crate::display::Display;
use crate::event::Event;

impl<S, D> Migration<S, D>
where
    S: ObjectStore + Clone,
    D: ObjectStore + Clone,
{
    /// Writes the report of a run and verifies it, as the job says. Returns whether the copy is whole, if it was
    /// verified. The copy of a failed run is known to be incomplete, and not verified.
    pub(super) async fn follow_up(
        &self,
        run: &RunRecord,
        display: &dyn Display,
        stop: &Stop,
    ) -> Result<Option<bool>, MigrationError> {
        if self.terms.report {
            self.report(run, display, stop).await?;
        }
        let result = run.end.as_ref().map(|end| end.result);
        let Some(method) = self.terms.verify.filter(|_| result.is_some_and(|r| r != RunResult::Failed)) else {
            return Ok(None);
        };
        display.show(&Event::Verifying);
        let found = Box::pin(verification::verify(self.process("verifier", stop), method, None)).await?;
        let whole = found.is_whole();
        display.show(&Event::Verified { found, whole });
        Ok(Some(whole))
    }

    async fn report(&self, run: &RunRecord, display: &dyn Display, stop: &Stop) -> Result<(), MigrationError> {
        let process = Arc::new(self.process("reporter", stop));
        let now = migration_program::report_time();
        let record = Box::pin(report::write(&process, Some(&run.run), now)).await?;
        display.show(&Event::Reported { bucket: record.bucket, key: record.key });
        Ok(())
    }
}
