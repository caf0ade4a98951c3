//! When a run starts.

use migration_core::records::RunRecord;

/// A run to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its number among those that were started so.
    pub number: u32,
    /// The request by hand that it answers; kept from the run before where a scan is taken up again.
    pub manual: Option<String>,
}

/// The facts that decide whether a run starts.
#[derive(Clone, Copy, Debug)]
pub struct StartInput<'a> {
    /// Runs come by a schedule, which somebody else follows.
    pub is_scheduled: bool,
    /// The request by hand that stands.
    pub manual: Option<&'a str>,
    /// The one that was answered last.
    pub last_manual: Option<&'a str>,
    /// Runs that were started so far.
    pub started: u32,
    /// The last run in the ledger.
    pub last_run: Option<&'a RunRecord>,
    /// A sender is at work, or may still become so.
    pub is_sending: bool,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// Decides whether a run starts.
///
/// | run | a sender is at work | trigger | decision |
/// |---|---|---|---|
/// | any | yes | | wait |
/// | live, scan open, lease expired | no | | start: the Job was deleted, so another one continues the scan |
/// | live | no | | wait for its end |
/// | none is live | no | `manual` is not the last one | start |
/// | there never was one | no | neither schedule nor `manual`, none started | start |
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
        None if !input.is_scheduled && input.started == 0 && input.last_run.is_none() => start(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::records::{RunEnd, RunResult};

    fn run(closed: bool, ended: bool) -> RunRecord {
        let text = r#"{"run":"r","revision":1,"startedBy":"j","owner":"p","epoch":1,"leaseUntil":60000,"started":0,"pairs":[],
                       "scan":{"closed":false}}"#;
        let mut run: RunRecord = serde_json::from_str(text).unwrap();
        run.scan.closed = closed;
        run.end = ended.then_some(RunEnd { at: 9_000, result: RunResult::Complete, message: None, cause: None });
        run
    }

    #[test]
    fn runs_start_as_the_table_says() {
        const LATER: i64 = 1_000_000;
        let (open, closed, ended) = (run(false, false), run(true, false), run(true, true));
        let first = Some(Start { number: 1, manual: None });
        let asked = Some(Start { number: 3, manual: Some("b".into()) });
        let again = Some(Start { number: 3, manual: Some("a".into()) });
        // Scheduled, asked for by hand; started, answered last; last run, sending, now.
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
            let input = StartInput { is_scheduled, manual, last_manual, started, last_run, is_sending, now };
            assert_eq!(start(&input), expected, "{input:?}");
        }
    }
}
