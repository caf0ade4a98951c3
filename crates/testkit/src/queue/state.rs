//! State of a queue.

use std::time::Duration;

use migration_core::ports::{self, Depth, ReceivedMessage};
use tokio::time::Instant;

use super::{QueueStats, RECEIPT};

/// A queue and its dead letters.
#[derive(Debug, Default)]
pub(super) struct QueueState {
    pub(super) last_id: u64,
    pub(super) last_receipt: u64,
    pub(super) duplicates: u32,
    /// Entries of batches still to be rejected.
    pub(super) refusals: u32,
    pub(super) newest_first: bool,
    pub(super) messages: Vec<Message>,
    pub(super) dead: Vec<Dead>,
}

/// A message in the dead-letter queue.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) message: Message,
    /// Reason given by the worker that moved it; `None` if the queue moved it.
    pub(super) reason: Option<String>,
}

/// A message that is not deleted.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) receives: u32,
    pub(super) receipt: Option<String>,
    /// Time of the last delivery.
    pub(super) received_at: Option<Instant>,
    pub(super) visible_at: Instant,
    pub(super) sent_at: Instant,
}

impl QueueState {
    pub(super) fn push(&mut self, body: String, sent_at: Instant, visible_at: Instant) {
        let message = self.message(body, sent_at, visible_at);
        self.messages.push(message);
    }

    pub(super) fn push_dead(&mut self, body: String, reason: Option<String>, now: Instant) {
        let message = self.message(body, now, now);
        self.dead.push(Dead { message, reason });
    }

    fn message(&mut self, body: String, sent_at: Instant, visible_at: Instant) -> Message {
        self.last_id += 1;
        let id = format!("message-{}", self.last_id);
        Message { id, body, receives: 0, receipt: None, received_at: None, visible_at, sent_at }
    }

    /// Removes messages that exceeded their retention, in flight or not.
    pub(super) fn expire(&mut self, now: Instant, retention: Duration) {
        self.messages.retain(|message| now < message.sent_at + retention);
    }

    /// Moves messages delivered too often to the dead letters. Runs before each delivery.
    pub(super) fn bury(&mut self, now: Instant, max_receives: u32) {
        let (dead, alive): (Vec<_>, Vec<_>) =
            self.messages.drain(..).partition(|m| m.visible_at <= now && m.receives >= max_receives);
        self.messages = alive;
        self.dead.extend(dead.into_iter().map(|message| Dead { message, reason: None }));
    }

    /// Delivers dead letters without removing them.
    pub(super) fn take_dead(&mut self, now: Instant, max: usize, visibility: Duration) -> Vec<ports::DeadLetter> {
        let visible = self.dead.iter_mut().filter(|dead| dead.message.visible_at <= now).take(max);
        let deliver = |dead: &mut Dead| {
            let message = dead.message.deliver(&mut self.last_receipt, now);
            dead.message.visible_at = now + visibility;
            ports::DeadLetter { message, reason: dead.reason.clone() }
        };
        visible.map(deliver).collect()
    }

    pub(super) fn take(&mut self, now: Instant, max: usize, visibility: Duration) -> Vec<ReceivedMessage> {
        let mut places: Vec<usize> = (0..self.messages.len()).collect();
        if self.newest_first {
            places.reverse();
        }
        let mut taken = Vec::new();
        for place in places {
            let Some(message) = self.messages.get_mut(place).filter(|m| m.visible_at <= now) else { continue };
            if taken.len() == max {
                break;
            }
            taken.push(message.deliver(&mut self.last_receipt, now));
            if self.duplicates > 0 {
                self.duplicates -= 1;
            } else {
                message.visible_at = now + visibility;
            }
        }
        taken
    }

    /// Returns true if a delivery ever had this receipt.
    pub(super) fn knows(&self, receipt: &str) -> bool {
        let number = receipt.strip_prefix(RECEIPT).and_then(|number| number.parse::<u64>().ok());
        number.is_some_and(|number| (1..=self.last_receipt).contains(&number))
    }

    pub(super) fn next_visible(&self, now: Instant) -> Option<Instant> {
        self.messages.iter().map(|message| message.visible_at).filter(|at| *at > now).min()
    }

    pub(super) fn stats(&self, now: Instant) -> QueueStats {
        let Depth { visible, in_flight, delayed } = depth(&self.messages, now);
        let number = |n| usize::try_from(n).unwrap_or(usize::MAX);
        QueueStats {
            visible: number(visible),
            in_flight: number(in_flight),
            delayed: number(delayed),
            dead_letters: self.dead.len(),
        }
    }
}

impl Message {
    /// Counts a delivery, under the receipt after `last_receipt`, and returns the received message.
    fn deliver(&mut self, last_receipt: &mut u64, now: Instant) -> ReceivedMessage {
        *last_receipt += 1;
        let receipt = format!("{RECEIPT}{last_receipt}");
        self.receives += 1;
        self.receipt = Some(receipt.clone());
        self.received_at = Some(now);
        ReceivedMessage { id: self.id.clone(), receipt, body: self.body.clone(), receives: self.receives }
    }
}

/// Counts messages by state.
pub(super) fn depth<'a>(messages: impl IntoIterator<Item = &'a Message>, now: Instant) -> Depth {
    let mut counted = Depth::default();
    for message in messages {
        match (message.visible_at <= now, message.receives) {
            (true, _) => counted.visible += 1,
            (false, 0) => counted.delayed += 1,
            (false, _) => counted.in_flight += 1,
        }
    }
    counted
}
