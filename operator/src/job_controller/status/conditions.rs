//! Computes the conditions of a job.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use migration_api::status::{
    MigrationJobStatus, NotPreserved, RecordKind, ReportStatus, RunResult, UnreadableRecords, VerificationStatus,
};
use migration_api::{ConditionType, Reason};
use migration_core::printable::printable;
use migration_core::records::RunEndCause;

use super::StatusInput;
use super::compute::Activity;
use super::preflight::preflight;
use crate::job_controller::runs::followups::FollowupState;
use crate::job_controller::runs::supersede;
use crate::job_controller::scale::ScalingCondition;
use crate::problem::Problem;

/// The longest message of a condition, in characters. Source: `Condition` in the Kubernetes API, `maxLength`.
const LONGEST: usize = 32_768;

/// Messages of both Progressing and Complete.
const STARTING: &str = "a run is starting";
const SCANNING: &str = "source and destination are being listed and compared";
const TRANSFERRING: &str = "the listing is complete; the remaining objects are being moved";

/// Message of Stalled while nothing waits for a person.
const NOBODY_NEEDED: &str = "the job goes on by itself, or has nothing to do";

/// A condition without its times.
struct Draft {
    kind: ConditionType,
    holds: bool,
    reason: Reason,
    message: String,
}

impl Draft {
    fn new(kind: ConditionType, holds: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, holds, reason, message: message.into() }
    }
}

/// Computes the conditions. The time of a transition changes only with the status of its condition.
pub fn compute(
    old: &[Condition],
    input: &StatusInput<'_>,
    activity: Activity,
    new: &MigrationJobStatus,
) -> Vec<Condition> {
    let drafts = [
        ready(input),
        progressing(input, activity),
        degraded(input, new),
        complete(input, activity, new),
        suspended(input),
        failed(input, activity),
        reconciling(input, activity),
        stalled(input, activity),
    ];
    let conditions = drafts
        .into_iter()
        .chain(
            input
                .preflight
                .and_then(preflight)
                .map(|(holds, reason, message)| Draft::new(ConditionType::Preflight, holds, reason, message)),
        )
        .chain(verified(input, new))
        .chain(reported(input, new))
        .chain(input.scaling.map(scaling_active))
        .map(|draft| condition(draft, old, input.generation, input.now));
    // While the ledger does not answer, the conditions that depend on it stay.
    let follows = |condition: &&Condition| {
        [ConditionType::Verified, ConditionType::Reported]
            .map(ConditionType::as_str)
            .contains(&condition.type_.as_str())
    };
    let before = old.iter().filter(|_| input.ledger.is_none()).filter(follows);
    conditions.chain(before.cloned()).collect()
}

/// Returns the old conditions with Degraded for a problem that ended the reconciliation, which is tried again. Whatever the
/// others say of an older specification, they keep its generation.
pub fn with_problem(old: &[Condition], problem: &Problem, generation: Option<i64>, now: i64) -> Vec<Condition> {
    let draft = |kind, holds| Draft::new(kind, holds, problem.reason.clone(), problem.message.as_str());
    let drafts = [
        draft(ConditionType::Degraded, true),
        draft(ConditionType::Reconciling, true),
        Draft::new(ConditionType::Stalled, false, Reason::AsExpected, NOBODY_NEEDED),
    ];
    let kinds =
        [ConditionType::Degraded, ConditionType::Reconciling, ConditionType::Stalled].map(ConditionType::as_str);
    let others = old.iter().filter(|condition| !kinds.contains(&condition.type_.as_str())).cloned();
    others.chain(drafts.map(|draft| condition(draft, old, generation, now))).collect()
}

/// Returns the condition Notified, of which holds, reason and message are given.
pub fn notified(
    old: &[Condition],
    (holds, reason, message): (bool, Reason, String),
    generation: Option<i64>,
    now: i64,
) -> Condition {
    condition(Draft::new(ConditionType::Notified, holds, reason, message), old, generation, now)
}

fn condition(draft: Draft, old: &[Condition], generation: Option<i64>, now: i64) -> Condition {
    let Draft { kind, holds, reason, message } = draft;
    let status = if holds { "True" } else { "False" };
    let before = old.iter().find(|condition| condition.type_ == kind.as_str() && condition.status == status);
    let now = || Time(Timestamp::from_millisecond(now).unwrap_or_default());
    Condition {
        type_: kind.to_string(),
        status: status.to_owned(),
        reason: reason.to_string(),
        message: printable(&message).chars().take(LONGEST).collect(),
        observed_generation: generation,
        last_transition_time: before.map_or_else(now, |condition| condition.last_transition_time.clone()),
    }
}

fn ready(input: &StatusInput<'_>) -> Draft {
    match input.blocking.first() {
        None => Draft::new(
            ConditionType::Ready,
            true,
            Reason::ResourcesApplied,
            "queue, table and all objects in the cluster are in place",
        ),
        Some(problem) => Draft::new(
            ConditionType::Ready,
            false,
            Reason::PrerequisitesMissing,
            format!("{}: {}", problem.reason, problem.message),
        ),
    }
}

/// Returns the problems that the condition Degraded reports, the most important one first. Records that cannot be read, and
/// what a preflight found besides, come last, since they hold up nothing.
pub fn degrading(input: &StatusInput<'_>, new: &MigrationJobStatus) -> Vec<Problem> {
    input.problems().cloned().chain(new.unreadable.iter().map(left_out)).chain(input.notes.iter().cloned()).collect()
}

fn degraded(input: &StatusInput<'_>, new: &MigrationJobStatus) -> Draft {
    let mut problems = degrading(input, new).into_iter();
    let Some(first) = problems.next() else {
        return Draft::new(ConditionType::Degraded, false, Reason::AsExpected, "nothing is wrong");
    };
    let message = problems.fold(first.message, |message, next| format!("{message}; also: {}", next.message));
    Draft::new(ConditionType::Degraded, true, first.reason, message)
}

/// Describes records that are missing from the status because they cannot be read.
fn left_out(records: &UnreadableRecords) -> Problem {
    let UnreadableRecords { kind, number, message } = records;
    let what = match kind {
        RecordKind::Failure => "failures of objects that cannot be read and are missing from status.failures",
        RecordKind::Heartbeat => {
            "heartbeats that cannot be read, so that rates and paused sides of their pods are unknown"
        }
        RecordKind::Share => {
            "shares of spec.transfer's limits that cannot be read, so that less than the limits is used until they expire"
        }
    };
    let advice = "use images of the operator's own version, or remove the records that no such image wrote";
    Problem::new(Reason::LedgerRecordsLeftOut, format!("{what}: {number}; the first: {message}; {advice}"))
}

/// Returns the condition Progressing, with edits that do not apply to the run in progress.
fn progressing(input: &StatusInput<'_>, activity: Activity) -> Draft {
    let draft = under_way(input, activity);
    let Some(edited) = input.edited.filter(|_| !input.stops()) else { return draft };
    Draft { message: format!("{}; {}", draft.message, supersede::advice(edited)), ..draft }
}

fn under_way(input: &StatusInput<'_>, activity: Activity) -> Draft {
    let draft = |holds, reason: Reason, message: &str| Draft::new(ConditionType::Progressing, holds, reason, message);
    if input.suspended {
        return draft(false, Reason::SuspendedByUser, "spec.suspend is true");
    }
    if let Some(problem) = input.over_budget {
        return draft(false, problem.reason.clone(), &problem.message);
    }
    let held = input.problems().next();
    match (activity, held) {
        (Activity::Starting | Activity::Scanning | Activity::Transferring, Some(problem)) => {
            draft(false, problem.reason.clone(), "the run is held up; the condition Degraded says why")
        }
        (Activity::Starting, None) => draft(true, Reason::RunStarting, STARTING),
        (Activity::Scanning, None) if is_reopened(input) => draft(
            true,
            Reason::RunReopened,
            "no batch of the run ended for 7 days, so its messages were lost: batches without an end are listed and sent \
             again; objects that are in place count as skipped",
        ),
        (Activity::Scanning, None) if is_scan_waiting(input) => draft(
            true,
            Reason::ScanWaiting,
            "the scan is paused until the workers catch up; spec.limits.backlogSeconds sets how far it may be ahead",
        ),
        (Activity::Scanning, None) => draft(true, Reason::Scanning, SCANNING),
        (Activity::Transferring, None) => draft(true, Reason::Transferring, TRANSFERRING),
        (activity, _) => {
            let (reason, message) = ended(activity, is_out_of_time(input));
            draft(false, reason, message)
        }
    }
}

fn is_reopened(input: &StatusInput<'_>) -> bool {
    let live = input.ledger.and_then(|view| view.live());
    live.is_some_and(|run| run.record.reopen.is_some() || !run.record.reopened.is_empty())
}

/// Returns true if the last run ended at its deadline.
fn is_out_of_time(input: &StatusInput<'_>) -> bool {
    let run = input.ledger.and_then(|view| view.run.as_ref());
    let end = run.and_then(|run| run.record.end.as_ref());
    end.is_some_and(|end| end.cause == Some(RunEndCause::Deadline))
}

fn is_scan_waiting(input: &StatusInput<'_>) -> bool {
    input.ledger.and_then(|view| view.live()).is_some_and(|run| run.record.scan.waiting)
}

fn ended(activity: Activity, out_of_time: bool) -> (Reason, &'static str) {
    match activity {
        Activity::Ended(RunResult::Failed) if out_of_time => (
            Reason::RunDeadlineExceeded,
            "the last run did not end before spec.limits.runDeadline; the objects that it moved stay; raise the deadline \
             and change spec.trigger.manual to start a run for the rest",
        ),
        Activity::Ended(RunResult::Complete) => (Reason::RunComplete, "the last run ended with every object in place"),
        Activity::Ended(RunResult::PartiallyFailed) => {
            (Reason::ObjectsFailed, "the last run ended; some objects could not be moved, see status.failures")
        }
        Activity::Ended(RunResult::Failed) | Activity::SenderFailed => {
            (Reason::RunFailed, "the last run failed; change spec.trigger.manual to start another run")
        }
        Activity::Starting => (Reason::RunStarting, STARTING),
        Activity::Scanning => (Reason::Scanning, SCANNING),
        Activity::Transferring => (Reason::Transferring, TRANSFERRING),
        Activity::Never => (Reason::NoRunYet, "there was no run yet"),
    }
}

fn complete(input: &StatusInput<'_>, activity: Activity, new: &MigrationJobStatus) -> Draft {
    let holds = activity == Activity::Ended(RunResult::Complete);
    let (reason, message) = ended(activity, is_out_of_time(input));
    let numbers = new.last_run.as_ref().filter(|_| holds);
    let numbers = numbers.map(|run| format!("; {} objects moved, {} skipped", run.objects, run.skipped));
    let losses = new.last_run.as_ref().filter(|_| matches!(activity, Activity::Ended(_)));
    let losses = losses.and_then(|run| run.not_preserved.as_ref()).map(not_preserved);
    let text = format!("{message}{}{}", numbers.unwrap_or_default(), losses.unwrap_or_default());
    Draft::new(ConditionType::Complete, holds, reason, text)
}

fn failed(input: &StatusInput<'_>, activity: Activity) -> Draft {
    let (reason, message) = ended(activity, is_out_of_time(input));
    Draft::new(ConditionType::Failed, is_failure(activity), reason, message)
}

/// Returns true if the last run ended, and some objects are not in place.
const fn is_failure(activity: Activity) -> bool {
    matches!(activity, Activity::Ended(RunResult::PartiallyFailed | RunResult::Failed) | Activity::SenderFailed)
}

/// Returns what only a person can end: a problem of the specification, or a run that failed and that no other follows.
///
/// Source of what Reconciling and Stalled mean: `pkg/kstatus` in kubernetes-sigs/cli-utils.
fn stalled(input: &StatusInput<'_>, activity: Activity) -> Draft {
    if let Some(problem) = input.blocking.iter().find(|problem| problem.reason.needs_a_person()) {
        return Draft::new(ConditionType::Stalled, true, problem.reason.clone(), problem.message.as_str());
    }
    if let Some(problem) = input.over_budget {
        return Draft::new(ConditionType::Stalled, true, problem.reason.clone(), problem.message.as_str());
    }
    let is_followed = input.schedule.is_some() || input.watching;
    if is_failure(activity) && !is_followed && !input.suspended {
        let (reason, message) = ended(activity, is_out_of_time(input));
        return Draft::new(ConditionType::Stalled, true, reason, message);
    }
    Draft::new(ConditionType::Stalled, false, Reason::AsExpected, NOBODY_NEEDED)
}

/// Returns whether the specification is still to be applied. What waits for a person is Stalled instead.
fn reconciling(input: &StatusInput<'_>, activity: Activity) -> Draft {
    let draft = |holds, reason: Reason, message: &str| Draft::new(ConditionType::Reconciling, holds, reason, message);
    match input.blocking.first() {
        None => draft(false, Reason::ResourcesApplied, "the specification is applied"),
        Some(_) if stalled(input, activity).holds => {
            draft(false, Reason::PrerequisitesMissing, "nothing is tried again; the condition Stalled says why")
        }
        Some(problem) => draft(true, problem.reason.clone(), &problem.message),
    }
}

/// Returns what was not preserved, and where it is counted.
fn not_preserved(losses: &NotPreserved) -> String {
    let &NotPreserved { tags, object_locks, metadata, storage_classes, encryption } = losses;
    let kinds = [
        ("tags", tags),
        ("object locks", object_locks),
        ("some metadata", metadata),
        ("the storage class", storage_classes),
        ("the encryption", encryption),
    ];
    let kinds = kinds.into_iter().filter(|(_, number)| *number > 0);
    let word = |number| if number == 1 { "object" } else { "objects" };
    let kinds: Vec<_> = kinds.map(|(what, number)| format!("{what} of {number} {}", word(number))).collect();
    format!("; not preserved (see status.lastRun.notPreserved): {}", kinds.join(", "))
}

/// Returns the condition Verified, if runs are verified.
fn verified(input: &StatusInput<'_>, new: &MigrationJobStatus) -> Option<Draft> {
    let draft =
        |holds, reason: Reason, message: String| Some(Draft::new(ConditionType::Verified, holds, reason, message));
    match input.verification {
        FollowupState::None => None,
        FollowupState::Due | FollowupState::Running => {
            draft(false, Reason::Verifying, "source and destination are being compared again".to_owned())
        }
        FollowupState::Failed(message) => draft(
            false,
            Reason::VerifyFailed,
            format!("the verification failed: {message}; the next run is verified again"),
        ),
        FollowupState::Ended(record) => {
            let numbers = new.verification.as_ref().map(found).unwrap_or_default();
            let whole = record.found.is_whole();
            draft(whole, if whole { Reason::CopyWhole } else { Reason::CopyDiffers }, numbers)
        }
    }
}

fn found(status: &VerificationStatus) -> String {
    let VerificationStatus { method, proven, by_size, missing, different, newer, unmappable, extra, .. } = status;
    format!(
        "method {}: {proven} objects verified, {by_size} by size only; {missing} missing, {different} different ({newer} of \
         them changed after the run began), {unmappable} without a valid destination key; {extra} extraneous at the \
         destination",
        method.as_str()
    )
}

/// Returns the condition Reported, if runs are reported.
fn reported(input: &StatusInput<'_>, new: &MigrationJobStatus) -> Option<Draft> {
    let draft =
        |holds, reason: Reason, message: String| Some(Draft::new(ConditionType::Reported, holds, reason, message));
    match input.report {
        FollowupState::None => None,
        FollowupState::Due | FollowupState::Running => {
            draft(false, Reason::ReportBeingWritten, "the report of the last run is being written".to_owned())
        }
        FollowupState::Failed(message) => draft(
            false,
            Reason::ReportFailed,
            format!(
                "the report could not be written: {message}; correct this and delete the Job of component reporter to write \
                 it again"
            ),
        ),
        FollowupState::Ended(_) => {
            let ReportStatus { manifest, succeeded, failed, unreported, .. } = new.report.as_ref()?;
            let numbers = format!("{manifest}: {succeeded} objects succeeded, {failed} failed");
            if *unreported == 0 {
                return draft(true, Reason::ReportWritten, numbers);
            }
            let missing = format!(
                "{numbers}; {unreported} objects are missing from it, since workers could not write to its bucket or failures \
                 in the ledger cannot be read"
            );
            draft(false, Reason::ReportIncomplete, missing)
        }
    }
}

fn scaling_active(condition: &ScalingCondition) -> Draft {
    let ScalingCondition { holds, reason, message } = condition.clone();
    Draft::new(ConditionType::ScalingActive, holds, reason, message)
}

fn suspended(input: &StatusInput<'_>) -> Draft {
    if input.suspended {
        Draft::new(
            ConditionType::Suspended,
            true,
            Reason::SuspendedByUser,
            "spec.suspend is true; set it to false to continue",
        )
    } else if let Some(problem) = input.over_budget {
        Draft::new(ConditionType::Suspended, true, problem.reason.clone(), problem.message.as_str())
    } else {
        Draft::new(ConditionType::Suspended, false, Reason::NotSuspended, "spec.suspend is false")
    }
}
