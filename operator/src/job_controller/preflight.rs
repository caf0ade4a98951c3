//! Has the buckets tried by a Job with the rights of workers: before the first run, after a change of what it depends on, and
//! again while it fails.

mod decide;

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::DeleteParams;
use migration_api::preflight::{Finding, PreflightResult, PreflightStatus};
use migration_api::{MigrationJob, Reason};
use migration_core::error::{Service, ServiceFault};
use migration_core::records::Heartbeat;
use sha2::{Digest, Sha256};
use tracing::info;

use crate::job_controller::apply::{self, ApplyError, JobCreation, or_problem};
use crate::job_controller::build;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::Observed;
use crate::job_controller::dereference::ledger::LedgerView;
use crate::job_controller::ownership::Owner;
use crate::job_controller::runs;
use crate::job_controller::validate::ValidatedJob;
use crate::job_controller::validate::run_configs::RunConfigs;
use crate::names;
use crate::problem::Problem;
pub use decide::{Decision, DecisionInput, decide};

/// The output of the step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PreflightOutcome {
    /// The next `status.preflight`.
    pub status: Option<PreflightStatus>,
    /// A run may start.
    pub is_ready: bool,
    /// A check is in progress or to be started, and nothing else tells when that becomes possible.
    pub is_pending: bool,
    /// The time until the check is repeated.
    pub again: Option<Duration>,
    /// Why no run starts.
    pub problems: Vec<Problem>,
    /// What is wrong besides, and holds up nothing.
    pub notes: Vec<Problem>,
}

/// Brings the preflight forward by one step. Creates nothing while there is a problem (`is_blocked`) or the job is suspended.
pub async fn advance(
    job: &MigrationJob,
    observed: &Observed,
    configs: Option<&RunConfigs>,
    is_blocked: bool,
    context: &Context,
) -> Result<PreflightOutcome, ApplyError> {
    let old = job.status.as_ref().and_then(|status| status.preflight.as_ref());
    let is_live = observed.ledger.as_ref().is_some_and(|view| view.live().is_some());
    // Without the records of the job it is not known whether it had a run.
    let (Some(configs), Some(ledger)) = (configs, &observed.ledger) else {
        return Ok(outcome(old.cloned(), is_live));
    };
    let started = job.status.as_ref().is_some_and(|status| status.runs_started > 0);
    let (checked, request) = (checked(&configs.next, observed), request(job));
    let may_follow = runs::may_follow(job, ledger, &observed.cluster.jobs, context.now());
    let input = DecisionInput {
        checked: &checked,
        request: &request,
        old,
        jobs: &observed.cluster.preflights,
        had_run: ledger.run.is_some() || started,
        may_follow,
        is_troubled: is_troubled(ledger),
        now: context.now(),
    };
    let known = |status: Option<PreflightStatus>| {
        let is_current = status.as_ref().is_some_and(|status| status.checked == checked);
        let outcome = outcome(status, is_live);
        let outcome = PreflightOutcome { is_ready: outcome.is_ready && is_current, ..outcome };
        // What was found concerns runs that do not come, and nothing finds out when it is mended.
        if may_follow { outcome } else { PreflightOutcome { problems: Vec::new(), notes: Vec::new(), ..outcome } }
    };
    let waiting = |status| PreflightOutcome { is_pending: may_follow && !job.spec.suspend, ..known(status) };
    let may_act = !is_blocked && !job.spec.suspend && observed.fresh.cluster;
    Ok(match decide(&input) {
        Decision::Settled => known(old.cloned()),
        Decision::Later(at) => {
            let left = u64::try_from(at - input.now).unwrap_or_default();
            PreflightOutcome { again: Some(Duration::from_millis(left)), ..known(old.cloned()) }
        }
        Decision::Write(status) => known(Some(status)),
        Decision::Wait(status) => waiting(Some(status)),
        // What was read before may lack a Job that was created since then.
        Decision::Replace(_) | Decision::Create(_) if !may_act => waiting(old.cloned()),
        Decision::Replace(outdated) => {
            let jobs = context.api::<Job>(&job.namespace().unwrap_or_default());
            let deleted = apply::delete(&jobs, &outdated.object(), DeleteParams::background()).await;
            let mut waiting = waiting(old.cloned());
            waiting.problems.extend(or_problem(deleted)?.err());
            waiting
        }
        Decision::Create(status) => {
            let mut created = waiting(Some(status.clone()));
            match create(job, &configs.next, &status, context).await? {
                None => {}
                // The number is used up: the next reconciliation takes the next one.
                Some(Refusal::NameTaken) => {
                    created.status = Some(PreflightStatus { running: false, checked: String::new(), ..status });
                }
                Some(Refusal::Problem(problem)) => {
                    created = waiting(old.cloned());
                    created.problems.push(problem);
                }
            }
            created
        }
    })
}

/// Why a Job was not created.
enum Refusal {
    /// Another object has its name.
    NameTaken,
    /// The API server refuses it.
    Problem(Problem),
}

async fn create(
    job: &MigrationJob,
    config: &ValidatedJob,
    status: &PreflightStatus,
    context: &Context,
) -> Result<Option<Refusal>, ApplyError> {
    let wanted = build::preflight::build(config, status.number, &status.checked);
    let jobs = context.api::<Job>(&job.namespace().unwrap_or_default());
    Ok(match or_problem(apply::create_job(&jobs, &wanted, &Owner::of(job)).await)? {
        Ok(JobCreation::Created) => {
            info!(name = wanted.name_any(), "created the Job of a preflight");
            None
        }
        Ok(JobCreation::NameTaken(conflict)) => {
            info!(number = status.number, %conflict, "skipped the number of a preflight");
            Some(Refusal::NameTaken)
        }
        Err(problem) => Some(Refusal::Problem(problem)),
    })
}

/// Identifies what a preflight of the next run checks, with the content of the Secrets that it uses.
fn checked(next: &ValidatedJob, observed: &Observed) -> String {
    let secrets = observed.tried_secrets_version.as_deref().unwrap_or_default();
    hex::encode(Sha256::digest(format!("{}/{secrets}", next.checked))).chars().take(16).collect()
}

/// Returns what a person changes to have a check repeated.
fn request(job: &MigrationJob) -> String {
    let look = job.annotations().get(names::LOOK_ANNOTATION).map(|look| format!("/{look}")).unwrap_or_default();
    format!("{}{look}", job.metadata.generation.unwrap_or_default())
}

/// Returns true if workers or the jobsender are denied, or lack credentials, at a bucket.
fn is_troubled(view: &LedgerView) -> bool {
    let troubles = |beat: &Heartbeat| {
        beat.blocked.iter().any(|blocked| {
            matches!(blocked.side, Service::Source | Service::Destination)
                && matches!(
                    blocked.fault,
                    ServiceFault::CredentialsInvalid
                        | ServiceFault::CredentialsExpired
                        | ServiceFault::CredentialsMissing
                        | ServiceFault::AccessDenied
                )
        })
    };
    view.live().is_some() && view.heartbeats.iter().any(troubles)
}

/// Returns the outcome of a status. A live run is not held up: it has the settings that it began with, and finds out itself
/// what does not work.
fn outcome(status: Option<PreflightStatus>, is_live: bool) -> PreflightOutcome {
    let Some(known) = &status else { return PreflightOutcome::default() };
    let is_failed = known.result == Some(PreflightResult::Failed);
    let (faults, others): (Vec<_>, Vec<_>) =
        known.findings.iter().partition(|finding| is_failed && finding.problem.fault().is_some());
    let incomplete = known.message.as_deref().filter(|_| is_failed).map(incomplete);
    let faults = faults.into_iter().map(problem).chain(incomplete);
    let others = others.into_iter().map(problem);
    let (problems, notes) =
        if is_live { (Vec::new(), faults.chain(others).collect()) } else { (faults.collect(), others.collect()) };
    // Without a result and without an attempt, the job had its first run before.
    let is_ready = match known.result {
        Some(result) => result != PreflightResult::Failed,
        None => !known.running && !known.checked.is_empty(),
    };
    PreflightOutcome { status, is_ready, is_pending: false, again: None, problems, notes }
}

fn problem(finding: &Finding) -> Problem {
    Problem::found(finding)
}

fn incomplete(message: &str) -> Problem {
    let text = format!("the preflight could not be completed: {message}; it is repeated by itself");
    Problem::new(Reason::PreflightFailed, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::runs::lifecycle::tests::run;
    use migration_core::error::Blocked;
    use migration_core::operation::Operation;
    use migration_core::preflight::Shortcoming;
    use migration_engine::run::look::RunView;

    fn status(result: Option<PreflightResult>, problems: &[Shortcoming]) -> PreflightStatus {
        let finding = |problem: &Shortcoming| {
            Finding::new(Service::Destination, *problem, Operation::CreateUpload, "arn:aws:s3:::b/k".into(), "no")
        };
        let findings = problems.iter().map(finding).collect();
        PreflightStatus { checked: "k".into(), result, findings, ..PreflightStatus::default() }
    }

    #[test]
    fn faults_of_a_side_stop_runs_and_the_rest_does_not() {
        use Shortcoming::{AccessDenied, TagsDenied};
        let reasons = |problems: &[Problem]| problems.iter().map(|p| p.reason.to_string()).collect::<Vec<_>>();
        let failed = Some(status(Some(PreflightResult::Failed), &[AccessDenied, TagsDenied]));
        for (status, is_live, is_ready, problems, notes) in [
            (None, false, false, &[][..], &[][..]),
            (Some(status(None, &[])), false, true, &[], &[]),
            (Some(status(Some(PreflightResult::Passed), &[])), false, true, &[], &[]),
            (Some(status(Some(PreflightResult::Warned), &[TagsDenied])), false, true, &[], &["DestinationTagsDenied"]),
            (failed.clone(), false, false, &["DestinationAccessDenied"], &["DestinationTagsDenied"]),
            (failed, true, false, &[], &["DestinationAccessDenied", "DestinationTagsDenied"]),
        ] {
            let outcome = outcome(status.clone(), is_live);
            assert_eq!(outcome.is_ready, is_ready, "{status:?}");
            assert_eq!(reasons(&outcome.problems), problems, "{status:?}");
            assert_eq!(reasons(&outcome.notes), notes, "{status:?}");
        }
        let mute = status(Some(PreflightResult::Failed), &[]);
        let mute = PreflightStatus { message: Some("exit code 2".into()), ..mute };
        assert_eq!(reasons(&outcome(Some(mute), false).problems), ["PreflightFailed"]);
        let begun = PreflightStatus { running: true, checked: "k".into(), ..PreflightStatus::default() };
        assert!(!outcome(Some(begun), false).is_ready);
    }

    #[test]
    fn only_denials_and_credentials_at_buckets_of_a_live_run_are_trouble() {
        let view = |side, fault, is_live: bool| {
            let blocked = Blocked { side, resource: "b".into(), fault, message: "no".into(), since: 0 };
            let beat = Heartbeat {
                name: "w".into(),
                at: 0,
                messages: 0,
                rate: 0,
                ranges: vec![],
                blocked: vec![blocked],
                paused: None,
                runs: vec![],
                refused_algorithm: None,
            };
            let run = is_live.then(|| RunView { record: run(false, None), tally: None });
            LedgerView { run, heartbeats: vec![beat], ..LedgerView::default() }
        };
        let denied = ServiceFault::AccessDenied;
        assert!(is_troubled(&view(Service::Destination, denied, true)));
        assert!(!is_troubled(&view(Service::Destination, denied, false)));
        assert!(!is_troubled(&view(Service::Queue, denied, true)));
        assert!(!is_troubled(&view(Service::Source, ServiceFault::Throttled, true)));
    }
}
