//! What the condition `ScalingActive` says, and when it becomes a problem.

use migration_api::Reason;
use migration_api::scaling::ScalingDriver;

use super::decide::Facts;
use crate::problem::Problem;

/// How long an autoscaler may fail to scale before the job is degraded, in milliseconds: metrics take a while to appear, and
/// KEDA's webhook a while to see what was removed.
const FAULT_AFTER_MS: i64 = 30_000;

/// What became of the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No autoscaler is needed.
    Own,
    /// The autoscaler is as it should be.
    Active {
        /// Why it does not scale, if it does not.
        fault: Option<String>,
        /// One worker stays, although `minReplicas` is 0.
        is_raised: bool,
    },
    /// These are not gone yet.
    Changing(String),
    /// KEDA is not installed.
    KedaMissing,
    /// The API server, or a webhook, refused the autoscaler.
    Refused(Problem),
    /// What is needed for the autoscaler is not known: another problem says why.
    Unknown,
}

/// What the condition `ScalingActive` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalingCondition {
    /// The autoscaler sets the number of workers.
    pub holds: bool,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
}

/// Returns what the condition says; none if the operator sets the number. `stops`: why the job is to have no workers, if that
/// is so: `spec.suspend`, its budget, or another job that has its queue.
pub fn of(driver: ScalingDriver, state: &State, stops: Option<Reason>) -> Option<ScalingCondition> {
    let condition = |holds, reason, message: String| Some(ScalingCondition { holds, reason, message });
    let by = if driver == ScalingDriver::Keda { "KEDA" } else { "the HorizontalPodAutoscaler" };
    match (state, stops) {
        (State::Changing(left), _) => condition(
            false,
            Reason::DriverChanging,
            format!("the number of workers stays until these are removed: {left}"),
        ),
        (State::Own | State::Unknown, None) => None,
        (State::Own, Some(_)) if matches!(driver, ScalingDriver::Operator | ScalingDriver::Fixed) => None,
        (State::Refused(problem), _) => condition(false, problem.reason.clone(), problem.message.clone()),
        (_, Some(reason)) => condition(
            false,
            reason,
            "there are no workers while the job is suspended, has reached its budget, waits for another one, or must not \
             delete since buckets keep no versions"
                .to_owned(),
        ),
        (State::KedaMissing, None) => condition(
            false,
            Reason::KedaMissing,
            "KEDA is not installed in this cluster (there is no keda.sh/v1alpha1): install it, or choose another \
             spec.scaling.driver; the number of workers stays until then"
                .to_owned(),
        ),
        (State::Active { fault: Some(fault), .. }, None) => condition(false, Reason::AutoscalerInactive, fault.clone()),
        (State::Active { fault: None, is_raised: true }, None) => condition(
            true,
            Reason::MinReplicasRaised,
            "this cluster has no scaling to zero (HPAScaleToZero), so that one worker stays; choose the driver Keda or Operator \
             to have none without work"
                .to_owned(),
        ),
        (State::Active { fault: None, is_raised: false }, None) => {
            condition(true, Reason::AutoscalerActive, format!("{by} sets the number of workers"))
        }
    }
}

/// Returns since when the autoscaler does not work. While the job is to stop, it need not.
pub fn failing_since(
    condition: Option<&ScalingCondition>,
    state: &State,
    facts: &Facts,
    before: Option<i64>,
) -> Option<i64> {
    let is_needed = !facts.input.suspended || matches!(state, State::Refused(_));
    condition.filter(|condition| !condition.holds && is_needed).map(|_| before.unwrap_or(facts.now))
}

/// Returns the problem of an autoscaler that does not work: at once where a person has to act, else after a while.
pub fn problem(
    condition: Option<&ScalingCondition>,
    state: &State,
    failing_since: Option<i64>,
    now: i64,
) -> Option<Problem> {
    let is_plain = match state {
        State::KedaMissing => true,
        State::Refused(problem) => matches!(problem.reason, Reason::NameTaken | Reason::NameNotFreeYet),
        State::Own | State::Active { .. } | State::Changing(_) | State::Unknown => false,
    };
    let since = failing_since?;
    let ScalingCondition { reason, message, .. } = condition?;
    (is_plain || now - since >= FAULT_AFTER_MS).then(|| Problem::new(reason.clone(), message.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(fault: Option<&str>, is_raised: bool) -> State {
        State::Active { fault: fault.map(ToOwned::to_owned), is_raised }
    }

    #[test]
    fn the_condition_says_what_becomes_of_the_number() {
        let said = |driver, state: &State, stops: bool| {
            of(driver, state, stops.then_some(Reason::SuspendedByUser))
                .map(|condition| (condition.holds, condition.reason.to_string()))
        };
        let refused = State::Refused(Problem::new(Reason::ApplyFailed, "already managed by the hpa"));
        for (driver, state, stops, expected) in [
            (ScalingDriver::Operator, State::Own, false, None),
            (ScalingDriver::Operator, State::Own, true, None),
            (ScalingDriver::Operator, State::Changing("x".into()), false, Some((false, "DriverChanging"))),
            (ScalingDriver::Keda, active(None, false), false, Some((true, "AutoscalerActive"))),
            (ScalingDriver::Keda, active(Some("no"), false), false, Some((false, "AutoscalerInactive"))),
            (ScalingDriver::Keda, active(Some("no"), false), true, Some((false, "SuspendedByUser"))),
            (ScalingDriver::Keda, State::KedaMissing, false, Some((false, "KedaMissing"))),
            (ScalingDriver::Keda, refused, false, Some((false, "ApplyFailed"))),
            (ScalingDriver::Hpa, active(None, true), false, Some((true, "MinReplicasRaised"))),
            (ScalingDriver::Hpa, State::Own, true, Some((false, "SuspendedByUser"))),
            (ScalingDriver::Hpa, State::Unknown, false, None),
        ] {
            let expected = expected.map(|(holds, reason)| (holds, reason.to_owned()));
            assert_eq!(said(driver, &state, stops), expected, "{driver:?} {state:?} {stops}");
        }
    }

    #[test]
    fn a_fault_degrades_the_job_when_it_lasts() {
        let state = active(Some("no metrics"), false);
        let condition = of(ScalingDriver::Keda, &state, None);
        let degraded = |state: &State, since| problem(condition.as_ref(), state, since, 100_000).is_some();
        assert!(!degraded(&state, Some(70_001)) && degraded(&state, Some(70_000)) && !degraded(&state, None));
        assert!(degraded(&State::KedaMissing, Some(100_000)));
        assert!(degraded(&State::Refused(Problem::new(Reason::NameTaken, "x")), Some(100_000)));
        assert!(!degraded(&State::Refused(Problem::new(Reason::ApplyFailed, "x")), Some(100_000)));
    }
}
