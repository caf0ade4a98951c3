//! [`Queue`], [`DeadLetterQueue`] and [`MeasuredQueue`] on Amazon SQS.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, DeleteMessageBatchResultEntry, Message, MessageAttributeValue,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry, SendMessageBatchResultEntry,
};
use aws_smithy_types::error::operation::BuildError;
use migration_aws::error::{Api, OwnSuccess, invalid_response, no_answer, service_error};
use migration_aws::sdk::SdkConfig;
use migration_aws::{Access, CredentialSource};
use migration_core::config::QueueConfig;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{
    DeadLetter, DeadLetterQueue, Depth, MeasuredQueue, OutgoingMessage, Queue, ReceivedMessage,
};

use crate::guard::Guard;
use crate::shared::Shared;

/// Message attribute that holds the reason of a dead letter.
const REASON: &str = "reason";
/// Longest reason, in characters; the rest is cut off to leave the message's size to the body.
const REASON_LIMIT: usize = 1_000;

/// Codes by which services say that they do not have an action. Sources: "Common errors" in the SQS API reference
/// (`InvalidAction`, `UnsupportedOperation`), "AWS JSON 1.0 protocol" in Smithy 2.0 (`UnknownOperationException`), and the
/// status 501 of services and gateways.
const UNKNOWN_ACTION: [&str; 6] = [
    "InvalidAction",
    "UnknownOperation",
    "UnknownOperationException",
    "UnsupportedOperation",
    "AWS.SimpleQueueService.UnsupportedOperation",
    "NotImplemented",
];

/// Codes by which services say that a batch is too long as a whole, which each of its messages need not be. Sources:
/// `SendMessageBatch` in the SQS API reference, and the status 413 of gateways.
const BATCH_TOO_LONG: [&str; 3] = ["BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", "Http413"];

const SEND: &str = "send messages";
const RECEIVE: &str = "receive messages";
const DELETE: &str = "delete message";
const DELETE_ALL: &str = "delete messages";
const SEND_DEAD: &str = "send dead letter";
const MEASURE: &str = "get queue attributes";

/// The three counts of a [`Depth`].
const COUNTS: [QueueAttributeName; 3] = [
    QueueAttributeName::ApproximateNumberOfMessages,
    QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    QueueAttributeName::ApproximateNumberOfMessagesDelayed,
];

/// A queue and its dead letter queue. Clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Shared<Client>,
    url: String,
    dead_letter_url: Option<String>,
    /// Set once the service has said that it does not know `DeleteMessageBatch`. Shared by clones.
    deletes_singly: Arc<AtomicBool>,
    /// The same of `SendMessageBatch`.
    sends_singly: Arc<AtomicBool>,
}

pub(crate) fn client(config: &SdkConfig, access: &Access, guard: &Guard) -> Client {
    let mut config = Builder::from(config).interceptor(OwnSuccess::Queue).interceptor(guard.clone());
    if let Some(endpoint) = &access.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if access.credentials == CredentialSource::Anonymous {
        config = config.allow_no_auth();
    }
    Client::from_conf(config.build())
}

impl SqsQueue {
    /// Creates a client for the queue of a job. Sends no request.
    pub async fn new(config: &QueueConfig) -> Self {
        let access = Access::from(&config.service);
        Self::at(&access, config.url.clone(), Some(config.dead_letter_url.clone())).await
    }

    /// Creates a client for any queue, dead letter queues included. Without a dead letter URL,
    /// [`Queue::send_dead_letter`] fails.
    pub async fn at(access: &Access, url: String, dead_letter_url: Option<String>) -> Self {
        Self::with(Shared::alone(access, client).await, url, dead_letter_url)
    }

    pub(crate) fn with(client: Shared<Client>, url: String, dead_letter_url: Option<String>) -> Self {
        Self { client, url, dead_letter_url, deletes_singly: Arc::default(), sends_singly: Arc::default() }
    }

    /// Sends messages by one request. Returns the places of those that the queue rejected.
    async fn send_batch(&self, messages: &[OutgoingMessage]) -> Result<Vec<usize>, ServiceError> {
        let entries = messages.iter().enumerate().map(|(place, message)| {
            SendMessageBatchRequestEntry::builder()
                .id(place.to_string())
                .message_body(&message.body)
                .delay_seconds(seconds(message.delay))
                .build()
        });
        let entries = entries.collect::<Result<_, _>>().map_err(|error| unbuilt(SEND, &error))?;
        let send = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let output = send.send().await.map_err(|error| service_error(Api::Sqs, SEND, &error))?;
        for failed in output.failed() {
            tracing::warn!(code = failed.code(), message = failed.message(), "the queue rejected a message");
        }
        let taken: BTreeSet<&str> = output.successful().iter().map(SendMessageBatchResultEntry::id).collect();
        Ok((0..messages.len()).filter(|place| !taken.contains(place.to_string().as_str())).collect())
    }

    /// Sends messages by a request each, up to the first that fails. Returns the places of those that are left, or the
    /// error if these are all: what was taken is not sent again.
    async fn send_singly(&self, messages: &[OutgoingMessage]) -> Result<Vec<usize>, ServiceError> {
        for (place, message) in messages.iter().enumerate() {
            let request = self.client.send_message().queue_url(&self.url).message_body(&message.body);
            let answer = request.delay_seconds(seconds(message.delay)).send().await;
            let answer = answer.map_err(|error| service_error(Api::Sqs, SEND, &error));
            match answer.and_then(|output| output.message_id.ok_or_else(|| no_answer(SEND, "message id"))) {
                Ok(_) => {}
                Err(error) if place == 0 => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the queue rejected a message");
                    return Ok((place..messages.len()).collect());
                }
            }
        }
        Ok(Vec::new())
    }
}

/// Opened like any queue, with the URL of the dead-letter queue.
impl DeadLetterQueue for SqsQueue {
    async fn receive_dead_letters(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<DeadLetter>, ServiceError> {
        let output = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(whole(max))
            .wait_time_seconds(seconds(wait))
            .visibility_timeout(seconds(visibility))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_attribute_names(REASON)
            .send()
            .await
            .map_err(|error| service_error(Api::Sqs, RECEIVE, &error))?;
        output.messages.unwrap_or_default().into_iter().map(dead_letter).collect()
    }
}

impl MeasuredQueue for SqsQueue {
    async fn depth(&self) -> Result<Depth, ServiceError> {
        depth(&self.client, &self.url).await
    }
}

/// Returns the number of messages in the queue at a URL.
pub(crate) async fn depth(client: &Client, url: &str) -> Result<Depth, ServiceError> {
    let get = client.get_queue_attributes().queue_url(url).set_attribute_names(Some(COUNTS.to_vec()));
    let output = get.send().await.map_err(|error| service_error(Api::Sqs, MEASURE, &error))?;
    let attributes = output.attributes.unwrap_or_default();
    let [visible, in_flight, delayed] = COUNTS.map(|name| {
        let count = attributes.get(&name).and_then(|count| count.parse().ok());
        count.ok_or_else(|| invalid_response(MEASURE, format!("the answer has no {name}")))
    });
    Ok(Depth { visible: visible?, in_flight: in_flight?, delayed: delayed? })
}

fn dead_letter(message: Message) -> Result<DeadLetter, ServiceError> {
    let missing = |what: &str| invalid_response(RECEIVE, format!("a message has no {what}"));
    let count =
        message.attributes.as_ref().and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
    let reason = message.message_attributes.as_ref().and_then(|all| all.get(REASON)?.string_value.clone());
    Ok(DeadLetter {
        message: ReceivedMessage {
            receives: count.and_then(|count| count.parse().ok()).ok_or_else(|| missing("receive count"))?,
            id: message.message_id.ok_or_else(|| missing("id"))?,
            receipt: message.receipt_handle.ok_or_else(|| missing("receipt handle"))?,
            body: message.body.ok_or_else(|| missing("body"))?,
        },
        reason,
    })
}

impl Queue for SqsQueue {
    /// Sends messages singly if the service does not have `SendMessageBatch`, which is asked for once, or refuses the
    /// batch as too long or without a code.
    async fn send(&self, messages: &[OutgoingMessage]) -> Result<Vec<usize>, ServiceError> {
        if messages.is_empty() || self.sends_singly.load(Ordering::Relaxed) {
            return self.send_singly(messages).await;
        }
        match self.send_batch(messages).await {
            Err(error) if is_unknown_action(&error) => {
                tracing::info!(%error, "the queue service has no SendMessageBatch: messages are sent one by one");
                self.sends_singly.store(true, Ordering::Relaxed);
                self.send_singly(messages).await
            }
            Err(error) if BATCH_TOO_LONG.contains(&error.code.as_str()) || is_refused_by_status(&error) => {
                self.send_singly(messages).await
            }
            result => result,
        }
    }

    async fn receive(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<ReceivedMessage>, ServiceError> {
        let letters = self.receive_dead_letters(max, wait, visibility).await?;
        Ok(letters.into_iter().map(|letter| letter.message).collect())
    }

    async fn set_visibility(&self, receipt: &str, visibility: Duration) -> Result<(), ServiceError> {
        let change = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt);
        let sent = change.visibility_timeout(seconds(visibility)).send().await;
        sent.map(|_| ()).map_err(|error| service_error(Api::Sqs, "change message visibility", &error))
    }

    async fn delete(&self, receipt: &str) -> Result<(), ServiceError> {
        let sent = self.client.delete_message().queue_url(&self.url).receipt_handle(receipt).send().await;
        sent.map(|_| ()).map_err(|error| service_error(Api::Sqs, DELETE, &error))
    }

    /// Leaves all messages to [`Queue::delete`] if the service does not have `DeleteMessageBatch`, which is asked for once,
    /// or refuses the batch, since one message may be why.
    async fn delete_all(&self, receipts: &[String]) -> Result<Vec<usize>, ServiceError> {
        let all = || (0..receipts.len()).collect();
        if self.deletes_singly.load(Ordering::Relaxed) {
            return Ok(all());
        }
        let entry = |(place, receipt): (usize, &String)| {
            DeleteMessageBatchRequestEntry::builder().id(place.to_string()).receipt_handle(receipt).build()
        };
        let entries = receipts.iter().enumerate().map(entry).collect::<Result<_, _>>();
        let entries = entries.map_err(|error| unbuilt(DELETE_ALL, &error))?;
        let delete = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let output = match delete.send().await.map_err(|error| service_error(Api::Sqs, DELETE_ALL, &error)) {
            Ok(output) => output,
            Err(error) if is_unknown_action(&error) => {
                tracing::info!(%error, "the queue service has no DeleteMessageBatch: messages are deleted one by one");
                self.deletes_singly.store(true, Ordering::Relaxed);
                return Ok(all());
            }
            Err(error) if error.class == ErrorClass::Refused || is_refused_by_status(&error) => return Ok(all()),
            Err(error) => return Err(error),
        };
        let deleted: BTreeSet<&str> = output.successful().iter().map(DeleteMessageBatchResultEntry::id).collect();
        Ok((0..receipts.len()).filter(|place| !deleted.contains(place.to_string().as_str())).collect())
    }

    async fn send_dead_letter(&self, body: &str, reason: &str) -> Result<(), ServiceError> {
        let Some(url) = &self.dead_letter_url else {
            let message = format!("the queue {} has no dead letter queue; give it one", self.url);
            return Err(ServiceError::new(ErrorClass::Refused, SEND_DEAD, "NoDeadLetterQueue", message));
        };
        let mut send = self.client.send_message().queue_url(url).message_body(body);
        if let Some(reason) = sendable(reason) {
            let value = MessageAttributeValue::builder().data_type("String").string_value(reason).build();
            send = send.message_attributes(REASON, value.map_err(|error| unbuilt(SEND_DEAD, &error))?);
        }
        let output = send.send().await.map_err(|error| service_error(Api::Sqs, SEND_DEAD, &error))?;
        // The caller deletes the original next: a message that the queue did not take would be lost.
        output.message_id.map(|_| ()).ok_or_else(|| no_answer(SEND_DEAD, "message id"))
    }
}

/// Returns true if an error says that the service does not have the action, whoever says so: the same is reached by other
/// actions.
fn is_unknown_action(error: &ServiceError) -> bool {
    UNKNOWN_ACTION.contains(&error.code.as_str()) || error.code == "Http501"
}

/// Returns true if something refused the request without a code that the SDK reads, as services and gateways do that know
/// neither the action nor its protocol.
fn is_refused_by_status(error: &ServiceError) -> bool {
    ["Http400", "Http404", "Http405"].contains(&error.code.as_str())
}

fn unbuilt(operation: &str, error: &BuildError) -> ServiceError {
    ServiceError::new(ErrorClass::Refused, operation, "InvalidRequest", error.to_string())
}

/// Converts to whole seconds, rounded up so that a message is never visible too early.
fn seconds(time: Duration) -> i32 {
    let up = u64::from(time.subsec_nanos() > 0);
    i32::try_from(time.as_secs().saturating_add(up)).unwrap_or(i32::MAX)
}

fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Makes a reason valid as an attribute value by replacing characters that SQS rejects; `None` if it is empty.
/// Source: `SendMessage` in the SQS API reference, `MessageBody`.
fn sendable(reason: &str) -> Option<String> {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    let text = reason.chars().take(REASON_LIMIT).map(|c| if allowed(c) { c } else { '\u{fffd}' });
    Some(text.collect::<String>()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up() {
        for (millis, expected) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2), (900_000, 900)] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected, "{millis}");
        }
        assert_eq!(seconds(Duration::MAX), i32::MAX);
    }

    #[test]
    fn reasons_are_made_sendable() {
        assert_eq!(sendable(""), None);
        assert_eq!(sendable("a\u{0}b\u{fffe}\té\u{1f600}").as_deref(), Some("a\u{fffd}b\u{fffd}\té\u{1f600}"));
        assert_eq!(sendable(&"x".repeat(5_000)).map(|text| text.len()), Some(REASON_LIMIT));
    }

    #[test]
    fn a_message_without_a_receipt_is_an_error() {
        let message = Message::builder().message_id("m").body("b").build();
        assert_eq!(dead_letter(message).unwrap_err().class, ErrorClass::Transient);
    }
}
