//! Paces what a process takes of a limit, bytes or requests, for as long as its share is its own.
//!
//! With a rate of r per second, at most r × (T + 0.02 s) plus what is taken at one time pass in any T seconds: what was
//! not taken is kept for 0.02 s only. What is taken passes at once and is waited for afterwards.

use std::time::Duration;

/// Time of the rate that may be taken later, so that the granularity of timers does not cost throughput.
const KEPT: f64 = 0.02;
/// Longest wait of a body for what was taken at a higher rate before, in seconds. Services close connections without bytes
/// after about 20 s.
const LONGEST_WAIT: f64 = 5.0;
/// Share of the rate that one piece of a body takes at most, in seconds.
const PIECE: f64 = 0.02;

/// Validity of a share, from before the request that was granted it.
pub const LEASE: Duration = Duration::from_secs(10);

/// A moment by two clocks. The monotonic one can't be set, but may stand still while a machine is suspended; that of the
/// wall goes on, but may be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Time since the process started.
    pub monotonic: Duration,
    /// Unix time in milliseconds.
    pub wall: i64,
}

impl Moment {
    /// Returns the time since an earlier moment, by the clock that says more.
    pub fn since(self, earlier: Self) -> Duration {
        let wall = u64::try_from(self.wall.saturating_sub(earlier.wall)).unwrap_or_default();
        self.monotonic.saturating_sub(earlier.monotonic).max(Duration::from_millis(wall))
    }
}

/// How long a rate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Until it is changed.
    Unlimited,
    /// For [`LEASE`] from this moment.
    Leased(Moment),
}

/// Answer to a request to take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It passes.
    Now,
    /// Not before this time has passed; then the request is to be repeated.
    After(Duration),
    /// Not before there is another rate.
    Paused,
}

/// Returns true if the rest of a body passes within a time, at a rate per second that it shares with other bodies.
/// `bodies` counts it and the others.
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
pub fn passes_within(rest: u64, bodies: u64, rate: f64, time: Duration) -> bool {
    rate.is_infinite() || rest as f64 * bodies as f64 <= rate * time.as_secs_f64()
}

/// A token bucket whose rate may change or end at any time.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Per second; infinite without a limit.
    rate: f64,
    validity: Validity,
    /// What may be taken; below zero, what has to be waited for.
    balance: f64,
    /// Longest wait for what was taken before a rate was set, in seconds.
    longest_wait: f64,
    settled: Moment,
}

impl Pace {
    /// Creates a pace of bytes at which nothing passes until a rate is set. At a lower rate, bodies don't wait longer than
    /// 5 s for what was taken before.
    pub const fn of_bytes() -> Self {
        Self::paused(LONGEST_WAIT)
    }

    /// Creates a pace of requests at which nothing passes until a rate is set. Each that was taken is waited for.
    pub const fn of_requests() -> Self {
        Self::paused(f64::INFINITY)
    }

    const fn paused(longest_wait: f64) -> Self {
        let start = Moment { monotonic: Duration::ZERO, wall: 0 };
        Self { rate: 0.0, validity: Validity::Unlimited, balance: 0.0, longest_wait, settled: start }
    }

    /// Sets the rate per second from now on: zero to let nothing pass, infinite for no limit.
    pub fn set(&mut self, now: Moment, rate: f64, validity: Validity) {
        self.settle(now);
        (self.rate, self.validity) = (rate, validity);
        if rate > 0.0 && rate.is_finite() {
            self.balance = self.balance.clamp(-(rate * self.longest_wait).max(1.0), rate * KEPT);
        }
    }

    /// Takes an amount if that may pass now.
    pub fn take(&mut self, now: Moment, amount: f64) -> Taken {
        /// Tolerance for rounding.
        const NEARLY: f64 = 1e-6;
        self.settle(now);
        if self.rate <= 0.0 || self.is_over(now) {
            Taken::Paused
        } else if self.balance >= -NEARLY {
            self.owe(now, amount);
            Taken::Now
        } else {
            Taken::After(Duration::try_from_secs_f64(-self.balance / self.rate).unwrap_or(Duration::MAX))
        }
    }

    /// Takes an amount that passes in any case; what comes next waits for it.
    pub fn owe(&mut self, now: Moment, amount: f64) {
        self.settle(now);
        self.balance -= if self.rate.is_finite() { amount } else { 0.0 };
    }

    /// Returns the rate per second now.
    pub fn rate(&self, now: Moment) -> f64 {
        if self.is_over(now) { 0.0 } else { self.rate }
    }

    fn is_over(&self, now: Moment) -> bool {
        matches!(self.validity, Validity::Leased(from) if now.since(from) >= LEASE)
    }

    /// Adds what the rate has allowed since the last time, as far as it was valid.
    fn settle(&mut self, now: Moment) {
        let end = match self.validity {
            Validity::Leased(from) => now.monotonic.min(from.monotonic.saturating_add(LEASE)),
            Validity::Unlimited => now.monotonic,
        };
        let elapsed = end.saturating_sub(self.settled.monotonic).as_secs_f64();
        if self.rate.is_infinite() {
            self.balance = 0.0;
        } else {
            self.balance = (self.balance + self.rate * elapsed).min(self.rate * KEPT);
        }
        self.settled = now;
    }
}

/// Returns the size of the next piece of a body, from 1 to `len` bytes: with so many bodies in flight, each gets a piece
/// about once a second. `len` must not be 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the result is within the bounds of len; a rate is exact up to 8 PiB per second"
)]
pub fn piece(rate: f64, bodies: u64, len: usize) -> usize {
    let share = (rate * PIECE).min(rate / bodies.max(1) as f64);
    len.min(share as usize).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u32) -> Moment {
        Moment { monotonic: Duration::from_millis(ms.into()), wall: 0 }
    }

    fn paced(rate: f64, validity: Validity) -> Pace {
        let mut pace = Pace::of_bytes();
        pace.set(at(0), rate, validity);
        pace
    }

    #[test]
    fn what_is_taken_is_waited_for_afterwards() {
        let mut pace = paced(10.0, Validity::Unlimited);
        assert_eq!(pace.take(at(0), 1.0), Taken::Now);
        assert_eq!(pace.take(at(0), 1.0), Taken::After(Duration::from_millis(100)));
        assert_eq!(pace.take(at(60), 1.0), Taken::After(Duration::from_millis(40)));
        assert_eq!(pace.take(at(100), 1.0), Taken::Now);
        // A fifth of a request is kept, not fifty seconds' worth.
        assert_eq!(pace.take(at(50_000), 1.0), Taken::Now);
        assert_eq!(pace.take(at(50_000), 1.0), Taken::After(Duration::from_millis(80)));
    }

    #[test]
    fn nothing_passes_without_a_rate_or_after_the_end_of_a_lease() {
        assert_eq!(Pace::of_bytes().take(at(5), 1.0), Taken::Paused);
        let mut pace = paced(10.0, Validity::Leased(at(1_000)));
        assert_eq!(pace.take(at(10_999), 0.1), Taken::Now);
        assert_eq!((pace.take(at(11_000), 0.1), pace.rate(at(11_000))), (Taken::Paused, 0.0));
        // The machine was suspended: its monotonic clock stood still.
        let mut pace = paced(10.0, Validity::Leased(at(1_000)));
        let later = Moment { monotonic: Duration::from_millis(1_001), wall: 10_000 };
        assert_eq!(pace.take(later, 0.1), Taken::Paused);
        // A clock that was set back makes no lease longer.
        let back = Moment { monotonic: Duration::from_secs(11), wall: -3_600_000 };
        assert_eq!(pace.take(back, 0.1), Taken::Paused);
    }

    #[test]
    fn a_slower_rate_does_not_make_anybody_wait_for_long() {
        let mut pace = paced(1e9, Validity::Unlimited);
        assert_eq!(pace.take(at(0), 5e7), Taken::Now);
        pace.set(at(0), 1e3, Validity::Unlimited);
        assert_eq!(pace.take(at(0), 1.0), Taken::After(Duration::from_secs(5)));
        pace.set(at(0), f64::INFINITY, Validity::Unlimited);
        assert_eq!(pace.take(at(1), 1e12), Taken::Now);
        assert_eq!(pace.take(at(1), 1e12), Taken::Now);
    }

    #[test]
    fn renewals_forgive_no_request() {
        // One request per second for 20 processes, each of which renews its share every 6 s, with two changes.
        let mut paces = vec![Pace::of_requests(); 20];
        let mut passed = 0_u32;
        for now in (0..600_000).step_by(100) {
            for pace in &mut paces {
                if now % 6_000 == 0 {
                    pace.set(at(now), 0.04, Validity::Leased(at(now)));
                    pace.set(at(now), 0.05, Validity::Leased(at(now)));
                }
                passed += u32::from(pace.take(at(now), 1.0) == Taken::Now);
            }
        }
        assert!((600..=630 + 20).contains(&passed), "{passed} requests");
    }

    #[test]
    fn what_passes_in_any_case_is_waited_for_by_what_comes_next() {
        let mut pace = Pace::of_requests();
        pace.owe(at(0), 3.0);
        pace.set(at(0), 2.0, Validity::Unlimited);
        assert_eq!(pace.take(at(500), 1.0), Taken::After(Duration::from_secs(1)));
        pace.set(at(500), f64::INFINITY, Validity::Unlimited);
        pace.owe(at(500), 9.0);
        assert_eq!(pace.take(at(500), 1.0), Taken::Now);
    }

    #[test]
    fn pieces_let_many_bodies_take_turns() {
        for (rate, bodies, len, expected) in [
            (1_000.0, 1, 1_000, 20),
            (1_000.0, 50, 1_000, 20),
            (1_000.0, 100, 1_000, 10),
            (1_000.0, 5_000, 1_000, 1),
            (1e9, 1, 1_000, 1_000),
            (f64::INFINITY, 3, 1_000, 1_000),
            (0.0, 0, 1_000, 1),
        ] {
            assert_eq!(piece(rate, bodies, len), expected, "{rate} {bodies} {len}");
        }
    }

    proptest! {
        /// Whatever the changes of the rate, no window sees more than its rates allow, the time that is kept, and one piece.
        #[test]
        fn no_window_has_more_than_its_rates(
            steps in prop::collection::vec((1_u32..400, 0_u32..4, 1_u32..60), 1..200),
        ) {
            let mut pace = Pace::of_bytes();
            let (mut now, mut rate, mut passed, mut rates) = (0_u32, 0.0_f64, Vec::new(), Vec::new());
            for (wait, change, amount) in steps {
                rates.push((now, now + wait, rate));
                now += wait;
                if change == 0 {
                    rate = f64::from(amount) * 20.0;
                    pace.set(at(now), rate, Validity::Unlimited);
                }
                // Pieces are of 0.02 s at most.
                let amount = f64::from(amount).min(rate * PIECE);
                while rate > 0.0 && pace.take(at(now), amount) == Taken::Now {
                    passed.push((now, amount));
                }
            }
            for (begin, _) in &passed {
                let within = |at: u32| (*begin..*begin + 10_000).contains(&at);
                let total: f64 = passed.iter().filter(|(at, _)| within(*at)).map(|(_, amount)| amount).sum();
                let overlap = |from: u32, to: u32| to.min(begin + 10_000).saturating_sub(from.max(*begin));
                let allowed: f64 = rates.iter().map(|(a, b, rate)| f64::from(overlap(*a, *b)) / 1_000.0 * rate).sum();
                prop_assert!(total <= allowed + 1_200.0 * (KEPT + 2.0 * PIECE) + 1e-3, "{total} of {allowed}");
            }
        }
    }
}
