//! Random requests to the local queue and to the one in memory have the same answers, on a clock that stands still.

use std::sync::Arc;
use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{DeadLetterQueue as _, MeasuredQueue as _, OutgoingMessage, Queue as _, ReceivedMessage};
use migration_local::queue::{LocalQueue, QueueSettings};
use migration_local::state::State;
use migration_testkit::{MemoryQueue, TestClock};
use proptest::collection::vec;
use proptest::prelude::*;

const MAX_RECEIVES: u32 = 3;
const RETENTION: Duration = Duration::from_secs(30);
/// Messages per case: a receive takes all of them, since the order of queues may differ.
const MOST: usize = 10;

#[derive(Clone, Debug)]
enum Step {
    Send { delay: u64 },
    SendDead,
    Receive { visibility: u64 },
    ReceiveDead { visibility: u64 },
    SetVisibility { receipt: usize, visibility: u64 },
    Delete { receipt: usize },
    Advance { millis: u64 },
}

/// Times in milliseconds, which meet each other.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0),
        1 => Just(1),
        4 => Just(10_000),
        2 => Just(20_000),
        // The longest visibility and one over it, which is longer than the longest delay too.
        1 => Just(43_200_000),
        1 => Just(43_200_001),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => time().prop_map(|delay| Step::Send { delay }),
        1 => Just(Step::SendDead),
        5 => time().prop_map(|visibility| Step::Receive { visibility }),
        2 => time().prop_map(|visibility| Step::ReceiveDead { visibility }),
        3 => (0..6_usize, time()).prop_map(|(receipt, visibility)| Step::SetVisibility { receipt, visibility }),
        2 => (0..6_usize).prop_map(|receipt| Step::Delete { receipt }),
        4 => time().prop_map(|millis| Step::Advance { millis }),
    ]
}

/// Both queues, and the receipts of the same deliveries.
struct Pair {
    local: LocalQueue,
    memory: MemoryQueue,
    clock: TestClock,
    receipts: Vec<[String; 2]>,
    sent: usize,
}

type Told = Result<(), (ErrorClass, String)>;

fn told<T>(result: &Result<T, ServiceError>) -> Told {
    result.as_ref().map(|_| ()).map_err(|error| (error.class, error.code.clone()))
}

/// What must be equal of a delivery.
fn delivery(message: &ReceivedMessage, reason: Option<&str>) -> (String, u32, Option<String>) {
    (message.body.clone(), message.receives, reason.map(ToOwned::to_owned))
}

impl Pair {
    /// Returns a receipt by its age; 0 is the last one.
    fn receipt(&self, age: usize) -> Option<&[String; 2]> {
        self.receipts.iter().rev().nth(age)
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Send { .. } | Step::SendDead if self.sent == MOST => {}
            Step::Send { delay } => {
                self.sent += 1;
                let message = OutgoingMessage { body: self.sent.to_string(), delay: Duration::from_millis(delay) };
                let messages = [message];
                let (local, memory) = (self.local.send(&messages).await, self.memory.send(&messages).await);
                prop_assert_eq!(local, memory);
            }
            Step::SendDead => {
                self.sent += 1;
                let body = self.sent.to_string();
                self.local.send_dead_letter(&body, "why").await.unwrap();
                self.memory.send_dead_letter(&body, "why").await.unwrap();
            }
            Step::Receive { visibility } => self.receive(Duration::from_millis(visibility)).await?,
            Step::ReceiveDead { visibility } => self.receive_dead(Duration::from_millis(visibility)).await?,
            Step::SetVisibility { receipt, visibility } => {
                let Some([local, memory]) = self.receipt(receipt) else { return Ok(()) };
                let visibility = Duration::from_millis(visibility);
                let local = self.local.set_visibility(local, visibility).await;
                prop_assert_eq!(told(&local), told(&self.memory.set_visibility(memory, visibility).await));
            }
            Step::Delete { receipt } => {
                let Some([local, memory]) = self.receipt(receipt) else { return Ok(()) };
                let local = self.local.delete(local).await;
                prop_assert_eq!(told(&local), told(&self.memory.delete(memory).await));
            }
            Step::Advance { millis } => {
                let time = Duration::from_millis(millis);
                self.clock.advance(time);
                tokio::time::advance(time).await;
            }
        }
        prop_assert_eq!(self.local.depth().await, self.memory.depth().await);
        let dead = (self.local.dead_letter_queue(), self.memory.dead_letter_queue());
        prop_assert_eq!(dead.0.depth().await, dead.1.depth().await);
        Ok(())
    }

    async fn receive(&mut self, visibility: Duration) -> Result<(), TestCaseError> {
        let local = self.local.receive(10, Duration::ZERO, visibility).await;
        let memory = self.memory.receive(10, Duration::ZERO, visibility).await;
        prop_assert_eq!(told(&local), told(&memory));
        let (Ok(mut local), Ok(mut memory)) = (local, memory) else { return Ok(()) };
        local.sort_by(|a, b| a.body.cmp(&b.body));
        memory.sort_by(|a, b| a.body.cmp(&b.body));
        let compared = |messages: &[ReceivedMessage]| -> Vec<_> {
            messages.iter().map(|message| delivery(message, None)).collect()
        };
        prop_assert_eq!(compared(&local), compared(&memory));
        let receipts = local.into_iter().zip(memory).map(|(local, memory)| [local.receipt, memory.receipt]);
        self.receipts.extend(receipts);
        Ok(())
    }

    async fn receive_dead(&mut self, visibility: Duration) -> Result<(), TestCaseError> {
        let local = self.local.dead_letter_queue().receive_dead_letters(10, Duration::ZERO, visibility).await;
        let memory = self.memory.dead_letter_queue().receive_dead_letters(10, Duration::ZERO, visibility).await;
        prop_assert_eq!(told(&local), told(&memory));
        let (Ok(local), Ok(memory)) = (local, memory) else { return Ok(()) };
        let compared = |letters: Vec<migration_core::ports::DeadLetter>| {
            let mut letters: Vec<_> =
                letters.iter().map(|letter| delivery(&letter.message, letter.reason.as_deref())).collect();
            letters.sort();
            letters
        };
        prop_assert_eq!(compared(local), compared(memory));
        Ok(())
    }
}

async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let state = State::open(directory.path(), Arc::new(clock.clone())).unwrap();
    let settings = QueueSettings { max_receives: MAX_RECEIVES, retention: RETENTION };
    let memory = migration_testkit::QueueSettings {
        max_receives: MAX_RECEIVES,
        retention: RETENTION,
        ..migration_testkit::QueueSettings::default()
    };
    let mut pair = Pair {
        local: LocalQueue::new(&state, "queue", settings),
        memory: MemoryQueue::new(memory),
        clock,
        receipts: Vec::new(),
        sent: 0,
    };
    for step in steps {
        pair.step(step).await?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_as_the_one_in_memory(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play(steps))?;
    }
}
