//! How many requests to one bucket may be under way, as its service bears them.

/// A bound on requests under way that shrinks by half when the service throttles and grows by one with each full round
/// of successes (additive increase, multiplicative decrease). There is none until the service throttles first, and none
/// any more once it has grown past [`Window::OPEN`].
/// Source: "Best practices design patterns: optimizing Amazon S3 performance", on 503 Slow Down; RFC 5681 for the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    limit: Option<f64>,
    last_cut: i64,
}

impl Window {
    /// From this many requests on there is no bound any more.
    pub const OPEN: f64 = 1_024.0;

    /// Whether one request more may start.
    pub fn allows(&self, in_flight: u32) -> bool {
        self.limit.is_none_or(|limit| f64::from(in_flight) < limit.max(1.0))
    }

    /// A request of `in_flight`, this one included, that began at `began` was throttled; times in milliseconds since
    /// 1970. Requests that were under way together say one and the same thing: only what began after the last cut can
    /// bring the next.
    pub fn throttled(&mut self, in_flight: u32, began: i64, now: i64) {
        if self.limit.is_some() && began <= self.last_cut {
            return;
        }
        self.last_cut = now;
        let held = f64::from(in_flight).min(self.limit.unwrap_or(Self::OPEN));
        self.limit = Some((held / 2.0).max(1.0));
    }

    /// A request was answered.
    pub fn succeeded(&mut self) {
        if let Some(limit) = self.limit {
            let grown = limit + 1.0 / limit;
            self.limit = (grown < Self::OPEN).then_some(grown);
        }
    }

    /// The bound in whole requests; none where there is none.
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
