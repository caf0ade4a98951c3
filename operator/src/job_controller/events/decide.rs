//! Decides what to do about the notification entries of the source buckets.

use std::collections::BTreeSet;

use migration_api::trigger::EventTriggerStatus;

use crate::job_controller::dereference::cluster::{JobState, ObservedJob};
use crate::job_controller::validate::Notifications;
use crate::names;

/// The key of the wish that there are no entries.
const NONE: &str = "none";

/// The facts that decide.
#[derive(Clone, Copy, Debug)]
pub struct DecisionInput<'a> {
    /// What the resource wants; none if it wants no entries.
    pub wanted: Option<&'a Notifications>,
    /// `status.eventTrigger`.
    pub old: Option<&'a EventTriggerStatus>,
    /// The Jobs that configure buckets.
    pub notifiers: &'a [ObservedJob],
    /// The name of the resource.
    pub job: &'a str,
    /// Its `metadata.generation`. A wish that comes back after another one gets another Job.
    pub generation: i64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: everything is as wanted.
    Settled,
    /// Write this status, which names all buckets that are going to be changed.
    Announce(EventTriggerStatus),
    /// Create the Job of this name.
    Create(String),
    /// Wait for a Job.
    Wait,
    /// The Job succeeded: write this status.
    Done(EventTriggerStatus),
    /// The Job failed for good, for this reason.
    Failed(String),
}

/// Decides what to do.
///
/// | wanted | status | Jobs | decision |
/// |---|---|---|---|
/// | none | no buckets | any | settled |
/// | any | any | one unfinished | wait |
/// | some | configured so | any | settled |
/// | any | configured otherwise, or lacks a bucket | none unfinished | announce |
/// | any | announced | none for this | create |
/// | any | announced | succeeded | done |
/// | any | announced | failed | failed, until Kubernetes removes the Job |
pub fn decide(input: &DecisionInput<'_>) -> Decision {
    let DecisionInput { wanted, old, notifiers, job, generation } = *input;
    let none = EventTriggerStatus::default();
    let old = old.unwrap_or(&none);
    if wanted.is_none() && old.buckets.is_empty() && old.configured.is_none() {
        return Decision::Settled;
    }
    if notifiers.iter().any(ObservedJob::is_unfinished) {
        return Decision::Wait;
    }
    let key = wanted.map_or(NONE, |wanted| wanted.key.as_str());
    if old.configured.as_deref() == Some(key) {
        return Decision::Settled;
    }
    let before: BTreeSet<_> = old.buckets.iter().collect();
    let buckets: BTreeSet<_> = before.iter().copied().chain(wanted.iter().flat_map(|wanted| &wanted.buckets)).collect();
    if old.configured.is_some() || before != buckets {
        let buckets = buckets.into_iter().cloned().collect();
        return Decision::Announce(EventTriggerStatus { buckets, configured: None, ..old.clone() });
    }
    let name = names::notify(job, key, generation);
    match notifiers.iter().find(|found| found.name == name).map(|found| &found.state) {
        None => Decision::Create(name),
        Some(JobState::Unfinished) => Decision::Wait,
        Some(JobState::Failed { message }) => Decision::Failed(message.clone()),
        Some(JobState::Succeeded) => Decision::Done(EventTriggerStatus {
            buckets: wanted.map(|wanted| wanted.buckets.clone()).unwrap_or_default(),
            configured: wanted.map(|wanted| wanted.key.clone()),
            ..old.clone()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::runs::lifecycle::tests::job;

    fn wanted(key: &str, buckets: &[&str]) -> Notifications {
        Notifications { key: key.into(), buckets: buckets.iter().map(|bucket| (*bucket).to_owned()).collect() }
    }

    fn status(buckets: &[&str], configured: Option<&str>) -> EventTriggerStatus {
        EventTriggerStatus {
            buckets: buckets.iter().map(|bucket| (*bucket).to_owned()).collect(),
            configured: configured.map(Into::into),
            scan_started: true,
        }
    }

    fn name(key: &str, generation: i64) -> String {
        names::notify("photos", key, generation)
    }

    #[test]
    fn buckets_are_changed_as_the_table_says() {
        let a = wanted("k", &["a", "b"]);
        let failed = JobState::Failed { message: "why".into() };
        let own = |state: &JobState| vec![job(&name("k", 3), state.clone())];
        let other = |state: &JobState| vec![job(&name("old", 3), state.clone())];
        let (unfinished, succeeded) = (JobState::Unfinished, JobState::Succeeded);
        let announced = status(&["a", "b"], None);
        for (wanted, old, jobs, expected) in [
            (None, None, vec![], Decision::Settled),
            (None, Some(status(&[], None)), other(&unfinished), Decision::Settled),
            (None, Some(status(&["a"], Some("k"))), vec![], Decision::Announce(status(&["a"], None))),
            (None, Some(status(&["a"], None)), vec![], Decision::Create(name(NONE, 3))),
            (
                None,
                Some(status(&["a"], None)),
                vec![job(&name(NONE, 3), succeeded.clone())],
                Decision::Done(status(&[], None)),
            ),
            (Some(&a), None, vec![], {
                Decision::Announce(EventTriggerStatus { scan_started: false, ..announced.clone() })
            }),
            (Some(&a), Some(status(&["a", "z"], Some("x"))), vec![], {
                Decision::Announce(status(&["a", "b", "z"], None))
            }),
            (Some(&a), Some(announced.clone()), vec![], Decision::Create(name("k", 3))),
            (Some(&a), Some(announced.clone()), own(&unfinished), Decision::Wait),
            (Some(&a), Some(announced.clone()), other(&unfinished), Decision::Wait),
            (Some(&a), Some(announced.clone()), other(&succeeded), Decision::Create(name("k", 3))),
            (Some(&a), Some(announced.clone()), own(&failed), Decision::Failed("why".into())),
            (Some(&a), Some(announced.clone()), own(&succeeded), Decision::Done(status(&["a", "b"], Some("k")))),
            (Some(&a), Some(status(&["a", "b"], Some("k"))), own(&failed), Decision::Settled),
            (Some(&a), Some(status(&["a", "b", "z"], None)), own(&succeeded), {
                Decision::Done(status(&["a", "b"], Some("k")))
            }),
        ] {
            let old = old.as_ref();
            let input = DecisionInput { wanted, old, notifiers: &jobs, job: "photos", generation: 3 };
            assert_eq!(decide(&input), expected, "{input:?}");
        }
    }

    #[test]
    fn a_wish_that_comes_back_is_not_taken_for_granted() {
        let wanted = wanted("k", &["a"]);
        let old = status(&["a"], None);
        // The Job of generation 1 succeeded, and the one of generation 2 removed its entries.
        let jobs = [job(&name("k", 1), JobState::Succeeded), job(&name(NONE, 2), JobState::Succeeded)];
        let input =
            DecisionInput { wanted: Some(&wanted), old: Some(&old), notifiers: &jobs, job: "photos", generation: 3 };
        assert_eq!(decide(&input), Decision::Create(name("k", 3)));
    }
}
