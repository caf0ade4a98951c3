//! Random requests to the local ledger and to the one in memory have the same answers.

use std::sync::Arc;

use migration_core::ports::{Condition, Item, Ledger, LedgerKey, Write};
use migration_local::ledger::LocalLedger;
use migration_local::state::State;
use migration_testkit::{MemoryLedger, TestClock};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The time of the test, in seconds since 1970.
const START: i64 = 1_767_225_600;

#[derive(Clone, Debug)]
enum Step {
    Get(LedgerKey),
    Query { partition: String, prefix: String, after: Option<String>, limit: u32 },
    Write(Vec<Write>),
    Reopen,
}

fn partition() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just("p"), 1 => Just("p\0"), 1 => Just("é/1")].prop_map(ToOwned::to_owned)
}

/// Sort keys and prefixes, so few that requests meet; some characters are the first and the last of their length.
fn sort() -> impl Strategy<Value = String> {
    let character = prop_oneof![6 => Just('a'), 1 => Just('\0'), 1 => Just('\u{7f}'), 1 => Just('\u{10ffff}')];
    vec(character, 0..3).prop_map(String::from_iter)
}

fn key() -> impl Strategy<Value = LedgerKey> {
    let long = prop_oneof![20 => sort(), 1 => Just("s".repeat(1_024)), 1 => Just("s".repeat(1_025))];
    (partition(), long).prop_map(|(partition, sort)| LedgerKey::new(partition, sort))
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -3..4_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN), 1 => any::<i64>()]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => number().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => any::<String>().prop_map(Value::from),
        1 => Just(json!({"deep": [1, {"er": "x"}], "": []})),
        1 => (150..420_usize).prop_map(|size| "x".repeat(size << 10).into()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("revision"), Just("n"), Just("a.b"), Just("ttl")].prop_map(ToOwned::to_owned)
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        3 => Just(Condition::Always),
        1 => Just(Condition::Absent),
        1 => (0..4_u64).prop_map(Condition::Revision),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let expires_at = || option::of(prop_oneof![Just(START), Just(START + 1), any::<i64>()]);
    let attributes = vec((name(), value()), 0..4).prop_map(Map::from_iter);
    prop_oneof![
        4 => (key(), attributes, expires_at(), condition()).prop_map(|(key, attributes, expires_at, condition)| {
            Write::Put { item: Item { key, attributes, expires_at }, condition }
        }),
        2 => (key(), vec((name(), number()), 0..3), expires_at())
            .prop_map(|(key, deltas, expires_at)| Write::Add { key, deltas, expires_at }),
        1 => (key(), condition()).prop_map(|(key, condition)| Write::Delete { key, condition }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => key().prop_map(Step::Get),
        4 => (partition(), sort(), option::of(sort()), 0..6_u32)
            .prop_map(|(partition, prefix, after, limit)| Step::Query { partition, prefix, after, limit }),
        8 => vec(write(), 0..4).prop_map(Step::Write),
        1 => Just(Step::Reopen),
    ]
}

/// Returns all items of a query. Pages may end elsewhere: the ledger in memory has no bound of bytes.
async fn all(ledger: &impl Ledger, partition: &str, prefix: &str) -> Vec<Item> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = ledger.query(partition, prefix, after.as_deref(), 3).await.unwrap();
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let open = || State::open(directory.path(), Arc::new(TestClock::at(START * 1_000))).unwrap();
    let mut state = Some(open());
    let memory = MemoryLedger::new();
    let mut local = LocalLedger::new(state.as_ref().unwrap());
    for step in steps {
        match step {
            Step::Get(key) => prop_assert_eq!(local.get(&key).await, memory.get(&key).await),
            Step::Write(writes) => prop_assert_eq!(local.write(&writes).await, memory.write(&writes).await),
            Step::Query { partition, prefix, after, limit } => {
                let found = local.query(&partition, &prefix, after.as_deref(), limit).await;
                let expected = memory.query(&partition, &prefix, after.as_deref(), limit).await;
                match (found, expected) {
                    (Ok(found), Ok(expected)) => {
                        let bytes: usize =
                            found.items.iter().map(|item| json!(item.attributes).to_string().len()).sum();
                        let is_cut = bytes > 1 << 20;
                        let length = if is_cut { found.items.len() } else { expected.items.len() };
                        prop_assert_eq!(&found.items[..], &expected.items[..length]);
                        let next = found.items.last().map(|item| item.key.sort.clone());
                        prop_assert_eq!(found.next, if is_cut { next } else { expected.next });
                    }
                    (found, expected) => prop_assert_eq!(found.map(|_| ()), expected.map(|_| ())),
                }
                prop_assert_eq!(all(&local, &partition, &prefix).await, all(&memory, &partition, &prefix).await);
            }
            Step::Reopen => {
                drop(state.take());
                for item in memory.items().iter().filter(|item| is_expired(item)) {
                    memory.remove(&item.key);
                }
                local = LocalLedger::new(state.insert(open()));
            }
        }
    }
    Ok(())
}

fn is_expired(item: &Item) -> bool {
    item.expires_at.is_some_and(|at| at <= START)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_as_the_one_in_memory(steps in vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps))?;
    }
}
