//! Limits the concurrent requests to one bucket to the rate that its service accepts.

/// An adaptive limit on concurrent requests: halved when the service throttles, raised by one for each full round of
/// successes (additive increase, multiplicative decrease). There is no limit before the first throttled answer, nor
/// once the limit has grown to [`Window::OPEN`].
///
/// Source: "Best practices design patterns: optimizing Amazon S3 performance", on 503 Slow Down; RFC 5681 for the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    limit: Option<f64>,
    last_cut: i64,
}

impl Window {
    /// Number of requests from which the limit is lifted.
    pub const OPEN: f64 = 1_024.0;

    /// Returns true if one more request may start.
    pub fn allows(&self, in_flight: u32) -> bool {
        self.limit.is_none_or(|limit| f64::from(in_flight) < limit.max(1.0))
    }

    /// Records a throttled request that started at `began`, while `in_flight` requests (this one included) were
    /// running. Times are Unix milliseconds. Requests that ran at the same time count once: the limit is halved again
    /// only for a request that started after the last reduction.
    pub fn throttled(&mut self, in_flight: u32, began: i64, now: i64) {
        if self.limit.is_some() && began <= self.last_cut {
            return;
        }
        self.last_cut = now;
        let held = f64::from(in_flight).min(self.limit.unwrap_or(Self::OPEN));
        self.limit = Some((held / 2.0).max(1.0));
    }

    /// Records a successful request.
    pub fn succeeded(&mut self) {
        if let Some(limit) = self.limit {
            let grown = limit + 1.0 / limit;
            self.limit = (grown < Self::OPEN).then_some(grown);
        }
    }

    /// Returns the limit in requests, or `None` if there is no limit.
    pub fn limit(&self) -> Option<f64> {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_once_a_round_and_grows_by_one_a_round() {
        let mut window = Window::default();
        assert!(window.allows(u32::MAX));
        window.throttled(16, 0, 100);
        assert_eq!(window.limit(), Some(8.0));
        window.throttled(16, 100, 200);
        assert_eq!(window.limit(), Some(8.0), "the same round");
        assert!(window.allows(7) && !window.allows(8));
        for _ in 0..9 {
            window.succeeded();
        }
        assert!(window.allows(8), "{window:?}");
        window.throttled(9, 101, 300);
        assert!(!window.allows(5), "{window:?}");
    }

    proptest! {
        #[test]
        fn one_request_may_always_be_under_way(steps in prop::collection::vec((any::<bool>(), 1_u32..500), 0..200)) {
            let mut window = Window::default();
            for ((throttled, in_flight), round) in steps.into_iter().zip(0..) {
                if throttled { window.throttled(in_flight, round, round) } else { window.succeeded() }
                prop_assert!(window.allows(0));
                prop_assert!(window.limit().is_none_or(|limit| (1.0..Window::OPEN).contains(&limit)));
            }
        }
    }
}
