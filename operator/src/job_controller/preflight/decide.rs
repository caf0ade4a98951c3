//! Decides whether the buckets of a job are tried.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use migration_api::preflight::{PreflightResult, PreflightStatus};
use migration_core::preflight::Report;

use crate::job_controller::dereference::cluster::preflights::ObservedPreflight;
use crate::job_controller::dereference::cluster::{JobState, ObservedJob};

/// The delay after the first failure, in milliseconds; doubled after each further one.
const FIRST_DELAY_MS: i64 = 15_000;
/// The longest delay, in milliseconds.
const LONGEST_DELAY_MS: i64 = 10 * 60_000;

/// The facts that decide.
#[derive(Clone, Copy, Debug)]
pub struct DecisionInput<'a> {
    /// Identifies what is to be checked.
    pub checked: &'a str,
    /// What a person changed last; see [`PreflightStatus::request`].
    pub request: &'a str,
    /// `status.preflight`.
    pub old: Option<&'a PreflightStatus>,
    /// The Jobs of preflights.
    pub jobs: &'a [ObservedPreflight],
    /// The job had a run.
    pub had_run: bool,
    /// Runs are still to come or to go on, without an edit.
    pub may_follow: bool,
    /// Workers are denied or lack credentials.
    pub is_troubled: bool,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing.
    Settled,
    /// Nothing before this time, in milliseconds since 1970.
    Later(i64),
    /// Wait for a Job, with this status.
    Wait(PreflightStatus),
    /// A Job ended, or the job had its first run before there were preflights: write this status.
    Write(PreflightStatus),
    /// Delete the Job that checks something else.
    Replace(ObservedJob),
    /// Create the Job of [`PreflightStatus::number`], and write this status.
    Create(PreflightStatus),
}

/// Decides what to do. A Job counts as the attempt in progress if the status says so, or if it has a higher number: the
/// operator ended after it created the Job and before it wrote the status.
///
/// | attempt in progress | it checks | status | decision |
/// |---|---|---|---|
/// | unfinished | this | | wait |
/// | unfinished | something else | | replace |
/// | unfinished | this | edited, or a look asked for, since it began | replace |
/// | ended | this | | write its result |
/// | ended, or gone | something else, or unknown | | create |
/// | none | | none, and there was a run | write: nothing is checked before something changes |
/// | none | | none, or it checked something else | create |
/// | none | | failed | create when its delay is over, or at once after an edit or a look asked for |
/// | none | | warned | create after an edit or a look asked for |
/// | none | | passed or warned, and workers are in trouble | create, at most every 10 minutes |
/// | none | | passed, or never checked since there was a run | settled |
///
/// Where no run can follow, nothing is created: an attempt in progress ends by itself, and an attempt that is over
/// without a result is written off.
pub fn decide(input: &DecisionInput<'_>) -> Decision {
    let none = PreflightStatus::default();
    let old = input.old.unwrap_or(&none);
    let latest = input.jobs.iter().max_by_key(|job| job.number);
    let attempt = latest.filter(|job| job.number > old.number || (job.number == old.number && old.running));
    let next = || match (input.may_follow, old.running) {
        (true, _) => Decision::Create(begun(input, old, latest.map_or(0, |job| job.number).max(old.number) + 1)),
        (false, true) => Decision::Write(PreflightStatus { running: false, checked: String::new(), ..old.clone() }),
        (false, false) => Decision::Settled,
    };
    match attempt {
        // The status of an attempt has the request that it answers. A later edit may mend what keeps its pod from starting.
        Some(attempt)
            if attempt.job.is_unfinished() && attempt.checked == input.checked && !is_outdated(input, old) =>
        {
            Decision::Wait(begun(input, old, attempt.number))
        }
        Some(attempt) if attempt.job.is_unfinished() => Decision::Replace(attempt.job.clone()),
        Some(attempt) if attempt.checked == input.checked => Decision::Write(ended(input, old, attempt)),
        // The Job is gone, or checked something else.
        Some(_) => next(),
        None if old.running => next(),
        None if input.old.is_none() && input.had_run => {
            let (checked, request) = (input.checked.to_owned(), input.request.to_owned());
            Decision::Write(PreflightStatus { checked, request, ..none })
        }
        None if old.checked != input.checked => next(),
        None if !input.may_follow => Decision::Settled,
        None => match repeated_at(input, old) {
            None => Decision::Settled,
            Some(at) if at <= input.now => next(),
            Some(at) => Decision::Later(at),
        },
    }
}

/// Returns true if somebody edited the job, or asked for a look, after the attempt in progress began.
fn is_outdated(input: &DecisionInput<'_>, old: &PreflightStatus) -> bool {
    old.running && old.request != input.request
}

/// Returns when the check is repeated, if it is.
fn repeated_at(input: &DecisionInput<'_>, old: &PreflightStatus) -> Option<i64> {
    let ended = old.ended_at.as_ref().map_or(0, |time| time.0.as_millisecond());
    let is_asked = old.request != input.request;
    match old.result {
        Some(PreflightResult::Failed | PreflightResult::Warned) if is_asked => Some(input.now),
        Some(PreflightResult::Failed) => Some(ended + delay(old.failures)),
        _ if input.is_troubled => Some(ended + LONGEST_DELAY_MS),
        _ => None,
    }
}

/// Returns the delay after so many failures in a row, in milliseconds.
fn delay(failures: u32) -> i64 {
    FIRST_DELAY_MS.saturating_mul(1_i64 << failures.saturating_sub(1).min(30)).min(LONGEST_DELAY_MS)
}

/// Returns the status while an attempt is in progress. What is known of the same settings stays.
fn begun(input: &DecisionInput<'_>, old: &PreflightStatus, number: u32) -> PreflightStatus {
    let (checked, request) = (input.checked.to_owned(), input.request.to_owned());
    let base = if old.checked == input.checked { old.clone() } else { PreflightStatus::default() };
    PreflightStatus { checked, request, number, running: true, ..base }
}

/// Returns the status with the result of an attempt.
fn ended(input: &DecisionInput<'_>, old: &PreflightStatus, attempt: &ObservedPreflight) -> PreflightStatus {
    let begun = begun(input, old, attempt.number);
    let report = attempt.report.clone().unwrap_or_default();
    let result = match &attempt.job.state {
        JobState::Failed { .. } => PreflightResult::Failed,
        _ if report.findings.is_empty() => PreflightResult::Passed,
        _ => PreflightResult::Warned,
    };
    let message = match &attempt.job.state {
        JobState::Failed { message } if !report.stops() => Some(message.clone()),
        _ => None,
    };
    let Report { findings } = report;
    PreflightStatus {
        running: false,
        failures: if result == PreflightResult::Failed { begun.failures.saturating_add(1) } else { 0 },
        ended_at: Timestamp::from_millisecond(input.now).ok().map(Time),
        result: Some(result),
        findings,
        message,
        ..begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::runs::lifecycle::tests::job;
    use crate::names;
    use migration_core::error::Service;
    use migration_core::operation::Operation;
    use migration_core::preflight::{Finding, Shortcoming};

    const NOW: i64 = 1_767_225_600_000;

    fn attempt(number: u32, checked: &str, state: JobState, findings: Option<&[Shortcoming]>) -> ObservedPreflight {
        let finding =
            |problem: &Shortcoming| Finding::new(Service::Source, *problem, Operation::GetObject, "a".into(), "m");
        let job: ObservedJob = job(&names::preflight("photos", number), state);
        let report = findings.map(|found| Report { findings: found.iter().map(finding).collect() });
        ObservedPreflight { job, number, checked: checked.into(), report }
    }

    fn input<'a>(old: Option<&'a PreflightStatus>, jobs: &'a [ObservedPreflight]) -> DecisionInput<'a> {
        DecisionInput {
            checked: "k",
            request: "1",
            old,
            jobs,
            had_run: false,
            may_follow: true,
            is_troubled: false,
            now: NOW,
        }
    }

    fn status(number: u32, result: Option<PreflightResult>) -> PreflightStatus {
        PreflightStatus {
            checked: "k".into(),
            request: "1".into(),
            number,
            failures: u32::from(result == Some(PreflightResult::Failed)),
            ended_at: Timestamp::from_millisecond(NOW - 10_000).ok().map(Time),
            result,
            ..PreflightStatus::default()
        }
    }

    fn number_of(decision: Decision) -> u32 {
        let Decision::Create(status) = decision else { panic!("{decision:?}") };
        assert!(status.running && status.checked == "k");
        status.number
    }

    fn failed() -> JobState {
        JobState::Failed { message: "PreflightFailed: no".into() }
    }

    #[test]
    fn a_new_job_is_checked_once() {
        assert_eq!(number_of(decide(&input(None, &[]))), 1);
        // The operator ended before it wrote the status.
        let made = [attempt(1, "k", JobState::Unfinished, None)];
        let Decision::Wait(waiting) = decide(&input(None, &made)) else { panic!() };
        assert_eq!((waiting.number, waiting.running, waiting.result), (1, true, None));
        let done = [attempt(1, "k", JobState::Succeeded, Some(&[]))];
        let Decision::Write(passed) = decide(&input(Some(&waiting), &done)) else { panic!() };
        assert_eq!((passed.result, passed.running, passed.failures), (Some(PreflightResult::Passed), false, 0));
        for jobs in [&done[..], &[]] {
            assert_eq!(decide(&input(Some(&passed), jobs)), Decision::Settled, "whether its Job is there or not");
        }
        assert_eq!(number_of(decide(&input(Some(&waiting), &[]))), 2, "its Job is gone");
    }

    #[test]
    fn what_changes_is_checked_again_and_replaces_what_is_in_progress() {
        let passed = status(3, Some(PreflightResult::Passed));
        let changed = PreflightStatus { checked: "old".into(), ..passed.clone() };
        assert_eq!(number_of(decide(&input(Some(&changed), &[]))), 4);
        let edited = DecisionInput { request: "2", ..input(Some(&passed), &[]) };
        assert_eq!(decide(&edited), Decision::Settled, "an edit of something else");
        let running = PreflightStatus { running: true, ..changed };
        let old = attempt(3, "old", JobState::Unfinished, None);
        let replace = Decision::Replace(old.job.clone());
        assert_eq!(decide(&input(Some(&running), std::slice::from_ref(&old))), replace);
        let stuck = [attempt(3, "k", JobState::Unfinished, None)];
        let waiting = PreflightStatus { running: true, ..status(3, None) };
        assert!(matches!(decide(&input(Some(&waiting), &stuck)), Decision::Wait(_)));
        let mended = DecisionInput { request: "2", ..input(Some(&waiting), &stuck) };
        assert_eq!(decide(&mended), Decision::Replace(stuck[0].job.clone()), "its pod may not have been able to start");
        let over = attempt(3, "old", failed(), None);
        assert_eq!(number_of(decide(&input(Some(&running), &[over]))), 4);
    }

    #[test]
    fn a_job_that_had_a_run_is_not_checked_before_something_changes() {
        let had = DecisionInput { had_run: true, ..input(None, &[]) };
        let Decision::Write(known) = decide(&had) else { panic!() };
        assert_eq!((known.checked.as_str(), known.number, known.result), ("k", 0, None));
        assert_eq!(decide(&DecisionInput { old: Some(&known), ..had }), Decision::Settled);
        assert_eq!(number_of(decide(&DecisionInput { old: Some(&known), is_troubled: true, ..had })), 1);
    }

    #[test]
    fn nothing_is_checked_where_no_run_can_follow() {
        fn over<'a>(old: Option<&'a PreflightStatus>, jobs: &'a [ObservedPreflight]) -> DecisionInput<'a> {
            DecisionInput { may_follow: false, had_run: true, ..input(old, jobs) }
        }
        let passed = status(3, Some(PreflightResult::Passed));
        let rotated = PreflightStatus { checked: "old".into(), ..passed.clone() };
        let failed_before = status(3, Some(PreflightResult::Failed));
        for known in [&passed, &rotated, &failed_before] {
            let asked =
                DecisionInput { request: "2", now: NOW + 3_600_000, is_troubled: true, ..over(Some(known), &[]) };
            assert_eq!(decide(&asked), Decision::Settled, "{known:?}");
        }
        assert!(matches!(decide(&over(None, &[])), Decision::Write(known) if known.number == 0));
        // One that is in progress ends, and what it finds is written.
        let running = PreflightStatus { running: true, ..passed.clone() };
        let unfinished = [attempt(3, "k", JobState::Unfinished, None)];
        assert!(matches!(decide(&over(Some(&running), &unfinished)), Decision::Wait(_)));
        let ended = [attempt(3, "k", failed(), None)];
        assert!(matches!(decide(&over(Some(&running), &ended)), Decision::Write(known) if known.failures == 1));
        // Its Job is gone, or checked something else: nothing waits for it, and the next run has its own.
        let other = [attempt(3, "old", failed(), None)];
        for jobs in [&other[..], &[]] {
            let Decision::Write(stopped) = decide(&over(Some(&running), jobs)) else { panic!() };
            assert!(!stopped.running);
            assert_eq!(decide(&over(Some(&stopped), jobs)), Decision::Settled);
            assert_eq!(number_of(decide(&input(Some(&stopped), jobs))), 4);
        }
    }

    #[test]
    fn failures_are_repeated_with_growing_delays_and_at_once_when_somebody_asks() {
        let once = status(1, Some(PreflightResult::Failed));
        assert_eq!(decide(&input(Some(&once), &[])), Decision::Later(NOW + 5_000));
        let asked = DecisionInput { request: "2", ..input(Some(&once), &[]) };
        assert_eq!(number_of(decide(&asked)), 2);
        let later = DecisionInput { now: NOW + 5_000, ..input(Some(&once), &[]) };
        assert_eq!(number_of(decide(&later)), 2);
        assert_eq!([1, 2, 3, 6, 7, 99].map(delay), [15_000, 30_000, 60_000, 480_000, 600_000, 600_000]);
        let running = PreflightStatus { running: true, number: 2, ..once };
        let again = [attempt(2, "k", failed(), Some(&[Shortcoming::NotFound]))];
        let Decision::Write(twice) = decide(&input(Some(&running), &again)) else { panic!() };
        assert_eq!((twice.failures, twice.message.as_deref(), twice.findings.len()), (2, None, 1));
        let mute = [attempt(2, "k", failed(), None)];
        let Decision::Write(mute) = decide(&input(Some(&running), &mute)) else { panic!() };
        assert_eq!(mute.message.as_deref(), Some("PreflightFailed: no"), "it could not report");
    }

    #[test]
    fn warnings_stand_until_somebody_asks_and_trouble_of_workers_has_the_cause_found() {
        let running = PreflightStatus { running: true, ..status(1, None) };
        let done = [attempt(1, "k", JobState::Succeeded, Some(&[Shortcoming::TagsDenied]))];
        let Decision::Write(warned) = decide(&input(Some(&running), &done)) else { panic!() };
        assert_eq!(warned.result, Some(PreflightResult::Warned));
        assert_eq!(decide(&input(Some(&warned), &[])), Decision::Settled);
        assert_eq!(number_of(decide(&DecisionInput { request: "2", ..input(Some(&warned), &[]) })), 2);
        let passed = status(1, Some(PreflightResult::Passed));
        let troubled = DecisionInput { is_troubled: true, ..input(Some(&passed), &[]) };
        assert_eq!(decide(&troubled), Decision::Later(NOW + 590_000));
        assert_eq!(number_of(decide(&DecisionInput { now: NOW + 590_000, ..troubled })), 2);
    }
}
