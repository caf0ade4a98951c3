//! By which configuration what is built: a run keeps the sides that it began with, whatever the specification says since.

use std::sync::Arc;

use migration_core::records::{RunRecord, RunSides};

use crate::validate::ValidatedJob;

/// A job as it is built.
#[derive(Clone, Debug)]
pub struct Plans {
    /// As the specification says: for the schedule, and for runs that begin.
    pub next: Arc<ValidatedJob>,
    /// The same with the sides of the last run: for its workers, its scan, its verification and its report.
    pub last: Arc<ValidatedJob>,
    /// What the specification changed of the sides of the run that is live, in words; none where it changed nothing, or
    /// none is live.
    pub edited: Option<String>,
}

impl Plans {
    /// What workers are started with: those of a live run with its sides, else with those of the next one.
    pub fn workers(&self) -> &Arc<ValidatedJob> {
        if self.edited.is_some() { &self.last } else { &self.next }
    }

    /// Names of the `ConfigMap`s that stand for them.
    pub fn config_maps(&self) -> [String; 2] {
        [&self.next, &self.last].map(|job| crate::names::config_map(&job.name, &job.config_hash))
    }
}

/// The sides that the last run has in place of the specification's; none where these are the same places.
pub fn other_sides<'a>(last: Option<&'a RunRecord>, next: &RunSides) -> Option<&'a RunSides> {
    last?.sides.as_ref().filter(|sides| !sides.are_same_places(next))
}

/// What became another place since the run that is live began, in words.
pub fn edited(last: Option<&RunRecord>, next: &RunSides) -> Option<String> {
    other_sides(last.filter(|run| run.end.is_none()), next)?.difference(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::run;
    use crate::validate::tests::validated;
    use migration_core::records::RunResult;

    #[test]
    fn only_a_run_that_is_live_keeps_workers_from_an_edit() {
        let moved = validated(|job| job.spec.destination.endpoint = Some("http://elsewhere".into())).sides;
        let rotated = validated(|job| job.spec.destination.path_style = false).sides;
        let (live, ended) = (run(false, None), run(true, Some(RunResult::Complete)));
        assert_eq!(edited(Some(&live), &rotated), None);
        let words = "spec.destination: endpoint http://s3:9000 became http://elsewhere";
        assert_eq!(edited(Some(&live), &moved).as_deref(), Some(words));
        assert_eq!((edited(Some(&ended), &moved), edited(None, &moved)), (None, None));
        assert!(other_sides(Some(&ended), &moved).is_some(), "what follows it looks where it worked");
        let mut old = live;
        old.sides = None;
        assert_eq!(edited(Some(&old), &moved), None, "a run of an older version says nothing of its sides");
    }
}
