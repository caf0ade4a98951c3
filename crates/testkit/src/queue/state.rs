//! State of a queue.

use std::time::Duration;

use migration_core::ports::ReceivedMessage;
use tokio::time::Instant;

use super::{DeadLetter, QueueStats, RECEIPT};

/// A queue and its dead letters.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) last_id: u64,
    pub(super) last_receipt: u64,
    pub(super) duplicates: u32,
    /// Entries of batches still to be rejected.
    pub(super) refusals: u32,
    pub(super) newest_first: bool,
    pub(super) messages: Vec<Message>,
    pub(super) dead: Vec<DeadLetter>,
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

impl State {
    pub(super) fn push(&mut self, body: String, sent_at: Instant, visible_at: Instant) {
        self.last_id += 1;
        let id = format!("message-{}", self.last_id);
        self.messages.push(Message { id, body, receives: 0, receipt: None, received_at: None, visible_at, sent_at });
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
        self.dead.extend(dead.into_iter().map(|m| DeadLetter { body: m.body, reason: None }));
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
            self.last_receipt += 1;
            let receipt = format!("{RECEIPT}{}", self.last_receipt);
            message.receives += 1;
            message.receipt = Some(receipt.clone());
            message.received_at = Some(now);
            if self.duplicates > 0 {
                self.duplicates -= 1;
            } else {
                message.visible_at = now + visibility;
            }
            taken.push(ReceivedMessage {
                id: message.id.clone(),
                receipt,
                body: message.body.clone(),
                receives: message.receives,
            });
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
        let mut counted = QueueStats { dead_letters: self.dead.len(), ..QueueStats::default() };
        for message in &self.messages {
            match (message.visible_at <= now, message.receives) {
                (true, _) => counted.visible += 1,
                (false, 0) => counted.delayed += 1,
                (false, _) => counted.in_flight += 1,
            }
        }
        counted
    }
}
