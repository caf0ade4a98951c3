//! Files that are not as they were written.

use std::fs;
use std::path::Path;

use migration_core::error::ErrorClass;
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, Queue as _, Write};
use migration_local::ledger::LocalLedger;
use migration_local::state::{OpenError, State};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use crate::{message, queue_of, receive_all, running_clock};

const ITEMS: usize = 60;
const MESSAGES: usize = 40;

/// The content of a state: items and bodies of messages, in order.
type Content = (Vec<Item>, Vec<String>);

fn item(number: usize) -> Item {
    // The largest fill pages of their own.
    let text = "x".repeat(number * number * 5);
    let attributes = json!({"number": number, "text": text}).as_object().cloned().unwrap();
    let key = LedgerKey::new(format!("partition/{}", number % 3), format!("key {number:03}"));
    Item { key, attributes, expires_at: number.is_multiple_of(2).then_some(4_102_444_800) }
}

async fn filled() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(directory.path(), running_clock()).unwrap();
    let puts: Vec<_> =
        (0..ITEMS).map(|number| Write::Put { item: item(number), condition: Condition::Always }).collect();
    LocalLedger::new(&state).write(&puts).await.unwrap();
    for number in 0..MESSAGES {
        let body = format!("message {number:03} {}", "y".repeat(number * 100));
        queue_of(&state).send(&[message(&body)]).await.unwrap();
    }
    directory
}

async fn content(state: &State) -> Content {
    let mut items = Vec::new();
    for partition in 0..3 {
        let page = LocalLedger::new(state).query(&format!("partition/{partition}"), "", None, 1_000).await.unwrap();
        items.extend(page.items);
    }
    let mut bodies: Vec<_> = receive_all(&queue_of(state)).await.into_iter().map(|message| message.body).collect();
    bodies.sort();
    (items, bodies)
}

/// Opens a file with these bytes.
fn open(bytes: &[u8]) -> (TempDir, Result<State, OpenError>) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("state.db"), bytes).unwrap();
    let state = State::open(directory.path(), running_clock());
    (directory, state)
}

fn bytes_of(directory: &Path) -> Vec<u8> {
    assert!(!directory.join("state.db-wal").exists(), "the log was not merged at the end");
    fs::read(directory.join("state.db")).unwrap()
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let whole = bytes_of(filled().await.path());
    for length in (0..whole.len()).step_by(1_000).chain([whole.len() - 1]) {
        let (_directory, state) = open(&whole[..length]);
        let error = state.unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{length} bytes: {error:?}");
        let told = error.to_string();
        assert!(told.contains("state.db is damaged") && told.contains("move the directory away"), "{told}");
    }
    let (_directory, state) = open(&whole);
    assert_eq!(content(&state.unwrap()).await.0.len(), ITEMS);
}

/// A flipped bit is found, or changes nothing: it is in space that is not used, or in a number that says how the file
/// was used last.
#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let whole = bytes_of(runtime.block_on(filled()).path());
    let expected = runtime.block_on(content(&open(&whole).1.unwrap()));
    let (mut refused, mut tried) = (0, 0);
    // All of the header, then all over the file.
    for byte in (0..100).chain((100..whole.len()).step_by(whole.len() / 1_000 + 1)) {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (byte % 8);
        tried += 1;
        match open(&bytes) {
            (_directory, Err(error)) => {
                assert!(error.to_string().contains("state.db"), "byte {byte}: {error}");
                refused += 1;
            }
            (_directory, Ok(state)) => {
                assert!(runtime.block_on(content(&state)) == expected, "other content after a flip in byte {byte}");
            }
        }
    }
    println!("{refused} of {tried} flipped bits were refused");
    assert!(refused > tried / 2, "only {refused} of {tried} were refused");
}

#[tokio::test]
async fn damage_that_comes_later_is_refused_when_it_is_read() {
    let directory = filled().await;
    let state = State::attach(directory.path(), running_clock()).unwrap();
    let other = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
    let changed = other.execute("UPDATE ledger SET attributes = replace(attributes, '7', '8')", []).unwrap();
    assert_eq!(changed, ITEMS);
    let error = LocalLedger::new(&state).get(&item(7).key).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Refused, "StateDamaged"));
    assert!(error.message.contains("partition/1 / key 007"), "{error}");
    assert!(LocalLedger::new(&state).get(&item(6).key).await.unwrap().is_some());
    other.execute("UPDATE messages SET body = 'another'", []).unwrap();
    let error = queue_of(&state).receive(1, std::time::Duration::ZERO, crate::LEASE).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Refused, "StateDamaged"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is in the file, nothing panics.
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..3_000), is_marked in any::<bool>()) {
        let mut bytes = bytes;
        if is_marked {
            bytes.splice(0..bytes.len().min(16), *b"SQLite format 3\0");
        }
        let (_directory, state) = open(&bytes);
        prop_assert!(state.is_err());
    }
}
