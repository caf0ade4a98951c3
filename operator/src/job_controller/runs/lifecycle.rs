//! Derives the facts that decide over a run from the Jobs of jobsenders and from heartbeats.

use migration_core::records::{RunRecord, RunResult};
use migration_core::reopen::{self, QuietInput};
use migration_engine::run::end::ScanState;

use crate::job_controller::dereference::cluster::{JobState, ObservedJob};
use crate::job_controller::dereference::ledger::LedgerView;
use crate::names;

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

/// Returns true if the live run is to be [reopened](reopen) because its messages are lost. `resumed` is when the job was
/// resumed after a suspension, in milliseconds since 1970.
pub fn is_quiet(view: &LedgerView, resumed: Option<i64>, now: i64) -> bool {
    let Some(run) = view.live() else { return false };
    let Some(tally) = &run.tally else { return false };
    let heartbeats = [&view.heartbeats[..], &view.old_heartbeats].concat();
    let (heartbeats, has_unreadable) = (&heartbeats[..], !view.unreadable_heartbeats.is_none());
    let quiet_ms = reopen::QUIET_MS;
    reopen::is_quiet(&QuietInput { run: &run.record, tally, heartbeats, has_unreadable, resumed, quiet_ms, now })
}

/// Returns whether the scan of a live run can still be completed. It has failed if the newest Job listed for this run and
/// failed for good, so that no Job lists any more. If its pods were killed, another Job continues.
pub fn scan_state<'a>(run: &RunRecord, jobs: &'a [ObservedJob], now: i64) -> ScanState<'a> {
    let Some(newest) = jobs.first().filter(|_| !jobs.iter().any(ObservedJob::is_unfinished)) else {
        return ScanState::Possible;
    };
    // A pod's name begins with its Job's. Any other owner of the run is gone when its lease has expired. But a Job from before
    // the run, or from before it was reopened, never had to list what is to be listed now.
    let asked = run.reopen.or(run.reopened.last().map(|reopening| reopening.at));
    let after = newest.created + CLOCKS_DIFFER_MS >= asked.unwrap_or(run.started);
    let had_it = newest.name == run.started_by || is_pod_of(&newest.name, &run.owner);
    let had_it = had_it && (asked.is_none() || after);
    // A Job that had ended before the run began is not one that listed for it.
    let after = after && newest.finished.is_none_or(|at| at >= asked.unwrap_or(run.started));
    match &newest.state {
        _ if newest.killed => ScanState::Possible,
        JobState::Failed { message } if had_it || (after && run.lease_until < now) => ScanState::Failed(message),
        _ => ScanState::Possible,
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
        let had_it = run.started_by == newest.name || is_pod_of(&newest.name, &run.owner);
        had_it && run.end.as_ref().is_some_and(|end| end.result != RunResult::Failed)
    });
    (!ended_otherwise).then_some(message.as_str())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use migration_core::ports::LedgerKey;
    use migration_core::progress::{TakeDecision, TakeRequest, Tally, take};
    use migration_core::records::{RecordError, RunEnd, RunSides, ScanCounts};
    use migration_engine::run::look::RunView;

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
            version: None,
            created: 900,
            begun: 900,
            state,
            finished: None,
            active: false,
            killed: false,
            suspended: false,
            manual: None,
        }
    }

    pub(crate) fn failed() -> JobState {
        JobState::Failed { message: "ScanFailed: no such bucket".into() }
    }

    const LATER: i64 = 1_000_000;

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

    #[test]
    fn a_scan_has_failed_if_the_job_that_listed_has() {
        let open = run(false, None);
        let state = |jobs: &[ObservedJob], now| match scan_state(&open, jobs, now) {
            ScanState::Possible => None,
            ScanState::Failed(message) => Some(message.to_owned()),
        };
        let message = Some("ScanFailed: no such bucket".to_owned());
        let own = job("photos-run-1", failed());
        assert_eq!(state(std::slice::from_ref(&own), 2_000), message);
        assert_eq!(state(&[job("photos-run-2", JobState::Unfinished), own], 2_000), None, "another one goes on");
        assert_eq!(state(&[job("other", failed())], 2_000), None, "it is not its own and the lease holds");
        assert_eq!(state(&[job("other", failed())], LATER), message, "the lease has expired");
        assert_eq!(state(&[job("photos-run-1", JobState::Succeeded)], 2_000), None);
        assert_eq!(state(&[], LATER), None);
    }

    #[test]
    fn a_scan_whose_pods_were_killed_goes_on() {
        let killed = ObservedJob { killed: true, ..job("photos-run-1", failed()) };
        assert_eq!(scan_state(&run(false, None), &[killed], LATER), ScanState::Possible);
    }

    const DAY: i64 = 24 * 3600 * 1000;

    /// A run whose scan is closed, and whose only batch has not ended.
    fn lacking() -> RunRecord {
        let mut run = run(true, None);
        run.scan.counts = ScanCounts { batches: 1, objects: 1, ..ScanCounts::default() };
        run
    }

    #[test]
    fn a_run_that_was_reopened_is_not_failed_by_a_job_from_before() {
        let asked = reopen::ask(&lacking(), 8 * DAY);
        for state in [JobState::Succeeded, failed()] {
            let jobs = [job("photos-run-1", state)];
            assert_eq!(scan_state(&asked, &jobs, 8 * DAY), ScanState::Possible, "{jobs:?}");
        }
        // The Job that was to list again fails for good.
        let second = ObservedJob { created: 8 * DAY, ..job("photos-run-2", failed()) };
        assert!(matches!(scan_state(&asked, &[second], 9 * DAY), ScanState::Failed(_)));
    }

    #[test]
    fn a_quiet_run_is_reopened_unless_a_heartbeat_cannot_be_read() {
        let run = RunView { record: lacking(), tally: Some(Tally::default()) };
        let mut view = LedgerView { run: Some(run.clone()), ..LedgerView::default() };
        assert!(!is_quiet(&view, None, 6 * DAY));
        assert!(is_quiet(&view, None, 8 * DAY));
        assert!(!is_quiet(&view, Some(8 * DAY), 8 * DAY), "it was resumed only now");
        assert!(!is_quiet(&LedgerView { run: Some(RunView { tally: None, ..run }), ..view.clone() }, None, 8 * DAY));
        assert!(!is_quiet(&LedgerView::default(), None, 8 * DAY), "there is no run");
        let key = LedgerKey::new("job/u", "heartbeat/w");
        view.unreadable_heartbeats.add(RecordError { key, member: None, reason: "no".into() });
        assert!(!is_quiet(&view, None, 8 * DAY));
    }

    #[test]
    fn a_pod_is_one_of_its_own_job_only() {
        assert!(is_pod_of("photos-run-1", "photos-run-1-abcde"));
        assert!(!is_pod_of("photos-run-1", "photos-run-10-abcde") && !is_pod_of("photos", "photos-run-1-abcde"));
        let long = format!("{}-jobsender-29384756", "a".repeat(40));
        assert!(is_pod_of(&long, &format!("{}abcde", &long[..58])));
    }

    #[test]
    fn a_job_that_failed_without_a_run_is_reported() {
        let jobs = [job("photos-run-1", failed()), job("older", JobState::Succeeded)];
        assert_eq!(failure(&jobs, None), Some("ScanFailed: no such bucket"));
        assert_eq!(failure(&jobs, Some(&run(true, Some(RunResult::Failed)))), Some("ScanFailed: no such bucket"));
        assert_eq!(failure(&jobs, Some(&run(true, Some(RunResult::Complete)))), None, "it sent all before it failed");
        assert_eq!(failure(&[job("new", JobState::Unfinished), job("old", failed())], None), None);
        let continued = RunRecord { owner: "photos-run-2-abcde".into(), ..run(true, Some(RunResult::Complete)) };
        assert_eq!(
            failure(&[job("photos-run-2", failed())], Some(&continued)),
            None,
            "it continued what another began"
        );
    }
}
