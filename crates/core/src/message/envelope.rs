//! Unwraps S3 events, whether they arrive directly, through an SNS topic, or through `EventBridge`.

use serde_json::Value;

use super::{Message, MessageError, event};

/// Parses a message that is neither ours nor a job of the predecessor.
pub(super) fn read(value: Value) -> Result<Message, MessageError> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    match (text("Type"), text("TopicArn"), text("Message")) {
        (Some("Notification"), Some(_), Some(message)) => match serde_json::from_str(message) {
            Ok(inner) => of_s3(inner),
            Err(error) => Err(MessageError::Unknown(format!("an SNS notification whose Message is not JSON: {error}"))),
        },
        (Some(kind @ ("SubscriptionConfirmation" | "UnsubscribeConfirmation")), Some(topic), _) => {
            Err(MessageError::Unknown(format!(
                "an SNS {kind} of topic {topic}; the owner of the queue has to confirm the subscription"
            )))
        }
        _ => of_s3(value),
    }
}

fn of_s3(value: Value) -> Result<Message, MessageError> {
    if value.get("Records").is_some() {
        return event::read(value).map(Message::Events);
    }
    if value.get("detail-type").is_some() {
        return event::read_bridged(value).map(|event| Message::Events(vec![event]));
    }
    match value.get("Event").and_then(Value::as_str) {
        Some("s3:TestEvent") => Ok(Message::TestEvent),
        Some(event) => Err(MessageError::Unknown(format!("Event is {event:?}"))),
        None => {
            let known = "none of the members v, Records, detail-type, Event, TopicArn and Src_bucket";
            Err(MessageError::Unknown(known.to_owned()))
        }
    }
}
