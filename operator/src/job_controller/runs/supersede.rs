//! A run that works elsewhere than the specification says by now gives way to the next one, where a person asks for that by
//! another spec.trigger.manual. Else it would have to be waited for, also where it can't get on.

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::DeleteParams;
use migration_api::transfer::Trigger;
use migration_core::records::{RunEnd, RunResult};

use crate::job_controller::apply::{self, ApplyError};
use crate::job_controller::dereference::cluster::ObservedJob;

/// Whether a live run gives way: `edited` is what became another place since it began.
pub fn is_requested(trigger: &Trigger, last_manual: Option<&str>, edited: Option<&str>) -> bool {
    edited.is_some() && trigger.manual.is_some() && trigger.manual.as_deref() != last_manual
}

/// What is said in the condition of a run that goes on though the specification says otherwise by now.
pub fn advice(edited: &str) -> String {
    format!(
        "the run keeps the sides that it began with, and what was edited ({edited}) applies from the next one; to end this \
         run and start that one now, change spec.trigger.manual"
    )
}

/// The end of a run that gives way.
pub fn end(edited: &str, now: i64) -> RunEnd {
    let message = format!("it gave way to another run: {edited}; what it moved stays where it is");
    RunEnd { at: now, result: RunResult::Failed, message: Some(message), cause: None }
}

/// Deletes the Jobs that send for the run: else a pod of one would take another run with its sides. Says whether there is
/// none any more. In the foreground a Job stays until its pods are gone.
pub async fn delete_senders(api: &Api<Job>, jobs: &[ObservedJob]) -> Result<bool, ApplyError> {
    let mut none_left = true;
    for job in jobs.iter().filter(|job| job.is_unfinished()) {
        none_left = false;
        apply::delete(api, &job.name, Some(job.uid.clone()), DeleteParams::foreground()).await?;
    }
    Ok(none_left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_gives_way_only_where_it_works_elsewhere_and_somebody_asks() {
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
