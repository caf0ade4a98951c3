//! [`Queue`] implementation.

use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{
    DeadLetter, DeadLetterQueue, Depth, MeasuredQueue, OutgoingMessage, Queue, ReceivedMessage,
};
use migration_local::queue::bounds::{
    MAX_VISIBILITY, check_batch, check_receive, check_visibility, is_rejected, refused, unknown_receipt,
};
use tokio::time::{Instant, sleep_until};

use super::state::{QueueState, depth};
use super::{MemoryDeadLetters, MemoryQueue};
use crate::Operation;
use crate::lock;

impl MemoryQueue {
    /// Takes messages as soon as there are some, waiting at most `wait`. `take` also returns when the next message
    /// becomes visible.
    async fn poll<T>(
        &self,
        operation: Operation,
        wait: Duration,
        take: impl Fn(&mut QueueState, Instant) -> Result<(Vec<T>, Option<Instant>), ServiceError> + Send,
    ) -> Result<Vec<T>, ServiceError> {
        let until = Instant::now() + wait;
        loop {
            self.denials.check(operation)?;
            // Registered before the check, so that a message sent after the check wakes it.
            let changed = self.changed.notified();
            let now = Instant::now();
            let (taken, next) = take(&mut lock(&self.state), now)?;
            if !taken.is_empty() || now >= until {
                return Ok(taken);
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(next.map_or(until, |next| next.min(until))) => {}
            }
        }
    }
}

impl Queue for MemoryQueue {
    async fn send(&self, messages: &[OutgoingMessage]) -> Result<Vec<usize>, ServiceError> {
        const SEND: Operation = Operation::SendMessages;
        self.denials.check(SEND)?;
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        check_batch(messages)?;
        let mut failed = Vec::new();
        {
            let mut state = lock(&self.state);
            let now = Instant::now();
            for (place, message) in messages.iter().enumerate() {
                if is_rejected(message, self.settings.max_bytes) {
                    failed.push(place);
                } else if state.refusals > 0 {
                    state.refusals -= 1;
                    failed.push(place);
                } else {
                    state.push(message.body.clone(), now, now + message.delay);
                }
            }
        }
        self.changed.notify_waiters();
        Ok(failed)
    }

    async fn receive(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<ReceivedMessage>, ServiceError> {
        const RECEIVE: Operation = Operation::ReceiveMessages;
        check_receive(RECEIVE, max, wait, visibility)?;
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let take = |state: &mut QueueState, now| {
            state.expire(now, self.settings.retention);
            state.bury(now, self.settings.max_receives);
            let room = self.settings.max_in_flight.saturating_sub(state.stats(now).in_flight);
            // Only reported to receives that do not wait. Source: `ReceiveMessage` in the SQS API reference,
            // `OverLimit`.
            if room == 0 && wait.is_zero() {
                let message = "the maximum number of in flight messages is reached";
                return Err(ServiceError::new(ErrorClass::Throttled, RECEIVE.as_str(), "OverLimit", message));
            }
            Ok((state.take(now, max.min(room), visibility), state.next_visible(now)))
        };
        self.poll(RECEIVE, wait, take).await
    }

    async fn set_visibility(&self, receipt: &str, visibility: Duration) -> Result<(), ServiceError> {
        const SET: Operation = Operation::SetVisibility;
        self.denials.check(SET)?;
        check_visibility(SET, visibility)?;
        let now = Instant::now();
        {
            let mut state = lock(&self.state);
            let message = state.messages.iter_mut().find(|m| m.receipt.as_deref() == Some(receipt));
            let message = message.ok_or_else(|| unknown_receipt(SET))?;
            if message.visible_at <= now {
                return Err(refused(SET, "MessageNotInflight", "the message referred to is not in flight"));
            }
            if message.received_at.is_some_and(|at| now + visibility > at + MAX_VISIBILITY) {
                let message = "total visibility timeout for the message is beyond the limit of 12 hours";
                return Err(refused(SET, "InvalidParameterValue", message));
            }
            message.visible_at = now + visibility;
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// With the receipt of an earlier delivery, the request succeeds without deleting.
    /// Source: `DeleteMessage` in the SQS API reference: "the request succeeds, but the message might not be deleted".
    async fn delete(&self, receipt: &str) -> Result<(), ServiceError> {
        const DELETE: Operation = Operation::DeleteMessage;
        self.denials.check(DELETE)?;
        let mut state = lock(&self.state);
        if !state.knows(receipt) {
            return Err(unknown_receipt(DELETE));
        }
        state.messages.retain(|message| message.receipt.as_deref() != Some(receipt));
        Ok(())
    }

    async fn send_dead_letter(&self, body: &str, reason: &str) -> Result<(), ServiceError> {
        self.denials.check(Operation::SendDeadLetter)?;
        lock(&self.state).push_dead(body.to_owned(), Some(reason.to_owned()), Instant::now());
        self.changed.notify_waiters();
        Ok(())
    }
}

impl MeasuredQueue for MemoryQueue {
    async fn depth(&self) -> Result<Depth, ServiceError> {
        self.denials.check(Operation::MeasureQueue)?;
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.expire(now, self.settings.retention);
        Ok(depth(&state.messages, now))
    }
}

impl DeadLetterQueue for MemoryDeadLetters {
    async fn receive_dead_letters(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<DeadLetter>, ServiceError> {
        const RECEIVE: Operation = Operation::ReceiveDeadLetters;
        check_receive(RECEIVE, max, wait, visibility)?;
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let take = |state: &mut QueueState, now| {
            let taken = state.take_dead(now, max, visibility);
            let waiting = state.dead.iter().map(|dead| dead.message.visible_at);
            Ok((taken, waiting.filter(|at| *at > now).min()))
        };
        self.0.poll(RECEIVE, wait, take).await
    }
}

impl MeasuredQueue for MemoryDeadLetters {
    async fn depth(&self) -> Result<Depth, ServiceError> {
        self.0.denials.check(Operation::MeasureQueue)?;
        let state = lock(&self.0.state);
        Ok(depth(state.dead.iter().map(|dead| &dead.message), Instant::now()))
    }
}
