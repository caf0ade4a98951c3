//! How many workers a job gets.

use serde::{Deserialize, Serialize};

/// What the user allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingLimits {
    /// Fewest workers, also when there is no work.
    pub min: u32,
    /// Most workers.
    pub max: u32,
    /// Batches, visible and in flight, for each worker; at least 1.
    pub batches_per_worker: u32,
    /// How long fewer workers must suffice before there are fewer, in milliseconds.
    pub scale_down_delay: i64,
}

/// What is seen of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalingInput {
    /// Messages in the queue, visible and in flight.
    pub backlog: u64,
    /// A side is paused: nothing can move until a person mends it.
    pub blocked: bool,
    /// The resource is suspended or going away.
    pub stopped: bool,
    /// Workers wanted now.
    pub current: u32,
    /// Since when fewer have sufficed, in milliseconds since 1970.
    pub fewer_since: Option<i64>,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// How many workers there should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalingDecision {
    /// Workers wanted.
    pub replicas: u32,
    /// What to pass as [`ScalingInput::fewer_since`] next time.
    pub fewer_since: Option<i64>,
}

/// Decides how many workers there should be.
///
/// | job | needed | workers |
/// |---|---|---|
/// | stopped | | 0, at once |
/// | blocked | > 0 | 1, at once: one worker goes on trying |
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
