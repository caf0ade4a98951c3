//! Decides when runs start and end.

use migration_core::progress;
use migration_core::records::{Heartbeat, RunEnd, RunRecord, RunResult};
use migration_core::reopen::{self, QuietInput};

use migration_api::transfer::Trigger;

use crate::job_controller::dereference::cluster::{JobState, ObservedJob};
use crate::job_controller::dereference::ledger::RunView;
use crate::names;

/// A run that the operator starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The number in the Job's name.
    pub number: u32,
    /// The value of spec.trigger.manual that it answers; that of the run before, if it continues that run's scan.
    pub manual: Option<String>,
}

/// The facts that decide whether a run starts.
#[derive(Clone, Copy, Debug)]
pub struct StartInput<'a> {
    /// `spec.trigger`.
    pub trigger: &'a Trigger,
    /// `status.runsStarted`.
    pub started: u32,
    /// `status.lastManualRun`.
    pub last_manual: Option<&'a str>,
    /// The last run in the ledger.
    pub last_run: Option<&'a RunRecord>,
    /// The Jobs of jobsenders, the newest one first.
    pub jobs: &'a [ObservedJob],
    /// Milliseconds since 1970.
    pub now: i64,
}

/// Returns the run to start, if one is due.
///
/// | run | a Job may still send | trigger | decision |
/// |---|---|---|---|
/// | any | yes | | wait |
/// | live, scan open, lease expired | no | | start: the Job was deleted, so another one continues the scan |
/// | live | no | | wait for its end |
/// | none is live | no | `manual` is not the last one | start |
/// | there never was one | no | neither schedule nor `manual`, none started | start |
pub fn start(input: &StartInput<'_>) -> Option<Start> {
    if input.jobs.iter().any(ObservedJob::is_unfinished) {
        return None;
    }
    let start = |manual: Option<&str>| {
        Some(Start { number: input.started.saturating_add(1), manual: manual.map(ToOwned::to_owned) })
    };
    if let Some(live) = input.last_run.filter(|run| run.end.is_none()) {
        let orphaned = !live.scan.closed && live.lease_until < input.now;
        return if orphaned { start(input.last_manual) } else { None };
    }
    match (&input.trigger.schedule, &input.trigger.manual) {
        (_, Some(manual)) if input.last_manual != Some(manual.as_str()) => start(Some(manual)),
        (None, None) if input.started == 0 && input.last_run.is_none() => start(None),
        _ => None,
    }
}

/// Returns `status.runsStarted` and `status.lastManualRun` as they should be, if the operator ended after it created a Job
/// and before it wrote the status.
pub fn created_before(
    job: &str,
    jobs: &[ObservedJob],
    started: u32,
    last_manual: Option<String>,
) -> (u32, Option<String>) {
    let next = started.saturating_add(1);
    match jobs.iter().find(|made| made.name == names::run(job, next)) {
        Some(made) if next > started => created_before(job, jobs, next, made.manual.clone().or(last_manual)),
        _ => (started, last_manual),
    }
}

/// Returns the end of a live run if it is over: all its batches have ended, the Job that listed has failed for good, or the
/// deadline, in milliseconds after its start, has passed.
pub fn end(run: &RunView, jobs: &[ObservedJob], deadline: Option<i64>, now: i64) -> Option<RunEnd> {
    let record = &run.record;
    let tally = run.tally.filter(|_| record.end.is_none())?;
    if let Some(end) = progress::end_of_run(record, &tally, now) {
        return Some(end);
    }
    if let Some(message) = failed_sender(record, jobs, now).filter(|_| !record.scan.closed) {
        return Some(RunEnd { at: now, result: RunResult::Failed, message: Some(message.to_owned()), cause: None });
    }
    progress::end_at_deadline(record, &tally, deadline?, now)
}

/// Returns true if the run is to be [reopened](reopen) because its messages are lost. `resumed` is when the job was resumed
/// after a suspension, in milliseconds since 1970.
pub fn is_quiet(run: &RunView, heartbeats: &[Heartbeat], resumed: Option<i64>, now: i64) -> bool {
    let Some(tally) = &run.tally else { return false };
    let quiet_ms = reopen::QUIET_MS;
    reopen::is_quiet(&QuietInput { run: &run.record, tally, heartbeats, resumed, quiet_ms, now })
}

/// Returns the message of the newest Job, if it failed for good and listed for this run: nothing lists any more.
fn failed_sender<'a>(run: &RunRecord, jobs: &'a [ObservedJob], now: i64) -> Option<&'a str> {
    if jobs.iter().any(ObservedJob::is_unfinished) {
        return None;
    }
    let newest = jobs.first()?;
    // A pod's name begins with its Job's. Any other owner of the run is gone when its lease has expired. But a Job from before
    // the run, or from before it was reopened, never had to list what is to be listed now.
    let asked = run.reopen.or(run.reopened.last().map(|reopening| reopening.at));
    let after = newest.created + CLOCKS_DIFFER_MS >= asked.unwrap_or(run.started);
    let had_it = newest.name == run.started_by || is_pod_of(&newest.name, &run.owner);
    let had_it = had_it && (asked.is_none() || after);
    match &newest.state {
        JobState::Failed { message } if had_it || (after && run.lease_until < now) => Some(message),
        _ => None,
    }
}

/// Returns true if a pod belongs to a Job by their names: Kubernetes cuts the Job's name and a hyphen at 58 characters and
/// appends five. Source: `SimpleNameGenerator` in `apiserver/pkg/storage/names`.
fn is_pod_of(job: &str, pod: &str) -> bool {
    let base = format!("{job}-");
    let base = base.get(..58).unwrap_or(&base);
    pod.strip_prefix(base).is_some_and(|rest| rest.len() == 5)
}

/// How much the clocks of the cluster and of a pod may differ, in milliseconds.
const CLOCKS_DIFFER_MS: i64 = 5 * 60 * 1000;

/// Returns the message of the newest Job, if it failed for good before it had a run, or its run has failed.
pub fn failure<'a>(jobs: &'a [ObservedJob], last_run: Option<&RunRecord>) -> Option<&'a str> {
    let newest = jobs.first()?;
    let JobState::Failed { message } = &newest.state else { return None };
    let ended_otherwise = last_run.is_some_and(|run| {
        run.started_by == newest.name && run.end.as_ref().is_some_and(|end| end.result != RunResult::Failed)
    });
    (!ended_otherwise).then_some(message.as_str())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use migration_core::progress::{TakeDecision, TakeRequest, Tally, take};
    use migration_core::records::{RunEndCause, RunSides, ScanCounts};

    pub(crate) fn run(closed: bool, ended: Option<RunResult>) -> RunRecord {
        let request = TakeRequest {
            run: "r1".into(),
            started_by: "photos-run-1".into(),
            owner: "photos-run-1-abcde".into(),
            pairs: vec![],
            sides: RunSides::of(
                &serde_yaml::from_str(&crate::job_controller::validate::tests::validated(|_| ()).config).unwrap(),
            ),
            listed_by_manifest: false,
            now: 1_000,
        };
        let TakeDecision::Start(mut run) = take(None, &request) else { panic!("the first run starts") };
        run.scan.closed = closed;
        run.end = ended.map(|result| RunEnd { at: 9_000, result, message: None, cause: None });
        run
    }

    pub(crate) fn job(name: &str, state: JobState) -> ObservedJob {
        ObservedJob {
            name: name.into(),
            uid: format!("uid-{name}"),
            created: 900,
            state,
            active: false,
            suspended: false,
            manual: None,
        }
    }

    pub(crate) fn failed() -> JobState {
        JobState::Failed { message: "ScanFailed: no such bucket".into() }
    }

    const LATER: i64 = 1_000_000;

    #[test]
    fn runs_start_as_the_table_says() {
        let once = Trigger::default();
        let manual = Trigger { manual: Some("b".into()), ..Trigger::default() };
        let daily = Trigger { schedule: Some("@daily".into()), ..Trigger::default() };
        let (open, closed, ended) = (run(false, None), run(true, None), run(true, Some(RunResult::Complete)));
        let (busy, idle) = (vec![job("j", JobState::Unfinished)], vec![job("j", JobState::Succeeded)]);
        let first = Some(Start { number: 1, manual: None });
        let asked = Some(Start { number: 3, manual: Some("b".into()) });
        let again = Some(Start { number: 3, manual: Some("a".into()) });
        for (trigger, started, last_manual, last_run, jobs, now, expected) in [
            (&once, 0, None, None, &vec![], 0, first.clone()),
            (&once, 0, None, None, &busy, 0, None),
            (&once, 0, None, Some(&ended), &idle, 0, None),
            (&once, 1, None, None, &idle, 0, None),
            (&daily, 0, None, None, &vec![], 0, None),
            (&manual, 2, Some("a"), Some(&ended), &idle, 0, asked.clone()),
            (&manual, 2, Some("b"), Some(&ended), &idle, 0, None),
            (&manual, 2, Some("a"), Some(&closed), &idle, LATER, None),
            (&manual, 2, Some("a"), Some(&ended), &busy, LATER, None),
            (&manual, 2, Some("a"), Some(&open), &idle, LATER, again),
            (&daily, 2, None, Some(&open), &idle, 0, None),
            (&daily, 2, None, Some(&open), &vec![], LATER, Some(Start { number: 3, manual: None })),
        ] {
            let input = StartInput { trigger, started, last_manual, last_run, jobs, now };
            assert_eq!(start(&input), expected, "{input:?}");
        }
    }

    #[test]
    fn a_job_that_was_created_counts_though_the_status_does_not_say_so() {
        let made = |number, manual: Option<&str>| ObservedJob {
            manual: manual.map(ToOwned::to_owned),
            ..job(&names::run("photos", number), JobState::Unfinished)
        };
        let jobs = [made(2, Some("b")), made(3, None), job("photos-jobsender-1", JobState::Unfinished)];
        let count = |jobs: &[ObservedJob], started| created_before("photos", jobs, started, Some("a".into()));
        assert_eq!(count(&jobs, 1), (3, Some("b".into())));
        assert_eq!(count(&jobs, 3), (3, Some("a".into())));
        assert_eq!(count(&[], 0), (0, Some("a".into())));
    }

    fn view(record: RunRecord) -> RunView {
        RunView { record, tally: Some(Tally::default()), failures: vec![] }
    }

    #[test]
    fn a_run_fails_with_the_message_of_its_sender() {
        let open = view(run(false, None));
        let ended = |jobs: &[ObservedJob]| end(&open, jobs, None, 2_000).map(|end| (end.result, end.message.unwrap()));
        let own = job("photos-run-1", failed());
        assert_eq!(ended(std::slice::from_ref(&own)), Some((RunResult::Failed, "ScanFailed: no such bucket".into())));
        assert_eq!(ended(&[job("photos-run-2", JobState::Unfinished), own]), None, "another one goes on");
        assert_eq!(ended(&[job("other", failed())]), None, "it is not its own and the lease holds");
        assert_eq!(end(&open, &[job("other", failed())], None, LATER).map(|end| end.result), Some(RunResult::Failed));
        assert_eq!(ended(&[job("photos-run-1", JobState::Succeeded)]), None);
    }

    const DAY: i64 = 24 * 3600 * 1000;

    #[test]
    fn a_run_whose_messages_are_lost_is_taken_up_by_a_new_job_and_not_ended_by_an_old_one() {
        let mut closed = view(run(true, None));
        closed.record.scan.counts = ScanCounts { batches: 1, objects: 1, ..ScanCounts::default() };
        assert!(!is_quiet(&closed, &[], None, 6 * DAY));
        assert!(is_quiet(&closed, &[], None, 8 * DAY));
        let asked = view(reopen::ask(&closed.record, 8 * DAY));
        let trigger = Trigger::default();
        for state in [JobState::Succeeded, failed()] {
            let jobs = [job("photos-run-1", state)];
            assert_eq!(end(&asked, &jobs, None, 8 * DAY), None, "{jobs:?}");
            let input = StartInput {
                trigger: &trigger,
                started: 1,
                last_manual: None,
                last_run: Some(&asked.record),
                jobs: &jobs,
                now: 8 * DAY,
            };
            assert_eq!(start(&input), Some(Start { number: 2, manual: None }));
        }
        // The Job that was to list again fails for good.
        let second = ObservedJob { created: 8 * DAY, ..job("photos-run-2", failed()) };
        assert_eq!(end(&asked, &[second], None, 9 * DAY).map(|end| end.result), Some(RunResult::Failed));
    }

    #[test]
    fn a_pod_is_one_of_its_own_job_only() {
        assert!(is_pod_of("photos-run-1", "photos-run-1-abcde"));
        assert!(!is_pod_of("photos-run-1", "photos-run-10-abcde") && !is_pod_of("photos", "photos-run-1-abcde"));
        let long = format!("{}-jobsender-29384756", "a".repeat(40));
        assert!(is_pod_of(&long, &format!("{}abcde", &long[..58])));
    }

    #[test]
    fn a_closed_scan_ends_with_its_batches_only() {
        let mut closed = view(run(true, None));
        let jobs = [job("photos-run-1", failed())];
        assert_eq!(end(&closed, &jobs, None, 5).map(|end| end.result), Some(RunResult::Complete));
        closed.record.scan.counts = ScanCounts { batches: 1, objects: 1, ..ScanCounts::default() };
        assert_eq!(end(&closed, &jobs, None, 5), None);
        let at_deadline = end(&closed, &jobs, Some(4_000), 5_000).unwrap();
        assert_eq!((at_deadline.result, at_deadline.cause), (RunResult::Failed, Some(RunEndCause::Deadline)));
        assert_eq!(end(&closed, &jobs, Some(4_000), 4_999), None);
        closed.record.end = Some(RunEnd { at: 1, result: RunResult::Complete, message: None, cause: None });
        assert_eq!(end(&closed, &jobs, Some(1), 5), None, "it has ended");
    }

    #[test]
    fn a_job_that_failed_without_a_run_is_reported() {
        let jobs = [job("photos-run-1", failed()), job("older", JobState::Succeeded)];
        assert_eq!(failure(&jobs, None), Some("ScanFailed: no such bucket"));
        assert_eq!(failure(&jobs, Some(&run(true, Some(RunResult::Failed)))), Some("ScanFailed: no such bucket"));
        assert_eq!(failure(&jobs, Some(&run(true, Some(RunResult::Complete)))), None, "it sent all before it failed");
        assert_eq!(failure(&[job("new", JobState::Unfinished), job("old", failed())], None), None);
    }
}
