//! Faults of a whole side are reported as such, and end without a new client.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use migration_aws::{Access, CredentialSource, S3Store};
use migration_core::config::{ACCESS_KEY_FILE, SECRET_KEY_FILE, WriteSettings};
use migration_core::error::{ErrorClass, Service, ServiceError, ServiceFault};
use migration_core::ports::{
    Condition, GetRequest, HeadRequest, Item, Ledger, LedgerKey, ListPage, ListRequest, ObjectStore, OutgoingMessage,
    Queue, Span, Write, WriteError,
};
use migration_sqs_dynamodb::{DynamoLedger, SqsQueue};
use migration_testkit::MiniStack;
use serde_json::Map;
use tokio::time::{Instant, sleep};

use crate::support::{access, new_bucket};

fn class<T>(result: Result<T, ServiceError>) -> Option<ErrorClass> {
    result.err().map(|error| error.class)
}

async fn list(store: &S3Store, bucket: &str) -> Result<ListPage, ServiceError> {
    store.list(ListRequest { bucket, prefix: "", start_after: None, continuation: None, max_keys: None }).await
}

#[tokio::test]
async fn a_missing_queue_or_table_is_the_sides_fault() {
    let server = MiniStack::start().await.unwrap();
    let access = access(server.endpoint());
    let url = format!("{}/000000000000/nobody", server.endpoint());
    let queue = SqsQueue::at(&access, url.clone(), Some(url)).await;
    let missing = Some(ErrorClass::Service(ServiceFault::NotFound));
    let message = OutgoingMessage { body: "m".into(), delay: Duration::ZERO };
    assert_eq!(class(queue.send(&[message]).await), missing);
    assert_eq!(class(queue.receive(1, Duration::ZERO, Duration::from_secs(1)).await), missing);
    assert_eq!(class(queue.send_dead_letter("m", "reason").await), missing);

    let ledger = DynamoLedger::at(&access, "nobody".into()).await;
    let key = LedgerKey::new("p", "s");
    assert_eq!(class(ledger.get(&key).await), missing);
    assert_eq!(class(ledger.query("p", "s", None, 1).await), missing);
    let item = Item { key, attributes: Map::new(), expires_at: None };
    let written = ledger.write(&[Write::Put { item, condition: Condition::Always }]).await;
    assert!(matches!(written, Err(WriteError::Service(error)) if Some(error.class) == missing));
}

#[tokio::test]
async fn where_nothing_listens_requests_fail_in_passing() {
    let server = MiniStack::start().await.unwrap();
    let access = access(server.endpoint());
    drop(server);
    let store = S3Store::with_access(&access, true, &WriteSettings::default(), Service::Source).await;
    let error = list(&store, "b").await.unwrap_err();
    assert!(matches!(error.class, ErrorClass::NoAnswer), "{:?}: {error}", error.class);
}

fn write_keys(directory: &Path, id: &str, secret: &str) -> io::Result<()> {
    fs::write(directory.join(ACCESS_KEY_FILE), id)?;
    fs::write(directory.join(SECRET_KEY_FILE), secret)
}

#[tokio::test]
async fn keys_that_are_corrected_are_picked_up() {
    let server = MiniStack::start_with(&[("AUTH", "true")]).await.unwrap();
    let bucket = new_bucket(server.endpoint()).await.unwrap();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keys-that-are-corrected");
    fs::create_dir_all(&directory).unwrap();
    for file in fs::read_dir(&directory).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    let access =
        Access { credentials: CredentialSource::Directory { path: directory.clone() }, ..access(server.endpoint()) };
    let store = S3Store::with_access(&access, true, &WriteSettings::default(), Service::Source).await;
    assert_eq!(class(list(&store, &bucket).await), Some(ErrorClass::Service(ServiceFault::CredentialsMissing)));

    write_keys(&directory, "AKIAUNKNOWN000000000", "wrong").unwrap();
    let invalid = ErrorClass::Service(ServiceFault::CredentialsInvalid);
    wait_for(async || class(list(&store, &bucket).await) == Some(invalid)).await;
    let get = GetRequest { bucket: &bucket, key: "k", span: Span::Whole, if_match: None, version_id: None };
    let got = store.get(get).await.err().unwrap();
    assert_eq!(got.class, invalid);
    assert!(!got.to_string().contains("wrong"), "a secret in {got}");
    assert_eq!(class(store.head(HeadRequest::new(&bucket, "k")).await), Some(invalid));

    write_keys(&directory, "test", "test").unwrap();
    wait_for(async || list(&store, &bucket).await.is_ok()).await;
}

/// Longer than credentials are cached.
async fn wait_for(mut condition: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !condition().await {
        assert!(Instant::now() < until, "the condition was not met within a minute");
        sleep(Duration::from_millis(200)).await;
    }
}
