//! Queue services that lack an action, or refuse a batch for one of its messages.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use migration_core::error::ErrorClass;
use migration_core::ports::{OutgoingMessage, Queue};
use migration_sqs_dynamodb::SqsQueue;

use crate::support::access;
use crate::support::wire::{Asked, Request, answer, serve};

fn action(request: &Request) -> &str {
    let target = request.header("x-amz-target").unwrap_or_default();
    target.strip_prefix("AmazonSQS.").unwrap_or(target)
}

fn json(status: &str, body: &str) -> Vec<u8> {
    answer(status, &[("content-type", b"application/x-amz-json-1.0")], body.as_bytes())
}

async fn queue(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> (SqsQueue, Asked) {
    let (address, asked) = serve(answer).await;
    let access = access(format!("http://{address}"));
    let url = format!("http://{address}/000000000000/q");
    (SqsQueue::at(&access, url, None).await, asked)
}

fn receipts() -> Vec<String> {
    ["r-1", "r-2", "r-3"].map(str::to_owned).to_vec()
}

#[tokio::test]
async fn a_service_without_batches_of_deletions_is_asked_for_one_once() {
    let words = r#"{"__type":"com.amazonaws.sqs#TYPE","message":"the action DeleteMessageBatch is not valid"}"#;
    let of = |status: &str, code: &str| json(status, &words.replace("TYPE", code));
    for unknown in [
        of("400 Bad Request", "InvalidAction"),
        of("404 Not Found", "UnknownOperationException"),
        of("400 Bad Request", "UnsupportedOperation"),
        of("501 Not Implemented", "NotImplemented"),
        answer("501 Not Implemented", &[("content-type", b"text/html")], b"<html>"),
    ] {
        let (queue, asked) = queue(move |request| match action(request) {
            "DeleteMessageBatch" => unknown.clone(),
            _ => json("200 OK", "{}"),
        })
        .await;
        assert_eq!(queue.delete_all(&receipts()).await.unwrap(), [0, 1, 2], "all are left to be deleted singly");
        // A clone knows it too.
        assert_eq!(queue.clone().delete_all(&receipts()).await.unwrap(), [0, 1, 2]);
        queue.delete("r-1").await.unwrap();
        let actions: Vec<_> = asked.take().iter().map(|request| action(request).to_owned()).collect();
        assert_eq!(actions, ["DeleteMessageBatch", "DeleteMessage"]);
    }
}

#[tokio::test]
async fn a_refused_batch_is_left_to_single_deletions_and_the_next_one_is_tried() {
    let refused = r#"{"__type":"com.amazonaws.sqs#ReceiptHandleIsInvalid","message":"the receipt r-2 is not valid"}"#;
    let old = answer("400 Bad Request", &[("content-type", b"text/xml")], b"<ErrorResponse><Error/></ErrorResponse>");
    for first in [json("400 Bad Request", refused), old] {
        let is_first = AtomicBool::new(true);
        let deleted = r#"{"Successful":[{"Id":"0"},{"Id":"2"}],"Failed":[{"Id":"1","Code":"X","SenderFault":true}]}"#;
        let (queue, _) =
            queue(
                move |_| {
                    if is_first.swap(false, Ordering::Relaxed) { first.clone() } else { json("200 OK", deleted) }
                },
            )
            .await;
        assert_eq!(queue.delete_all(&receipts()).await.unwrap(), [0, 1, 2]);
        assert_eq!(queue.delete_all(&receipts()).await.unwrap(), [1], "a part of the batch failed");
    }
}

#[tokio::test]
async fn a_fault_of_the_whole_queue_is_no_lack_of_an_action() {
    let denied = r#"{"__type":"com.amazonaws.sqs#AccessDeniedException","message":"no"}"#;
    let (queue, _) = queue(move |_| json("400 Bad Request", denied)).await;
    for error in [queue.delete_all(&receipts()).await.unwrap_err(), queue.send(&messages()).await.unwrap_err()] {
        assert!(matches!(error.class, ErrorClass::Service(_)), "{error}");
    }
}

const TAKEN: &str = r#"{"MessageId":"m"}"#;

fn messages() -> Vec<OutgoingMessage> {
    let message = |body: &str| OutgoingMessage { body: body.to_owned(), delay: Duration::from_secs(7) };
    ["m-1", "m-2", "m-3"].map(message).to_vec()
}

/// Returns the action of each request, with body and delay of a single message.
fn sent(asked: &Asked) -> Vec<String> {
    let described = |request: &Request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        match action(request) {
            "SendMessage" => format!("{} {}", body["MessageBody"].as_str().unwrap(), body["DelaySeconds"]),
            other => other.to_owned(),
        }
    };
    asked.take().iter().map(described).collect()
}

#[tokio::test]
async fn messages_are_sent_singly_where_the_service_has_no_batches_and_that_is_asked_for_once() {
    let unknown =
        r#"{"__type":"com.amazonaws.sqs#InvalidAction","message":"the action SendMessageBatch is not valid"}"#;
    let (queue, asked) = queue(move |request| match action(request) {
        "SendMessageBatch" => json("400 Bad Request", unknown),
        _ => json("200 OK", TAKEN),
    })
    .await;
    assert_eq!(queue.send(&messages()).await.unwrap(), [0; 0]);
    assert_eq!(sent(&asked), ["SendMessageBatch", "m-1 7", "m-2 7", "m-3 7"]);
    // A clone knows it too.
    assert_eq!(queue.clone().send(&messages()[1..]).await.unwrap(), [0; 0]);
    assert_eq!(sent(&asked), ["m-2 7", "m-3 7"]);
}

#[tokio::test]
async fn messages_of_a_batch_that_is_too_long_are_sent_singly_and_the_next_batch_is_tried() {
    let too_long = |code: &str| json("400 Bad Request", &format!(r#"{{"__type":"com.amazonaws.sqs#{code}"}}"#));
    for refused in [
        too_long("BatchRequestTooLong"),
        too_long("AWS.SimpleQueueService.BatchRequestTooLong"),
        answer("413 Content Too Large", &[("content-type", b"text/html")], b"<html>"),
        answer("400 Bad Request", &[("content-type", b"text/xml")], b"<ErrorResponse><Error/></ErrorResponse>"),
    ] {
        let (queue, asked) = queue(move |request| match action(request) {
            "SendMessageBatch" => refused.clone(),
            _ => json("200 OK", TAKEN),
        })
        .await;
        for _ in 0..2 {
            assert_eq!(queue.send(&messages()).await.unwrap(), [0; 0]);
            assert_eq!(sent(&asked), ["SendMessageBatch", "m-1 7", "m-2 7", "m-3 7"]);
        }
    }
}

#[tokio::test]
async fn what_the_queue_does_not_take_of_single_messages_is_left_and_what_it_took_is_not() {
    let refused = r#"{"__type":"com.amazonaws.sqs#InvalidMessageContents","message":"no"}"#;
    for (taken, expected) in [(0, None), (1, Some(&[1, 2][..])), (2, Some(&[2])), (3, Some(&[]))] {
        let left = AtomicUsize::new(taken);
        let (queue, asked) = queue(move |request| match action(request) {
            "SendMessageBatch" => json("501 Not Implemented", "{}"),
            _ if left.load(Ordering::Relaxed) == 0 => json("400 Bad Request", refused),
            _ => {
                left.fetch_sub(1, Ordering::Relaxed);
                json("200 OK", TAKEN)
            }
        })
        .await;
        // Nothing was taken: the error says why.
        assert_eq!(queue.send(&messages()).await.ok().as_deref(), expected, "{taken}");
        assert_eq!(sent(&asked).len(), 1 + (taken + 1).min(3), "nothing is sent after one that failed");
    }
}

#[tokio::test]
async fn a_queue_that_takes_a_part_of_a_batch_leaves_the_rest() {
    let part = r#"{"Successful":[{"Id":"1","MessageId":"m","MD5OfMessageBody":"x"}],
        "Failed":[{"Id":"0","Code":"InternalError","SenderFault":false}]}"#;
    let (queue, _) = queue(move |_| json("200 OK", part)).await;
    assert_eq!(queue.send(&messages()).await.unwrap(), [0, 2], "also one that the answer does not name");
}
