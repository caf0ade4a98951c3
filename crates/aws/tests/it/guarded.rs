//! The guard of clients that a process shares: it is asked before each attempt of what may write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, Queue, Write, WriteError};
use migration_sqs_dynamodb::{Clients, Guard, QueueSpec, TableSpec};

use crate::support::access;
use crate::support::wire::{Asked, Request, answer, serve};

const WRITES: [&str; 10] = [
    "CreateQueue",
    "SetQueueAttributes",
    "TagQueue",
    "DeleteQueue",
    "DeleteMessage",
    "CreateTable",
    "UpdateTimeToLive",
    "TagResource",
    "DeleteTable",
    "PutItem",
];

const TABLE: &str = r#"{"TableName":"t","TableStatus":"ACTIVE","TableArn":"arn:aws:dynamodb:us-east-1:1:table/t",
    "KeySchema":[{"AttributeName":"pk","KeyType":"HASH"},{"AttributeName":"sk","KeyType":"RANGE"}],
    "AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"},{"AttributeName":"sk","AttributeType":"S"}]}"#;

fn action(request: &Request) -> &str {
    request.header("x-amz-target").unwrap_or_default().rsplit('.').next().unwrap_or_default()
}

fn json(status: &str, body: &str) -> Vec<u8> {
    answer(status, &[("content-type", b"application/x-amz-json-1.0")], body.as_bytes())
}

/// Answers with queue and table of which nothing is as wanted, or without them if they are to be created.
fn found(action: &str, write: &str) -> Vec<u8> {
    let absent = |kind: &str| json("400 Bad Request", &format!(r#"{{"__type":"x#{kind}","message":"no"}}"#));
    match action {
        "GetQueueUrl" if write == "CreateQueue" => absent("QueueDoesNotExist"),
        "DescribeTable" if write == "CreateTable" => absent("ResourceNotFoundException"),
        "GetQueueUrl" => json("200 OK", r#"{"QueueUrl":"http://localhost/1/q"}"#),
        "GetQueueAttributes" => json("200 OK", r#"{"Attributes":{"QueueArn":"arn:aws:sqs:us-east-1:1:q"}}"#),
        "DescribeTable" => json("200 OK", &format!(r#"{{"Table":{TABLE}}}"#)),
        _ => json("200 OK", "{}"),
    }
}

/// Sends a write to a service that fails each time. Before the first failure, the guard closes, or not.
async fn send(write: &'static str, closes: bool) -> (ServiceError, Asked) {
    let is_open = Arc::new(AtomicBool::new(true));
    let guard = is_open.clone();
    let (address, asked) = serve(move |request| {
        if action(request) != write {
            return found(action(request), write);
        }
        guard.store(!closes, Ordering::Relaxed);
        json("500 Internal Server Error", r#"{"__type":"x#InternalServerError","message":"again"}"#)
    })
    .await;
    let access = access(format!("http://{address}"));
    let clients = Clients::guarded(Guard::new(move || is_open.load(Ordering::Relaxed)));
    let tags = [("a".to_owned(), "b".to_owned())];
    let result = match write {
        "DeleteQueue" => clients.queue_admin(&access).await.delete("q", "q-dlq").await,
        "DeleteTable" => clients.table_admin(&access).await.delete("t").await,
        "DeleteMessage" => clients.queue(&access, "http://localhost/1/q".into(), None).await.delete("r").await,
        "PutItem" => {
            let item = Item { key: LedgerKey::new("p", "s"), attributes: serde_json::Map::new(), expires_at: None };
            let write = Write::Put { item, condition: Condition::Always };
            let written = clients.ledger(&access, "t".into()).await.write(&[write]).await;
            written.or_else(|error| if let WriteError::Service(error) = error { Err(error) } else { Ok(()) })
        }
        "CreateQueue" | "SetQueueAttributes" | "TagQueue" => {
            let spec = QueueSpec {
                name: "q".into(),
                dead_letter_name: "q-dlq".into(),
                visibility: Duration::from_secs(30),
                retention: Duration::from_hours(1),
                max_receives: 3,
                tags: tags.into(),
            };
            clients.queue_admin(&access).await.ensure(&spec).await.map(drop)
        }
        _ => {
            let spec = TableSpec { name: "t".into(), tags: tags.into() };
            clients.table_admin(&access).await.ensure(&spec, Duration::from_secs(1)).await
        }
    };
    (result.unwrap_err(), asked)
}

fn number(asked: &Asked, write: &str) -> usize {
    asked.take().iter().filter(|request| action(request) == write).count()
}

#[tokio::test]
async fn an_attempt_after_the_guard_closed_is_not_sent() {
    for write in WRITES {
        let (error, asked) = send(write, true).await;
        assert_eq!(number(&asked, write), 1, "{write}: {error}");
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Transient, "NotSent"), "{write}: {error}");
        assert_eq!(error.to_string(), format!("failed to send {write}: NotSent: this process may not write any more"));
    }
}

#[tokio::test]
async fn while_the_guard_is_open_a_request_is_repeated() {
    let (_, asked) = send("DeleteTable", false).await;
    assert_eq!(number(&asked, "DeleteTable"), 4);
}
