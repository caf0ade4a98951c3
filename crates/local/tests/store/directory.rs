//! What a directory holds, and when it is not opened.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{
    Attributes, Body, CopyRequest, CopySource, CreateUpload, DeleteRequest, GetRequest, ObjectStore, PutPart, Span,
    Tags, UploadRef, WriteCondition,
};
use migration_local::store::{BucketSettings, IndexError, LocalStore, OpenError, StoreSettings};
use migration_testkit::TestClock;

use crate::{content, get, open, put};

/// Returns the number of files with bodies.
fn files(directory: &Path) -> usize {
    fs::read_dir(directory.join("bodies")).unwrap().count()
}

fn refusal(directory: &Path) -> OpenError {
    LocalStore::open(directory, Arc::new(TestClock::default()), StoreSettings::default()).unwrap_err()
}

fn with_bucket(directory: &Path) -> LocalStore {
    let store = open(directory);
    store.create_bucket("b", BucketSettings::default());
    store
}

#[tokio::test]
async fn files_of_what_is_gone_are_removed_and_those_in_use_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = with_bucket(directory.path());
    let first = put(&store, "a", content(1, 1_000)).await.unwrap();
    put(&store, "empty", Bytes::new()).await.unwrap();
    assert_eq!(files(directory.path()), 1, "nothing takes no file");
    let source = CopySource { bucket: "b", key: "a", version_id: None, if_match: &first.etag };
    let (attributes, condition) = (Attributes::default(), WriteCondition::Any);
    let copy = CopyRequest { source, bucket: "b", key: "copy", attributes: &attributes, condition: &condition };
    store.copy(copy).await.unwrap();
    assert_eq!(files(directory.path()), 1, "a copy shares the file");

    put(&store, "a", content(2, 1_000)).await.unwrap();
    assert_eq!(files(directory.path()), 2, "the copy needs the file");
    let request = GetRequest { bucket: "b", key: "copy", span: Span::Whole, if_match: None, version_id: None };
    let reading = store.get(request).await.unwrap();
    store.delete(DeleteRequest { bucket: "b", key: "copy", if_match: None }).await.unwrap();
    assert_eq!(files(directory.path()), 2, "a reader needs the file");
    let read: Vec<_> = reading.body.map(Result::unwrap).collect().await;
    assert_eq!(read.concat(), content(1, 1_000));
    assert_eq!(files(directory.path()), 1);

    drop(store);
    assert_eq!(files(directory.path()), 1, "closing removes nothing");
    let bodies = directory.path().join("bodies");
    for name in ["00000000000000ff", "notes.txt"] {
        fs::write(bodies.join(name), "left by others").unwrap();
    }
    let store = open(directory.path());
    assert!(!bodies.join("00000000000000ff").exists(), "a body that nothing names is removed");
    fs::remove_file(bodies.join("notes.txt")).unwrap();
    assert_eq!(get(&store, "a").await.unwrap(), content(2, 1_000));
    store.remove_bucket("b");
    store.committed("remove bucket").await.unwrap();
    assert_eq!(files(directory.path()), 0);
}

#[tokio::test]
async fn a_body_that_breaks_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = with_bucket(directory.path());
    let (attributes, tags) = (Attributes::default(), Tags::new());
    let create = CreateUpload { bucket: "b", key: "k", attributes: &attributes, tags: &tags, checksum: false };
    let id = store.create_upload(create).await.unwrap();
    let upload = UploadRef { bucket: "b", key: "k", upload_id: &id };
    let broken = || ServiceError::new(ErrorClass::Transient, "read object body", "BodyBroken", "gone");
    let pieces = stream::iter([Ok(content(1, 1 << 20)), Err(broken())]);
    let body = Body::Streamed { stream: pieces.boxed(), len: 2 << 20 };
    store.put_part(PutPart { upload, number: 1, body, checksum: false }).await.unwrap_err();
    assert_eq!(files(directory.path()), 0);
}

#[tokio::test]
async fn a_large_body_is_read_and_written_in_pieces() {
    const SIZE: usize = 8 << 20;
    let directory = tempfile::tempdir().unwrap();
    let store = with_bucket(directory.path());
    let body = content(7, SIZE);
    put(&store, "k", body.clone()).await.unwrap();
    let request = GetRequest { bucket: "b", key: "k", span: Span::Whole, if_match: None, version_id: None };
    let pieces: Vec<Bytes> = store.get(request).await.unwrap().body.map(Result::unwrap).collect().await;
    assert!(pieces.iter().all(|piece| piece.len() == StoreSettings::default().chunk));
    assert!(pieces.concat() == body);
    let span = Span::Range { offset: 100_000, len: 3_000_000 };
    let pieces: Vec<Bytes> =
        store.get(GetRequest { span, ..request }).await.unwrap().body.map(Result::unwrap).collect().await;
    assert!(pieces.concat() == body.slice(100_000..3_100_000));
}

#[test]
fn a_directory_has_one_store_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert!(matches!(refusal(directory.path()), OpenError::InUse { .. }));
    drop(store);
    open(directory.path());
}

#[tokio::test]
async fn a_directory_that_is_damaged_is_not_opened_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = with_bucket(directory.path());
    put(&store, "k", content(1, 1_000)).await.unwrap();
    put(&store, "other", content(2, 1_000)).await.unwrap();
    drop(store);
    let body = fs::read_dir(directory.path().join("bodies")).unwrap().next().unwrap().unwrap().path();
    fs::OpenOptions::new().write(true).open(&body).unwrap().set_len(999).unwrap();
    let told = refusal(directory.path());
    assert!(matches!(told, OpenError::Index { source: IndexError::Record { .. }, .. }), "{told}");
    assert!(told.to_string().contains("has only 999 bytes"), "{told}");
    fs::remove_file(body).unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Index { source: IndexError::Record { .. }, .. }));
    assert_eq!(files(directory.path()), 1);
}

#[test]
fn an_index_of_somebody_else_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let index = directory.path().join("index.db");
    for name in ["index.db-wal", "index.db-shm"] {
        let _ = fs::remove_file(directory.path().join(name));
    }
    fs::write(&index, b"no database at all, and not a short text either").unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Index { source: IndexError::Database(_), .. }));
    fs::remove_file(&index).unwrap();
    let foreign = rusqlite::Connection::open(&index).unwrap();
    foreign.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(foreign);
    assert!(matches!(refusal(directory.path()), OpenError::Index { source: IndexError::Foreign, .. }));
    fs::remove_file(&index).unwrap();
    drop(open(directory.path()));
    rusqlite::Connection::open(&index).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert!(matches!(refusal(directory.path()), OpenError::Index { source: IndexError::Newer(2), .. }));
}

#[tokio::test]
async fn ids_of_earlier_runs_do_not_come_again() {
    let directory = tempfile::tempdir().unwrap();
    let (attributes, tags) = (Attributes::default(), Tags::new());
    let create = CreateUpload { bucket: "b", key: "k", attributes: &attributes, tags: &tags, checksum: false };
    let mut ids = Vec::new();
    for _ in 0..3 {
        let store = with_bucket(directory.path());
        store.create_bucket("b", BucketSettings::versioned());
        ids.push(put(&store, "k", content(1, 10)).await.unwrap().version_id.unwrap());
        let upload_id = store.create_upload(create).await.unwrap();
        store.abort_upload(UploadRef { bucket: "b", key: "k", upload_id: &upload_id }).await.unwrap();
        ids.push(upload_id);
    }
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "{ids:?}");
}
