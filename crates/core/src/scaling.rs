//! Decides the number of workers of a job.

use serde::{Deserialize, Serialize};

/// The user's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingLimits {
    /// Minimum number of workers, even without work.
    pub min: u32,
    /// Maximum number of workers.
    pub max: u32,
    /// Number of batches, visible and in flight, per worker; at least 1.
    pub batches_per_worker: u32,
    /// How long fewer workers must have been enough before the number is reduced, in milliseconds.
    pub scale_down_delay: i64,
}

/// The observed state of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalingInput {
    /// Number of messages in the queue, visible and in flight.
    pub backlog: u64,
    /// True if a side is paused: nothing can be moved until a person fixes it.
    pub blocked: bool,
    /// True if the resource is suspended or being deleted.
    pub stopped: bool,
    /// Current number of workers.
    pub current: u32,
    /// Since when fewer workers have been enough, as Unix time in milliseconds.
    pub fewer_since: Option<i64>,
    /// The current Unix time in milliseconds.
    pub now: i64,
}

/// The number of workers to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalingDecision {
    /// Number of workers.
    pub replicas: u32,
    /// [`ScalingInput::fewer_since`] for the next decision.
    pub fewer_since: Option<i64>,
}

/// Decides how many workers to run.
///
/// | job | workers needed | workers |
/// |---|---|---|
/// | stopped | | 0, at once |
/// | blocked | > 0 | 1, at once: one worker keeps retrying |
/// | | more than now | the needed number, at once |
/// | | fewer than now | the needed number, after the delay |
///
/// Needed = backlog ÷ batches per worker, rounded up, within min … max.
pub fn decide(limits: &ScalingLimits, input: &ScalingInput) -> ScalingDecision {
    if input.stopped {
        return ScalingDecision { replicas: 0, fewer_since: None };
    }
    let needed = input.backlog.div_ceil(u64::from(limits.batches_per_worker.max(1)));
    let needed = u32::try_from(needed).unwrap_or(u32::MAX).min(limits.max).max(limits.min.min(limits.max));
    if input.blocked {
        return ScalingDecision { replicas: needed.min(1), fewer_since: None };
    }
    if needed >= input.current {
        return ScalingDecision { replicas: needed, fewer_since: None };
    }
    let since = input.fewer_since.unwrap_or(input.now);
    if input.now - since >= limits.scale_down_delay {
        ScalingDecision { replicas: needed, fewer_since: None }
    } else {
        ScalingDecision { replicas: input.current, fewer_since: Some(since) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ScalingLimits = ScalingLimits { min: 0, max: 5, batches_per_worker: 4, scale_down_delay: 30 };

    fn input(backlog: u64, current: u32) -> ScalingInput {
        ScalingInput { backlog, blocked: false, stopped: false, current, fewer_since: None, now: 100 }
    }

    #[test]
    fn scales_as_the_table_says() {
        let blocked = ScalingInput { blocked: true, ..input(40, 5) };
        let stopped = ScalingInput { stopped: true, ..input(40, 5) };
        let waited = ScalingInput { fewer_since: Some(70), ..input(0, 3) };
        let waits = ScalingInput { fewer_since: Some(71), ..input(0, 3) };
        for (input, replicas, fewer_since) in [
            (input(0, 0), 0, None),
            (input(1, 0), 1, None),
            (input(5, 1), 2, None),
            (input(400, 0), 5, None),
            (input(4, 3), 3, Some(100)),
            (waits, 3, Some(71)),
            (waited, 0, None),
            (blocked, 1, None),
            (ScalingInput { backlog: 0, ..blocked }, 0, None),
            (stopped, 0, None),
        ] {
            assert_eq!(decide(&LIMITS, &input), ScalingDecision { replicas, fewer_since }, "{input:?}");
        }
    }

    proptest! {
        #[test]
        fn stays_within_the_limits(
            backlog in any::<u64>(), current in 0_u32..100, min in 0_u32..4, max in 0_u32..8, blocked in any::<bool>(),
        ) {
            let limits = ScalingLimits { min, max, scale_down_delay: 0, ..LIMITS };
            let decision = decide(&limits, &ScalingInput { blocked, ..input(backlog, current) });
            prop_assert!(decision.replicas <= max);
            prop_assert!(blocked || decision.replicas >= min.min(max));
            prop_assert!(backlog == 0 || max == 0 || decision.replicas > 0);
        }
    }
}
