//! Decides the number of workers and writes it through `/scale`.

use kube::ResourceExt;
use migration_api::MigrationJob;
use migration_api::status::Workers;
use migration_core::scaling::{ScalingDecision, ScalingInput, ScalingLimits, decide};
use tracing::info;

use crate::job_controller::apply::{Applied, ApplyError, or_problem, replicas};
use crate::job_controller::context::Context;
use crate::job_controller::dereference::Observed;
use crate::job_controller::dereference::sharing::Sharing;
use crate::job_controller::runs::RunsOutcome;
use crate::job_controller::validate;
use crate::problem::Problem;

/// The output of the step.
pub struct Scaled {
    /// Workers wanted and ready.
    pub workers: Workers,
    /// A refusal of the API server.
    pub problem: Option<Problem>,
    /// Since when fewer workers would suffice, in milliseconds since 1970.
    pub fewer_since: Option<i64>,
}

/// Why the step failed.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// The number of workers could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// The facts that decide the number of workers.
#[derive(Clone, Copy, Debug)]
pub struct ScaleInput {
    /// Messages visible, delayed and in flight; none if the queue did not answer.
    pub backlog: Option<u64>,
    /// A worker or the jobsender has paused a side.
    pub blocked: bool,
    /// The job is suspended, or waits for an older one with the same queue.
    pub suspended: bool,
    /// Workers wanted now.
    pub replicas: u32,
    /// Since when fewer workers would suffice, in milliseconds since 1970.
    pub fewer_since: Option<i64>,
}

/// Writes the number of workers if it changes. Without a Deployment there are none. `fewer_since` is
/// [`Scaled::fewer_since`] of the reconciliation before.
pub async fn scale(
    job: &MigrationJob,
    applied: &Applied,
    observed: &Observed,
    runs: &RunsOutcome,
    fewer_since: Option<i64>,
    context: &Context,
) -> Result<Scaled, ScaleError> {
    let Some(deployment) = &applied.deployment else {
        return Ok(Scaled { workers: Workers::default(), problem: None, fewer_since });
    };
    let input = ScaleInput {
        backlog: observed.depth.map(|depth| depth.visible + depth.in_flight),
        blocked: runs.ledger.as_ref().is_some_and(|view| view.heartbeats.iter().any(|beat| !beat.blocked.is_empty())),
        suspended: job.spec.suspend || matches!(observed.sharing, Some(Sharing::Younger(_))),
        replicas: replicas::wanted(deployment),
        fewer_since,
    };
    let ScalingDecision { replicas, fewer_since } = number(&validate::scaling(&job.spec), &input, context.now());
    let workers = |desired| Workers { desired, ready: replicas::ready(deployment) };
    if replicas == input.replicas {
        return Ok(Scaled { workers: workers(replicas), problem: None, fewer_since });
    }
    info!(job = job.name_any(), from = input.replicas, to = replicas, backlog = input.backlog, "scaling workers");
    let api = context.api(&job.namespace().unwrap_or_default());
    Ok(match or_problem(replicas::write(&api, deployment, replicas).await)? {
        Ok(()) => Scaled { workers: workers(replicas), problem: None, fewer_since },
        Err(problem) => Scaled { workers: workers(input.replicas), problem: Some(problem), fewer_since },
    })
}

/// Decides the number of workers. While the queue does not answer the number stays, unless the job is to stop.
pub fn number(limits: &ScalingLimits, input: &ScaleInput, now: i64) -> ScalingDecision {
    let &ScaleInput { backlog, blocked, suspended, replicas, fewer_since } = input;
    if backlog.is_none() && !suspended {
        return ScalingDecision { replicas, fewer_since };
    }
    let backlog = backlog.unwrap_or(0);
    decide(limits, &ScalingInput { backlog, blocked, stopped: suspended, current: replicas, fewer_since, now })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ScalingLimits = ScalingLimits { min: 0, max: 5, batches_per_worker: 4, scale_down_delay: 0 };
    const INPUT: ScaleInput =
        ScaleInput { backlog: Some(9), blocked: false, suspended: false, replicas: 2, fewer_since: None };

    #[test]
    fn a_queue_that_does_not_answer_moves_nobody() {
        let wanted = |input: &ScaleInput| number(&LIMITS, input, 7).replicas;
        assert_eq!(wanted(&INPUT), 3);
        assert_eq!(wanted(&ScaleInput { backlog: None, ..INPUT }), 2);
        assert_eq!(wanted(&ScaleInput { backlog: None, suspended: true, ..INPUT }), 0);
        assert_eq!(wanted(&ScaleInput { blocked: true, ..INPUT }), 1);
    }
}
