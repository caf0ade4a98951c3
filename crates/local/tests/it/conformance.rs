//! Runs the conformance suites of ledger and queue.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use migration_core::error::ServiceError;
use migration_core::ports::{DeadLetterQueue, Item, Ledger, LedgerKey, QueryPage, Write, WriteError};
use migration_local::ledger::LocalLedger;
use migration_local::queue::{LocalDeadLetters, LocalQueue, QueueSettings};
use migration_local::state::State;
use migration_testkit::conformance::{Failure, MAX_RECEIVES, Report, TestQueue, ledger_suite, queue_suite};
use migration_testkit::{DeadLetter, TestClock};
use tempfile::TempDir;

use crate::running_clock;

fn assert_passed(report: &Report) {
    println!("{report}");
    assert!(report.passed(), "{report}");
}

/// The states of a suite's cases, which live as long as the suite.
#[derive(Default)]
struct States(Mutex<Vec<(State, TempDir)>>);

impl States {
    /// Makes something of new state.
    fn make<T>(&self, of: impl FnOnce(&State) -> T) -> T {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path(), running_clock()).unwrap();
        let made = of(&state);
        self.0.lock().unwrap().push((state, directory));
        made
    }

    /// Makes something of state that is attached beside an owner.
    fn make_attached<T>(&self, of: impl FnOnce(&State) -> T) -> T {
        let directory = tempfile::tempdir().unwrap();
        let owner = State::open(directory.path(), running_clock()).unwrap();
        let attached = State::attach(directory.path(), running_clock()).unwrap();
        let made = of(&attached);
        let copy = tempfile::tempdir().unwrap();
        self.0.lock().unwrap().extend([(owner, directory), (attached, copy)]);
        made
    }
}

#[tokio::test]
async fn the_local_ledger_keeps_the_rules() {
    let states = States::default();
    assert_passed(&ledger_suite(async || Ok(states.make(LocalLedger::new)), &[]).await);
}

#[tokio::test]
async fn an_attached_ledger_keeps_the_rules() {
    let states = States::default();
    assert_passed(&ledger_suite(async || Ok(states.make_attached(LocalLedger::new)), &[]).await);
}

/// A ledger whose state is opened for each request and closed after it.
struct Reopened {
    directory: TempDir,
    clock: Arc<TestClock>,
    one: tokio::sync::Mutex<()>,
}

impl Reopened {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), clock: running_clock(), one: tokio::sync::Mutex::default() }
    }

    fn open(&self) -> State {
        State::open(&PathBuf::from(self.directory.path()), self.clock.clone()).unwrap()
    }
}

impl Ledger for Reopened {
    async fn get(&self, key: &LedgerKey) -> Result<Option<Item>, ServiceError> {
        let _one = self.one.lock().await;
        let state = self.open();
        LocalLedger::new(&state).get(key).await
    }

    async fn query(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, ServiceError> {
        let _one = self.one.lock().await;
        let state = self.open();
        LocalLedger::new(&state).query(partition, prefix, after, limit).await
    }

    async fn write(&self, writes: &[Write]) -> Result<(), WriteError> {
        let _one = self.one.lock().await;
        let state = self.open();
        LocalLedger::new(&state).write(writes).await
    }
}

#[tokio::test]
async fn a_ledger_opened_again_for_each_request_keeps_the_rules() {
    assert_passed(&ledger_suite(async || Ok(Reopened::new()), &[]).await);
}

struct Queues {
    queue: LocalQueue,
    dead_letters: LocalDeadLetters,
}

impl Queues {
    fn of(state: &State) -> Self {
        let settings = QueueSettings { max_receives: MAX_RECEIVES, ..QueueSettings::default() };
        let queue = LocalQueue::new(state, "queue", settings);
        Self { dead_letters: queue.dead_letter_queue(), queue }
    }
}

impl TestQueue for Queues {
    type Queue = LocalQueue;
    type DeadLetters = LocalDeadLetters;

    fn queue(&self) -> &LocalQueue {
        &self.queue
    }

    fn dead_letter_queue(&self) -> &LocalDeadLetters {
        &self.dead_letters
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Failure> {
        let found = self.dead_letters.receive_dead_letters(10, Duration::ZERO, Duration::ZERO).await?;
        Ok(found.into_iter().map(|found| DeadLetter { body: found.message.body, reason: found.reason }).collect())
    }
}

#[tokio::test]
async fn the_local_queue_keeps_the_rules() {
    let states = States::default();
    assert_passed(&queue_suite(async || Ok(states.make(Queues::of)), &[]).await);
}

#[tokio::test]
async fn an_attached_queue_keeps_the_rules() {
    let states = States::default();
    assert_passed(&queue_suite(async || Ok(states.make_attached(Queues::of)), &[]).await);
}
