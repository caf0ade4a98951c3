//! Decides what becomes of the autoscalers, and whether the operator itself sets the number of workers.

use migration_api::scaling::ScalingDriver;
use migration_core::scaling::{ScalingDecision, ScalingInput, ScalingLimits, decide as decide_number};

use crate::job_controller::autoscalers::Presence;
use crate::job_controller::build::autoscaler::Range;

/// How long an autoscaler is given to stop the workers of a job that is to stop, in milliseconds.
const STOPS_WITHIN_MS: i64 = 60_000;

/// The facts that decide the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleInput {
    /// Messages visible, delayed and in flight; none if the queue did not answer.
    pub backlog: Option<u64>,
    /// A worker or the jobsender has paused a side.
    pub blocked: bool,
    /// The job is suspended, has reached its budget, or waits for an older one with the same queue.
    pub suspended: bool,
    /// Workers wanted now.
    pub replicas: u32,
    /// Since when fewer workers would suffice, in milliseconds since 1970.
    pub fewer_since: Option<i64>,
}

/// The autoscalers of a job in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The API server has KEDA's objects.
    pub keda_installed: bool,
    /// The objects of the driver Keda.
    pub keda: Presence,
    /// The object of the driver Hpa.
    pub hpa: Presence,
    /// The `HorizontalPodAutoscaler` does nothing while there are no workers.
    pub hpa_disabled: bool,
}

/// All facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `spec.scaling.driver`.
    pub driver: ScalingDriver,
    /// `spec.scaling.replicas`.
    pub fixed: u32,
    /// The other limits of `spec.scaling`.
    pub limits: ScalingLimits,
    /// What workers are needed for.
    pub input: ScaleInput,
    /// What is in the cluster.
    pub found: Found,
    /// Since when the job is to stop and has workers, in milliseconds since 1970.
    pub stopping_since: Option<i64>,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// The autoscaler that a job needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoscaler {
    /// None.
    None,
    /// A `ScaledObject` of KEDA.
    Keda {
        /// Its limits.
        range: Range,
        /// It is to stay at zero.
        paused: bool,
    },
    /// A `HorizontalPodAutoscaler`.
    Hpa {
        /// Its limits.
        range: Range,
    },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Remove the objects of the old driver, and those that are being deleted. Nothing else until they are gone.
    Change {
        /// Those of the driver Keda.
        remove_keda: bool,
        /// That of the driver Hpa.
        remove_hpa: bool,
    },
    /// Apply the autoscaler.
    Keep(Autoscaler),
    /// Wait until KEDA is installed.
    AwaitKeda,
}

/// What is to be done, and what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is to be done to the autoscalers.
    pub step: Step,
    /// The number of workers that the operator writes; none if somebody else does.
    pub replicas: Option<u32>,
    /// [`ScaleInput::fewer_since`] of the next decision.
    pub fewer_since: Option<i64>,
    /// [`Facts::stopping_since`] of the next decision.
    pub stopping_since: Option<i64>,
}

/// Decides.
///
/// | driver | job | autoscaler | number of workers |
/// |---|---|---|---|
/// | any | objects of another driver, or one being deleted | these are removed first | unchanged; 0 if the job has been to stop for 60 s |
/// | Operator | | none | as [`decide_number`] says |
/// | Fixed | runs, stops | none | `replicas`, 0 |
/// | Keda, not installed | runs, stops | none | unchanged, 0 |
/// | Keda | runs | its object | KEDA's |
/// | Keda | a side is paused | its object with at most one worker | KEDA's |
/// | Keda | stops | its object, paused at 0 | KEDA's; 0 if KEDA has not done it within 60 s |
/// | Hpa | runs | its object | that object's; 1 where it does nothing at 0 |
/// | Hpa | a side is paused | its object with at most one worker | that object's |
/// | Hpa | stops | none: it would not let go of the last worker | 0 |
pub fn decide(facts: &Facts) -> Decision {
    let &Facts { driver, fixed, limits, input, found, now, .. } = facts;
    let is_stopping = input.suspended && input.replicas > 0;
    let stopping_since = is_stopping.then(|| facts.stopping_since.unwrap_or(now));
    let is_overdue = stopping_since.is_some_and(|since| now - since >= STOPS_WITHIN_MS);
    let of_others = |step| Decision { step, replicas: is_overdue.then_some(0), fewer_since: None, stopping_since };
    let goes = |presence, stays: bool| presence == Presence::Going || (presence == Presence::There && !stays);
    let remove_keda = goes(found.keda, driver == ScalingDriver::Keda);
    let remove_hpa = goes(found.hpa, driver == ScalingDriver::Hpa && !input.suspended);
    if remove_keda || remove_hpa {
        return of_others(Step::Change { remove_keda, remove_hpa });
    }
    let range = Range { min: limits.min.min(limits.max), max: limits.max.max(1) };
    let range = if input.blocked { Range { min: range.min.min(1), max: 1 } } else { range };
    let stopped = input.suspended.then_some(0);
    let own = |step, replicas| Decision { step, replicas, fewer_since: None, stopping_since };
    match driver {
        ScalingDriver::Operator => {
            let ScalingDecision { replicas, fewer_since } = number(&limits, &input, now);
            Decision { fewer_since, ..own(Step::Keep(Autoscaler::None), Some(replicas)) }
        }
        ScalingDriver::Fixed => own(Step::Keep(Autoscaler::None), Some(stopped.unwrap_or(fixed))),
        ScalingDriver::Keda if !found.keda_installed => own(Step::AwaitKeda, stopped),
        ScalingDriver::Keda => of_others(Step::Keep(Autoscaler::Keda { range, paused: input.suspended })),
        ScalingDriver::Hpa if input.suspended => own(Step::Keep(Autoscaler::None), stopped),
        ScalingDriver::Hpa => {
            let starts = input.replicas == 0 && (found.hpa == Presence::Absent || found.hpa_disabled);
            own(Step::Keep(Autoscaler::Hpa { range }), starts.then_some(range.min.max(1)))
        }
    }
}

/// Decides the number of workers of the driver Operator. While the queue does not answer the number stays, unless the job is
/// to stop.
fn number(limits: &ScalingLimits, input: &ScaleInput, now: i64) -> ScalingDecision {
    let &ScaleInput { backlog, blocked, suspended, replicas, fewer_since } = input;
    if backlog.is_none() && !suspended {
        return ScalingDecision { replicas, fewer_since };
    }
    let backlog = backlog.unwrap_or(0);
    decide_number(limits, &ScalingInput { backlog, blocked, stopped: suspended, current: replicas, fewer_since, now })
}

/// Returns the number of workers that the work needs now, without delay; none while the queue does not answer.
pub fn needed(limits: &ScalingLimits, input: &ScaleInput) -> Option<u32> {
    input.backlog?;
    let limits = ScalingLimits { scale_down_delay: 0, ..*limits };
    Some(number(&limits, &ScaleInput { fewer_since: None, ..*input }, 0).replicas)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ScalingLimits = ScalingLimits { min: 0, max: 5, batches_per_worker: 4, scale_down_delay: 0 };
    const INPUT: ScaleInput =
        ScaleInput { backlog: Some(9), blocked: false, suspended: false, replicas: 2, fewer_since: None };
    const NONE: Found =
        Found { keda_installed: true, keda: Presence::Absent, hpa: Presence::Absent, hpa_disabled: false };

    fn facts(driver: ScalingDriver) -> Facts {
        Facts { driver, fixed: 4, limits: LIMITS, input: INPUT, found: NONE, stopping_since: None, now: 100_000 }
    }

    #[test]
    fn a_queue_that_does_not_answer_moves_nobody() {
        let wanted = |input: &ScaleInput| number(&LIMITS, input, 7).replicas;
        assert_eq!(wanted(&INPUT), 3);
        assert_eq!(wanted(&ScaleInput { backlog: None, ..INPUT }), 2);
        assert_eq!(wanted(&ScaleInput { backlog: None, suspended: true, ..INPUT }), 0);
        assert_eq!(wanted(&ScaleInput { blocked: true, ..INPUT }), 1);
    }

    #[test]
    fn the_need_has_no_delay() {
        let limits = ScalingLimits { scale_down_delay: 1_000, ..LIMITS };
        let fewer = ScaleInput { backlog: Some(1), replicas: 5, fewer_since: Some(9), ..INPUT };
        assert_eq!(needed(&limits, &fewer), Some(1));
        assert_eq!(needed(&limits, &ScaleInput { backlog: None, ..INPUT }), None);
    }

    #[test]
    #[allow(clippy::large_stack_arrays, reason = "a table")]
    fn each_driver_has_its_autoscaler_and_only_one_writes() {
        use Presence::{Going, There};
        use ScalingDriver::{Fixed, Hpa, Keda, Operator};
        let range = Range { min: 0, max: 5 };
        let one = Range { min: 0, max: 1 };
        let suspended = |facts: Facts| Facts { input: ScaleInput { suspended: true, ..facts.input }, ..facts };
        let blocked = |facts: Facts| Facts { input: ScaleInput { blocked: true, ..facts.input }, ..facts };
        let empty = |facts: Facts| Facts { input: ScaleInput { replicas: 0, ..facts.input }, ..facts };
        let found = |facts: Facts, found: Found| Facts { found, ..facts };
        let overdue = |facts: Facts| Facts { stopping_since: Some(40_000), ..suspended(facts) };
        let keep = Step::Keep;
        let keda = |range, paused| keep(Autoscaler::Keda { range, paused });
        let hpa = |range| keep(Autoscaler::Hpa { range });
        let nothing = keep(Autoscaler::None);
        let change = |remove_keda, remove_hpa| Step::Change { remove_keda, remove_hpa };
        let (with_keda, with_hpa) = (Found { keda: There, ..NONE }, Found { hpa: There, ..NONE });
        let disabled = Found { hpa_disabled: true, ..with_hpa };
        for (facts, step, replicas) in [
            (facts(Operator), nothing, Some(3)),
            (suspended(facts(Operator)), nothing, Some(0)),
            (blocked(facts(Operator)), nothing, Some(1)),
            (facts(Fixed), nothing, Some(4)),
            (blocked(facts(Fixed)), nothing, Some(4)),
            (suspended(facts(Fixed)), nothing, Some(0)),
            (found(facts(Operator), with_keda), change(true, false), None),
            (found(facts(Operator), with_hpa), change(false, true), None),
            (found(facts(Fixed), Found { keda: There, ..with_hpa }), change(true, true), None),
            (found(overdue(facts(Operator)), with_keda), change(true, false), Some(0)),
            (facts(Keda), keda(range, false), None),
            (found(facts(Keda), with_keda), keda(range, false), None),
            (found(facts(Keda), with_hpa), change(false, true), None),
            (found(facts(Keda), Found { keda: Going, ..NONE }), change(true, false), None),
            (found(facts(Hpa), Found { hpa: Going, ..NONE }), change(false, true), None),
            (blocked(facts(Keda)), keda(one, false), None),
            (suspended(facts(Keda)), keda(range, true), None),
            (overdue(facts(Keda)), keda(range, true), Some(0)),
            (overdue(empty(facts(Keda))), keda(range, true), None),
            (found(facts(Keda), Found::default()), Step::AwaitKeda, None),
            (found(suspended(facts(Keda)), Found::default()), Step::AwaitKeda, Some(0)),
            (facts(Hpa), hpa(range), None),
            (empty(facts(Hpa)), hpa(range), Some(1)),
            (found(empty(facts(Hpa)), with_hpa), hpa(range), None),
            (found(empty(facts(Hpa)), disabled), hpa(range), Some(1)),
            (found(facts(Hpa), disabled), hpa(range), None),
            (blocked(facts(Hpa)), hpa(one), None),
            (found(facts(Hpa), with_keda), change(true, false), None),
            (found(suspended(facts(Hpa)), with_hpa), change(false, true), None),
            (suspended(facts(Hpa)), nothing, Some(0)),
        ] {
            let decision = decide(&facts);
            assert_eq!((decision.step, decision.replicas), (step, replicas), "{facts:?}");
        }
    }

    #[test]
    fn the_time_to_stop_is_counted_from_the_first_look() {
        let stopping = |facts: &Facts| decide(facts).stopping_since;
        let running = facts(ScalingDriver::Keda);
        let suspended = Facts { input: ScaleInput { suspended: true, ..INPUT }, ..running };
        assert_eq!(stopping(&running), None);
        assert_eq!(stopping(&suspended), Some(100_000));
        let later = Facts { stopping_since: Some(100_000), now: 159_999, ..suspended };
        assert_eq!((decide(&later).replicas, stopping(&later)), (None, Some(100_000)));
        assert_eq!(decide(&Facts { now: 160_000, ..later }).replicas, Some(0));
        let empty = Facts { input: ScaleInput { replicas: 0, ..suspended.input }, ..later };
        assert_eq!(stopping(&empty), None);
        assert_eq!(stopping(&Facts { stopping_since: Some(1), ..running }), None, "it runs again");
    }
}
