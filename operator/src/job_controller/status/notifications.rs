//! Puts notifications into the status, and hands those that are due to the courier.

use std::time::Duration;

use kube::ResourceExt;
use migration_api::status::{Delivery, GivenUp, MigrationJobStatus, PendingEvent};
use migration_api::{ConditionType, EventReason, MigrationJob, Reason};

use super::conditions;
use crate::event::JobEvent;
use crate::job_controller::context::Context;
use crate::notify::decide::{self, Decision, Facts, Outcome};
use crate::notify::{About, Parcel};

/// When a job comes back whose delivery is under way, in milliseconds: it is woken before, when that ends.
const UNDER_WAY_MS: i64 = 15_000;
/// When a job comes back for which the courier has no room, in milliseconds: it is woken before, when there is some.
const BUSY_MS: i64 = 15_000;
/// When a job comes back at the earliest whose delivery is not due, in milliseconds.
const SOON_MS: i64 = 1_000;

/// Adds notifications and the condition Notified to a status. `outcomes`: of attempts since the last write.
pub fn add(
    job: &MigrationJob,
    new: MigrationJobStatus,
    outcomes: &[Outcome],
    context: &Context,
) -> (MigrationJobStatus, Decision) {
    let none = MigrationJobStatus::default();
    let old = job.status.as_ref().unwrap_or(&none);
    let uid = job.uid().unwrap_or_default();
    let (now, random) = (context.now(), context.random());
    let facts = Facts { spec: job.spec.notify.as_ref(), uid: &uid, old, new: &new, outcomes, now, random };
    let decision = decide::decide(&facts);
    let said = decision.state.as_ref().map(decide::condition);
    let generation = job.metadata.generation;
    let notified = said.map(|said| conditions::notified(&old.conditions, said, generation, now));
    let mut new = MigrationJobStatus { notifications: decision.state.clone(), ..new };
    new.conditions.retain(|condition| condition.type_ != ConditionType::Notified.as_str());
    new.conditions.extend(notified);
    (new, decision)
}

/// Returns the events about notifications that were given up.
pub fn events(given_up: &[GivenUp]) -> impl Iterator<Item = JobEvent> + '_ {
    given_up.iter().map(|GivenUp { event, to, last_error, .. }| {
        let text = format!("the notification {event} was given up for {to}: {last_error}");
        JobEvent::warning(EventReason::Condition(Reason::NotificationGivenUp), "Notify", text)
    })
}

/// Begins the deliveries that are due. Returns when the job comes back for the next thing to deliver or to announce.
pub fn send(job: &MigrationJob, status: &MigrationJobStatus, context: &Context) -> Option<Duration> {
    let (uid, now) = (job.uid().unwrap_or_default(), context.now());
    let pending = status.notifications.iter().flat_map(|state| &state.pending);
    let deliveries = pending.flat_map(|event| event.deliveries.iter().map(move |delivery| (event, delivery)));
    let times = deliveries.map(|(event, delivery)| try_one(job, event, delivery, now, context));
    let due = times.chain(decide::next_announcement(status)).min();
    context.courier.set_due(&uid, due);
    let milliseconds = due.map(|due| u64::try_from(due - now).unwrap_or_default());
    milliseconds.map(|milliseconds| Duration::from_millis(milliseconds.max(500)))
}

/// Begins a delivery if it is due. Returns when it is looked at again, in milliseconds since 1970.
fn try_one(job: &MigrationJob, event: &PendingEvent, delivery: &Delivery, now: i64, context: &Context) -> i64 {
    let due = delivery.next_attempt_at.0.as_millisecond();
    let Some(notify) = job.spec.notify.as_ref().filter(|_| due <= now) else { return due.max(now + SOON_MS) };
    let about = About {
        namespace: job.namespace().unwrap_or_default(),
        name: job.name_any(),
        uid: job.uid().unwrap_or_default(),
    };
    let is_sent = context.courier.send(Parcel {
        means: context.means(),
        about,
        notify: notify.clone(),
        queue_credentials: job.spec.queue.credentials.clone(),
        event: event.clone(),
        to: delivery.to,
        at: now.div_euclid(1_000),
    });
    now + if is_sent { UNDER_WAY_MS } else { BUSY_MS }
}
