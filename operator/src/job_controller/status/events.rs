//! Events about transitions of the status, each published once.

use migration_api::status::{MigrationJobStatus, RunResult};
use migration_api::{ConditionType, EventReason, Reason};
use migration_core::size::human;

use crate::event::JobEvent;

/// Returns the events for the change from the old status to the new one.
pub fn of_change(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Vec<JobEvent> {
    let events = [run_started(old, new), run_ended(old, new), degraded(old, new), phase(old, new), scaled(old, new)];
    events.into_iter().flatten().collect()
}

fn run_started(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Option<JobEvent> {
    let run = new.current_run.as_ref().filter(|run| old.current_run.as_ref() != Some(run))?;
    Some(JobEvent::normal(EventReason::RunStarted, "Run", format!("run {run} started")))
}

fn run_ended(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Option<JobEvent> {
    let id = |status: &MigrationJobStatus| status.last_run.as_ref().map(|run| run.id.clone());
    let run = new.last_run.as_ref().filter(|_| id(old) != id(new))?;
    let numbers =
        format!("{} objects ({}) moved, {} skipped, {} failed", run.objects, human(run.bytes), run.skipped, run.failed);
    let text = |word: &str| format!("run {} {word}: {numbers}", run.id);
    Some(match run.result {
        RunResult::Complete => {
            JobEvent::normal(EventReason::Condition(Reason::RunComplete), "Run", text("is complete"))
        }
        RunResult::PartiallyFailed => {
            JobEvent::warning(EventReason::Condition(Reason::ObjectsFailed), "Run", text("ended with failures"))
        }
        RunResult::Failed => {
            let why = run.message.as_deref().unwrap_or("no reason given");
            JobEvent::warning(EventReason::Condition(Reason::RunFailed), "Run", format!("{}; {why}", text("failed")))
        }
    })
}

fn degraded(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Option<JobEvent> {
    let reason = |status: &MigrationJobStatus| {
        let (holds, condition) = status.condition(ConditionType::Degraded)?;
        holds.then(|| (condition.reason.clone(), condition.message.clone()))
    };
    match (reason(old), reason(new)) {
        (Some((before, _)), Some((now, _))) if before == now => None,
        (_, Some((reason, message))) => Some(JobEvent::warning(EventReason::Degraded(reason), "Reconcile", message)),
        (Some((before, _)), None) => {
            Some(JobEvent::normal(EventReason::Recovered, "Reconcile", format!("{before} no longer holds")))
        }
        (None, None) => None,
    }
}

fn phase(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Option<JobEvent> {
    let now = new.phase.filter(|_| new.phase != old.phase)?;
    let before = old.phase.map_or("new", migration_api::status::Phase::as_str);
    Some(JobEvent::normal(EventReason::Phase(now), "Reconcile", format!("{before} → {}", now.as_str())))
}

fn scaled(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Option<JobEvent> {
    let desired = |status: &MigrationJobStatus| status.workers.map_or(0, |workers| workers.desired);
    match (desired(old), desired(new)) {
        (0, n) if n > 0 => Some(JobEvent::normal(EventReason::ScaledUp, "Scale", format!("workers: 0 → {n}"))),
        (n, 0) if n > 0 => Some(JobEvent::normal(EventReason::ScaledToZero, "Scale", format!("workers: {n} → 0"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use migration_api::status::{LastRun, Phase, Workers};

    fn status(phase: Phase, reason: Option<&str>, desired: u32) -> MigrationJobStatus {
        let condition = |reason: &str| Condition {
            type_: ConditionType::Degraded.to_string(),
            status: "True".into(),
            reason: reason.into(),
            message: "m".into(),
            observed_generation: None,
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        };
        MigrationJobStatus {
            phase: Some(phase),
            conditions: reason.map(condition).into_iter().collect(),
            workers: Some(Workers { desired, ready: 0 }),
            ..MigrationJobStatus::default()
        }
    }

    fn reasons_of(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Vec<String> {
        of_change(old, new).into_iter().map(|event| event.reason.to_string()).collect()
    }

    #[test]
    fn a_transition_is_published_once() {
        let (before, after) = (status(Phase::Pending, None, 0), status(Phase::Scanning, Some("X"), 3));
        assert_eq!(reasons_of(&before, &after), ["X", "Scanning", "ScaledUp"]);
        assert_eq!(reasons_of(&after, &after), Vec::<String>::new());
        assert_eq!(reasons_of(&after, &status(Phase::Scanning, Some("X"), 2)), Vec::<String>::new());
        assert_eq!(reasons_of(&after, &status(Phase::Scanning, Some("Y"), 3)), ["Y"]);
        assert_eq!(reasons_of(&after, &status(Phase::Scanning, None, 0)), ["Recovered", "ScaledToZero"]);
    }

    #[test]
    fn the_end_of_a_run_is_published() {
        let time = Time(jiff::Timestamp::UNIX_EPOCH);
        let mut ended = status(Phase::Complete, None, 0);
        let mut live = status(Phase::Complete, None, 0);
        live.current_run = Some("r1".into());
        ended.last_run = Some(LastRun {
            id: "r1".into(),
            started_at: time.clone(),
            ended_at: time,
            result: RunResult::Failed,
            objects: 1,
            bytes: 2,
            failed: 3,
            skipped: 4,
            not_preserved: None,
            extraneous: None,
            message: Some("ScanFailed: no".into()),
        });
        assert_eq!(reasons_of(&status(Phase::Complete, None, 0), &live), ["RunStarted"]);
        let events = of_change(&live, &ended);
        assert!(events.len() == 1 && events[0].warning && events[0].text.ends_with("ScanFailed: no"), "{events:?}");
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let event = JobEvent::normal(EventReason::ScaledUp, "Y", "é".repeat(5_000)).event();
        assert_eq!(event.note.map(|note| note.len()), Some(1_000));
    }
}
