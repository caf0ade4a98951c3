//! The `CronJob` of jobsenders. It always exists, so that `kubectl create job --from` works. Without a schedule it is
//! suspended.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, JobTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{job, metadata};
use crate::job_controller::validate::{Schedule, ValidatedJob};
use crate::names::{self, Component};

/// The schedule of a `CronJob` without one, as the field is required. It is suspended.
const NEVER: &str = "0 0 1 1 *";
/// How late a run may start if the specification does not say it, in seconds.
///
/// Without a deadline, Kubernetes starts the last run that was missed while the CronJob was suspended, or since it was
/// created: as soon as it is resumed, or gets a schedule. Source: "Suspend" in the Kubernetes documentation of
/// `CronJobs`, and `mostRecentScheduleTime` in `pkg/controller/cronjob`.
const STARTING_DEADLINE: i64 = 300;

/// How many more ended Jobs the `CronJob` keeps than the specification says. The operator removes those, and Kubernetes
/// only if it does not come to it: Kubernetes would remove the Job of a live run, and the one that says why the newest
/// failed, too. Source: `cleanupFinishedJobs` in `pkg/controller/cronjob`.
const LEEWAY: i32 = 100;

/// Builds the `CronJob`.
pub fn build(validated: &ValidatedJob) -> CronJob {
    let schedule = validated.schedule.clone();
    let suspend = validated.suspend || schedule.is_none();
    let Schedule { cron, time_zone, starting_deadline } =
        schedule.unwrap_or(Schedule { cron: NEVER.to_owned(), time_zone: None, starting_deadline: None });
    CronJob {
        metadata: metadata(validated, names::cron_job(&validated.name), Component::Jobsender),
        spec: CronJobSpec {
            schedule: cron,
            time_zone,
            starting_deadline_seconds: starting_deadline.or(Some(STARTING_DEADLINE)),
            suspend: Some(suspend),
            concurrency_policy: Some("Forbid".to_owned()),
            successful_jobs_history_limit: Some(validated.runs_history_limit.saturating_add(LEEWAY)),
            failed_jobs_history_limit: Some(validated.runs_history_limit.saturating_add(LEEWAY)),
            job_template: JobTemplateSpec {
                // The labels by which the operator finds Jobs that it did not create.
                metadata: Some(ObjectMeta {
                    labels: Some(names::labels(&validated.name, Component::Jobsender)),
                    ..ObjectMeta::default()
                }),
                spec: Some(job::spec(validated)),
            },
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::validated;

    fn spec(change: impl FnOnce(&mut migration_api::MigrationJob)) -> CronJobSpec {
        build(&validated(change)).spec
    }

    #[test]
    fn it_is_there_and_asleep_without_a_schedule() {
        let spec = spec(|_| ());
        assert_eq!((spec.suspend, spec.schedule.as_str()), (Some(true), NEVER));
        let labels = spec.job_template.metadata.unwrap().labels.unwrap();
        assert_eq!(labels[names::JOB_LABEL], "photos");
        assert_eq!(spec.job_template.spec, Some(job::spec(&validated(|_| ()))));
    }

    #[test]
    fn a_run_that_was_missed_does_not_start_when_a_job_is_resumed_or_gets_a_schedule() {
        let asleep = spec(|_| ());
        assert_eq!(asleep.starting_deadline_seconds, Some(300), "it may get a schedule, and was created long ago");
        let resumed = spec(|job| job.spec.trigger.schedule = Some("@daily".into()));
        assert_eq!((resumed.suspend, resumed.starting_deadline_seconds), (Some(false), Some(300)));
    }

    #[test]
    fn the_schedule_leaves_it_to_the_operator_which_jobs_stay() {
        let limits = |spec: CronJobSpec| (spec.successful_jobs_history_limit, spec.failed_jobs_history_limit);
        assert_eq!(limits(spec(|_| ())), (Some(103), Some(103)));
        assert_eq!(limits(spec(|job| job.spec.runs_history_limit = 0)), (Some(100), Some(100)));
        assert_eq!(limits(spec(|job| job.spec.runs_history_limit = u32::MAX)), (Some(i32::MAX), Some(i32::MAX)));
    }

    #[test]
    fn a_schedule_is_passed_on_and_sleeps_while_the_job_is_suspended() {
        let daily = |job: &mut migration_api::MigrationJob| {
            job.spec.trigger.schedule = Some("@daily".into());
            job.spec.trigger.time_zone = Some("Europe/Berlin".into());
            job.spec.trigger.starting_deadline_seconds = Some(60);
        };
        let spec_of = spec(daily);
        assert_eq!((spec_of.suspend, spec_of.schedule.as_str()), (Some(false), "@daily"));
        assert_eq!(
            (spec_of.time_zone.as_deref(), spec_of.starting_deadline_seconds),
            (Some("Europe/Berlin"), Some(60))
        );
        assert_eq!(spec_of.concurrency_policy.as_deref(), Some("Forbid"));
        let suspended = spec(|job| {
            daily(job);
            job.spec.suspend = true;
        });
        assert_eq!(suspended.suspend, Some(true));
    }
}
