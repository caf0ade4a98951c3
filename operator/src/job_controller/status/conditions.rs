//! The conditions of a job.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use migration_api::status::{MigrationJobStatus, NotPreserved, ReportStatus, RunResult, VerificationStatus};
use migration_api::{ConditionType, Reason};
use migration_core::records::RunEndCause;

use super::StatusInput;
use super::compute::Activity;
use crate::job_controller::runs::followups::FollowupState;
use crate::job_controller::runs::supersede;
use crate::problem::Problem;

/// Longest message of a condition that Kubernetes' own types allow.
const LONGEST: usize = 32_768;

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

/// Computes them. The time of a transition changes only with the status of its condition.
pub fn compute(
    old: &[Condition],
    input: &StatusInput<'_>,
    activity: Activity,
    new: &MigrationJobStatus,
) -> Vec<Condition> {
    let drafts =
        [ready(input), progressing(input, activity), degraded(input), complete(input, activity, new), suspended(input)];
    let conditions = drafts
        .into_iter()
        .chain(verified(input, new))
        .chain(reported(input, new))
        .map(|draft| condition(draft, old, input.generation, input.now));
    // A ledger that does not answer takes nothing back.
    let follows = |condition: &&Condition| {
        [ConditionType::Verified, ConditionType::Reported]
            .map(ConditionType::as_str)
            .contains(&condition.type_.as_str())
    };
    let before = old.iter().filter(|_| input.ledger.is_none()).filter(follows);
    conditions.chain(before.cloned()).collect()
}

/// The same conditions, but for Degraded, which tells the problem.
pub fn with_problem(old: &[Condition], problem: &Problem, generation: Option<i64>, now: i64) -> Vec<Condition> {
    let draft = Draft::new(ConditionType::Degraded, true, problem.reason.clone(), problem.message.as_str());
    let others = old.iter().filter(|condition| condition.type_ != ConditionType::Degraded.as_str()).cloned();
    others.chain([condition(draft, old, generation, now)]).collect()
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
        message: message.chars().take(LONGEST).collect(),
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
            "queue, table and all that runs in the cluster are in place",
        ),
        Some(problem) => Draft::new(
            ConditionType::Ready,
            false,
            Reason::PrerequisitesMissing,
            format!("{}: {}", problem.reason, problem.message),
        ),
    }
}

fn degraded(input: &StatusInput<'_>) -> Draft {
    let mut problems = input.problems();
    let Some(first) = problems.next() else {
        return Draft::new(ConditionType::Degraded, false, Reason::AsExpected, "nothing is wrong");
    };
    let message = problems.fold(first.message.clone(), |message, next| format!("{message}; also: {}", next.message));
    Draft::new(ConditionType::Degraded, true, first.reason.clone(), message)
}

/// Whether a run is under way; with what was edited too late for it.
fn progressing(input: &StatusInput<'_>, activity: Activity) -> Draft {
    let draft = under_way(input, activity);
    let Some(edited) = input.edited.filter(|_| !input.suspended) else { return draft };
    Draft { message: format!("{}; {}", draft.message, supersede::advice(edited)), ..draft }
}

fn under_way(input: &StatusInput<'_>, activity: Activity) -> Draft {
    let draft = |holds, reason: Reason, message: &str| Draft::new(ConditionType::Progressing, holds, reason, message);
    if input.suspended {
        return draft(false, Reason::SuspendedByUser, "spec.suspend is true");
    }
    let held = input.problems().next();
    match (activity, held) {
        (Activity::Starting | Activity::Scanning | Activity::Transferring, Some(problem)) => {
            draft(false, problem.reason.clone(), "a run waits; the condition Degraded says what for")
        }
        (Activity::Starting, None) => draft(true, Reason::RunStarting, "a run starts"),
        (Activity::Scanning, None) if is_reopened(input) => draft(
            true,
            Reason::RunReopened,
            "messages of the run were lost, since none of its batches ended for 7 days: what lacks its end is listed and \
             sent again; what is in place counts as skipped",
        ),
        (Activity::Scanning, None) if is_scan_waiting(input) => draft(
            true,
            Reason::ScanWaiting,
            "the scan waits until the workers have done more: see spec.limits.backlogSeconds",
        ),
        (Activity::Scanning, None) => draft(true, Reason::Scanning, "both sides are listed and compared"),
        (Activity::Transferring, None) => draft(true, Reason::Transferring, "all is listed; the rest is moved"),
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

/// Whether the last run ended at its deadline.
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
            "the last run was not over at spec.limits.runDeadline; what it moved stays: raise it, and change \
             spec.trigger.manual to start another one, which goes on with the rest",
        ),
        Activity::Ended(RunResult::Complete) => (Reason::RunComplete, "the last run ended with every object in place"),
        Activity::Ended(RunResult::PartiallyFailed) => {
            (Reason::ObjectsFailed, "the last run ended; status.failures names objects that could not be moved")
        }
        Activity::Ended(RunResult::Failed) | Activity::SenderFailed => {
            (Reason::RunFailed, "the last run failed; change spec.trigger.manual to start another one")
        }
        Activity::Starting => (Reason::RunStarting, "a run starts"),
        Activity::Scanning => (Reason::Scanning, "both sides are listed and compared"),
        Activity::Transferring => (Reason::Transferring, "all is listed; the rest is moved"),
        Activity::Never => (Reason::NoRunYet, "no run was yet"),
    }
}

fn complete(input: &StatusInput<'_>, activity: Activity, new: &MigrationJobStatus) -> Draft {
    let holds = activity == Activity::Ended(RunResult::Complete);
    let (reason, message) = ended(activity, is_out_of_time(input));
    let numbers = new.last_run.as_ref().filter(|_| holds);
    let numbers = numbers.map(|run| format!("; {} objects moved, {} skipped", run.objects, run.skipped));
    let losses = new.last_run.as_ref().filter(|_| matches!(activity, Activity::Ended(_)));
    let losses = losses.and_then(|run| run.not_preserved.as_ref()).map(left_behind);
    let text = format!("{message}{}{}", numbers.unwrap_or_default(), losses.unwrap_or_default());
    Draft::new(ConditionType::Complete, holds, reason, text)
}

/// What could not be taken along, and where it is counted.
fn left_behind(losses: &NotPreserved) -> String {
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
    format!("; not taken along (status.lastRun.notPreserved): {}", kinds.join(", "))
}

/// Whether the copy is whole; said only where somebody looks.
fn verified(input: &StatusInput<'_>, new: &MigrationJobStatus) -> Option<Draft> {
    let draft =
        |holds, reason: Reason, message: String| Some(Draft::new(ConditionType::Verified, holds, reason, message));
    match input.verification {
        FollowupState::None => None,
        FollowupState::Due | FollowupState::Running => {
            draft(false, Reason::Verifying, "both sides are looked at once more".to_owned())
        }
        FollowupState::Failed(words) => draft(
            false,
            Reason::VerifyFailed,
            format!("the verification failed: {words}; the next run is verified anew"),
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
        "by {}: {proven} objects proven, {by_size} by size only; {missing} missing, {different} different ({newer} of these \
         changed since the run began), {unmappable} without a valid key; {extra} extra at the destination",
        method.as_str()
    )
}

/// Whether the report is written; said only where somebody wants one.
fn reported(input: &StatusInput<'_>, new: &MigrationJobStatus) -> Option<Draft> {
    let draft =
        |holds, reason: Reason, message: String| Some(Draft::new(ConditionType::Reported, holds, reason, message));
    match input.report {
        FollowupState::None => None,
        FollowupState::Due | FollowupState::Running => {
            draft(false, Reason::ReportBeingWritten, "the report of the last run is being written".to_owned())
        }
        FollowupState::Failed(words) => draft(
            false,
            Reason::ReportFailed,
            format!("the report failed: {words}; mend it and delete the Job of component reporter to have it written"),
        ),
        FollowupState::Ended(_) => {
            let ReportStatus { manifest, succeeded, failed, unreported, .. } = new.report.as_ref()?;
            let numbers = format!("{manifest}: {succeeded} objects succeeded, {failed} failed");
            if *unreported == 0 {
                return draft(true, Reason::ReportWritten, numbers);
            }
            let missing = format!(
                "{numbers}; {unreported} that were moved are missing in it, since workers could not write to its bucket"
            );
            draft(false, Reason::ReportIncomplete, missing)
        }
    }
}

fn suspended(input: &StatusInput<'_>) -> Draft {
    if input.suspended {
        Draft::new(
            ConditionType::Suspended,
            true,
            Reason::SuspendedByUser,
            "spec.suspend is true; set it to false to go on",
        )
    } else {
        Draft::new(ConditionType::Suspended, false, Reason::NotSuspended, "spec.suspend is false")
    }
}
