mod bodies;

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use md5::{Digest, Md5};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{
    Attributes, GetRequest, Ledger, LedgerKey, ObjectStore, OutgoingMessage, PutRequest, Queue, Span, Tags, Write,
    WriteCondition, WriteError, Written,
};
use tokio::time::{Instant, timeout};

use super::{Fault, FaultPlan, Faulty};
use crate::{MemoryLedger, MemoryQueue, MemoryStore, Operation, TestClock};

/// Long enough for any call in memory; the wait for calls that must not return.
const SOON: Duration = Duration::from_millis(200);

fn store(plan: &FaultPlan) -> Faulty<MemoryStore> {
    let store = MemoryStore::new(TestClock::default(), "tester");
    store.create_bucket("b");
    Faulty::new(store, plan)
}

async fn put(store: &impl ObjectStore, key: &str, body: &'static str) -> Result<Written, ServiceError> {
    let request = PutRequest {
        bucket: "b",
        key,
        body: Bytes::from(body),
        md5: Md5::digest(body).into(),
        attributes: &Attributes::default(),
        tags: &Tags::new(),
        condition: &WriteCondition::Any,
    };
    store.put(request).await
}

async fn get(store: &impl ObjectStore, key: &str) -> Result<Vec<u8>, (Vec<u8>, ServiceError)> {
    let request = GetRequest { bucket: "b", key, span: Span::Whole, if_match: None, version_id: None };
    let mut body = store.get(request).await.map_err(|error| (Vec::new(), error))?.body;
    let mut read = Vec::new();
    loop {
        match body.try_next().await {
            Ok(Some(piece)) => read.extend(piece),
            Ok(None) => return Ok(read),
            Err(error) => return Err((read, error)),
        }
    }
}

#[tokio::test]
async fn the_call_with_a_number_fails_before_or_after_its_effect() {
    let plan = FaultPlan::new();
    let store = store(&plan);
    plan.at_call(2, Fault::Fail(ErrorClass::Throttled));
    plan.at_call(4, Fault::FailAfter(ErrorClass::Transient));
    assert!(put(&store, "a", "1").await.is_ok());
    assert_eq!(put(&store, "b", "2").await.unwrap_err().class, ErrorClass::Throttled);
    assert_eq!(store.inner().content("b", "b"), None);
    assert!(put(&store, "b", "2").await.is_ok());
    assert_eq!(put(&store, "c", "3").await.unwrap_err().class, ErrorClass::Transient);
    assert_eq!(store.inner().content("b", "c"), Some(Bytes::from("3")));
    assert_eq!((plan.calls(), plan.injected()), (4, 2));
    assert_eq!(plan.log().last().unwrap().to_string(), "4 put object b/c");
}

#[tokio::test]
async fn the_nth_call_of_an_operation_breaks_over_all_ports() {
    let plan = FaultPlan::new();
    let store = store(&plan);
    let ledger = Faulty::new(MemoryLedger::new(), &plan);
    plan.at(Operation::WriteItems, 2, Fault::FailAfter(ErrorClass::Transient));
    let add = || [Write::Add { key: LedgerKey::new("p", "s"), deltas: vec![("n".into(), 1)], expires_at: None }];
    assert!(ledger.write(&add()).await.is_ok());
    assert!(put(&store, "a", "1").await.is_ok());
    assert!(matches!(ledger.write(&add()).await, Err(WriteError::Service(_))));
    let item = ledger.get(&LedgerKey::new("p", "s")).await.unwrap().unwrap();
    assert_eq!(item.attributes.get("n"), Some(&2.into()));
    assert_eq!((plan.calls(), plan.count(Operation::WriteItems)), (4, 2));
}

#[tokio::test]
async fn a_body_is_cut_where_the_plan_says() {
    let plan = FaultPlan::new();
    let store = store(&plan);
    store.inner().insert("b", "k", "0123456789");
    for bytes in [0, 4, 10, 99] {
        plan.when(|call| call.operation == Operation::GetObject, Fault::Truncate(bytes), 1);
        let (read, error) = get(&store, "k").await.unwrap_err();
        assert_eq!(read.len() as u64, bytes.min(10));
        assert_eq!(error.class, ErrorClass::Transient);
    }
    assert_eq!(get(&store, "k").await.unwrap(), b"0123456789");
}

#[tokio::test]
async fn nothing_of_a_dead_process_comes_back_and_the_next_one_works() {
    for (fault, effect) in [(Fault::Crash, None), (Fault::CrashAfter, Some(Bytes::from("1")))] {
        let plan = FaultPlan::new();
        let store = store(&plan);
        let queue = Faulty::new(MemoryQueue::default(), &plan);
        plan.at(Operation::PutObject, 1, fault);
        let killed = tokio::select! {
            _ = put(&store, "a", "1") => false,
            () = plan.crashed() => true,
        };
        assert!(killed && plan.is_crashed());
        assert_eq!(store.inner().content("b", "a"), effect);
        let message = [OutgoingMessage { body: "m".into(), delay: Duration::ZERO }];
        assert!(timeout(SOON, queue.send(&message)).await.is_err());

        plan.restart();
        assert!(!plan.is_crashed());
        assert!(timeout(SOON, put(&store, "late", "2")).await.is_err());
        assert_eq!(store.inner().content("b", "late"), None);
        let next = Faulty::new(store.inner().clone(), &plan);
        assert!(put(&next, "a", "3").await.is_ok());
        assert_eq!(queue.inner().stats().visible, 0);
    }
}

#[tokio::test]
async fn one_of_two_processes_dies_alone() {
    let plan = FaultPlan::new();
    let store = MemoryStore::new(TestClock::default(), "tester");
    store.create_bucket("b");
    let (first, second) = (plan.process(), plan.process());
    let (one, other) = (Faulty::of(store.clone(), &plan, first), Faulty::of(store, &plan, second));
    plan.when(move |call| call.process == Some(first), Fault::CrashAfter, 1);
    let killed = tokio::select! {
        _ = put(&one, "a", "1") => false,
        () = plan.killed(first) => true,
    };
    assert!(killed && plan.is_killed(first) && !plan.is_killed(second) && !plan.is_crashed());
    assert!(timeout(SOON, put(&one, "late", "2")).await.is_err());
    assert!(put(&other, "b", "2").await.is_ok());
    assert_eq!(one.inner().keys("b"), ["a", "b"]);
    plan.crash();
    assert!(timeout(SOON, put(&other, "c", "3")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_frozen_process_goes_on_later_and_calls_take_their_time() {
    let plan = FaultPlan::new();
    let store = MemoryStore::new(TestClock::default(), "tester");
    store.create_bucket("b");
    let (first, second) = (plan.process(), plan.process());
    let (one, other) = (Faulty::of(store.clone(), &plan, first), Faulty::of(store, &plan, second));
    let began = Instant::now();
    plan.freeze(first, SOON);
    assert!(put(&other, "b", "2").await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(put(&one, "a", "1").await.is_ok());
    assert_eq!(began.elapsed(), SOON);
    plan.latency(SOON, TestClock::default());
    assert!(put(&other, "b", "3").await.is_ok());
    assert!(began.elapsed() > SOON && began.elapsed() <= SOON * 3);
}

#[tokio::test]
async fn a_body_that_a_dead_process_reads_stands_still() {
    let plan = FaultPlan::new();
    let store = store(&plan);
    store.inner().insert("b", "k", "x");
    let request = GetRequest { bucket: "b", key: "k", span: Span::Whole, if_match: None, version_id: None };
    let mut body = store.get(request).await.unwrap().body;
    plan.crash();
    assert!(timeout(SOON, body.try_next()).await.is_err());
}

#[tokio::test]
async fn a_delayed_call_is_done_later() {
    let plan = FaultPlan::new();
    let store = store(&plan);
    plan.at_call(1, Fault::Delay(SOON));
    let began = Instant::now();
    assert!(put(&store, "a", "1").await.is_ok());
    assert!(began.elapsed() >= SOON);
}
