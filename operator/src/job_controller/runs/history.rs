//! Removes Jobs that have ended, with their pods: those of runs beyond `spec.runsHistoryLimit`, and those that ended
//! longer than `spec.ttlSecondsAfterFinished` ago.
//!
//! The TTL of Kubernetes is not used, since it would also remove Jobs whose result is still to be read.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use migration_api::MigrationJob;
use tracing::info;

use crate::job_controller::apply::{self, ApplyError};
use crate::job_controller::dereference::cluster::{Cluster, JobState, ObservedJob};
use crate::job_controller::dereference::ledger::LedgerView;
use crate::names;

/// The facts that decide which Jobs are removed.
#[derive(Clone, Copy, Debug)]
struct HistoryInput<'a> {
    /// Name of the resource.
    name: &'a str,
    /// The Jobs of jobsenders, the newest one first.
    jobs: &'a [ObservedJob],
    /// The Jobs that follow runs.
    followups: &'a [ObservedJob],
    /// The number of runs that the status counts.
    started: u32,
    /// The ID of the last run, and the Job that started it if it is live.
    last_run: Option<(&'a str, Option<&'a str>)>,
    /// The number of ended Jobs of a kind that stay.
    limit: usize,
    /// How long ended Jobs stay, in milliseconds.
    ttl: Option<i64>,
    /// Milliseconds since 1970.
    now: i64,
}

/// The Jobs to remove, and the time until the next one ends its TTL, in milliseconds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Removals<'a> {
    due: Vec<&'a ObservedJob>,
    next: Option<i64>,
}

/// Decides which Jobs are removed.
///
/// | Job | decision |
/// |---|---|
/// | has not ended | stays |
/// | of a run that the status does not count yet | stays: its number would be given again |
/// | started the live run | stays |
/// | the newest jobsender, failed | stays: only it says why |
/// | follows the last run, failed | stays: without it, it would be due again |
/// | any other, beyond the limit of its kind, newest first | is removed |
/// | any other, ended longer than the TTL ago | is removed |
fn removals<'a>(input: &HistoryInput<'a>) -> Removals<'a> {
    let mut removals = Removals::default();
    let senders = input.jobs.iter().enumerate().map(|(place, job)| (job, stays_sender(input, place, job)));
    removals.add(input, senders);
    for of_run in [names::verify, names::report] {
        let last = input.last_run.map(|(run, _)| of_run(input.name, run));
        // All names of a kind are the same before the hash of the run.
        let prefix = of_run(input.name, "").rsplit_once('-').map(|(prefix, _)| format!("{prefix}-"));
        let is_of_kind = |job: &&ObservedJob| prefix.as_ref().is_some_and(|prefix| job.name.starts_with(prefix));
        let mut found: Vec<_> = input.followups.iter().filter(is_of_kind).collect();
        found.sort_by_key(|job| std::cmp::Reverse(job.created));
        let stays = |job: &ObservedJob| Some(&job.name) == last.as_ref() && is_failed(job);
        removals.add(input, found.into_iter().map(|job| (job, stays(job))));
    }
    removals
}

impl<'a> Removals<'a> {
    /// Adds the Jobs of one kind, the newest one first, each with whether it has to stay.
    fn add(&mut self, input: &HistoryInput<'_>, jobs: impl Iterator<Item = (&'a ObservedJob, bool)>) {
        let ended = jobs.filter(|(job, _)| !job.is_unfinished());
        for (rank, (job, _)) in ended.enumerate().filter(|(_, (_, stays))| !stays) {
            let left = input.ttl.zip(job.finished).map(|(ttl, finished)| finished + ttl - input.now);
            if rank >= input.limit || left.is_some_and(|left| left <= 0) {
                self.due.push(job);
            } else {
                self.next = [self.next, left].into_iter().flatten().min();
            }
        }
    }
}

fn stays_sender(input: &HistoryInput<'_>, place: usize, job: &ObservedJob) -> bool {
    let prefix = format!("{}-run-", input.name);
    let number = job.name.strip_prefix(&prefix).and_then(|number| number.parse::<u32>().ok());
    let started_live = input.last_run.and_then(|(_, started_by)| started_by);
    number.is_some_and(|number| number > input.started)
        || started_live == Some(job.name.as_str())
        || (place == 0 && is_failed(job))
}

fn is_failed(job: &ObservedJob) -> bool {
    matches!(job.state, JobState::Failed { .. })
}

/// Removes the Jobs that are due, each by UID and resource version. Returns the time until the next one is. Without the
/// ledger's records nothing is removed: it is not known which Jobs are needed.
pub async fn remove(
    job: &MigrationJob,
    ledger: Option<&LedgerView>,
    cluster: &Cluster,
    api: &Api<Job>,
    now: i64,
) -> Result<Option<Duration>, ApplyError> {
    let Some(ledger) = ledger else { return Ok(None) };
    let name = job.name_any();
    let last = ledger.run.as_ref().map(|run| (run.record.run.as_str(), run.record.started_by.as_str(), run.is_live()));
    let found = removals(&HistoryInput {
        name: &name,
        jobs: &cluster.jobs,
        followups: &cluster.followups,
        started: job.status.as_ref().map_or(0, |status| status.runs_started),
        last_run: last.map(|(run, started_by, is_live)| (run, is_live.then_some(started_by))),
        limit: usize::try_from(job.spec.runs_history_limit).unwrap_or(usize::MAX),
        ttl: job.spec.ttl_seconds_after_finished.map(|seconds| i64::from(seconds) * 1_000),
        now,
    });
    for old in found.due {
        apply::delete(api, &old.object(), DeleteParams::background()).await?;
        info!(ended = old.name, "removed the Job of an earlier run");
    }
    Ok(found.next.map(|left| Duration::from_millis(u64::try_from(left).unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::runs::lifecycle::tests::{failed, job};

    const INPUT: HistoryInput<'static> = HistoryInput {
        name: "photos",
        jobs: &[],
        followups: &[],
        started: 9,
        last_run: None,
        limit: 2,
        ttl: None,
        now: 10_000,
    };

    /// Ended Jobs, the newest one first.
    fn ended(names: &[&str]) -> Vec<ObservedJob> {
        let ended = |(place, name): (usize, &&str)| {
            let created = 1_000 - i64::try_from(place).unwrap();
            ObservedJob { created, finished: Some(4_000), ..job(name, JobState::Succeeded) }
        };
        names.iter().enumerate().map(ended).collect()
    }

    fn removed(input: &HistoryInput<'_>) -> Vec<String> {
        removals(input).due.into_iter().map(|job| job.name.clone()).collect()
    }

    #[test]
    fn jobs_of_runs_beyond_the_limit_are_removed() {
        let jobs = ended(&["photos-run-3", "photos-jobsender-1", "photos-run-2", "photos-run-1"]);
        assert_eq!(removed(&HistoryInput { jobs: &jobs, ..INPUT }), ["photos-run-2", "photos-run-1"]);
        assert_eq!(removed(&HistoryInput { jobs: &jobs, limit: 4, ..INPUT }), Vec::<String>::new());
    }

    #[test]
    fn jobs_that_are_still_needed_stay() {
        let jobs = ended(&["photos-run-3", "photos-run-2", "photos-run-1"]);
        let input = HistoryInput { jobs: &jobs, limit: 1, ..INPUT };
        assert_eq!(removed(&input), ["photos-run-2", "photos-run-1"]);
        let live = HistoryInput { last_run: Some(("r", Some("photos-run-2"))), ..input };
        assert_eq!(removed(&live), ["photos-run-1"], "it started the live run");
        assert_eq!(removed(&HistoryInput { started: 1, ..input }), ["photos-run-1"], "the status counts one run");
        let mut open = jobs.clone();
        open[2].state = JobState::Unfinished;
        assert_eq!(removed(&HistoryInput { jobs: &open, ..input }), ["photos-run-2"], "it has not ended");
    }

    #[test]
    fn after_its_ttl_a_job_is_removed_unless_only_it_says_why_it_failed() {
        let mut jobs = ended(&["photos-run-2", "photos-run-1"]);
        let input = HistoryInput { jobs: &jobs, ttl: Some(6_000), ..INPUT };
        assert_eq!(removed(&input), ["photos-run-2", "photos-run-1"]);
        let later = HistoryInput { ttl: Some(6_500), ..input };
        assert_eq!(removals(&later), Removals { due: Vec::new(), next: Some(500) });
        jobs[0].state = failed();
        assert_eq!(removed(&HistoryInput { jobs: &jobs, ttl: Some(0), ..INPUT }), ["photos-run-1"]);
    }

    #[test]
    fn what_follows_a_run_goes_with_the_limit_and_the_failed_one_of_the_last_run_stays() {
        let names = ["r3", "r2", "r1"].map(|run| names::verify("photos", run));
        let mut followups = ended(&names.each_ref().map(String::as_str));
        followups.extend(ended(&[&names::report("photos", "r1")]));
        let input = HistoryInput { followups: &followups, last_run: Some(("r3", None)), ..INPUT };
        assert_eq!(removed(&input), [names[2].clone()], "each kind has its own limit");
        let mut followups = followups.clone();
        followups[0].state = failed();
        let kept = HistoryInput { followups: &followups, ttl: Some(0), ..input };
        assert!(!removed(&kept).contains(&names[0]), "it would be due again without its Job");
        assert_eq!(removed(&kept).len(), 3);
    }
}
