//! Bodies that fail in transit, in either direction.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::ByteStream;

use super::injected;
use super::plan::{Action, Fault, FaultPlan, Life};
use crate::Operation;

/// Event at a position in a body.
pub(super) enum Mark {
    /// Fails with a transient error.
    Break,
    /// Pauses.
    Stall(Duration),
    /// Kills the process.
    Die,
    /// Flips a bit of the next byte.
    Flip,
    /// Runs an action of another client.
    Act(Action),
}

/// Splits the faults of a body from those of a call. Returns the remaining fault, and the event with its position in
/// bytes.
pub(super) fn mark_of(fault: Option<Fault>, operation: Operation) -> (Option<Fault>, Option<(u64, Mark)>) {
    let reads = operation == Operation::GetObject;
    let mark = match fault {
        Some(Fault::Truncate(bytes)) if reads => (bytes, Mark::Break),
        Some(Fault::TruncateRequest(bytes)) if !reads => (bytes, Mark::Break),
        Some(Fault::Stall(bytes, time)) => (bytes, Mark::Stall(time)),
        Some(Fault::CrashDuring(bytes)) => (bytes, Mark::Die),
        Some(Fault::Corrupt) => (0, Mark::Flip),
        other => return (other, None),
    };
    (None, Some(mark))
}

/// Returns the bytes with one bit flipped; empty bytes stay empty.
pub(super) fn flipped(bytes: &Bytes) -> Bytes {
    let mut flipped = BytesMut::from(&bytes[..]);
    if let Some(first) = flipped.first_mut() {
        *first ^= 1;
    }
    flipped.freeze()
}

/// A body and its events. It stalls for ever once the process that reads or sends it is dead.
pub(super) struct Pipe {
    body: ByteStream,
    operation: Operation,
    plan: FaultPlan,
    life: Life,
    marks: VecDeque<(u64, Mark)>,
    /// Bytes already taken from the body, to be returned after the next event.
    rest: Bytes,
    passed: u64,
    flip: bool,
    ended: bool,
}

impl Pipe {
    pub(super) fn new(body: ByteStream, operation: Operation, plan: FaultPlan, life: Life) -> Self {
        Self {
            body,
            operation,
            plan,
            life,
            marks: VecDeque::new(),
            rest: Bytes::new(),
            passed: 0,
            flip: false,
            ended: false,
        }
    }

    /// Returns the body with these events. Events beyond its end happen at its end.
    pub(super) fn with(mut self, fault: Option<(u64, Mark)>, actions: Vec<(u64, Action)>) -> ByteStream {
        let actions = actions.into_iter().map(|(bytes, action)| (bytes, Mark::Act(action)));
        let mut marks: Vec<_> = actions.chain(fault).collect();
        marks.sort_by_key(|(bytes, _)| *bytes);
        self.marks = marks.into();
        stream::unfold(self, |mut pipe| async move { pipe.next().await.map(|piece| (piece, pipe)) }).boxed()
    }

    async fn next(&mut self) -> Option<Result<Bytes, ServiceError>> {
        self.alive().await;
        if self.ended {
            return None;
        }
        if let Some(error) = self.reach(self.passed).await {
            return Some(Err(error));
        }
        while self.rest.is_empty() {
            let piece = self.body.next().await;
            self.alive().await;
            match piece {
                Some(Ok(piece)) => self.rest = piece,
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                None => {
                    self.ended = true;
                    return self.reach(u64::MAX).await.map(Err);
                }
            }
        }
        Some(Ok(self.piece()))
    }

    /// Runs all events up to a position; returns the error if one fails the body.
    async fn reach(&mut self, place: u64) -> Option<ServiceError> {
        while let Some((_, mark)) = self.marks.pop_front_if(|(bytes, _)| *bytes <= place) {
            match mark {
                Mark::Break => {
                    self.ended = true;
                    return Some(injected(self.operation, ErrorClass::Transient));
                }
                Mark::Stall(time) => {
                    tokio::time::sleep(time).await;
                    self.alive().await;
                }
                Mark::Die => {
                    self.plan.end(self.life);
                    self.alive().await;
                }
                Mark::Flip => self.flip = true,
                Mark::Act(action) => {
                    self.plan.acted();
                    action();
                }
            }
        }
        None
    }

    /// Returns the available bytes up to the next event.
    fn piece(&mut self) -> Bytes {
        let room = self.marks.front().map_or(u64::MAX, |(bytes, _)| bytes - self.passed);
        let len = usize::try_from(room).unwrap_or(usize::MAX).min(self.rest.len());
        let piece = self.rest.split_to(len);
        self.passed += len as u64;
        if std::mem::take(&mut self.flip) { flipped(&piece) } else { piece }
    }

    async fn alive(&mut self) {
        if !self.plan.is_alive(self.life) {
            std::future::pending::<()>().await;
        }
    }
}
