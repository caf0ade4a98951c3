//! Decides when a run starts.

use migration_core::records::RunRecord;

/// A run to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Number of the run among those started by the coordinator, from 1.
    pub number: u32,
    /// The manual trigger that this run answers. A start that continues a scan repeats the trigger answered last.
    pub manual: Option<String>,
}

/// Whether a scan moves what was written before the events began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventScan {
    /// It is due.
    Due,
    /// It was started, or is not wanted.
    Settled,
}

/// The inputs that decide whether a run starts.
#[derive(Clone, Copy, Debug)]
pub struct StartInput<'a> {
    /// True if runs are started by a schedule, which is evaluated elsewhere.
    pub is_scheduled: bool,
    /// What the events that move objects ask for; `None` without events.
    pub events: Option<EventScan>,
    /// The current manual trigger.
    pub manual: Option<&'a str>,
    /// The last manual trigger that was answered.
    pub last_manual: Option<&'a str>,
    /// Number of runs started so far.
    pub started: u32,
    /// The last run in the ledger.
    pub last_run: Option<&'a RunRecord>,
    /// True if a jobsender is running or may still start.
    pub is_sending: bool,
    /// The current time, in milliseconds since 1970.
    pub now: i64,
}

/// Decides whether a run starts.
///
/// | last run | jobsender running | trigger | decision |
/// |---|---|---|---|
/// | any | yes | any | wait |
/// | live, scan open, lease expired | no | any | start: the Job was deleted, so another one continues the scan |
/// | live, otherwise | no | any | wait for its end |
/// | ended, or none | no | `manual` differs from the last one answered | start |
/// | ended, or none | no | events, whose initial scan is due | start |
/// | none, and none started before | no | neither schedule, `manual` nor events | start |
/// | ended, or none | no | otherwise | wait |
pub fn start(input: &StartInput<'_>) -> Option<Start> {
    if input.is_sending {
        return None;
    }
    let start = |manual: Option<&str>| {
        Some(Start { number: input.started.saturating_add(1), manual: manual.map(ToOwned::to_owned) })
    };
    if let Some(live) = input.last_run.filter(|run| run.end.is_none()) {
        let orphaned = !live.scan.closed && live.lease_until < input.now;
        return if orphaned { start(input.last_manual) } else { None };
    }
    match input.manual {
        Some(manual) if input.last_manual != Some(manual) => start(Some(manual)),
        _ if input.events == Some(EventScan::Due) => start(input.last_manual),
        None if !input.is_scheduled && input.events.is_none() && input.started == 0 && input.last_run.is_none() => {
            start(None)
        }
        _ => None,
    }
}

/// Returns true if runs are still to come or to go on, without an edit: one is live or may be sending, one is due, or a
/// schedule or events start others.
pub fn may_follow(input: &StartInput<'_>) -> bool {
    let is_live = input.last_run.is_some_and(|run| run.end.is_none());
    input.is_scheduled || input.events.is_some() || input.is_sending || is_live || start(input).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::records::{RunEnd, RunResult};
    use migration_testkit::samples::run_record;

    fn run(closed: bool, ended: bool) -> RunRecord {
        let end = ended.then_some(RunEnd { at: 9_000, result: RunResult::Complete, message: None, cause: None });
        RunRecord { lease_until: 60_000, end, ..run_record(closed) }
    }

    #[test]
    fn runs_start_as_the_table_says() {
        const LATER: i64 = 1_000_000;
        let (open, closed, ended) = (run(false, false), run(true, false), run(true, true));
        let first = Some(Start { number: 1, manual: None });
        let asked = Some(Start { number: 3, manual: Some("b".into()) });
        let again = Some(Start { number: 3, manual: Some("a".into()) });
        // Scheduled, manual trigger; started, last answered; last run, sending, now.
        for ((is_scheduled, manual), (started, last_manual), (last_run, is_sending, now), expected) in [
            ((false, None), (0, None), (None, false, 0), first),
            ((false, None), (0, None), (None, true, 0), None),
            ((false, None), (0, None), (Some(&ended), false, 0), None),
            ((false, None), (1, None), (None, false, 0), None),
            ((true, None), (0, None), (None, false, 0), None),
            ((false, Some("b")), (2, Some("a")), (Some(&ended), false, 0), asked.clone()),
            ((true, Some("b")), (2, Some("a")), (Some(&ended), false, 0), asked),
            ((false, Some("b")), (2, Some("b")), (Some(&ended), false, 0), None),
            ((false, Some("b")), (2, Some("a")), (Some(&closed), false, LATER), None),
            ((false, Some("b")), (2, Some("a")), (Some(&ended), true, LATER), None),
            ((false, Some("b")), (2, Some("a")), (Some(&open), false, LATER), again),
            ((true, None), (2, None), (Some(&open), false, 0), None),
            ((true, None), (2, None), (Some(&open), false, LATER), Some(Start { number: 3, manual: None })),
        ] {
            let input =
                StartInput { is_scheduled, events: None, manual, last_manual, started, last_run, is_sending, now };
            assert_eq!(start(&input), expected, "{input:?}");
        }
    }

    #[test]
    fn nothing_follows_the_only_run_of_a_job() {
        let (live, ended) = (run(true, false), run(true, true));
        let of = |started, last_run| StartInput {
            is_scheduled: false,
            events: None,
            manual: None,
            last_manual: None,
            started,
            last_run,
            is_sending: false,
            now: 0,
        };
        let over = of(1, Some(&ended));
        let asked = StartInput { manual: Some("a"), ..over };
        for (input, expected) in [
            (of(0, None), true),
            (of(1, Some(&live)), true),
            (over, false),
            (of(0, Some(&ended)), false),
            (of(1, None), false),
            (StartInput { is_scheduled: true, ..over }, true),
            (StartInput { events: Some(EventScan::Settled), ..over }, true),
            (StartInput { is_sending: true, ..over }, true),
            (asked, true),
            (StartInput { last_manual: Some("a"), ..asked }, false),
        ] {
            assert_eq!(may_follow(&input), expected, "{input:?}");
        }
    }

    #[test]
    fn events_imply_one_scan_after_a_live_run() {
        let (open, ended) = (run(false, false), run(true, true));
        let number = |number| Some(Start { number, manual: None });
        let (due, settled) = (EventScan::Due, EventScan::Settled);
        for (events, is_scheduled, started, last_run, expected) in [
            (due, false, 0, None, number(1)),
            (due, true, 0, None, number(1)),
            (due, false, 2, Some(&ended), number(3)),
            (due, false, 2, Some(&open), None),
            (settled, false, 0, None, None),
            (settled, false, 1, Some(&ended), None),
        ] {
            let (is_sending, now) = (false, 0);
            let input = StartInput {
                is_scheduled,
                events: Some(events),
                manual: None,
                last_manual: None,
                started,
                last_run,
                is_sending,
                now,
            };
            assert_eq!(start(&input), expected, "{input:?}");
        }
    }
}
