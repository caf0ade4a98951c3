//! The native scaling driver: the number of workers, written through the scale subresource.

use k8s_openapi::api::apps::v1::Deployment;
use migration_core::scaling::{ScalingDecision, ScalingInput, ScalingLimits, decide};

use crate::names;

/// What is seen of a job when its number of workers is decided.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Messages visible, delayed and in flight; none where the queue does not answer.
    pub backlog: Option<u64>,
    /// A side is paused.
    pub blocked: bool,
    /// spec.suspend.
    pub suspended: bool,
    /// Workers wanted now.
    pub replicas: u32,
    /// Since when fewer have sufficed, in milliseconds since 1970.
    pub fewer_since: Option<i64>,
}

/// Decides the number of workers. Where the queue does not answer it stays, unless the job is to stop.
pub fn number(limits: &ScalingLimits, seen: &Seen, now: i64) -> ScalingDecision {
    if seen.backlog.is_none() && !seen.suspended {
        return ScalingDecision { replicas: seen.replicas, fewer_since: seen.fewer_since };
    }
    decide(
        limits,
        &ScalingInput {
            backlog: seen.backlog.unwrap_or(0),
            blocked: seen.blocked,
            stopped: seen.suspended,
            current: seen.replicas,
            fewer_since: seen.fewer_since,
            now,
        },
    )
}

/// The number of workers that a Deployment wants.
pub fn replicas(deployment: &Deployment) -> u32 {
    deployment.spec.replicas.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// The number of workers that are ready.
pub fn ready(deployment: &Deployment) -> u32 {
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas);
    ready.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// Whether the number of workers has its own field manager already.
pub fn has_manager(deployment: &Deployment) -> bool {
    let entries = deployment.metadata.managed_fields.as_deref().unwrap_or_default();
    entries.iter().any(|entry| entry.manager.as_deref() == Some(names::SCALING_MANAGER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ScalingLimits = ScalingLimits { min: 0, max: 5, batches_per_worker: 4, scale_down_delay: 0 };
    const SEEN: Seen = Seen { backlog: Some(9), blocked: false, suspended: false, replicas: 2, fewer_since: None };

    #[test]
    fn a_queue_that_does_not_answer_moves_nobody() {
        let wanted = |seen: &Seen| number(&LIMITS, seen, 7).replicas;
        assert_eq!(wanted(&SEEN), 3);
        assert_eq!(wanted(&Seen { backlog: None, ..SEEN }), 2);
        assert_eq!(wanted(&Seen { backlog: None, suspended: true, ..SEEN }), 0);
        assert_eq!(wanted(&Seen { blocked: true, ..SEEN }), 1);
    }

    #[test]
    fn the_manager_is_read_from_the_managed_fields() {
        let of = |manager: &str| -> Deployment {
            serde_yaml::from_str(&format!("metadata: {{managedFields: [{{manager: {manager}}}]}}\nspec: {{replicas: 3, selector: {{}}, template: {{}}}}")).unwrap()
        };
        assert!(has_manager(&of(names::SCALING_MANAGER)) && !has_manager(&of("kubectl")));
        assert_eq!((replicas(&of("x")), ready(&of("x"))), (3, 0));
    }
}
