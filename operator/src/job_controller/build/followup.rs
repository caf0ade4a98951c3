//! The Jobs that follow a run: one compares both sides again, one writes the report.

use k8s_openapi::api::batch::v1::Job;

use super::job::{CONFIG_INVALID, spec_of};
use super::metadata;
use super::pod::Program;
use crate::job_controller::validate::ValidatedJob;
use crate::names;

/// Exit codes of the program after which another attempt would end the same way: a configuration that cannot be used, and a
/// copy that is not whole.
const FINAL: [i32; 2] = [CONFIG_INVALID, 3];

/// Builds the Job that verifies a run.
pub fn verify(job: &ValidatedJob, run: &str) -> Job {
    build(job, Program::Verify(job.verify), names::verify(&job.name, run))
}

/// Builds the Job that writes the report of a run.
pub fn report(job: &ValidatedJob, run: &str) -> Job {
    let mut built = build(job, Program::Report, names::report(&job.name, run));
    let containers =
        built.spec.iter_mut().filter_map(|spec| spec.template.spec.as_mut()).flat_map(|pod| &mut pod.containers);
    for container in containers {
        // Another run may be live by then.
        container.args.get_or_insert_default().extend(["--run".to_owned(), run.to_owned()]);
    }
    built
}

fn build(job: &ValidatedJob, program: Program, name: String) -> Job {
    let spec = spec_of(job, program, &FINAL);
    Job { metadata: metadata(job, name, program.component()), spec: Some(spec), status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::validated;

    #[test]
    fn a_copy_that_is_not_whole_is_not_looked_at_again() {
        let job = validated(|job| job.spec.verify.method = migration_api::verify::VerifyMethod::Read);
        let built = verify(&job, "20260101t000000z-0001");
        let spec = built.spec.unwrap();
        let rule = &spec.pod_failure_policy.unwrap().rules[2];
        let pod = spec.template.spec.unwrap();
        let codes = rule.on_exit_codes.as_ref().unwrap();
        assert_eq!((codes.values.as_slice(), codes.container_name.as_deref()), (&[2, 3][..], Some("verifier")));
        assert_eq!(pod.containers[0].name, "verifier");
        assert_eq!(pod.containers[0].args.as_ref().unwrap()[2..], ["verify", "--method", "read"]);
        assert!(built.metadata.name.unwrap().starts_with("photos-verify-"));
        assert_eq!(spec.ttl_seconds_after_finished, None, "a failed one that was removed would be due again");
    }

    #[test]
    fn a_report_is_written_with_the_rights_of_workers() {
        let job = validated(|job| {
            job.spec.worker.service_account_name = Some("writes".into());
            job.spec.jobsender.service_account_name = Some("lists".into());
        });
        let built = report(&job, "20260101t000000z-0001");
        let pod = built.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.service_account_name.as_deref(), Some("writes"));
        assert_eq!(pod.containers[0].name, "reporter");
        assert_eq!(pod.containers[0].args.as_ref().unwrap()[2..], ["report", "--run", "20260101t000000z-0001"]);
        assert!(built.metadata.name.unwrap().starts_with("photos-report-"));
    }
}
