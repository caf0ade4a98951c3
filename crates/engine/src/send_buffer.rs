//! Buffers messages for the queue, sends ten per request, and resends those that the queue did not accept.

use std::time::Duration;

use migration_core::message::MAX_BODY_BYTES;
use migration_core::mutants::{Mutant, is_active};
use migration_core::ports::{OutgoingMessage, Queue};
use migration_core::retry::Backoff;

use crate::{Interruption, Process, Services};

/// Maximum number of messages in one request.
const AT_ONCE: usize = 10;
/// Waits before resending messages that the queue did not accept.
const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(30) };

/// Messages not yet sent.
#[derive(Default)]
pub(crate) struct SendBuffer {
    messages: Vec<OutgoingMessage>,
    bytes: usize,
    delay: Duration,
}

impl SendBuffer {
    /// Creates a buffer whose messages become visible after a delay.
    pub(crate) fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// Adds a message; sends the buffered ones when a request is full.
    pub(crate) async fn push<P: Services>(&mut self, process: &Process<P>, body: String) -> Result<(), Interruption> {
        // The queue bounds the bytes of a whole request as it does those of one message.
        if self.bytes + body.len() > MAX_BODY_BYTES {
            self.flush(process).await?;
        }
        self.bytes += body.len();
        self.messages.push(OutgoingMessage { body, delay: self.delay });
        if self.messages.len() == AT_ONCE { self.flush(process).await } else { Ok(()) }
    }

    /// Sends all buffered messages; returns when the queue has accepted all of them.
    pub(crate) async fn flush<P: Services>(&mut self, process: &Process<P>) -> Result<(), Interruption> {
        let mut left = std::mem::take(&mut self.messages);
        self.bytes = 0;
        let mut attempt = 0;
        while !left.is_empty() {
            let mut refused = process.queue(|| process.ports.queue.send(&left)).await?;
            if is_active(Mutant::LostQueueEntry) {
                refused.clear();
            }
            let mut place = 0;
            left.retain(|_| {
                place += 1;
                refused.contains(&(place - 1))
            });
            if !left.is_empty() {
                tokio::time::sleep(BACKOFF.wait(attempt, process.runtime.clock.random())).await;
                attempt += 1;
            }
        }
        Ok(())
    }
}
