//! Events about transitions of the status, each published once.

use migration_api::status::{MigrationJobStatus, ObjectFailure, Phase, Progress, RunResult};
use migration_api::{ConditionType, EventReason, Reason};
use migration_core::size::human;

use super::display::duration;
use crate::event::JobEvent;

/// Returns the events for the change from the old status to the new one.
pub fn of_change(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Vec<JobEvent> {
    let resumed = resumed(old, new);
    let events = [run_started(old, new), run_ended(old, new), degraded(old, new), resumed, phase(old, new)];
    let found = FOUND.iter().map(|found| found.event(old, new));
    events.into_iter().chain(found).chain([scaled(old, new)]).flatten().collect()
}

fn run_started(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Option<JobEvent> {
    let run = new.current_run.as_ref().filter(|run| old.current_run.as_ref() != Some(run))?;
    let display = new.display.as_ref();
    let sides = display.and_then(|display| display.source.as_ref().zip(display.destination.as_ref()));
    let sides = sides.map(|(from, to)| format!(": {from} to {to}")).unwrap_or_default();
    Some(JobEvent::normal(EventReason::RunStarted, "Run", format!("run {run} started{sides}")))
}

fn run_ended(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Option<JobEvent> {
    let id = |status: &MigrationJobStatus| status.last_run.as_ref().map(|run| run.id.clone());
    let run = new.last_run.as_ref().filter(|_| id(old) != id(new))?;
    let seconds = run.ended_at.0.as_second() - run.started_at.0.as_second();
    let took = duration(u64::try_from(seconds).unwrap_or_default());
    let numbers = format!(
        "{} objects ({}) moved in {took}, {} skipped, {} failed",
        run.objects,
        human(run.bytes),
        run.skipped,
        run.failed
    );
    let text = |word: &str| format!("run {} {word}: {numbers}", run.id);
    Some(match run.result {
        RunResult::Complete => {
            JobEvent::normal(EventReason::Condition(Reason::RunComplete), "Run", text("is complete"))
        }
        RunResult::PartiallyFailed => {
            let first = new.failures.first().map(|first| {
                let ObjectFailure { bucket, key, class: _, message } = first;
                format!("; the first failure: {message} ({bucket}/{key})")
            });
            let text = format!("{}{}", text("ended with failures"), first.unwrap_or_default());
            JobEvent::warning(EventReason::Condition(Reason::ObjectsFailed), "Run", text)
        }
        RunResult::Failed => {
            let why = run.message.as_deref().unwrap_or("no reason given");
            JobEvent::warning(EventReason::Condition(Reason::RunFailed), "Run", format!("{}; {why}", text("failed")))
        }
    })
}

fn resumed(old: &MigrationJobStatus, new: &MigrationJobStatus) -> Option<JobEvent> {
    let is_resumed = old.phase == Some(Phase::Suspended) && new.phase.is_some_and(|phase| phase != Phase::Suspended);
    is_resumed.then(|| JobEvent::normal(EventReason::Resumed, "Reconcile", "spec.suspend is false again"))
}

/// A reason of a condition that is told when the condition takes it on.
struct Found {
    condition: ConditionType,
    reason: Reason,
    is_warning: bool,
}

/// What is found out at some moment, rather than reached by the phases.
static FOUND: [Found; 7] = [
    Found { condition: ConditionType::Preflight, reason: Reason::PreflightPassed, is_warning: false },
    Found { condition: ConditionType::Progressing, reason: Reason::RunReopened, is_warning: true },
    Found { condition: ConditionType::Verified, reason: Reason::CopyWhole, is_warning: false },
    Found { condition: ConditionType::Verified, reason: Reason::CopyDiffers, is_warning: true },
    Found { condition: ConditionType::Verified, reason: Reason::VerifyFailed, is_warning: true },
    Found { condition: ConditionType::Reported, reason: Reason::ReportWritten, is_warning: false },
    Found { condition: ConditionType::Reported, reason: Reason::ReportIncomplete, is_warning: true },
];

impl Found {
    fn event(&self, old: &MigrationJobStatus, new: &MigrationJobStatus) -> Option<JobEvent> {
        let name = self.reason.to_string();
        let of = |status: &MigrationJobStatus| {
            let (_, condition) = status.condition(self.condition)?;
            (condition.reason == name).then(|| condition.message.clone())
        };
        let message = of(new).filter(|_| of(old).is_none())?;
        let reason = EventReason::Condition(self.reason.clone());
        Some(JobEvent { warning: self.is_warning, ..JobEvent::normal(reason, "Reconcile", message) })
    }
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
    let before = old.phase.map_or("new", Phase::as_str);
    let text = format!("{before} → {}: {}", now.as_str(), meaning(now, new));
    Some(JobEvent::normal(EventReason::Phase(now), "Reconcile", text))
}

/// Returns what a job does in its new phase, with the numbers known by then.
fn meaning(phase: Phase, status: &MigrationJobStatus) -> String {
    let progress = status.progress.as_ref();
    match phase {
        Phase::Pending => "waiting for a run to begin".to_owned(),
        Phase::Scanning => "both sides are being listed and compared; workers copy what was found so far".to_owned(),
        Phase::Transferring => match progress {
            Some(Progress { objects, bytes, .. }) => format!(
                "the listing is complete: {} objects ({}) to move, of which {} are moved and {} failed; {} skipped",
                objects.total,
                human(bytes.total),
                objects.done,
                objects.failed,
                objects.skipped
            ),
            None => "the listing is complete; the rest is being moved".to_owned(),
        },
        Phase::Verifying => "the run has ended; both sides are being compared again".to_owned(),
        Phase::Complete => "every object is in place".to_owned(),
        Phase::PartiallyFailed => "some objects are not in place; status.failures has the first of them".to_owned(),
        Phase::Failed => "the last run failed; the conditions say why".to_owned(),
        Phase::Watching => "no run is in progress; objects are copied when S3 reports them".to_owned(),
        Phase::Suspended => "spec.suspend is true; no run starts, and workers stop without losing work".to_owned(),
    }
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
    use migration_api::status::{Counts, LastRun, Workers};

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

    fn last_run(id: &str, time: Time) -> LastRun {
        LastRun {
            id: id.into(),
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
        ended.last_run = Some(last_run("r1", time));
        assert_eq!(reasons_of(&status(Phase::Complete, None, 0), &live), ["RunStarted"]);
        let events = of_change(&live, &ended);
        assert!(events.len() == 1 && events[0].warning && events[0].text.ends_with("ScanFailed: no"), "{events:?}");
    }

    #[test]
    fn a_job_reads_like_an_account() {
        let mut told = Vec::new();
        let mut before = status(Phase::Pending, None, 0);
        let mut becomes = |next: MigrationJobStatus| {
            let events = of_change(&before, &next);
            told.extend(events.iter().map(|event| format!("{}: {}", event.reason, event.text)));
            before = next;
        };
        let mut scanning = status(Phase::Scanning, None, 2);
        scanning.current_run = Some("r1".into());
        scanning.display = Some(migration_api::status::Display {
            source: Some("photos/2026/".into()),
            destination: Some("copy".into()),
            ..Default::default()
        });
        becomes(scanning.clone());
        let count = |total, done| Counts { total, done, skipped: 4, failed: 0 };
        let progress = Progress { objects: count(9, 5), bytes: count(3 << 20, 2 << 20), ..Progress::default() };
        let transferring =
            MigrationJobStatus { phase: Some(Phase::Transferring), progress: Some(progress), ..scanning.clone() };
        becomes(transferring.clone());
        becomes(MigrationJobStatus { phase: Some(Phase::Suspended), ..transferring.clone() });
        becomes(transferring);
        let numbers = "9 objects (3.0 MiB) to move, of which 5 are moved and 0 failed; 4 skipped";
        let expected = [
            "RunStarted: run r1 started: photos/2026/ to copy".to_owned(),
            "Scanning: Pending → Scanning: both sides are being listed and compared; workers copy what was found so far"
                .to_owned(),
            "ScaledUp: workers: 0 → 2".to_owned(),
            format!("Transferring: Scanning → Transferring: the listing is complete: {numbers}"),
            "Suspended: Transferring → Suspended: spec.suspend is true; no run starts, and workers stop without losing \
             work"
                .to_owned(),
            "Resumed: spec.suspend is false again".to_owned(),
            format!("Transferring: Suspended → Transferring: the listing is complete: {numbers}"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_a_verification_finds_is_published_once() {
        let verified = |reason: &str| {
            let mut status = status(Phase::Complete, Some(reason), 0);
            status.conditions[0].type_ = ConditionType::Verified.to_string();
            status
        };
        assert_eq!(reasons_of(&verified("Verifying"), &verified("CopyDiffers")), ["CopyDiffers"]);
        assert_eq!(reasons_of(&verified("CopyDiffers"), &verified("CopyDiffers")), Vec::<String>::new());
        let events = of_change(&verified("CopyDiffers"), &verified("CopyWhole"));
        assert!(events.len() == 1 && !events[0].warning && events[0].text == "m", "{events:?}");
    }

    #[test]
    fn a_hostile_key_is_told_without_its_control_characters() {
        let mut ended = status(Phase::PartiallyFailed, None, 0);
        let time = Time(jiff::Timestamp::UNIX_EPOCH);
        ended.last_run = Some(LastRun { result: RunResult::PartiallyFailed, message: None, ..last_run("r1", time) });
        ended.failures = vec![ObjectFailure {
            bucket: "b".into(),
            key: "<script>\u{1b}[2J\n\u{202e}\u{9b}".into(),
            class: "Refused".into(),
            message: "failed to put object: \u{1b}]0;title\u{7}".into(),
        }];
        let notes: Vec<_> = of_change(&status(Phase::PartiallyFailed, None, 0), &ended)
            .into_iter()
            .filter_map(|event| event.event().note)
            .collect();
        let [note] = &notes[..] else { panic!("{notes:?}") };
        assert!(!note.contains(migration_core::printable::is_hidden), "{note:?}");
        assert!(note.ends_with("(b/<script>\\u{1b}[2J\\n\\u{202e}\\u{9b})"), "{note}");
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let event = JobEvent::normal(EventReason::ScaledUp, "Y", "é".repeat(5_000)).event();
        assert_eq!(event.note.map(|note| note.len()), Some(1_000));
    }
}
