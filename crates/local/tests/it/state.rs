//! The state directory: who may open it, and what is in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use migration_core::error::ErrorClass;
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, Write};
use migration_local::ledger::LocalLedger;
use migration_local::state::{OpenError, State};
use migration_testkit::TestClock;
use serde_json::{Map, Value};

use crate::{message, queue_of, receive_all, running_clock, send};
use migration_core::ports::Queue as _;

fn put(sort: &str, value: Value, expires_at: Option<i64>) -> Write {
    let attributes = Map::from_iter([("value".to_owned(), value)]);
    Write::Put { item: Item { key: key(sort), attributes, expires_at }, condition: Condition::Always }
}

fn key(sort: &str) -> LedgerKey {
    LedgerKey::new("partition", sort)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_second_to_open_is_told_who_was_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/for/it");
    let first = State::open(&path, running_clock()).unwrap();
    let error = State::open(&path, running_clock()).unwrap_err();
    let own = std::process::id();
    assert!(matches!(error, OpenError::InUse { process: Some(process), .. } if process == own), "{error:?}");
    let told = error.to_string();
    assert!(told.contains(&format!("process {own}")) && told.contains("made/for/it"), "{told}");
    let beside = State::attach(&path, running_clock()).unwrap();
    assert!(beside.is_in_use().unwrap());
    drop(first);
    assert!(!beside.is_in_use().unwrap());
    State::open(&path, running_clock()).unwrap();
}

#[test]
fn only_the_owner_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let _state = State::open(&path, running_clock()).unwrap();
    assert_eq!(mode(&path), 0o700);
    let mut files: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["lock", "state.db", "state.db-shm", "state.db-wal"]);
    for file in files {
        assert_eq!(mode(&path.join(&file)), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn one_attached_reads_and_writes_beside_the_owner() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(State::attach(directory.path(), running_clock()), Err(OpenError::Absent { .. })));
    let owner = State::open(directory.path(), running_clock()).unwrap();
    let attached = State::attach(directory.path(), running_clock()).unwrap();
    assert!(owner.is_exclusive() && !attached.is_exclusive());
    let (first, beside) = (LocalLedger::new(&owner), LocalLedger::new(&attached));
    for round in 0..20 {
        first.write(&[put("owner", round.into(), None)]).await.unwrap();
        assert_eq!(beside.get(&key("owner")).await.unwrap().unwrap().attributes["value"], round);
        beside.write(&[put("attached", round.into(), None)]).await.unwrap();
        assert_eq!(first.get(&key("attached")).await.unwrap().unwrap().attributes["value"], round);
    }
    // Messages in flight stay with the owner's workers, and what is sent beside it wakes them.
    send(&queue_of(&owner), "leased").await;
    assert_eq!(receive_all(&queue_of(&owner)).await.len(), 1);
    let again = State::attach(directory.path(), running_clock()).unwrap();
    assert_eq!(receive_all(&queue_of(&again)).await, []);
    let queue = queue_of(&owner);
    let wait = Duration::from_secs(20);
    let (received, sent) =
        tokio::join!(queue.receive(1, wait, wait), async { queue_of(&again).send(&[message("from beside")]).await });
    sent.unwrap();
    assert_eq!(received.unwrap()[0].body, "from beside");
}

#[tokio::test]
async fn requests_after_the_end_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), running_clock()).unwrap();
    let ledger = LocalLedger::new(&state);
    // A request that waits is answered before the end.
    let writes: Vec<_> = (0..500).map(|number| [put(&format!("{number}"), number.into(), None)]).collect();
    let waiting = futures::future::join_all(writes.iter().map(|write| ledger.write(write)));
    let mut waiting = Box::pin(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(state);
    let results = waiting.await;
    let done = results.iter().filter(|result| result.is_ok()).count();
    let error = ledger.get(&key("a")).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Refused, "StateClosed"));

    let state = State::open(directory.path(), running_clock()).unwrap();
    let kept = LocalLedger::new(&state).query("partition", "", None, 1_000).await.unwrap().items;
    assert_eq!(kept.len(), done);
    assert!(done > 0, "no request was done");
}

#[tokio::test]
async fn expired_items_are_removed_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::at(1_000_000);
    let state = State::open(directory.path(), std::sync::Arc::new(clock.clone())).unwrap();
    let writes = [put("old", 1.into(), Some(2_000)), put("new", 1.into(), Some(2_001)), put("kept", 1.into(), None)];
    LocalLedger::new(&state).write(&writes).await.unwrap();
    clock.set(2_000_999);
    assert!(LocalLedger::new(&state).get(&key("old")).await.unwrap().is_some());
    drop(state);
    let state = State::open(directory.path(), std::sync::Arc::new(clock)).unwrap();
    let kept = LocalLedger::new(&state).query("partition", "", None, 10).await.unwrap().items;
    assert_eq!(kept.iter().map(|item| item.key.sort.as_str()).collect::<Vec<_>>(), ["kept", "new"]);
}

#[test]
fn files_of_others_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.db");
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')").unwrap();
    let error = State::open(directory.path(), running_clock()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    let text: String = other.query_row("SELECT text FROM notes", [], |row| row.get(0)).unwrap();
    assert_eq!(text, "mine");
}

#[test]
fn another_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(State::open(directory.path(), running_clock()).unwrap());
    let connection = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    for error in [
        State::open(directory.path(), running_clock()).unwrap_err(),
        State::attach(directory.path(), running_clock()).unwrap_err(),
    ] {
        assert!(matches!(error, OpenError::Version { found: 2, known: 1, .. }), "{error:?}");
    }
}

#[test]
fn a_start_that_was_interrupted_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("state.new"), "half a database").unwrap();
    State::open(directory.path(), running_clock()).unwrap();
    assert!(!directory.path().join("state.new").exists());
}
