//! The conditions of a job.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use migration_api::reasons;
use migration_api::status::{MigrationJobStatus, NotPreserved, ReportStatus, RunResult, VerificationStatus};
use migration_core::records::RunEndCause;

use super::{Activity, Seen};
use crate::followup::State;
use crate::give_way;
use crate::problem::Problem;

/// Longest message of a condition that Kubernetes' own types allow.
const LONGEST: usize = 32_768;

struct Draft {
    kind: &'static str,
    holds: bool,
    reason: String,
    message: String,
}

impl Draft {
    fn new(kind: &'static str, holds: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, holds, reason: reason.to_owned(), message: message.into() }
    }
}

/// Computes them. The time of a transition changes only with the status of its condition.
pub fn compute(old: &[Condition], seen: &Seen<'_>, activity: Activity, new: &MigrationJobStatus) -> Vec<Condition> {
    let drafts =
        [ready(seen), progressing(seen, activity), degraded(seen), complete(seen, activity, new), suspended(seen)];
    let conditions = drafts
        .into_iter()
        .chain(verified(seen, new))
        .chain(reported(seen, new))
        .map(|draft| condition(draft, old, seen.generation, seen.now));
    // A ledger that does not answer takes nothing back.
    let follows = |condition: &&Condition| [reasons::VERIFIED, reasons::REPORTED].contains(&condition.type_.as_str());
    let before = old.iter().filter(|_| seen.ledger.is_none()).filter(follows);
    conditions.chain(before.cloned()).collect()
}

/// The same conditions, but for Degraded, which tells the problem.
pub fn held(old: &[Condition], problem: &Problem, generation: Option<i64>, now: i64) -> Vec<Condition> {
    let draft = Draft::new(reasons::DEGRADED, true, &problem.reason, problem.message.as_str());
    let others = old.iter().filter(|condition| condition.type_ != reasons::DEGRADED).cloned();
    others.chain([condition(draft, old, generation, now)]).collect()
}

fn condition(draft: Draft, old: &[Condition], generation: Option<i64>, now: i64) -> Condition {
    let Draft { kind, holds, reason, message } = draft;
    let status = if holds { "True" } else { "False" };
    let before = old.iter().find(|condition| condition.type_ == kind && condition.status == status);
    let now = || Time(Timestamp::from_millisecond(now).unwrap_or_default());
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason,
        message: message.chars().take(LONGEST).collect(),
        observed_generation: generation,
        last_transition_time: before.map_or_else(now, |condition| condition.last_transition_time.clone()),
    }
}

fn ready(seen: &Seen<'_>) -> Draft {
    match seen.missing.first() {
        None => Draft::new(
            reasons::READY,
            true,
            reasons::RESOURCES_APPLIED,
            "queue, table and all that runs in the cluster are in place",
        ),
        Some(problem) => Draft::new(
            reasons::READY,
            false,
            reasons::PREREQUISITES_MISSING,
            format!("{}: {}", problem.reason, problem.message),
        ),
    }
}

fn degraded(seen: &Seen<'_>) -> Draft {
    let mut problems = seen.missing.iter().chain(seen.faults);
    let Some(first) = problems.next() else {
        return Draft::new(reasons::DEGRADED, false, reasons::AS_EXPECTED, "nothing is wrong");
    };
    let message = problems.fold(first.message.clone(), |message, next| format!("{message}; also: {}", next.message));
    Draft::new(reasons::DEGRADED, true, &first.reason, message)
}

/// Whether a run is under way; with what was edited too late for it.
fn progressing(seen: &Seen<'_>, activity: Activity) -> Draft {
    let draft = under_way(seen, activity);
    let Some(edited) = seen.edited.filter(|_| !seen.suspended) else { return draft };
    Draft { message: format!("{}; {}", draft.message, give_way::advice(edited)), ..draft }
}

fn under_way(seen: &Seen<'_>, activity: Activity) -> Draft {
    let draft = |holds, reason: &str, message: &str| Draft::new(reasons::PROGRESSING, holds, reason, message);
    if seen.suspended {
        return draft(false, reasons::SUSPENDED_BY_USER, "spec.suspend is true");
    }
    let held = seen.missing.iter().chain(seen.faults).next();
    match (activity, held) {
        (Activity::Starting | Activity::Scanning | Activity::Transferring, Some(problem)) => {
            draft(false, &problem.reason, "a run waits; the condition Degraded says what for")
        }
        (Activity::Starting, None) => draft(true, reasons::RUN_STARTING, "a run starts"),
        (Activity::Scanning, None) if is_reopened(seen) => draft(
            true,
            reasons::RUN_REOPENED,
            "messages of the run were lost, since none of its batches ended for 7 days: what lacks its end is listed and \
             sent again; what is in place counts as skipped",
        ),
        (Activity::Scanning, None) if is_scan_waiting(seen) => draft(
            true,
            reasons::SCAN_WAITING,
            "the scan waits until the workers have done more: see spec.limits.backlogSeconds",
        ),
        (Activity::Scanning, None) => draft(true, reasons::SCANNING, "both sides are listed and compared"),
        (Activity::Transferring, None) => draft(true, reasons::TRANSFERRING, "all is listed; the rest is moved"),
        (activity, _) => {
            let (reason, message) = ended(activity, is_out_of_time(seen));
            draft(false, reason, message)
        }
    }
}

fn is_reopened(seen: &Seen<'_>) -> bool {
    let live = seen.ledger.and_then(|view| view.live());
    live.is_some_and(|run| run.record.reopen.is_some() || !run.record.reopened.is_empty())
}

/// Whether the last run ended at its deadline.
fn is_out_of_time(seen: &Seen<'_>) -> bool {
    let run = seen.ledger.and_then(|view| view.run.as_ref());
    let end = run.and_then(|run| run.record.end.as_ref());
    end.is_some_and(|end| end.cause == Some(RunEndCause::Deadline))
}

fn is_scan_waiting(seen: &Seen<'_>) -> bool {
    seen.ledger.and_then(|view| view.live()).is_some_and(|run| run.record.scan.waiting)
}

fn ended(activity: Activity, out_of_time: bool) -> (&'static str, &'static str) {
    match activity {
        Activity::Ended(RunResult::Failed) if out_of_time => (
            reasons::RUN_DEADLINE_EXCEEDED,
            "the last run was not over at spec.limits.runDeadline; what it moved stays: raise it, and change \
             spec.trigger.manual to start another one, which goes on with the rest",
        ),
        Activity::Ended(RunResult::Complete) => {
            (reasons::RUN_COMPLETE, "the last run ended with every object in place")
        }
        Activity::Ended(RunResult::PartiallyFailed) => {
            (reasons::OBJECTS_FAILED, "the last run ended; status.failures names objects that could not be moved")
        }
        Activity::Ended(RunResult::Failed) | Activity::SenderFailed => {
            (reasons::RUN_FAILED, "the last run failed; change spec.trigger.manual to start another one")
        }
        Activity::Starting => (reasons::RUN_STARTING, "a run starts"),
        Activity::Scanning => (reasons::SCANNING, "both sides are listed and compared"),
        Activity::Transferring => (reasons::TRANSFERRING, "all is listed; the rest is moved"),
        Activity::Never => (reasons::NO_RUN_YET, "no run was yet"),
    }
}

fn complete(seen: &Seen<'_>, activity: Activity, new: &MigrationJobStatus) -> Draft {
    let holds = activity == Activity::Ended(RunResult::Complete);
    let (reason, message) = ended(activity, is_out_of_time(seen));
    let numbers = new.last_run.as_ref().filter(|_| holds);
    let numbers = numbers.map(|run| format!("; {} objects moved, {} skipped", run.objects, run.skipped));
    let losses = new.last_run.as_ref().filter(|_| matches!(activity, Activity::Ended(_)));
    let losses = losses.and_then(|run| run.not_preserved.as_ref()).map(left_behind);
    let text = format!("{message}{}{}", numbers.unwrap_or_default(), losses.unwrap_or_default());
    Draft::new(reasons::COMPLETE, holds, reason, text)
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
fn verified(seen: &Seen<'_>, new: &MigrationJobStatus) -> Option<Draft> {
    let draft = |holds, reason: &str, message: String| Some(Draft::new(reasons::VERIFIED, holds, reason, message));
    match seen.verification {
        State::None => None,
        State::Due | State::Running => {
            draft(false, reasons::VERIFYING, "both sides are looked at once more".to_owned())
        }
        State::Failed(words) => draft(
            false,
            reasons::VERIFY_FAILED,
            format!("the verification failed: {words}; the next run is verified anew"),
        ),
        State::Ended(record) => {
            let numbers = new.verification.as_ref().map(found).unwrap_or_default();
            let whole = record.found.is_whole();
            draft(whole, if whole { reasons::COPY_WHOLE } else { reasons::COPY_DIFFERS }, numbers)
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
fn reported(seen: &Seen<'_>, new: &MigrationJobStatus) -> Option<Draft> {
    let draft = |holds, reason: &str, message: String| Some(Draft::new(reasons::REPORTED, holds, reason, message));
    match seen.report {
        State::None => None,
        State::Due | State::Running => {
            draft(false, reasons::REPORT_BEING_WRITTEN, "the report of the last run is being written".to_owned())
        }
        State::Failed(words) => draft(
            false,
            reasons::REPORT_FAILED,
            format!("the report failed: {words}; mend it and delete the Job of component reporter to have it written"),
        ),
        State::Ended(_) => {
            let ReportStatus { manifest, succeeded, failed, unreported, .. } = new.report.as_ref()?;
            let numbers = format!("{manifest}: {succeeded} objects succeeded, {failed} failed");
            if *unreported == 0 {
                return draft(true, reasons::REPORT_WRITTEN, numbers);
            }
            let missing = format!(
                "{numbers}; {unreported} that were moved are missing in it, since workers could not write to its bucket"
            );
            draft(false, reasons::REPORT_INCOMPLETE, missing)
        }
    }
}

fn suspended(seen: &Seen<'_>) -> Draft {
    if seen.suspended {
        Draft::new(
            reasons::SUSPENDED,
            true,
            reasons::SUSPENDED_BY_USER,
            "spec.suspend is true; set it to false to go on",
        )
    } else {
        Draft::new(reasons::SUSPENDED, false, reasons::NOT_SUSPENDED, "spec.suspend is false")
    }
}

/// A condition's status and reason.
pub fn of<'a>(status: &'a MigrationJobStatus, kind: &str) -> Option<(bool, &'a Condition)> {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((condition.status == "True", condition))
}
