//! The Jobs of preflights, with what they found.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use migration_core::preflight::Report;
use serde::Deserialize;

use super::jobs::{ObservedJob, last_message, observed_job};
use crate::names;

/// The Job of a preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPreflight {
    /// The Job.
    pub job: ObservedJob,
    /// Its number.
    pub number: u32,
    /// Identifies what it checks.
    pub checked: String,
    /// What it found; none if its program did not get to report.
    pub report: Option<Report>,
}

/// Returns the Job of a preflight of a resource; none if its name is no such Job's.
pub fn observe(job: &Job, resource: &str, pods: &[Pod]) -> Option<ObservedPreflight> {
    let name = job.name_any();
    Some(ObservedPreflight {
        number: names::number_of_preflight(resource, &name)?,
        checked: job.annotations().get(names::CHECKED_ANNOTATION).cloned().unwrap_or_default(),
        report: last_message(pods, &name).and_then(|text| report(&text)),
        job: observed_job(job, pods),
    })
}

/// Reads a termination message. Others than a preflight's are no report: why the configuration can't be used, or the end of a
/// log.
fn report(text: &str) -> Option<Report> {
    let message: Message = serde_json::from_str(text).ok()?;
    message.reason.starts_with("Preflight").then_some(message.report)
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(flatten)]
    report: Report,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::dereference::cluster::tests::pod;
    use migration_core::preflight::Shortcoming;
    use serde_json::json;

    fn reported(message: &str, code: u8) -> Option<Report> {
        let text = json!({
            "metadata": {"name": "p", "labels": {"batch.kubernetes.io/job-name": "photos-preflight-2"}},
            "status": {"containerStatuses": [{
                "name": "preflight", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:01Z", "message": message}},
            }]},
        });
        let job = json!({"metadata": {"name": "photos-preflight-2", "annotations": {"s3migration.dev/checked": "k"}}});
        let job = serde_json::from_value(job).unwrap();
        let found = observe(&job, "photos", &[pod(&text.to_string())]).unwrap();
        assert_eq!((found.number, found.checked.as_str()), (2, "k"));
        found.report
    }

    #[test]
    fn a_preflight_says_what_it_found_whether_it_failed_or_not() {
        let finding =
            r#"{"side":"source","problem":"TagsDenied","operation":"get object tags","resource":"a","message":"m"}"#;
        let message = format!(r#"{{"reason":"PreflightWarned","message":"m","findings":[{finding}]}}"#);
        for code in [0, 1] {
            assert_eq!(reported(&message, code).unwrap().findings[0].problem, Shortcoming::TagsDenied);
        }
        let passed = r#"{"reason":"PreflightPassed","message":"m"}"#;
        assert_eq!(reported(passed, 0), Some(Report::default()));
        for other in [r#"{"reason":"ConfigInvalid","message":"no"}"#, "error: unrecognized subcommand", ""] {
            assert_eq!(reported(other, 2), None, "{other}");
        }
    }
}
