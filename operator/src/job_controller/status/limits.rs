//! Shows the limits in force, and how they are divided.

use migration_api::Reason;
use migration_api::status::{LimitStatus, LimitsStatus, MigrationJobStatus, Phase};
use migration_core::shares::{Division, Shared};
use migration_core::timetable::Timetable;

use super::StatusInput;

/// Returns the limits of now, while the job moves something. `new` has the phase and the queue. Workers read the
/// timetables in UTC, and so does this. As long as an edit of the resource is refused, they keep the configuration of
/// before, and the status the limits of `before`.
pub fn limits(
    input: &StatusInput<'_>,
    before: Option<&LimitsStatus>,
    new: &MigrationJobStatus,
) -> Option<LimitsStatus> {
    let has_messages = new.queue.is_some_and(|queue| queue.visible + queue.in_flight > 0);
    let runs = matches!(new.phase, Some(Phase::Scanning | Phase::Transferring | Phase::Verifying));
    if input.stops() || !(has_messages || runs) {
        return None;
    }
    if input.blocking.iter().any(|problem| matches!(problem.reason, Reason::SpecInvalid | Reason::NotAllowed)) {
        return before.copied();
    }
    let division = input.ledger.and_then(|view| view.division);
    let limit = |table: &Option<Timetable>, of: fn(&Division) -> Shared| {
        let per_second = table.as_ref()?.limit_at(input.now)?.get();
        let shared = division.as_ref().map(of);
        Some(LimitStatus {
            per_second,
            held_per_second: shared.map(|shared| shared.of_limit(per_second)),
            holders: shared.map(|shared| shared.holders),
            waiting: shared.map(|shared| shared.waiting),
        })
    };
    let bandwidth = limit(&input.rate_limits.bandwidth, |division| division.bytes);
    let requests = limit(&input.rate_limits.requests, |division| division.requests);
    (bandwidth.is_some() || requests.is_some()).then_some(LimitsStatus { bandwidth, requests })
}

#[cfg(test)]
mod tests {
    use migration_api::status::QueueDepth;
    use migration_core::config::RateLimits;

    use super::super::tests::input;
    use super::*;
    use crate::job_controller::dereference::ledger::LedgerView;
    use crate::problem::Problem;

    const HOUR: i64 = 3_600_000;

    fn of(phase: Phase, messages: u64, input: &StatusInput<'_>) -> Option<LimitsStatus> {
        let queue = Some(QueueDepth { in_flight: messages, ..QueueDepth::default() });
        limits(input, None, &MigrationJobStatus { phase: Some(phase), queue, ..MigrationJobStatus::default() })
    }

    #[test]
    fn the_limits_of_the_hour_are_shown_with_what_is_held_of_them() {
        let bytes = Shared { parts: 750_000, holders: 3, waiting: 1 };
        let division = Some(Division { bytes, requests: Shared::default() });
        let view = LedgerView { division, ..LedgerView::default() };
        let rate_limits = RateLimits::parse(Some("08:00,1M 20:00,2M"), Some("08:00,50 20:00,off")).unwrap();
        let at = |hour| StatusInput { rate_limits: rate_limits.clone(), now: hour * HOUR, ..input(Some(&view), &[]) };
        let day = of(Phase::Transferring, 0, &at(9)).unwrap();
        let held = |per_second, held| LimitStatus {
            per_second,
            held_per_second: Some(held),
            holders: Some(3),
            waiting: Some(1),
        };
        assert_eq!(day.bandwidth, Some(held(1 << 20, 786_432)));
        let nobody = LimitStatus { per_second: 50, held_per_second: Some(0), holders: Some(0), waiting: Some(0) };
        assert_eq!(day.requests, Some(nobody));
        let night = of(Phase::Transferring, 0, &at(21)).unwrap();
        assert_eq!((night.bandwidth, night.requests), (Some(held(2 << 20, 1_572_864)), None));
    }

    #[test]
    fn a_refused_edit_leaves_the_limits_that_workers_have() {
        let rate_limits = RateLimits::parse(Some("10M"), None).unwrap();
        let now = LimitStatus { per_second: 1 << 20, held_per_second: None, holders: None, waiting: None };
        let before = LimitsStatus { bandwidth: Some(now), requests: None };
        let moving = MigrationJobStatus { phase: Some(Phase::Transferring), ..MigrationJobStatus::default() };
        for (reason, kept) in [(Reason::SpecInvalid, true), (Reason::NotAllowed, true), (Reason::SecretMissing, false)]
        {
            let problem = [Problem::new(reason.clone(), "no")];
            let input = StatusInput { rate_limits: rate_limits.clone(), blocking: &problem, ..input(None, &[]) };
            let shown = limits(&input, Some(&before), &moving).and_then(|limits| limits.bandwidth).unwrap();
            assert_eq!(shown.per_second == 1 << 20, kept, "{reason:?}");
        }
    }

    #[test]
    fn limits_are_shown_while_something_moves() {
        let rate_limits = RateLimits::parse(Some("1M"), None).unwrap();
        let one = StatusInput { rate_limits, ..input(None, &[]) };
        for (phase, messages, suspended, shown) in [
            (Phase::Scanning, 0, false, true),
            (Phase::Verifying, 0, false, true),
            (Phase::Watching, 2, false, true),
            (Phase::Watching, 0, false, false),
            (Phase::Complete, 0, false, false),
            (Phase::Suspended, 2, true, false),
        ] {
            let found = of(phase, messages, &StatusInput { suspended, ..one.clone() });
            assert_eq!(found.is_some(), shown, "{phase:?} {messages}");
            // The ledger did not answer.
            assert!(found.is_none_or(|found| found.bandwidth.is_some_and(|limit| limit.holders.is_none())));
        }
        assert_eq!(of(Phase::Transferring, 1, &input(None, &[])), None);
    }
}
