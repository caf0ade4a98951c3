//! Decides when a job is reconciled again.

use std::ops::RangeInclusive;
use std::time::Duration;

use migration_api::status::Phase;
use migration_api::{ConditionType, MigrationJob, Reason};

use crate::backoff::{self, Bounds};
use crate::job_controller::allowed;
use crate::job_controller::apply::replicas;
use crate::job_controller::dereference::cadence::{LOOK_MS, Pace};
use crate::job_controller::dereference::cluster::ObservedJob;
use crate::job_controller::dereference::ledger::LedgerView;
use crate::job_controller::runs::followups::FollowupState;
use crate::job_controller::status::{Steps, Written};

/// The delay while something moves.
const ACTIVE: Duration = Duration::from_secs(5);
/// The delay while nothing moves. What is watched causes a reconciliation at once.
const IDLE: Duration = Duration::from_mins(10);
/// The delays while something is wanted that cannot be done, for reasons of which nothing tells when they are gone.
const WAITING: Bounds = Bounds { first: Duration::from_secs(5), most: Duration::from_mins(5) };

/// Returns what a reconciliation says about a job.
///
/// | suspended | moves | wanted and not done | pace |
/// |---|---|---|---|
/// | no | yes | | active |
/// | any | no, or suspended | yes | waiting |
/// | no | no | no | settled |
/// | yes | | no | slow in the middle of a run, else settled |
///
/// The last look at something that moved reads the ledger, so that the status has all that was done. `before` is what the
/// reconciliation before said.
pub fn pace(steps: &Steps<'_>, written: &Written, before: Option<Pace>) -> Pace {
    let Steps { observed, applied, preflight, events, runs, scaled, .. } = steps;
    let is_scaled = applied.deployment.as_ref().is_some_and(|live| replicas::wanted(live) != scaled.workers.desired);
    let is_complete = observed.services.is_some() && observed.depth.is_some() && observed.ledger.is_some();
    let is_known = is_complete || written.needs_person();
    let is_live = |view: Option<&LedgerView>| view.is_some_and(|view| view.live().is_some());
    // The next look applies what was edited during the run.
    let has_ended = is_live(observed.ledger.as_deref()) && !is_live(runs.ledger.as_deref());
    let pace = decide(PaceInput {
        suspended: written.status.phase == Some(Phase::Suspended),
        live: written.status.current_run.is_some(),
        moves: moves(steps, written),
        blocked: written.blocked,
        waits: written.degraded.is_some() && !written.needs_person() && !written.is_noted(),
        pending: ((runs.start_pending || !events.is_ready) && !written.needs_person())
            || events.is_pending
            || preflight.is_pending
            || observed.awaits_messages
            || has_ended
            || applied.is_changed
            || is_scaled
            || !is_known,
    });
    let was_active = matches!(before, Some(Pace::Active { .. }));
    if pace == Pace::Settled && was_active && !observed.fresh.ledger { Pace::Waiting } else { pace }
}

/// The facts that decide the pace.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is independent")]
struct PaceInput {
    suspended: bool,
    live: bool,
    /// Work is there, or is on its way.
    moves: bool,
    /// Nothing new starts because of a problem.
    blocked: bool,
    /// It is degraded by something that may pass.
    waits: bool,
    /// Something is wanted, or was done only now.
    pending: bool,
}

fn decide(input: PaceInput) -> Pace {
    let PaceInput { suspended, live, moves, blocked, waits, pending } = input;
    if moves && !suspended {
        return Pace::Active { blocked };
    }
    if waits || (pending && !suspended) {
        return Pace::Waiting;
    }
    if suspended && live { Pace::Slow } else { Pace::Settled }
}

fn moves(steps: &Steps<'_>, written: &Written) -> bool {
    let Written { status, .. } = written;
    let Steps { observed, runs, scaled, .. } = steps;
    let cluster = &observed.cluster;
    let jobs = cluster.jobs.iter().chain(&cluster.followups).chain(&cluster.notifiers);
    let jobs = jobs.chain(cluster.preflights.iter().map(|preflight| &preflight.job));
    status.current_run.is_some()
        || status.queue.is_some_and(|queue| queue.visible + queue.in_flight > 0)
        || status.workers.is_some_and(|workers| workers.desired > scaled.least)
        || jobs.into_iter().any(ObservedJob::is_unfinished)
        || follows(&runs.verification)
        || follows(&runs.report)
}

fn follows<T>(state: &FollowupState<T>) -> bool {
    matches!(state, FollowupState::Due | FollowupState::Running)
}

impl Written {
    /// Returns since when the job has been degraded, in milliseconds since 1970.
    pub fn degraded_since(&self) -> Option<i64> {
        let (holds, condition) = self.status.condition(ConditionType::Degraded)?;
        holds.then(|| condition.last_transition_time.0.as_millisecond())
    }

    /// Returns true if the job is degraded only by what holds up nothing, and is not looked for again by itself.
    fn is_noted(&self) -> bool {
        matches!(self.degraded, Some(Reason::Shortcoming(..)))
    }

    /// Returns true if the job is degraded by something that ends only when a person changes the specification:
    /// frequent checks do not help.
    fn needs_person(&self) -> bool {
        let ends_by_edit = |reason: &Reason| {
            matches!(reason, Reason::JobsenderFailed | Reason::SpecInvalid | Reason::LedgerRecordsLeftOut)
        };
        self.degraded.as_ref().is_some_and(ends_by_edit)
    }
}

/// A time until which only what the specification names is read: Secrets, ignore list, certificates. Nobody watches
/// them, and a person may be about to mend them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When everything is read again, in milliseconds since 1970.
    until: i64,
    /// The interval until then, in milliseconds.
    every: i64,
}

/// Returns how a job waits whose next look at everything is after this time, if it is for what its specification may
/// name.
pub fn wait(job: &MigrationJob, pace: Pace, written: &Written, next: Duration, now: i64) -> Option<Wait> {
    let may_wait = pace == Pace::Waiting && !allowed::references(&job.spec).is_empty();
    let until = now.saturating_add(i64::try_from(next.as_millis()).unwrap_or(i64::MAX));
    Wait::new(until, written.degraded_since().filter(|_| may_wait), now)
}

/// The bounds of [`Wait::every`], in milliseconds.
const EVERY: RangeInclusive<i64> = 5_000..=60_000;
/// The part of the time that a job has been degraded that a mended Secret may go unnoticed.
const UNNOTICED: i64 = 20;

impl Wait {
    /// Returns the wait of a job that has been degraded since a time, or none if it has not. Both times, and `now`, are
    /// in milliseconds since 1970.
    pub fn new(until: i64, degraded_since: Option<i64>, now: i64) -> Option<Self> {
        let every = ((now - degraded_since?) / UNNOTICED).clamp(*EVERY.start(), *EVERY.end());
        Some(Self { until, every })
    }

    /// Returns the time until the next look at what the specification names, or none if everything is to be read now.
    pub fn left(self, now: i64) -> Option<Duration> {
        let left = self.until - now;
        (left > 0).then(|| milliseconds(left.min(self.every)))
    }
}

/// Returns the delay until the next reconciliation. `waits`: how many in a row could not do what is wanted.
pub fn delay(pace: Pace, waits: u32, random: f64) -> Duration {
    match pace {
        Pace::Active { blocked: false } => ACTIVE,
        Pace::Active { blocked: true } => milliseconds(LOOK_MS),
        Pace::Waiting => backoff::delay(WAITING, waits, random),
        Pace::Slow | Pace::Settled => IDLE,
    }
}

/// Converts a number of milliseconds, which is not negative.
pub fn milliseconds(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: PaceInput =
        PaceInput { suspended: false, live: false, moves: false, blocked: false, waits: false, pending: false };

    #[test]
    fn the_pace_is_as_the_table_says() {
        let live = PaceInput { live: true, moves: true, ..NOTHING };
        for (input, expected) in [
            (NOTHING, Pace::Settled),
            (live, Pace::Active { blocked: false }),
            (PaceInput { blocked: true, waits: true, pending: true, ..live }, Pace::Active { blocked: true }),
            (PaceInput { suspended: true, ..live }, Pace::Slow),
            (PaceInput { suspended: true, pending: true, ..live }, Pace::Slow),
            (PaceInput { suspended: true, waits: true, ..live }, Pace::Waiting),
            (PaceInput { suspended: true, ..NOTHING }, Pace::Settled),
            (PaceInput { waits: true, ..NOTHING }, Pace::Waiting),
            (PaceInput { pending: true, ..NOTHING }, Pace::Waiting),
        ] {
            assert_eq!(decide(input), expected, "{input:?}");
        }
    }

    #[test]
    fn what_the_specification_names_is_read_often_at_first_and_seldom_after_a_while() {
        let every =
            |since: i64| Wait::new(1_000_000, Some(1_000 - since), 1_000).unwrap().left(1_000).unwrap().as_secs();
        assert_eq!([0, 60_000, 200_000, 600_000, 86_400_000].map(every), [5, 5, 10, 30, 60]);
        let wait = Wait::new(9_000, Some(0), 1_000).unwrap();
        assert_eq!(
            [1_000, 6_000, 9_000, 9_500].map(|now| wait.left(now).map(|left| left.as_millis())),
            [Some(5_000), Some(3_000), None, None]
        );
        assert_eq!(Wait::new(9_000, None, 1_000), None, "nothing is wrong");
    }

    #[test]
    fn what_cannot_be_done_is_tried_less_and_less_often() {
        let longest = |waits| delay(Pace::Waiting, waits, 1.0).as_secs();
        assert_eq!([1, 2, 3, 7, 60].map(longest), [5, 10, 20, 300, 300]);
        assert_eq!(delay(Pace::Active { blocked: false }, 0, 1.0), ACTIVE);
        assert_eq!(delay(Pace::Settled, 0, 1.0), IDLE);
    }
}
