//! Decides what is announced, and what becomes of deliveries: a pure function of the old and the new status and of the
//! outcomes of attempts.
//!
//! | event | announced when |
//! |---|---|
//! | `Complete`, `PartiallyFailed`, `Failed` | a run ended that was not announced, and is not being verified any more, or another one ended since |
//! | `Failed` | the condition Failed began to hold without such a run: the jobsender failed |
//! | `Degraded` | that condition has held for a minute, and was not announced |
//! | `Recovered` | it has not held for a minute, and was announced |

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use migration_api::notify::{Notify, NotifyEvent};
use migration_api::status::{
    Delivery, GivenUp, LastRun, MigrationJobStatus, NotificationsStatus, PendingEvent, Receiver, RunResult, RunSummary,
};
use migration_api::{ConditionType, Reason};
use migration_core::size::human;
use sha2::{Digest, Sha256};

use super::message::plain;
use crate::backoff::{self, Bounds};

/// How long the condition Degraded must hold, or not hold, to be announced, in milliseconds. Most problems of the first
/// moments end by themselves.
const SETTLED_MS: i64 = 60_000;
/// The delays between attempts.
const RETRIES: Bounds = Bounds { first: Duration::from_secs(5), most: Duration::from_hours(1) };
/// The longest delay while a person has to mend something: a corrected Secret is used this soon.
const PERSON: Duration = Duration::from_mins(5);
/// The age at which an event is given up, in milliseconds.
const GIVE_UP_MS: i64 = 24 * 60 * 60 * 1_000;
/// The most events that wait.
const MOST: usize = 8;
/// Length of identifiers, in hexadecimal digits.
const ID: usize = 32;

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The event.
    pub id: String,
    /// The receiver.
    pub to: Receiver,
    /// Why the receiver does not have it; none if it does.
    pub error: Option<String>,
    /// The time for which the receiver asks, in seconds.
    pub retry_after: Option<u64>,
    /// A person has to mend something of which nothing tells when it is mended.
    pub waits_for_person: bool,
}

/// What became of a delivery, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryResult {
    /// The receiver has the event.
    Delivered,
    /// An attempt failed.
    Failed,
    /// There will be no further attempt.
    GivenUp,
}

impl DeliveryResult {
    /// All results.
    pub const ALL: [Self; 3] = [Self::Delivered, Self::Failed, Self::GivenUp];

    /// Returns the value of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

/// The facts that decide.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `spec.notify`.
    pub spec: Option<&'a Notify>,
    /// UID of the job.
    pub uid: &'a str,
    /// The status as it is stored.
    pub old: &'a MigrationJobStatus,
    /// The status as it will be, without its notifications.
    pub new: &'a MigrationJobStatus,
    /// What became of attempts since the status was stored.
    pub outcomes: &'a [Outcome],
    /// Milliseconds since 1970.
    pub now: i64,
    /// A number in 0 … 1.
    pub random: f64,
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// `status.notifications`.
    pub state: Option<NotificationsStatus>,
    /// What was given up now.
    pub given_up: Vec<GivenUp>,
    /// What became of deliveries.
    pub results: Vec<(Receiver, DeliveryResult)>,
}

/// Decides what is announced, and what becomes of deliveries.
pub fn decide(facts: &Facts<'_>) -> Decision {
    let Some(spec) = facts.spec else { return Decision::default() };
    let mut state = facts.old.notifications.clone().unwrap_or_else(|| known_before(facts.old));
    let mut decision = Decision::default();
    keep_receivers(&mut state, spec);
    for outcome in facts.outcomes {
        take(&mut state, outcome, facts, &mut decision);
    }
    if facts.old.observed_generation != facts.new.observed_generation {
        try_now(&mut state, facts.now);
    }
    let ends = [run_replaced(&mut state, facts), run_ended(&mut state, facts)];
    let announced = ends.into_iter().chain([sender_failed(facts), degraded(&mut state, facts)]);
    for event in announced.flatten().filter(|event| spec.events.contains(&event.event)) {
        let deliveries =
            receivers(spec).map(|to| Delivery { to, attempts: 0, next_attempt_at: time(facts.now), last_error: None });
        state.pending.push(PendingEvent { deliveries: deliveries.collect(), ..event });
    }
    while state.pending.len() > MOST {
        let oldest = state.pending.remove(0);
        for delivery in &oldest.deliveries {
            let text = format!("more than {MOST} events waited");
            give_up(&mut state, &oldest, delivery.to, &text, facts.now, &mut decision);
        }
    }
    Decision { state: Some(state), ..decision }
}

/// Returns what counts as announced when spec.notify is set: what had happened before.
fn known_before(old: &MigrationJobStatus) -> NotificationsStatus {
    NotificationsStatus {
        announced_run: old.last_run.as_ref().map(|run| run.id.clone()),
        announced_degraded: old.condition(ConditionType::Degraded).is_some_and(|(holds, _)| holds),
        ..NotificationsStatus::default()
    }
}

fn receivers(spec: &Notify) -> impl Iterator<Item = Receiver> {
    let is_set = move |to: &Receiver| match to {
        Receiver::Webhook => spec.webhook.is_some(),
        Receiver::Sns => spec.sns.is_some(),
    };
    Receiver::ALL.into_iter().filter(is_set)
}

/// Removes what was to go to receivers that the specification does not name any more.
fn keep_receivers(state: &mut NotificationsStatus, spec: &Notify) {
    let is_kept = |to: Receiver| receivers(spec).any(|receiver| receiver == to);
    for event in &mut state.pending {
        event.deliveries.retain(|delivery| is_kept(delivery.to));
    }
    state.pending.retain(|event| !event.deliveries.is_empty());
    state.given_up = state.given_up.take().filter(|given_up| is_kept(given_up.to));
}

/// Makes all deliveries due, as the specification has changed: what was wrong with it may be corrected.
fn try_now(state: &mut NotificationsStatus, now: i64) {
    for delivery in state.pending.iter_mut().flat_map(|event| &mut event.deliveries) {
        delivery.next_attempt_at = time(now.min(delivery.next_attempt_at.0.as_millisecond()));
    }
}

/// Takes the outcome of an attempt. One of an event that does not wait any more changes nothing.
fn take(state: &mut NotificationsStatus, outcome: &Outcome, facts: &Facts<'_>, decision: &mut Decision) {
    let Some(place) = state.pending.iter().position(|event| event.id == outcome.id) else { return };
    let mut event = state.pending.remove(place);
    let Some(at) = event.deliveries.iter().position(|delivery| delivery.to == outcome.to) else {
        state.pending.insert(place, event);
        return;
    };
    match &outcome.error {
        None => {
            event.deliveries.remove(at);
            state.given_up = state.given_up.take().filter(|given_up| given_up.to != outcome.to);
            decision.results.push((outcome.to, DeliveryResult::Delivered));
        }
        Some(error) => {
            decision.results.push((outcome.to, DeliveryResult::Failed));
            if facts.now - event.time.0.as_millisecond() >= GIVE_UP_MS {
                event.deliveries.remove(at);
                give_up(state, &event, outcome.to, error, facts.now, decision);
            } else if let Some(delivery) = event.deliveries.get_mut(at) {
                delivery.attempts = delivery.attempts.saturating_add(1);
                let end = event.time.0.as_millisecond().saturating_add(GIVE_UP_MS);
                let next = facts.now.saturating_add(delay(delivery.attempts, outcome, facts.random)).min(end);
                delivery.next_attempt_at = time(next);
                delivery.last_error = Some(plain(error));
            }
        }
    }
    if !event.deliveries.is_empty() {
        state.pending.insert(place, event);
    }
}

/// Returns the delay before the next attempt, in milliseconds: what the receiver asks for, if that is more than usual.
fn delay(attempts: u32, outcome: &Outcome, random: f64) -> i64 {
    let bounds = if outcome.waits_for_person { Bounds { most: PERSON, ..RETRIES } } else { RETRIES };
    let usual = backoff::delay(bounds, attempts, random);
    let asked = outcome.retry_after.map_or(Duration::ZERO, Duration::from_secs).min(RETRIES.most);
    i64::try_from(usual.max(asked).as_millis()).unwrap_or(i64::MAX)
}

fn give_up(
    state: &mut NotificationsStatus,
    event: &PendingEvent,
    to: Receiver,
    error: &str,
    now: i64,
    decision: &mut Decision,
) {
    let given_up = GivenUp { id: event.id.clone(), event: event.event, to, at: time(now), last_error: plain(error) };
    state.given_up = Some(given_up.clone());
    decision.given_up.push(given_up);
    decision.results.push((to, DeliveryResult::GivenUp));
}

/// Returns the end of the run before, if another one ended while it was still to be verified.
fn run_replaced(state: &mut NotificationsStatus, facts: &Facts<'_>) -> Option<PendingEvent> {
    let id = |status: &MigrationJobStatus| status.last_run.as_ref().map(|run| run.id.clone());
    if id(facts.old) == id(facts.new) {
        return None;
    }
    announce_end(state, facts, facts.old, None)
}

/// Returns the end of the last run, if it is to be announced.
fn run_ended(state: &mut NotificationsStatus, facts: &Facts<'_>) -> Option<PendingEvent> {
    let verified = facts.new.condition(ConditionType::Verified).map(|(_, condition)| condition);
    if verified.is_some_and(|condition| condition.reason == Reason::Verifying.to_string()) {
        return None;
    }
    announce_end(state, facts, facts.new, verified)
}

/// Returns the end of the last run of a status, unless it was announced. `verified`: what its verification found.
fn announce_end(
    state: &mut NotificationsStatus,
    facts: &Facts<'_>,
    status: &MigrationJobStatus,
    verified: Option<&Condition>,
) -> Option<PendingEvent> {
    let run = status.last_run.as_ref().filter(|run| state.announced_run.as_ref() != Some(&run.id))?;
    state.announced_run = Some(run.id.clone());
    let differs = verified.is_some_and(|condition| condition.reason == Reason::CopyDiffers.to_string());
    let event = match run.result {
        RunResult::Complete if differs => NotifyEvent::PartiallyFailed,
        RunResult::Complete => NotifyEvent::Complete,
        RunResult::PartiallyFailed => NotifyEvent::PartiallyFailed,
        RunResult::Failed => NotifyEvent::Failed,
    };
    let verified = verified.map(|condition| format!("; verification: {}", condition.message)).unwrap_or_default();
    let message = format!("{}{verified}", end_of(run));
    Some(PendingEvent { run: Some(summary(run, status)), ..announced(facts, event, &run.id, None, &message) })
}

fn end_of(run: &LastRun) -> String {
    let LastRun { id, objects, bytes, skipped, failed, .. } = run;
    let numbers = format!("{objects} objects ({}) moved, {skipped} skipped, {failed} failed", human(*bytes));
    match run.result {
        RunResult::Complete => format!("run {id} is complete: {numbers}"),
        RunResult::PartiallyFailed => format!("run {id} ended with failures: {numbers}"),
        RunResult::Failed => {
            format!("run {id} failed: {numbers}; {}", run.message.as_deref().unwrap_or("no reason given"))
        }
    }
}

fn summary(run: &LastRun, status: &MigrationJobStatus) -> RunSummary {
    let LastRun { id, started_at, ended_at, result, objects, bytes, failed, .. } = run.clone();
    let cost = status.runs.iter().find(|run| run.id == id).and_then(|run| run.cost.clone());
    RunSummary { id, started_at, ended_at, result, objects, bytes, failed, cost }
}

/// Returns the failure of a jobsender: the condition Failed begins to hold, and no run has just ended. A run before may
/// still be verified.
fn sender_failed(facts: &Facts<'_>) -> Option<PendingEvent> {
    let failed =
        |status: &'_ MigrationJobStatus| status.condition(ConditionType::Failed).is_some_and(|(holds, _)| holds);
    let id = |status: &MigrationJobStatus| status.last_run.as_ref().map(|run| run.id.clone());
    let is_other = id(facts.old) == id(facts.new);
    if !is_other || failed(facts.old) || !failed(facts.new) {
        return None;
    }
    let (_, condition) = facts.new.condition(ConditionType::Failed)?;
    let why = facts.new.condition(ConditionType::Degraded).filter(|(holds, _)| *holds).map(|(_, why)| why);
    let shown = why.unwrap_or(condition);
    let key = condition.last_transition_time.0.as_second().to_string();
    Some(announced(facts, NotifyEvent::Failed, &key, Some(&shown.reason), &shown.message))
}

/// Returns the change of the condition Degraded, once it has lasted.
fn degraded(state: &mut NotificationsStatus, facts: &Facts<'_>) -> Option<PendingEvent> {
    let (holds, condition) = facts.new.condition(ConditionType::Degraded)?;
    let since = condition.last_transition_time.0;
    if holds == state.announced_degraded || facts.now < settled_at(condition) {
        return None;
    }
    state.announced_degraded = holds;
    let event = if holds { NotifyEvent::Degraded } else { NotifyEvent::Recovered };
    let reason = holds.then_some(condition.reason.as_str());
    Some(announced(facts, event, &since.as_second().to_string(), reason, &condition.message))
}

/// Returns when a change of a condition has lasted long enough, in milliseconds since 1970.
fn settled_at(condition: &Condition) -> i64 {
    condition.last_transition_time.0.as_millisecond().saturating_add(SETTLED_MS)
}

/// Returns when the state of the condition Degraded is to be announced, in milliseconds since 1970; none if it is.
pub fn next_announcement(status: &MigrationJobStatus) -> Option<i64> {
    let state = status.notifications.as_ref()?;
    let (holds, condition) = status.condition(ConditionType::Degraded)?;
    (holds != state.announced_degraded).then(|| settled_at(condition))
}

/// Makes an event. The same transition has the same identifier, and no full stop is in it.
fn announced(facts: &Facts<'_>, event: NotifyEvent, key: &str, reason: Option<&str>, message: &str) -> PendingEvent {
    let digest = Sha256::digest(format!("{}/{event}/{key}", facts.uid));
    PendingEvent {
        id: hex::encode(digest).chars().take(ID).collect(),
        event,
        time: time(facts.now),
        reason: reason.map(ToOwned::to_owned),
        message: plain(message),
        run: None,
        deliveries: Vec::new(),
    }
}

/// Converts milliseconds since 1970 to the whole seconds that Kubernetes keeps.
fn time(millis: i64) -> Time {
    Time(Timestamp::from_second(millis.div_euclid(1_000)).unwrap_or_default())
}

/// Returns what the condition Notified says: whether it holds, why, and in words.
pub fn condition(state: &NotificationsStatus) -> (bool, Reason, String) {
    if let Some(GivenUp { event, to, last_error, .. }) = &state.given_up {
        let text = format!(
            "the event {event} was given up for {to}: {last_error}; the next one that {to} takes ends this condition"
        );
        return (false, Reason::NotificationGivenUp, text);
    }
    let failing = state.pending.iter().flat_map(|event| event.deliveries.iter().map(move |one| (event, one)));
    let mut failing = failing.filter(|(_, delivery)| delivery.attempts > 0);
    match failing.next() {
        Some((event, Delivery { to, attempts, last_error, .. })) => {
            let (more, why) = (failing.count(), last_error.as_deref().unwrap_or_default());
            let more = if more > 0 { format!("; {more} others wait too") } else { String::new() };
            let text =
                format!("the event {} is not delivered to {to} after {attempts} attempts: {why}{more}", event.event);
            (false, Reason::NotificationsRetried, text)
        }
        None => (true, Reason::NotificationsDelivered, "no notification waits for another attempt".to_owned()),
    }
}

#[cfg(test)]
mod tests;
