//! What is left on buckets: notification entries and uploads.

use migration_api::EventReason;
use migration_core::error::{ErrorClass, Service, ServiceError};
use migration_core::records::RunSides;
use migration_ledger::{ReadError, view};

use super::last_jobs::LastJob;
use super::{Cleanup, CleanupError, is_passing};
use crate::job_controller::build;
use crate::job_controller::dereference::services::{self, ServicesSpec};
use crate::job_controller::events;
use crate::names;

/// How long to wait for the Job that aborts uploads, in milliseconds. Kubernetes ends it before that.
const ABORT_PATIENCE_MS: i64 = (build::abort::DEADLINE_SECONDS + 60) * 1_000;

impl Cleanup<'_> {
    /// Removes the notification entries of the source buckets, with the rights of a worker.
    pub(super) async fn remove_notifications(&self, spec: &ServicesSpec) -> Result<(), CleanupError> {
        let found = self.notified_buckets(spec).await.map_err(|error| spec.shown(Service::Ledger, error));
        let buckets = match found {
            Ok(buckets) if buckets.is_empty() => return Ok(()),
            Ok(buckets) => buckets,
            Err(error) if self.is_patient() && is_passing(&error) => {
                return Err(CleanupError::Pending(error.to_string()));
            }
            // What the status says is all that is known.
            Err(_) => self.buckets_of_status(),
        };
        if buckets.is_empty() {
            return Ok(());
        }
        let _turn = self.context.notifying.lock().await;
        if let Some(other) = events::busy(self.job, &buckets, self.context).await?.filter(|_| self.is_patient()) {
            return Err(CleanupError::Pending(format!("waiting for Job {other} to configure a bucket")));
        }
        let job = LastJob {
            name: names::remove_notifications(&self.owner.name),
            waiting: "waiting for notification entries to be removed",
            patience_ms: (build::notify::DEADLINE_SECONDS + 60) * 1_000,
            build: build::notify::removal,
        };
        if let Err(why) = self.run_last_job(spec, None, &job).await? {
            let text = format!(
                "notification entries whose ids begin with s3-migration-{} may be left in {}: {why}; remove them",
                self.owner.uid,
                buckets.join(", ")
            );
            self.warn(EventReason::NotificationsLeft, text).await;
        }
        Ok(())
    }

    /// Returns the source buckets that have, or may have, notification entries of the job.
    async fn notified_buckets(&self, spec: &ServicesSpec) -> Result<Vec<String>, ServiceError> {
        let Some(ledger) = services::existing_ledger(spec, &self.context.clients).await? else {
            return Ok(self.buckets_of_status());
        };
        match view::notifications(&ledger, &self.owner.uid).await {
            Ok(record) => Ok(record.buckets.into_iter().map(|notified| notified.bucket).collect()),
            Err(ReadError::Request(error)) => Err(error),
            // The Job reads the same record, and its error names it.
            Err(ReadError::Record(_)) => {
                Ok(self.job.spec.buckets.iter().map(|pair| pair.source_bucket.clone()).collect())
            }
        }
    }

    fn buckets_of_status(&self) -> Vec<String> {
        let status = self.job.status.as_ref().and_then(|status| status.event_trigger.as_ref());
        status.map(|status| status.buckets.clone()).unwrap_or_default()
    }

    /// Aborts the uploads that the ledger records, with the rights of a worker.
    pub(super) async fn abort_uploads(&self, spec: &ServicesSpec) -> Result<(), CleanupError> {
        let recorded = self.recorded_uploads(spec).await.map_err(|error| spec.shown(Service::Ledger, error));
        let (left, sides) = match recorded {
            Ok((0, _)) => return Ok(()),
            Ok(found) => found,
            Err(error) if self.is_patient() && is_passing(&error) => {
                return Err(CleanupError::Pending(error.to_string()));
            }
            Err(error) => {
                let text = format!("unfinished uploads at the destination are unknown and may be left: {error}");
                self.warn(EventReason::UploadsLeft, text).await;
                return Ok(());
            }
        };
        let job = LastJob {
            name: names::abort(&self.owner.name),
            waiting: "waiting for uploads to be aborted",
            patience_ms: ABORT_PATIENCE_MS,
            build: build::abort::build,
        };
        if let Err(why) = self.run_last_job(spec, sides, &job).await? {
            let buckets: Vec<_> = self.job.spec.buckets.iter().map(|pair| pair.destination_bucket.as_str()).collect();
            let text = format!(
                "unfinished uploads of this job ({left} recorded) may be left in {}: {why}; abort them, or let a lifecycle \
                 rule do so",
                buckets.join(", ")
            );
            self.warn(EventReason::UploadsLeft, text).await;
        }
        Ok(())
    }

    /// Returns the number of recorded uploads, and the sides of the last run, which began them. Records that cannot be
    /// read count too: the Job that aborts uploads then fails and names one of them.
    async fn recorded_uploads(&self, spec: &ServicesSpec) -> Result<(u64, Option<RunSides>), ServiceError> {
        let Some(ledger) = services::existing_ledger(spec, &self.context.clients).await? else { return Ok((0, None)) };
        let uploads = view::uploads(&ledger, &self.owner.uid).await?;
        let number = u64::try_from(uploads.records.len()).unwrap_or(u64::MAX).saturating_add(uploads.unreadable.count);
        match view::last_run(&ledger, &self.owner.uid).await {
            Ok(run) => Ok((number, run.and_then(|run| run.sides))),
            Err(ReadError::Request(error)) => Err(error),
            Err(ReadError::Record(error)) => {
                Err(ServiceError::new(ErrorClass::Refused, "read last run", "InvalidRecord", error.to_string()))
            }
        }
    }
}
