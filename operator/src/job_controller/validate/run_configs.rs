//! The configurations of a job: one for the next run, and one for the last run, which keeps the sides that it began with.

use std::sync::Arc;

use migration_api::{MigrationJob, Reason};
use migration_core::records::{RunRecord, RunSides};

use super::{ValidateError, ValidateInput, ValidatedJob, validate};
use crate::job_controller::dereference::Observed;
use crate::pod_defaults::PodDefaults;
use crate::problem::Problem;

/// The configurations that a job is built with.
#[derive(Clone, Debug)]
pub struct RunConfigs {
    /// For the schedule and for runs that start: as the specification says.
    pub next: Arc<ValidatedJob>,
    /// For the workers, the scan, the verification and the report of the last run: the same with that run's sides.
    pub last: Arc<ValidatedJob>,
    /// The difference between the sides of the specification and those of the live run. None if they are the same or no run
    /// is live.
    pub edited: Option<String>,
}

impl RunConfigs {
    /// Returns the configuration of the workers: that of a live run whose sides were edited, else that of the next run.
    pub fn workers(&self) -> &Arc<ValidatedJob> {
        if self.edited.is_some() { &self.last } else { &self.next }
    }
}

/// The output of the step.
pub struct Validated {
    /// The configurations; none if they cannot be known. What was built before stays then.
    pub configs: Option<RunConfigs>,
    /// Errors that the schema cannot refuse.
    pub problems: Vec<Problem>,
    /// The cache for the next reconciliation.
    pub cache: ValidationCache,
}

/// The last results of validation: the same input has the same result.
#[derive(Clone, Debug, Default)]
pub struct ValidationCache {
    next: Option<CachedJob>,
    last: Option<CachedJob>,
}

#[derive(Clone, Debug)]
struct CachedJob {
    generation: Option<i64>,
    input: ValidateInput,
    validated: Arc<ValidatedJob>,
}

/// Validates the job for its next run and for its last one.
///
/// Returns no configurations if the ignore list, the certificates, or queue and table could not be read: a list that
/// cannot be read is not an empty list. Likewise a ledger that cannot be read may hold a run that must keep its sides.
pub fn validate_runs(
    job: &MigrationJob,
    observed: &Observed,
    cache: ValidationCache,
    defaults: &PodDefaults,
) -> Validated {
    let Some((input, last_run)) = input(observed) else {
        return Validated { configs: None, problems: Vec::new(), cache };
    };
    let validate = |input, cached| validate_cached(job, input, cached, defaults);
    let next = match validate(input.clone(), cache.next.as_ref()) {
        Ok(next) => next,
        Err(error) => return invalid(&error, cache),
    };
    let sides = other_sides(last_run, &next.validated.sides).cloned();
    let last = sides.map(|sides| validate(ValidateInput { sides: Some(sides), ..input }, cache.last.as_ref()));
    let last = match last.transpose() {
        Ok(last) => last,
        Err(error) => return invalid(&error, ValidationCache { next: Some(next), ..cache }),
    };
    let configs = RunConfigs {
        edited: edited(last_run, &next.validated.sides),
        last: last.as_ref().map_or_else(|| next.validated.clone(), |last| last.validated.clone()),
        next: next.validated.clone(),
    };
    let cache = ValidationCache { next: Some(next), last: last.or(cache.last) };
    Validated { configs: Some(configs), problems: Vec::new(), cache }
}

/// Returns the input for the next run, and the last run.
fn input(observed: &Observed) -> Option<(ValidateInput, Option<&RunRecord>)> {
    let input = ValidateInput {
        queue_and_table: observed.services.as_ref()?.queue_and_table.clone(),
        ignore_patterns: observed.ignore_patterns.clone()?,
        ca_version: observed.ca_bundles.clone()?.version,
        sides: None,
        is_over_budget: observed.over_budget.is_some(),
    };
    Some((input, observed.ledger.as_ref()?.run.as_ref().map(|run| &run.record)))
}

fn invalid(error: &ValidateError, cache: ValidationCache) -> Validated {
    let problem = Problem::new(Reason::SpecInvalid, error.to_string());
    Validated { configs: None, problems: vec![problem], cache }
}

fn validate_cached(
    job: &MigrationJob,
    input: ValidateInput,
    cached: Option<&CachedJob>,
    defaults: &PodDefaults,
) -> Result<CachedJob, ValidateError> {
    let generation = job.metadata.generation;
    if let Some(cached) = cached.filter(|cached| cached.generation == generation && cached.input == input) {
        return Ok(cached.clone());
    }
    let validated = Arc::new(validate(job, &input, defaults)?);
    Ok(CachedJob { generation, input, validated })
}

/// Returns the sides of the last run if they are other places than those of the specification.
fn other_sides<'a>(last: Option<&'a RunRecord>, next: &RunSides) -> Option<&'a RunSides> {
    last?.sides.as_ref().filter(|sides| !sides.are_same_places(next))
}

/// Returns the difference between the sides of the live run and those of the specification, in words.
fn edited(last: Option<&RunRecord>, next: &RunSides) -> Option<String> {
    other_sides(last.filter(|run| run.end.is_none()), next)?.difference(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::runs::lifecycle::tests::run;
    use crate::job_controller::validate::tests::{input as input_of_tests, resource, validated};
    use migration_core::records::RunResult;

    #[test]
    fn an_affinity_that_is_none_becomes_a_problem_and_leaves_what_was_built() {
        let cached =
            Some(CachedJob { generation: Some(3), input: input_of_tests(), validated: Arc::new(validated(|_| ())) });
        let mut job = resource();
        job.metadata.generation = Some(4);
        job.spec.worker = serde_yaml::from_str("affinity: {podAffinity: {prefered: []}}").unwrap();
        let error = validate_cached(&job, input_of_tests(), cached.as_ref(), &PodDefaults::new("i")).unwrap_err();
        let Validated { configs, problems, cache } = invalid(&error, ValidationCache { next: cached, last: None });
        assert!(configs.is_none() && cache.next.is_some());
        assert_eq!(problems[0].reason, Reason::SpecInvalid);
        let message = "failed to validate spec.worker.affinity: failed to read affinity: an Affinity of Kubernetes has no \
                       podAffinity.prefered; correct its name or remove it";
        assert_eq!(problems[0].message, message);
    }

    #[test]
    fn only_a_run_that_is_live_keeps_workers_from_an_edit() {
        let moved = validated(|job| job.spec.destination.endpoint = Some("http://elsewhere".into())).sides;
        let rotated = validated(|job| job.spec.destination.path_style = false).sides;
        let (live, ended) = (run(false, None), run(true, Some(RunResult::Complete)));
        assert_eq!(edited(Some(&live), &rotated), None);
        let words = "spec.destination: endpoint http://s3:9000 became http://elsewhere";
        assert_eq!(edited(Some(&live), &moved).as_deref(), Some(words));
        assert_eq!((edited(Some(&ended), &moved), edited(None, &moved)), (None, None));
        assert!(other_sides(Some(&ended), &moved).is_some(), "follow-ups compare the places where the run worked");
        let mut old = live;
        old.sides = None;
        assert_eq!(edited(Some(&old), &moved), None, "a run of an older version has no record of its sides");
    }
}
