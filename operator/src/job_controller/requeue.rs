//! Decides when a job is reconciled again.

use std::ops::RangeInclusive;
use std::time::Duration;

use migration_api::status::{LastRun, Phase};
use migration_api::{ConditionType, MigrationJob, MigrationJobSpec, Reason};
use migration_core::error::{Service, ServiceFault};

use crate::backoff::{self, Bounds};
use crate::job_controller::allowed;
use crate::job_controller::apply::replicas;
use crate::job_controller::dereference::cadence::{LOOK_MS, Pace};
use crate::job_controller::dereference::cluster::ObservedJob;
use crate::job_controller::dereference::ledger::LedgerView;
use crate::job_controller::dereference::secrets;
use crate::job_controller::runs::followups::FollowupState;
use crate::job_controller::status::{Steps, Written};

/// The delay while something moves.
const ACTIVE: Duration = Duration::from_secs(5);
/// The delay while nothing moves. What is watched causes a reconciliation at once.
const IDLE: Duration = Duration::from_mins(10);
/// How long after its end a run is looked at, in milliseconds: less than its numbers are read again, so that the last look
/// reads them.
const SETTLES_MS: i64 = 20_000;
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
/// The last look at something that moved reads the ledger, so that the status has all that was done, and so do the looks of
/// the seconds after a run, in which processes record what they sent last. `before` is what the reconciliation before said.
pub fn pace(steps: &Steps<'_>, written: &Written, before: Option<Pace>, now: i64) -> Pace {
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
        waits: !written.degraded.is_empty() && !written.needs_person() && !written.is_noted(),
        pending: ((runs.start_pending || !events.is_ready) && !written.needs_person())
            || events.is_pending
            || preflight.is_pending
            || observed.awaits_messages
            || has_ended
            || settles(written.status.last_run.as_ref(), now)
            || applied.is_changed
            || is_scaled
            || !is_known,
    });
    let was_active = matches!(before, Some(Pace::Active { .. }));
    if pace == Pace::Settled && was_active && !observed.fresh.ledger { Pace::Waiting } else { pace }
}

/// Returns true if a run ended so shortly ago that processes may not have recorded what they sent last.
fn settles(last: Option<&LastRun>, now: i64) -> bool {
    last.is_some_and(|run| now - run.ended_at.0.as_millisecond() < SETTLES_MS)
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
    /// Returns true if the job is degraded only by what holds up nothing, and is not looked for again by itself.
    fn is_noted(&self) -> bool {
        matches!(self.degraded.first(), Some(Reason::Shortcoming(..)))
    }

    /// Returns true if the job is degraded by something that ends only when a person changes the specification:
    /// frequent checks do not help.
    fn needs_person(&self) -> bool {
        let ends_by_edit = |reason: &Reason| {
            matches!(
                reason,
                Reason::JobsenderFailed | Reason::SpecInvalid | Reason::LedgerRecordsLeftOut | Reason::OverBudget
            )
        };
        self.degraded.first().is_some_and(ends_by_edit)
    }
}

/// A fault that ends when a person mends a Secret or ConfigMap that the specification names. Nobody watches them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    reason: Reason,
    /// Since when it holds, in milliseconds since 1970.
    since: i64,
}

impl Fault {
    /// Returns the most important such fault of a job. `before`: that of the reconciliation before. `labels`: the
    /// operator's policy asks for a label.
    pub fn of(job: &MigrationJob, degraded: &[Reason], labels: bool, before: Option<Self>, now: i64) -> Option<Self> {
        let reason = degraded.iter().find(|reason| is_mended_by_named(reason, &job.spec, labels))?;
        if let Some(before) = before.filter(|before| before.reason == *reason) {
            return Some(before);
        }
        // An operator that has just started knows of it from the status.
        let condition = job.status.as_ref().and_then(|status| status.condition(ConditionType::Degraded));
        let same = condition.filter(|(holds, condition)| *holds && condition.reason == reason.to_string());
        let since = same.map_or(now, |(_, condition)| condition.last_transition_time.0.as_millisecond());
        Some(Self { reason: reason.clone(), since })
    }
}

/// Returns true if what the specification names can end a problem.
///
/// | problem | ends with |
/// |---|---|
/// | a Secret, ConfigMap or certificate is missing or unusable | that object |
/// | the policy refuses the job | the label of one, if the policy asks for one |
/// | the preflight failed | a Secret or certificate of the services that it uses |
/// | a service refuses the credentials or what they may do | the service's Secret |
/// | a side cannot be reached | the side's certificate |
fn is_mended_by_named(reason: &Reason, spec: &MigrationJobSpec, labels: bool) -> bool {
    use ServiceFault::{AccessDenied, CredentialsExpired, CredentialsInvalid, CredentialsMissing, Unreachable};
    let has_secret = |side: Service| secrets::names(spec).iter().any(|(of, name)| *of == side && name.is_some());
    let has_certificate = |side: Service| match side {
        Service::Source => spec.source.ca_bundle.is_some(),
        Service::Destination => spec.destination.ca_bundle.is_some(),
        Service::Queue | Service::Ledger => false,
    };
    match reason {
        Reason::SecretMissing | Reason::SecretIncomplete | Reason::ConfigMapMissing | Reason::CaBundleInvalid => true,
        Reason::NotAllowed => labels && !allowed::references(spec).is_empty(),
        Reason::PreflightFailed => [Service::Source, Service::Destination, Service::Ledger]
            .into_iter()
            .any(|side| has_secret(side) || has_certificate(side)),
        Reason::Service(side, AccessDenied | CredentialsExpired | CredentialsInvalid | CredentialsMissing) => {
            has_secret(*side)
        }
        Reason::Service(side, Unreachable) => has_certificate(*side),
        _ => false,
    }
}

/// A time until which only what the specification names is read: Secrets, ignore list, certificates. A person may be
/// about to mend them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When everything is read again, in milliseconds since 1970.
    until: i64,
    /// The interval until then, in milliseconds.
    every: i64,
}

/// Returns how a job waits whose next look at everything is after this time, if it is for what its specification
/// names. A suspended job is not in a hurry.
pub fn wait(job: &MigrationJob, pace: Pace, fault: Option<&Fault>, next: Duration, now: i64) -> Option<Wait> {
    let fault = fault.filter(|_| pace == Pace::Waiting && !job.spec.suspend)?;
    let until = now.saturating_add(i64::try_from(next.as_millis()).unwrap_or(i64::MAX));
    Some(Wait::new(until, fault.since, now))
}

/// The bounds of [`Wait::every`], in milliseconds. At the upper one everything is read as often.
const EVERY: RangeInclusive<i64> = 5_000..=300_000;
/// The part of the time that a fault has held that its end may go unnoticed.
const UNNOTICED: i64 = 20;

impl Wait {
    /// Returns the wait for the end of a fault that has held since a time. All times are in milliseconds since 1970.
    fn new(until: i64, since: i64, now: i64) -> Self {
        let every = ((now - since) / UNNOTICED).clamp(*EVERY.start(), *EVERY.end());
        Self { until, every }
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
    use crate::job_controller::status::with_problem;
    use crate::job_controller::validate::tests::resource;
    use crate::problem::Problem;
    use migration_api::status::MigrationJobStatus;

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
        let every = |since: i64| Wait::new(1_000_000, 1_000 - since, 1_000).left(1_000).unwrap().as_secs();
        assert_eq!([0, 60_000, 200_000, 600_000, 86_400_000].map(every), [5, 5, 10, 30, 300]);
        let wait = Wait::new(9_000, 0, 1_000);
        assert_eq!(
            [1_000, 6_000, 9_000, 9_500].map(|now| wait.left(now).map(|left| left.as_millis())),
            [Some(5_000), Some(3_000), None, None]
        );
    }

    #[test]
    fn only_what_a_secret_or_config_map_can_mend_has_them_read() {
        use ServiceFault::{AccessDenied, CredentialsInvalid, NotFound, Unreachable};
        let mut job = resource();
        job.spec.queue.credentials = None;
        assert_eq!(job.spec.source.ca_bundle, None);
        for (reason, expected) in [
            (Reason::SecretMissing, true),
            (Reason::CaBundleInvalid, true),
            (Reason::PreflightFailed, true),
            (Reason::Service(Service::Source, AccessDenied), true),
            (Reason::Service(Service::Source, CredentialsInvalid), true),
            (Reason::Service(Service::Source, Unreachable), false),
            (Reason::Service(Service::Source, NotFound), false),
            (Reason::Service(Service::Queue, AccessDenied), false),
            (Reason::NotAllowed, false),
            (Reason::NameTaken, false),
            (Reason::ApplyFailed, false),
        ] {
            assert_eq!(is_mended_by_named(&reason, &job.spec, false), expected, "{reason}");
        }
        assert!(is_mended_by_named(&Reason::NotAllowed, &job.spec, true));
    }

    #[test]
    fn a_fault_is_as_old_as_its_own_reason() {
        let fault = |reason: &Reason, since| Some(Fault { reason: reason.clone(), since });
        let mut job = resource();
        let of = |job: &MigrationJob, reasons: &[Reason], before: Option<Fault>| {
            Fault::of(job, reasons, false, before, 9_000_000)
        };
        let (missing, incomplete) = (Reason::SecretMissing, Reason::SecretIncomplete);
        let both = [Reason::NameTaken, missing.clone()];
        assert_eq!(of(&job, &both, None), fault(&missing, 9_000_000), "it is new");
        assert_eq!(of(&job, &both, fault(&missing, 7)), fault(&missing, 7));
        assert_eq!(of(&job, &both, fault(&incomplete, 7)), fault(&missing, 9_000_000), "that was another one");
        assert_eq!(of(&job, &both[..1], fault(&missing, 7)), None);
        job.status =
            Some(with_problem(&MigrationJobStatus::default(), &Problem::new(missing.clone(), "k"), None, 5_000));
        assert_eq!(of(&job, &both, None), fault(&missing, 5_000), "the status knows it");
        job.status = Some(with_problem(&MigrationJobStatus::default(), &Problem::new(incomplete, "k"), None, 5_000));
        assert_eq!(of(&job, &both, None), fault(&missing, 9_000_000), "the job was degraded by something else");
    }

    #[test]
    fn what_cannot_be_done_is_tried_less_and_less_often() {
        let longest = |waits| delay(Pace::Waiting, waits, 1.0).as_secs();
        assert_eq!([1, 2, 3, 7, 60].map(longest), [5, 10, 20, 300, 300]);
        assert_eq!(delay(Pace::Active { blocked: false }, 0, 1.0), ACTIVE);
        assert_eq!(delay(Pace::Settled, 0, 1.0), IDLE);
    }
}
