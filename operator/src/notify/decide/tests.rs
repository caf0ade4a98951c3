use migration_api::notify::SnsTopic;
use serde_json::json;

use super::*;

const NOW: i64 = 1_767_225_600_000;
const DAY: i64 = 24 * 3_600_000;

fn spec(value: serde_json::Value) -> Notify {
    serde_json::from_value(value).unwrap()
}

fn webhook() -> Notify {
    spec(json!({"webhook": {"url": "https://a.example/", "signingKey": {"secretKeyRef": {"name": "s", "key": "k"}}}}))
}

fn both() -> Notify {
    let arn = "arn:aws:sns:eu-west-1:123456789012:a".to_owned();
    Notify { sns: Some(SnsTopic { topic_arn: arn, endpoint: None, credentials: None }), ..webhook() }
}

fn condition_of(kind: ConditionType, holds: bool, reason: &str, since: i64) -> Condition {
    Condition {
        type_: kind.to_string(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: format!("why {reason}"),
        observed_generation: None,
        last_transition_time: time(since),
    }
}

fn degraded(holds: bool, since: i64) -> Condition {
    condition_of(ConditionType::Degraded, holds, if holds { "SecretMissing" } else { "AsExpected" }, since)
}

fn run(id: &str, result: RunResult) -> LastRun {
    let (started_at, ended_at) = (time(NOW - 1_000), time(NOW));
    let (not_preserved, extraneous, message) = (None, None, Some("ScanFailed: no".to_owned()));
    let (objects, bytes, failed, skipped) = (1, 2, 3, 4);
    let id = id.to_owned();
    LastRun { id, started_at, ended_at, result, objects, bytes, failed, skipped, not_preserved, extraneous, message }
}

fn status(conditions: Vec<Condition>, last_run: Option<LastRun>) -> MigrationJobStatus {
    MigrationJobStatus { conditions, last_run, ..MigrationJobStatus::default() }
}

/// A job whose status goes on from one decision to the next.
struct Job {
    spec: Notify,
    stored: MigrationJobStatus,
    now: i64,
}

impl Job {
    fn new(spec: Notify) -> Self {
        Self { spec, stored: MigrationJobStatus::default(), now: NOW }
    }

    fn next(&mut self, new: MigrationJobStatus, outcomes: &[Outcome]) -> Decision {
        let facts = Facts {
            spec: Some(&self.spec),
            uid: "u-1",
            old: &self.stored,
            new: &new,
            outcomes,
            now: self.now,
            random: 1.0,
        };
        let decision = decide(&facts);
        self.stored = MigrationJobStatus { notifications: decision.state.clone(), ..new };
        decision
    }

    /// The events that wait, with the attempts of each delivery.
    fn pending(&self) -> Vec<(NotifyEvent, Vec<u32>)> {
        let pending = &self.stored.notifications.as_ref().unwrap().pending;
        let attempts = |event: &PendingEvent| event.deliveries.iter().map(|one| one.attempts).collect();
        pending.iter().map(|event| (event.event, attempts(event))).collect()
    }

    /// An outcome of the event that waits longest.
    fn outcome(&self, to: Receiver, error: Option<&str>) -> Outcome {
        let id = self.stored.notifications.as_ref().unwrap().pending[0].id.clone();
        Outcome { id, to, error: error.map(ToOwned::to_owned), retry_after: None, waits_for_person: false }
    }
}

#[test]
fn the_end_of_a_run_is_announced_once_and_after_its_verification() {
    use ConditionType::Verified;
    let verified = |reason: &str| vec![condition_of(Verified, reason == "CopyWhole", reason, NOW)];
    for (result, conditions, expected) in [
        (RunResult::Complete, vec![], Some(NotifyEvent::Complete)),
        (RunResult::PartiallyFailed, vec![], Some(NotifyEvent::PartiallyFailed)),
        (RunResult::Failed, vec![], Some(NotifyEvent::Failed)),
        (RunResult::Complete, verified("Verifying"), None),
        (RunResult::Complete, verified("CopyWhole"), Some(NotifyEvent::Complete)),
        (RunResult::Complete, verified("CopyDiffers"), Some(NotifyEvent::PartiallyFailed)),
        (RunResult::Complete, verified("VerifyFailed"), Some(NotifyEvent::Complete)),
    ] {
        let mut job = Job::new(webhook());
        let ended = status(conditions, Some(run("r1", result)));
        job.next(ended.clone(), &[]);
        let first = job.stored.clone();
        let events: Vec<_> = job.pending().into_iter().map(|(event, _)| event).collect();
        assert_eq!(events, Vec::from_iter(expected), "{result:?} {:?}", ended.conditions);
        job.next(ended, &[]);
        assert_eq!(job.stored, first, "the second time nothing changes");
    }
    let mut job = Job::new(webhook());
    job.next(status(verified("Verifying"), Some(run("r1", RunResult::Complete))), &[]);
    job.next(status(verified("CopyDiffers"), Some(run("r1", RunResult::Complete))), &[]);
    job.next(status(vec![], Some(run("r1", RunResult::Complete))), &[]);
    assert_eq!(job.pending(), [(NotifyEvent::PartiallyFailed, vec![0])], "once, whatever becomes of the condition");
    let event = &job.stored.notifications.as_ref().unwrap().pending[0];
    let expected = "run r1 is complete: 1 objects (2 B) moved, 4 skipped, 3 failed; verification: why CopyDiffers";
    assert_eq!(event.message, expected);
    assert_eq!(event.run.as_ref().map(|run| run.id.as_str()), Some("r1"));
}

#[test]
fn what_had_happened_before_is_not_announced() {
    let before = || status(vec![degraded(true, NOW - DAY)], Some(run("r1", RunResult::Failed)));
    let mut job = Job { stored: before(), ..Job::new(webhook()) };
    job.next(before(), &[]);
    assert!(job.pending().is_empty());
    job.next(status(vec![degraded(false, NOW - DAY)], Some(run("r2", RunResult::Complete))), &[]);
    assert_eq!(job.pending(), [(NotifyEvent::Complete, vec![0]), (NotifyEvent::Recovered, vec![0])]);
}

#[test]
fn a_jobsender_that_failed_is_announced_as_a_failure() {
    let failed = |holds| condition_of(ConditionType::Failed, holds, "RunFailed", NOW);
    let mut job = Job::new(webhook());
    job.next(status(vec![failed(false)], None), &[]);
    let now = status(vec![failed(true), degraded(true, NOW)], None);
    job.next(now.clone(), &[]);
    job.next(now, &[]);
    assert_eq!(job.pending(), [(NotifyEvent::Failed, vec![0])]);
    let event = &job.stored.notifications.as_ref().unwrap().pending[0];
    assert_eq!((event.reason.as_deref(), event.message.as_str()), (Some("SecretMissing"), "why SecretMissing"));
    // A run that failed makes the condition hold too, and is one event.
    let mut job = Job::new(webhook());
    job.next(status(vec![failed(false)], None), &[]);
    job.next(status(vec![failed(true)], Some(run("r1", RunResult::Failed))), &[]);
    job.next(status(vec![failed(true)], Some(run("r1", RunResult::Failed))), &[]);
    assert_eq!(job.pending(), [(NotifyEvent::Failed, vec![0])]);
}

#[test]
fn a_jobsender_that_fails_while_the_run_before_is_verified_is_announced() {
    let failed = |holds| condition_of(ConditionType::Failed, holds, "RunFailed", NOW);
    let verified = |reason| condition_of(ConditionType::Verified, false, reason, NOW);
    let with = |conditions| status(conditions, Some(run("r1", RunResult::Complete)));
    let mut job = Job::new(webhook());
    job.next(with(vec![failed(false), verified("Verifying")]), &[]);
    job.next(with(vec![failed(true), verified("Verifying")]), &[]);
    assert_eq!(job.pending(), [(NotifyEvent::Failed, vec![0])]);
    job.next(with(vec![failed(true), verified("CopyWhole")]), &[]);
    assert_eq!(job.pending(), [(NotifyEvent::Failed, vec![0]), (NotifyEvent::Complete, vec![0])]);
}

#[test]
fn only_a_problem_that_lasts_is_announced_and_then_its_end() {
    let mut job = Job::new(webhook());
    for second in [0, 30] {
        job.now = NOW + second * 1_000;
        job.next(status(vec![degraded(true, NOW)], None), &[]);
        assert_eq!((job.pending(), next_announcement(&job.stored)), (vec![], Some(NOW + SETTLED_MS)));
    }
    job.next(status(vec![degraded(false, NOW + 40_000)], None), &[]);
    job.now = NOW + DAY;
    job.next(status(vec![degraded(false, NOW + 40_000)], None), &[]);
    assert!(job.pending().is_empty(), "it ended by itself");
    job.next(status(vec![degraded(true, NOW + DAY - SETTLED_MS)], None), &[]);
    assert_eq!((job.pending().len(), next_announcement(&job.stored)), (1, None));
    job.next(status(vec![degraded(false, job.now)], None), &[]);
    job.now += SETTLED_MS;
    job.next(status(vec![degraded(false, job.now - SETTLED_MS)], None), &[]);
    assert_eq!(job.pending(), [(NotifyEvent::Degraded, vec![0]), (NotifyEvent::Recovered, vec![0])]);
}

#[test]
fn only_events_that_are_asked_for_go_to_the_receivers_that_are_named() {
    let ended = || status(vec![degraded(true, NOW - DAY)], Some(run("r1", RunResult::Complete)));
    let mut job = Job::new(Notify { events: vec![NotifyEvent::Degraded], ..both() });
    job.next(ended(), &[]);
    assert_eq!(job.pending(), [(NotifyEvent::Degraded, vec![0, 0])]);
    job.spec = webhook();
    job.next(ended(), &[]);
    assert_eq!(job.pending(), [(NotifyEvent::Degraded, vec![0])], "the topic is not named any more");
    let facts =
        Facts { spec: None, uid: "u-1", old: &job.stored, new: &job.stored, outcomes: &[], now: NOW, random: 0.5 };
    assert_eq!(decide(&facts), Decision::default());
}

#[test]
fn a_receiver_that_fails_is_tried_again_for_a_day_and_then_given_up() {
    let ended = || status(vec![], Some(run("r1", RunResult::Complete)));
    let mut job = Job::new(both());
    job.next(ended(), &[]);
    let mut delays = Vec::new();
    let given_up = loop {
        let outcome = job.outcome(Receiver::Webhook, Some("failed\u{1b} to reach it"));
        let decision = job.next(ended(), &[outcome]);
        if !decision.given_up.is_empty() {
            assert_eq!(
                decision.results,
                [(Receiver::Webhook, DeliveryResult::Failed), (Receiver::Webhook, DeliveryResult::GivenUp)]
            );
            break decision.given_up;
        }
        assert_eq!(decision.results, [(Receiver::Webhook, DeliveryResult::Failed)]);
        let delivery = &job.stored.notifications.as_ref().unwrap().pending[0].deliveries[0];
        assert_eq!(delivery.last_error.as_deref(), Some("failed  to reach it"));
        let next = delivery.next_attempt_at.0.as_millisecond();
        delays.push((next - job.now) / 1_000);
        job.now = next;
    };
    assert_eq!(delays[..12], [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]);
    assert!((DAY / 1_000 - 3_600..=DAY / 1_000 + 3_600).contains(&delays.iter().sum()), "{delays:?}");
    assert_eq!(given_up.len(), 1);
    assert_eq!(job.pending(), [(NotifyEvent::Complete, vec![0])], "the topic still waits");
    let state = job.stored.notifications.clone().unwrap();
    assert_eq!((condition(&state).0, condition(&state).1), (false, Reason::NotificationGivenUp));
    // What the topic takes says nothing about the webhook.
    let outcome = job.outcome(Receiver::Sns, None);
    job.next(ended(), &[outcome]);
    assert_eq!((job.pending(), condition(job.stored.notifications.as_ref().unwrap()).0), (vec![], false));
    job.next(status(vec![], Some(run("r2", RunResult::Complete))), &[]);
    let outcome = job.outcome(Receiver::Webhook, None);
    let decision = job.next(status(vec![], Some(run("r2", RunResult::Complete))), &[outcome]);
    assert_eq!(decision.results, [(Receiver::Webhook, DeliveryResult::Delivered)]);
    assert!(condition(job.stored.notifications.as_ref().unwrap()).0);
}

#[test]
fn a_receiver_gets_the_time_it_asks_for_up_to_an_hour() {
    let ended = || status(vec![], Some(run("r1", RunResult::Complete)));
    for (asked, before, expected) in [
        (None, 0, 5),
        (Some(1), 0, 5),
        (Some(600), 0, 600),
        (Some(u64::MAX), 0, 3_600),
        (Some(3_600), DAY - 60_000, 60),
    ] {
        let mut job = Job::new(webhook());
        job.next(ended(), &[]);
        job.now += before;
        let outcome = Outcome { retry_after: asked, ..job.outcome(Receiver::Webhook, Some("no")) };
        job.next(ended(), &[outcome]);
        let next = &job.stored.notifications.as_ref().unwrap().pending[0].deliveries[0].next_attempt_at;
        assert_eq!(*next, time(job.now + expected * 1_000), "{asked:?}");
    }
}

#[test]
fn what_a_person_has_to_mend_is_tried_every_five_minutes_at_least() {
    let ended = || status(vec![], Some(run("r1", RunResult::Complete)));
    let mut job = Job::new(webhook());
    job.next(ended(), &[]);
    let mut delays = Vec::new();
    while delays.len() < 100 {
        let outcome = Outcome { waits_for_person: true, ..job.outcome(Receiver::Webhook, Some("no key")) };
        job.next(ended(), &[outcome]);
        let next = job.stored.notifications.as_ref().unwrap().pending[0].deliveries[0].next_attempt_at.0;
        delays.push((next.as_millisecond() - job.now) / 1_000);
        job.now = next.as_millisecond();
    }
    assert_eq!(delays[..8], [5, 10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(delays.iter().max(), Some(&300));
}

#[test]
fn a_run_that_another_one_followed_while_it_was_verified_is_announced_before_that_one() {
    let verifying = vec![condition_of(ConditionType::Verified, false, "Verifying", NOW)];
    let mut job = Job::new(webhook());
    job.next(status(verifying, Some(run("r1", RunResult::Complete))), &[]);
    assert!(job.pending().is_empty());
    job.next(status(vec![], Some(run("r2", RunResult::Failed))), &[]);
    assert_eq!(job.pending(), [(NotifyEvent::Complete, vec![0]), (NotifyEvent::Failed, vec![0])]);
    let runs = job.stored.notifications.as_ref().unwrap().pending.iter().map(|event| event.run.as_ref().unwrap());
    assert_eq!(runs.map(|run| run.id.as_str()).collect::<Vec<_>>(), ["r1", "r2"]);
}

#[test]
fn a_changed_specification_is_tried_at_once() {
    let ended = |generation| MigrationJobStatus {
        observed_generation: Some(generation),
        ..status(vec![], Some(run("r1", RunResult::Complete)))
    };
    let next = |job: &Job| job.stored.notifications.as_ref().unwrap().pending[0].deliveries[0].next_attempt_at.clone();
    let mut job = Job::new(webhook());
    job.next(ended(1), &[]);
    let outcome = job.outcome(Receiver::Webhook, Some("no"));
    job.next(ended(1), &[outcome]);
    job.now += 1_000;
    job.next(ended(1), &[]);
    assert_eq!(next(&job), time(NOW + 5_000), "nothing has changed");
    job.next(ended(2), &[]);
    assert_eq!(next(&job), time(NOW + 1_000));
    assert_eq!(job.pending(), [(NotifyEvent::Complete, vec![1])]);
}

#[test]
fn a_retry_is_a_condition() {
    let ended = || status(vec![], Some(run("r1", RunResult::Complete)));
    let mut job = Job::new(webhook());
    job.next(ended(), &[]);
    assert!(condition(job.stored.notifications.as_ref().unwrap()).0, "the first attempt is under way");
    let outcome = job.outcome(Receiver::Webhook, Some("no"));
    job.next(ended(), &[outcome]);
    let (holds, reason, message) = condition(job.stored.notifications.as_ref().unwrap());
    assert_eq!((holds, reason), (false, Reason::NotificationsRetried));
    assert_eq!(message, "the event Complete is not delivered to webhook after 1 attempts: no");
}

#[test]
fn events_that_wait_are_bounded_and_the_oldest_go_first() {
    let mut job = Job::new(webhook());
    let mut given_up = 0;
    for number in 0..MOST + 3 {
        given_up += job.next(status(vec![], Some(run(&format!("r{number}"), RunResult::Complete))), &[]).given_up.len();
    }
    let state = job.stored.notifications.as_ref().unwrap();
    assert_eq!((state.pending.len(), given_up), (MOST, 3));
    assert_eq!(state.pending[0].run.as_ref().unwrap().id, "r3");
}

#[test]
fn outcomes_of_what_does_not_wait_change_nothing() {
    let ended = || status(vec![], Some(run("r1", RunResult::Complete)));
    let mut job = Job::new(webhook());
    job.next(ended(), &[]);
    let before = job.stored.clone();
    let other = Outcome { id: "x".into(), ..job.outcome(Receiver::Webhook, None) };
    let elsewhere = Outcome { to: Receiver::Sns, ..job.outcome(Receiver::Webhook, None) };
    let decision = job.next(ended(), &[other, elsewhere]);
    assert_eq!((&job.stored, decision.results), (&before, vec![]));
}

#[test]
fn one_transition_has_one_identifier_without_a_full_stop() {
    let id = |uid, key| {
        let none = MigrationJobStatus::default();
        let facts = Facts { spec: None, uid, old: &none, new: &none, outcomes: &[], now: NOW, random: 0.0 };
        announced(&facts, NotifyEvent::Complete, key, None, "").id
    };
    assert_eq!(id("u-1", "r1"), id("u-1", "r1"));
    assert!(id("u-1", "r1") != id("u-1", "r2") && id("u-1", "r1") != id("u-2", "r1"));
    assert!(id("u-1", "r1").len() == ID && id("u-1", "r1").bytes().all(|byte| byte.is_ascii_hexdigit()));
}
