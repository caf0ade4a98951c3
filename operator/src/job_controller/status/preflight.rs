//! Computes the condition Preflight.

use migration_api::Reason;
use migration_api::preflight::{PreflightResult, PreflightStatus};

use crate::problem::Problem;

/// Returns whether the condition holds, its reason and its message, once a preflight was started. While one is repeated, the
/// condition stays.
pub fn preflight(status: &PreflightStatus) -> Option<(bool, Reason, String)> {
    let draft = |holds, reason: Reason, message: String| Some((holds, reason, message));
    let found: Vec<Problem> = status.findings.iter().map(Problem::found).collect();
    let mut messages: Vec<_> = found.iter().map(|problem| problem.message.clone()).collect();
    let reason = || found.first().map(|problem| problem.reason.clone());
    match status.result {
        None if status.running => {
            draft(false, Reason::PreflightRunning, "a Job with the rights of workers tries the buckets".to_owned())
        }
        None => None,
        Some(PreflightResult::Failed) => {
            messages.extend(status.message.clone());
            draft(false, reason().unwrap_or(Reason::PreflightFailed), messages.join("; also: "))
        }
        Some(PreflightResult::Warned) => {
            draft(true, reason().unwrap_or(Reason::PreflightPassed), messages.join("; also: "))
        }
        Some(PreflightResult::Passed) => {
            draft(true, Reason::PreflightPassed, "everything that was tried on the buckets works".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::Service;
    use migration_core::operation::Operation;
    use migration_core::preflight::{Finding, Shortcoming};

    #[test]
    fn the_condition_says_what_works_and_what_does_not() {
        let write = |problem| {
            let arn = "arn:aws:s3:::b/k".to_owned();
            let found = Finding::new(Service::Destination, problem, Operation::CreateUpload, arn, "AccessDenied: no.");
            Finding { actions: vec!["s3:PutObject".into()], ..found }
        };
        let shown = |result, running, findings: Vec<Finding>| {
            let message = findings.is_empty().then(|| "exit code 2".to_owned());
            let status = PreflightStatus { result, running, findings, message, ..PreflightStatus::default() };
            preflight(&status).map(|(holds, reason, message)| (holds, reason.to_string(), message))
        };
        let short = |shown: Option<(bool, String, String)>| shown.map(|(holds, reason, _)| (holds, reason));
        let is = |holds, reason: &str| Some((holds, reason.to_owned()));
        assert_eq!(shown(None, false, vec![]), None);
        assert_eq!(short(shown(None, true, vec![])), is(false, "PreflightRunning"));
        assert_eq!(short(shown(Some(PreflightResult::Passed), true, vec![])), is(true, "PreflightPassed"));
        assert_eq!(short(shown(Some(PreflightResult::Failed), false, vec![])), is(false, "PreflightFailed"));
        let warned = shown(Some(PreflightResult::Warned), false, vec![write(Shortcoming::TagsDenied)]);
        assert_eq!(short(warned), is(true, "DestinationTagsDenied"));
        let failed = shown(Some(PreflightResult::Failed), false, vec![write(Shortcoming::AccessDenied)]);
        let (holds, reason, message) = failed.unwrap();
        assert_eq!((holds, reason.as_str()), (false, "DestinationAccessDenied"));
        let words = "destination bucket arn:aws:s3:::b/k: AccessDenied: no; the request needs s3:PutObject; grant the principal \
                     of spec.destination the missing permission";
        assert!(message.starts_with(words), "{message}");
    }
}
