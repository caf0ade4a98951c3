//! Ends a run whose source or destination was edited, if a person requests another run by changing spec.trigger.manual.
//! Otherwise the next run would have to wait for it, even if it cannot make progress.

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::DeleteParams;
use migration_api::transfer::Trigger;
use migration_core::records::{RunEnd, RunResult};

use crate::job_controller::apply::{self, ApplyError};
use crate::job_controller::dereference::cluster::ObservedJob;

/// Returns true if a live run is to be superseded. `edited` is the edit of its sides, if there was one.
pub fn is_requested(trigger: &Trigger, last_manual: Option<&str>, edited: Option<&str>) -> bool {
    edited.is_some() && trigger.manual.is_some() && trigger.manual.as_deref() != last_manual
}

/// Returns what the condition of a run says whose sides were edited.
pub fn advice(edited: &str) -> String {
    format!(
        "the run keeps the source and destination that it began with; the edit ({edited}) applies from the next run; change \
         spec.trigger.manual to end this run and start that one now"
    )
}

/// Returns the end of a run that is superseded.
pub fn end(edited: &str, now: i64) -> RunEnd {
    let message = format!("superseded by another run after an edit ({edited}); the objects that it moved stay");
    RunEnd { at: now, result: RunResult::Failed, message: Some(message), cause: None }
}

/// Deletes the Jobs of the run's jobsenders, since a pod of theirs would start another run with the old sides. Returns true
/// if none is left. Deleted in the foreground, a Job stays until its pods are gone.
pub async fn delete_senders(api: &Api<Job>, jobs: &[ObservedJob]) -> Result<bool, ApplyError> {
    let mut none_left = true;
    for job in jobs.iter().filter(|job| job.is_unfinished()) {
        none_left = false;
        apply::delete(api, &job.object(), DeleteParams::foreground()).await?;
    }
    Ok(none_left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_superseded_only_after_an_edit_and_by_request() {
        let manual = |manual: Option<&str>| Trigger { manual: manual.map(Into::into), ..Trigger::default() };
        for (asked, last, edited, expected) in [
            (Some("b"), Some("a"), Some("moved"), true),
            (Some("b"), None, Some("moved"), true),
            (Some("a"), Some("a"), Some("moved"), false),
            (None, Some("a"), Some("moved"), false),
            (Some("b"), Some("a"), None, false),
        ] {
            assert_eq!(is_requested(&manual(asked), last, edited), expected, "{asked:?} {last:?} {edited:?}");
        }
        let end = end("spec.source: region a became b", 7);
        assert_eq!((end.at, end.result), (7, RunResult::Failed));
        assert!(end.message.unwrap().contains("region a became b"));
    }
}
