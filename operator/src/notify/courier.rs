//! Carries out deliveries beside reconciliations, so that none of these waits for a receiver.
//!
//! Bounds: [`MOST`] attempts at once, [`MOST_OF_NAMESPACE`] of one namespace, one of a job to a receiver. What finds no
//! room is not queued here: it stands in the status, and its job is woken when there is some.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use migration_api::status::Receiver;
use migration_engine::log_context::{LogContext, within, within_sync};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::decide::Outcome;
use super::deliver::{Parcel, deliver};
use super::failure::Failure;
use super::message::About;

/// The most attempts at once, except that each namespace has room for one.
const MOST: usize = 32;
/// The most attempts at once for the jobs of a namespace, so that its receivers hold up those of no other one.
const MOST_OF_NAMESPACE: usize = 4;
/// How many jobs may wait to be woken. One more is woken by the time at which it comes back anyway.
const WAKING: usize = 1_024;

/// How many jobs may wait for room. One more finds it when it comes back anyway.
const WAITING: usize = 1_024;

/// A job, by namespace and name.
pub type JobName = (String, String);

/// Carries out deliveries. Clones are the same courier.
#[derive(Clone)]
pub struct Courier {
    state: Arc<Mutex<State>>,
    wake: mpsc::Sender<JobName>,
    woken: Arc<Mutex<Option<mpsc::Receiver<JobName>>>>,
}

#[derive(Default)]
struct State {
    /// Attempts under way, by namespace.
    namespaces: HashMap<String, usize>,
    /// What is known of jobs with notifications, by UID.
    jobs: HashMap<String, Mail>,
    /// Jobs for which there was no room, each once, with their UIDs; the first has waited longest.
    waiting: VecDeque<(JobName, String)>,
}

/// What is known of a job.
#[derive(Default)]
struct Mail {
    /// Receivers to which an attempt is under way.
    sending: Vec<Receiver>,
    /// What became of attempts, until the status has it.
    outcomes: Vec<Outcome>,
    /// When the job comes back for a delivery, in milliseconds since 1970.
    due: Option<i64>,
}

impl Default for Courier {
    fn default() -> Self {
        let (wake, woken) = mpsc::channel(WAKING);
        Self { state: Arc::default(), wake, woken: Arc::new(Mutex::new(Some(woken))) }
    }
}

impl Courier {
    /// Returns the jobs of which an attempt ended. The first call gets them.
    pub fn woken(&self) -> impl Stream<Item = JobName> + Send + use<> {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner).take();
        futures::stream::unfold(woken, |woken| async {
            let mut woken = woken?;
            let job = woken.recv().await?;
            Some((job, Some(woken)))
        })
    }

    /// Returns what became of a job's attempts.
    pub fn outcomes(&self, uid: &str) -> Vec<Outcome> {
        self.state().jobs.get(uid).map(|mail| mail.outcomes.clone()).unwrap_or_default()
    }

    /// Forgets outcomes that the status has.
    pub fn settle(&self, uid: &str, outcomes: &[Outcome]) {
        if let Some(mail) = self.state().jobs.get_mut(uid) {
            mail.outcomes.retain(|outcome| !outcomes.contains(outcome));
        }
    }

    /// Sets when a job comes back, in milliseconds since 1970; none if nothing of it waits.
    pub fn set_due(&self, uid: &str, due: Option<i64>) {
        let mut state = self.state();
        match due {
            Some(_) => state.jobs.entry(uid.to_owned()).or_default().due = due,
            None => state.forget(uid),
        }
    }

    /// Returns true if a job is to be reconciled for its notifications.
    pub fn is_waiting(&self, uid: &str, now: i64) -> bool {
        let is_due = |mail: &Mail| !mail.outcomes.is_empty() || mail.due.is_some_and(|due| due <= now);
        self.state().jobs.get(uid).is_some_and(is_due)
    }

    /// Forgets a job that is deleted. An attempt under way ends by itself.
    pub fn remove(&self, uid: &str) {
        self.state().jobs.remove(uid);
    }

    /// Begins an attempt. Returns false if there is no room for it now; otherwise the job is woken, when this attempt
    /// has ended, or the one before to the same receiver.
    pub fn send(&self, parcel: Parcel) -> bool {
        let slot = match self.begin(&parcel) {
            Begun::Now(slot) => slot,
            Begun::Before => return true,
            Begun::Full => return false,
        };
        let context = LogContext::job(&parcel.about.namespace, &parcel.about.name);
        tokio::spawn(within(context, async move {
            if parcel.means.fence.check().is_err() {
                debug!("not sent: this process is not the leader any more");
                return;
            }
            let failure = deliver(&parcel).await.err();
            let retry_after = failure.as_ref().and_then(Failure::retry_after);
            let waits_for_person = failure.as_ref().is_some_and(Failure::waits_for_person);
            let error = failure.map(|failure| failure.to_string());
            if let Some(error) = &error {
                let (event, to) = (parcel.event.event, parcel.to);
                warn!(%event, %to, error, "failed to deliver notification");
            }
            slot.end(Outcome { id: parcel.event.id.clone(), to: parcel.to, error, retry_after, waits_for_person });
        }));
        true
    }

    fn begin(&self, parcel: &Parcel) -> Begun {
        let About { namespace, name, uid } = &parcel.about;
        let mut state = self.state();
        let all: usize = state.namespaces.values().sum();
        let of_namespace = state.namespaces.get(namespace).copied().unwrap_or_default();
        let mail = state.jobs.entry(uid.clone()).or_default();
        let is_known = |outcome: &Outcome| outcome.id == parcel.event.id && outcome.to == parcel.to;
        if mail.sending.contains(&parcel.to) || mail.outcomes.iter().any(is_known) {
            return Begun::Before;
        }
        if of_namespace >= MOST_OF_NAMESPACE || (all >= MOST && of_namespace > 0) {
            let job = ((namespace.clone(), name.clone()), uid.clone());
            if state.waiting.len() < WAITING && !state.waiting.contains(&job) {
                state.waiting.push_back(job);
            }
            return Begun::Full;
        }
        mail.sending.push(parcel.to);
        *state.namespaces.entry(namespace.clone()).or_default() += 1;
        let job = (namespace.clone(), name.clone());
        Begun::Now(Slot { courier: self.clone(), job, uid: uid.clone(), to: parcel.to })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves numbers and outcomes that are valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the job that has waited longest for the room there is now, and lets it be due.
    fn next(&mut self) -> Option<JobName> {
        let has_room =
            |namespace: &String| self.namespaces.get(namespace).is_none_or(|number| *number < MOST_OF_NAMESPACE);
        let place = self.waiting.iter().position(|((namespace, _), _)| has_room(namespace))?;
        let (job, uid) = self.waiting.remove(place)?;
        if let Some(mail) = self.jobs.get_mut(&uid) {
            mail.due = Some(0);
        }
        Some(job)
    }

    /// Forgets a job of which nothing waits and nothing is under way.
    fn forget(&mut self, uid: &str) {
        let Some(mail) = self.jobs.get_mut(uid) else { return };
        mail.due = None;
        if mail.sending.is_empty() && mail.outcomes.is_empty() {
            self.jobs.remove(uid);
        }
    }
}

/// Whether an attempt begins.
enum Begun {
    /// It does.
    Now(Slot),
    /// One is under way, or has just ended.
    Before,
    /// There is no room.
    Full,
}

/// An attempt under way. However it ends, its room is free then.
struct Slot {
    courier: Courier,
    job: JobName,
    uid: String,
    to: Receiver,
}

impl Slot {
    /// Keeps the outcome until the status has it, and wakes the job.
    fn end(self, outcome: Outcome) {
        let (courier, job) = (self.courier.clone(), self.job.clone());
        if let Some(mail) = courier.state().jobs.get_mut(&self.uid) {
            mail.outcomes.push(outcome);
        }
        drop(self);
        if courier.wake.try_send(job).is_err() {
            debug!("a job is not woken, since too many are or nobody listens: it comes back by itself");
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.courier.state();
        if let Some(number) = state.namespaces.get_mut(&self.job.0) {
            *number = number.saturating_sub(1);
            if *number == 0 {
                state.namespaces.remove(&self.job.0);
            }
        }
        if let Some(mail) = state.jobs.get_mut(&self.uid) {
            mail.sending.retain(|to| *to != self.to);
        }
        let next = state.next();
        drop(state);
        let Some(job) = next else { return };
        // Not the job of this attempt.
        let context = LogContext::job(&job.0, &job.1);
        if self.courier.wake.try_send(job).is_err() {
            within_sync(context, || debug!("a job that waits for room is not woken: it comes back by itself"));
        }
    }
}

#[cfg(test)]
mod tests;
