//! The `CronJob` of jobsenders. It always exists, so that `kubectl create job --from` works. Without a schedule it is
//! suspended.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, JobTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{job, metadata};
use crate::job_controller::validate::{Schedule, ValidatedJob};
use crate::names::{self, Component};

/// The schedule of a `CronJob` without one, as the field is required. It is suspended.
const NEVER: &str = "0 0 1 1 *";
/// The number of ended Jobs that stay for their logs.
const HISTORY: i32 = 3;

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
            starting_deadline_seconds: starting_deadline,
            suspend: Some(suspend),
            concurrency_policy: Some("Forbid".to_owned()),
            successful_jobs_history_limit: Some(HISTORY),
            failed_jobs_history_limit: Some(HISTORY),
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
