//! A process that is killed at any moment: what it was answered is there, and nothing is there by half.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use migration_core::ports::{Condition, Item, Ledger, LedgerKey, Queue as _, Write};
use migration_local::ledger::LocalLedger;
use migration_local::state::{OpenError, State};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::{Value, json};

use crate::{LEASE, message, queue_of, receive_all, running_clock};

/// Names the state directory of the child process.
const DIRECTORY: &str = "KILLED_TEST_DIRECTORY";
/// Tasks of the child.
const TASKS: usize = 4;
const ROUNDS: usize = 15;

fn item(sort: String, value: &Value) -> Write {
    let attributes = json!({"value": value}).as_object().cloned().unwrap();
    let item = Item { key: LedgerKey::new("run", sort), attributes, expires_at: None };
    Write::Put { item, condition: Condition::Absent }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

/// Not a test: the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below"]
async fn child_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    // The harness has begun a line.
    say("");
    let state = State::open(&PathBuf::from(directory), running_clock()).unwrap();
    let (ledger, queue) = (LocalLedger::new(&state), queue_of(&state));
    let task = |task: usize| {
        let (ledger, queue) = (ledger.clone(), queue.clone());
        async move {
            for number in 0.. {
                let name = format!("{task}/{number}");
                let counter = LedgerKey::new("run", format!("counter/{task}"));
                let count = Write::Add { key: counter, deltas: vec![("n".into(), 1)], expires_at: None };
                let [a, b] = ["a", "b"].map(|half| item(format!("item/{name}/{half}"), &json!(name)));
                ledger.write(&[a, count, b]).await.unwrap();
                say(&format!("written {name}"));
                queue.send(&[message(&format!("{name}/a")), message(&format!("{name}/b"))]).await.unwrap();
                say(&format!("sent {name}"));
                if number % 2 == 0 {
                    continue;
                }
                for received in queue.receive(1, Duration::ZERO, LEASE).await.unwrap() {
                    say(&format!("received {}", received.body));
                    queue.delete(&received.receipt).await.unwrap();
                    say(&format!("deleted {}", received.body));
                }
            }
        }
    };
    futures::future::join_all((0..TASKS).map(|number| tokio::spawn(task(number)))).await;
}

/// Starts the child, kills it after this many lines, and returns its complete lines, by their first word.
fn lines_of_a_killed_child(directory: &Path, lines: usize) -> BTreeMap<String, BTreeSet<String>> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["killed::child_writes_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut count = 0;
    loop {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let Some(line) = line.strip_suffix('\n') else { break };
        if let Some((word, rest)) = line.split_once(' ').filter(|(_, rest)| rest.contains('/')) {
            said.entry(word.to_owned()).or_default().insert(rest.to_owned());
            count += 1;
        }
        if count == lines {
            // A second owner is refused while the first lives.
            let error = State::open(directory, running_clock()).unwrap_err();
            assert!(matches!(error, OpenError::InUse { process: Some(id), .. } if id == child.id()), "{error:?}");
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    assert!(count >= lines, "the child ended by itself after {count} lines");
    said
}

async fn check_ledger(state: &State, written: &BTreeSet<String>) {
    let ledger = LocalLedger::new(state);
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = ledger.query("run", "item/", after.as_deref(), 1_000).await.unwrap();
        names.extend(page.items.into_iter().map(|item| item.attributes["value"].as_str().unwrap().to_owned()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let different: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(names.len(), different.len() * 2, "a transaction is there by half");
    assert!(written.is_subset(&different), "lost: {:?}", written.difference(&different));
    for task in 0..TASKS {
        let own = different.iter().filter(|name| name.starts_with(&format!("{task}/"))).count();
        let counter = ledger.get(&LedgerKey::new("run", format!("counter/{task}"))).await.unwrap();
        let number = counter.map_or(0, |item| item.attributes["n"].as_u64().unwrap());
        assert_eq!(usize::try_from(number).unwrap(), own, "the counter of task {task}");
    }
}

async fn check_queue(state: &State, said: &BTreeMap<String, BTreeSet<String>>) {
    let said = |word: &str| said.get(word).cloned().unwrap_or_default();
    let messages = receive_all(&queue_of(state)).await;
    let left: BTreeSet<_> = messages.iter().map(|message| message.body.clone()).collect();
    assert_eq!(left.len(), messages.len(), "a message is there twice");
    let (received, deleted) = (said("received"), said("deleted"));
    assert!(left.is_disjoint(&deleted), "deleted and there: {:?}", left.intersection(&deleted));
    for name in said("sent") {
        for body in [format!("{name}/a"), format!("{name}/b")] {
            assert!(left.contains(&body) || received.contains(&body), "lost: {body}");
        }
    }
    for body in &left {
        let (name, half) = body.split_at(body.len() - 1);
        let other = format!("{name}{}", if half == "a" { "b" } else { "a" });
        assert!(left.contains(&other) || received.contains(&other), "sent by half: {body}");
    }
}

#[tokio::test]
async fn what_was_answered_is_there_and_nothing_by_half() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for round in 0..ROUNDS {
        let directory = tempfile::tempdir().unwrap();
        let lines = usize::try_from(random.next_u64() % 400).unwrap() + 1;
        let said = lines_of_a_killed_child(directory.path(), lines);
        let state = State::open(directory.path(), running_clock()).unwrap();
        println!("round {round}: killed after {lines} lines: {} writes", said.get("written").map_or(0, BTreeSet::len));
        check_ledger(&state, &said.get("written").cloned().unwrap_or_default()).await;
        check_queue(&state, &said).await;
    }
}
