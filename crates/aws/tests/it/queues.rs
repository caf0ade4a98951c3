//! Queue services that lack an action, or refuse a batch for one of its messages.

use std::sync::atomic::{AtomicBool, Ordering};

use migration_core::error::ErrorClass;
use migration_core::ports::Queue;
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
    let error = queue.delete_all(&receipts()).await.unwrap_err();
    assert!(matches!(error.class, ErrorClass::Service(_)), "{error}");
}
