//! What waits for a limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use migration_core::lease::STALL;
use migration_core::pace::{Moment, Pace, Taken, Validity};
use migration_core::records::WHOLE;
use migration_core::shares::{self, IDLE};
use migration_core::timetable::{Rate, Timetable, Unit};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Fleet, Times};

/// Longest time after which a waiting caller looks at the timetable again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Shortest time over which the use is measured.
const SHORTEST_WINDOW: Duration = Duration::from_secs(3);

/// Wait after which what waits could use more than the share of this process. Shorter ones are those of several that come
/// at once.
const LACKING: Duration = Duration::from_secs(1);
/// Wait after which the work of this process is not expected to progress as it does without limits.
const SLOW: Duration = Duration::from_secs(10);

/// A limit by a timetable, of which this process has a share. Callers pass in the order in which they came.
pub(super) struct Pacer {
    timetable: Timetable,
    times: Times,
    state: Mutex<State>,
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
    wanted: Arc<Notify>,
    /// What passed so far.
    passed: AtomicU64,
}

struct State {
    pace: Pace,
    /// The limit that was last seen to hold.
    limit: Rate,
    parts: u32,
    validity: Validity,
    /// When something last wanted to pass.
    last: Option<Duration>,
    /// When something had last waited for [`SLOW`].
    slow: Option<Duration>,
    window: Window,
}

/// The time over which the use is measured.
struct Window {
    began: Duration,
    passed: u64,
    /// Lowest share in it.
    parts: u32,
    /// Whether something waited for [`LACKING`] in it.
    lacked: bool,
    need: u32,
}

impl Pacer {
    pub(super) fn new(timetable: Timetable, times: Times, fleet: Fleet, wanted: Arc<Notify>) -> Self {
        let parts = if fleet == Fleet::Alone { WHOLE } else { 0 };
        let window = Window { began: Duration::ZERO, passed: 0, parts, lacked: false, need: WHOLE };
        let pace = if timetable.unit() == Unit::Bytes { Pace::of_bytes() } else { Pace::of_requests() };
        let mut state = State {
            pace,
            limit: timetable.limit_at((times.local)(times.clock.now())),
            parts,
            validity: Validity::Unlimited,
            last: None,
            slow: None,
            window,
        };
        state.apply(times.now());
        Self {
            timetable,
            times,
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            wanted,
            passed: AtomicU64::new(0),
        }
    }

    /// Waits until an amount may pass, and returns it. `amount` tells it for the rate of this process per second, which
    /// is infinite without a limit. Nothing passes if the wait is given up.
    pub(super) async fn pass(&self, amount: impl Fn(f64) -> u64) -> u64 {
        let came = Instant::now();
        let _turn = self.turn.lock().await;
        loop {
            // Created before the check, so that a change in between is not missed.
            let changed = self.changed.notified();
            let wait = match self.try_pass(came, &amount) {
                Ok(amount) => return amount,
                Err(wait) => wait,
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Waits until this process may let anything pass.
    pub(super) async fn ready(&self) {
        let came = Instant::now();
        loop {
            let changed = self.changed.notified();
            if self.is_ready(came) {
                return;
            }
            self.wanted.notify_one();
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Returns the rate of this process per second now, which is infinite without a limit.
    pub(super) fn rate(&self) -> f64 {
        let (state, now) = self.state();
        state.pace.rate(now)
    }

    fn is_ready(&self, came: Instant) -> bool {
        let (mut state, now) = self.state();
        state.wanted(now, came);
        state.pace.rate(now) > 0.0
    }

    /// Lets an amount pass without waiting. Callers of [`Pacer::pass`] wait for it instead.
    pub(super) fn pass_at_once(&self, amount: u32) {
        let (mut state, now) = self.state();
        state.last = Some(now.monotonic);
        state.pace.owe(now, f64::from(amount));
        drop(state);
        self.passed.fetch_add(amount.into(), Ordering::Relaxed);
    }

    /// Returns true if something waits for long, or did so within the time after which work without progress counts as
    /// stuck: it had no chance to progress meanwhile.
    pub(super) fn is_waiting(&self) -> bool {
        let (state, now) = self.state();
        state.slow.is_some_and(|slow| now.monotonic.saturating_sub(slow) < STALL)
    }

    /// Lets an amount pass, or returns how long to wait before the next try.
    fn try_pass(&self, came: Instant, amount: impl Fn(f64) -> u64) -> Result<u64, Duration> {
        let (mut state, now) = self.state();
        state.wanted(now, came);
        let amount = amount(state.pace.rate(now));
        #[allow(clippy::cast_precision_loss, reason = "a piece has less than 8 PiB")]
        let taken = state.pace.take(now, amount as f64);
        state.window.lacked |= match taken {
            Taken::Now => false,
            Taken::After(wait) => wait >= LACKING,
            Taken::Paused => true,
        };
        drop(state);
        match taken {
            Taken::Now => {
                self.passed.fetch_add(amount, Ordering::Relaxed);
                Ok(amount)
            }
            Taken::After(wait) => Err(wait.min(LOOK_AGAIN)),
            Taken::Paused => {
                self.wanted.notify_one();
                Err(LOOK_AGAIN)
            }
        }
    }

    pub(super) fn times(&self) -> &Times {
        &self.times
    }

    /// Sets the share of this process, in parts of the limit.
    pub(super) fn set(&self, parts: u32, validity: Validity) {
        let (mut state, now) = self.state();
        (state.parts, state.validity) = (parts, validity);
        state.window.parts = state.window.parts.min(parts);
        state.apply(now);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Returns the parts of the limit that this process could use; none if nothing wanted to pass lately.
    pub(super) fn need(&self) -> u32 {
        let (mut state, now) = self.state();
        if state.last.is_none_or(|last| now.monotonic.saturating_sub(last) >= IDLE) {
            return 0;
        }
        let elapsed = now.monotonic.saturating_sub(state.window.began);
        if elapsed >= SHORTEST_WINDOW {
            let passed = self.passed.load(Ordering::Relaxed);
            #[allow(clippy::cast_precision_loss, reason = "an estimate")]
            let rate = (passed - state.window.passed) as f64 / elapsed.as_secs_f64();
            #[allow(clippy::cast_precision_loss, reason = "an estimate")]
            let parts = state.limit.map_or(f64::INFINITY, |limit| rate / limit.get() as f64 * f64::from(WHOLE));
            let need = if state.window.lacked { WHOLE } else { shares::need(parts, state.window.parts) };
            state.window = Window { began: now.monotonic, passed, parts: state.parts, lacked: false, need };
        }
        state.window.need
    }

    /// Returns what this process may let pass in a second now. `None` if nothing is limited.
    pub(super) fn share(&self) -> Option<f64> {
        let (state, now) = self.state();
        state.limit.map(|_| state.pace.rate(now))
    }

    /// Describes the limit now, with the timetable if it changes.
    pub(super) fn describe(&self, rate: impl Fn(u64) -> String) -> String {
        let limit = self.state().0.limit;
        let now = limit.map_or_else(|| "no limit".to_owned(), |limit| rate(limit.get()));
        if self.timetable.is_constant() { now } else { format!("{now} now ({})", self.timetable.text()) }
    }

    /// Returns the state, with the limit of this moment.
    fn state(&self) -> (MutexGuard<'_, State>, Moment) {
        // A panic can't leave half of an assignment.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.times.now();
        let limit = self.timetable.limit_at((self.times.local)(now.wall));
        if state.limit != limit {
            state.limit = limit;
            state.apply(now);
        }
        (state, now)
    }
}

impl State {
    /// Notes that something which came at a time wants to pass.
    fn wanted(&mut self, now: Moment, came: Instant) {
        self.last = Some(now.monotonic);
        let waited = came.elapsed();
        self.window.lacked |= waited >= LACKING;
        if waited >= SLOW {
            self.slow = Some(now.monotonic);
        }
    }

    fn apply(&mut self, now: Moment) {
        match self.limit {
            #[allow(clippy::cast_precision_loss, reason = "a rate is exact up to 8 PiB per second")]
            Some(limit) => {
                let rate = limit.get() as f64 * f64::from(self.parts) / f64::from(WHOLE);
                self.pace.set(now, rate, self.validity);
            }
            None => self.pace.set(now, f64::INFINITY, Validity::Unlimited),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use migration_testkit::TestClock;

    use super::*;
    use crate::limits::UTC;

    fn pacer(text: &str, fleet: Fleet) -> Pacer {
        let times = Times { started: Instant::now(), clock: Arc::new(TestClock::following_tokio(0)), local: UTC };
        Pacer::new(Timetable::parse(text, Unit::Requests).unwrap(), times, fleet, Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn requests_pass_at_their_rate_and_in_turn() {
        let pacer = pacer("5", Fleet::Alone);
        let begin = Instant::now();
        let waits = (0..20).map(|_| async {
            pacer.pass(|_| 1).await;
            begin.elapsed()
        });
        let passed = join_all(waits).await;
        assert!(passed.is_sorted(), "{passed:?}");
        for second in 0..4_usize {
            let window = Duration::from_secs(second as u64)..Duration::from_secs(second as u64 + 1);
            assert!(passed.iter().filter(|at| window.contains(*at)).count() <= 6, "{passed:?}");
        }
        let last = passed.last().copied().unwrap_or_default();
        assert!((Duration::from_millis(3_800)..Duration::from_millis(3_900)).contains(&last), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_without_a_share_but_where_nothing_is_limited() {
        let limited = pacer("5", Fleet::Shared);
        assert_eq!(limited.share(), Some(0.0));
        let minute = Duration::from_mins(1);
        assert!(tokio::time::timeout(minute, limited.pass(|_| 1)).await.is_err());
        assert!(tokio::time::timeout(minute, limited.ready()).await.is_err());
        let (free, begin) = (pacer("off", Fleet::Shared), Instant::now());
        free.ready().await;
        assert_eq!(free.share(), None);
        free.pass(|_| 1).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        // A share that comes wakes who waits for it.
        tokio::join!(limited.pass(|_| 1), async { limited.set(WHOLE, Validity::Unlimited) });
        assert_eq!(limited.share(), Some(5.0));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_need_follows_the_use() {
        let pacer = pacer("100", Fleet::Alone);
        assert_eq!(pacer.need(), 0, "nothing was wanted yet");
        for _ in 0..1_000 {
            pacer.pass(|_| 1).await;
        }
        assert_eq!(pacer.need(), WHOLE);
        for _ in 0..10 {
            pacer.pass(|_| 1).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(pacer.need(), WHOLE / 32, "two of a hundred requests a second, and a quarter more");
        tokio::time::sleep(IDLE).await;
        assert_eq!(pacer.need(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_needs_more_and_is_slow() {
        let pacer = pacer("100", Fleet::Shared);
        // One in 20 s: nothing passes in most windows.
        pacer.set(WHOLE / 2_000, Validity::Unlimited);
        pacer.pass(|_| 1).await;
        let seconds = Duration::from_secs;
        let needs = async {
            for second in [4, 8, 12, 16] {
                tokio::time::sleep(seconds(4)).await;
                assert_eq!((pacer.need(), pacer.is_waiting()), (WHOLE, second > 10), "{second}");
            }
        };
        tokio::join!(pacer.pass(|_| 1), needs);
        assert!(pacer.is_waiting(), "what waited had no time yet");
        pacer.set(WHOLE, Validity::Unlimited);
        for _ in 0..STALL.as_secs() {
            tokio::time::sleep(seconds(1)).await;
            pacer.pass(|_| 1).await;
        }
        assert!(!pacer.is_waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_at_once_is_waited_for_by_others() {
        let (pacer, begin) = (pacer("5", Fleet::Alone), Instant::now());
        (0..10).for_each(|_| pacer.pass_at_once(1));
        assert_eq!(begin.elapsed(), Duration::ZERO);
        pacer.pass(|_| 1).await;
        assert!(begin.elapsed() >= Duration::from_millis(1_990), "{:?}", begin.elapsed());
    }
}
