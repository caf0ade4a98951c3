//! Bounds of requests and messages, which are SQS's.
//!
//! Sources: "Amazon SQS message quotas" and "Amazon SQS visibility timeout" in the developer guide, `SendMessage` and
//! `ReceiveMessage` in the API reference.

use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{Operation, OutgoingMessage};

/// Messages per request.
const MAX_BATCH: usize = 10;
/// Bytes of a message, and of all messages of a request.
pub const MAX_BYTES: usize = 1 << 20;
/// Longest delay of a message.
pub const MAX_DELAY: Duration = Duration::from_mins(15);
/// Longest wait of a receive.
pub const MAX_WAIT: Duration = Duration::from_secs(20);
/// Longest visibility timeout, counted from the delivery.
pub const MAX_VISIBILITY: Duration = Duration::from_hours(12);

/// Returns the error for a request that no retry makes succeed, with the service's code.
pub fn refused(operation: Operation, code: &str, message: &str) -> ServiceError {
    ServiceError::new(ErrorClass::Refused, operation.as_str(), code, message)
}

/// Returns the error for a receipt that no delivery had.
pub fn unknown_receipt(operation: Operation) -> ServiceError {
    refused(operation, "ReceiptHandleIsInvalid", "the receipt is not valid")
}

/// Checks the numbers of a receive.
pub fn check_receive(operation: Operation, max: u32, wait: Duration, visibility: Duration) -> Result<(), ServiceError> {
    let is_batch = usize::try_from(max).is_ok_and(|max| (1..=MAX_BATCH).contains(&max));
    if !is_batch || wait > MAX_WAIT || visibility > MAX_VISIBILITY {
        return Err(refused(operation, "InvalidParameterValue", "a number is out of its bounds"));
    }
    Ok(())
}

/// Checks a visibility timeout.
pub fn check_visibility(operation: Operation, visibility: Duration) -> Result<(), ServiceError> {
    if visibility > MAX_VISIBILITY {
        return Err(refused(operation, "InvalidParameterValue", "the visibility timeout is over 12 hours"));
    }
    Ok(())
}

/// Checks the messages of a request together. None at all are accepted: nothing is sent.
pub fn check_batch(messages: &[OutgoingMessage]) -> Result<(), ServiceError> {
    const SEND: Operation = Operation::SendMessages;
    if messages.len() > MAX_BATCH {
        return Err(refused(SEND, "TooManyEntriesInBatchRequest", "maximum number of entries per request are 10"));
    }
    if messages.iter().map(|message| message.body.len()).sum::<usize>() > MAX_BYTES {
        let message = "the length of all the messages put together is too long";
        return Err(refused(SEND, "BatchRequestTooLong", message));
    }
    Ok(())
}

/// Returns true if SQS accepts the request and rejects this message of it, where a message has up to `most` bytes.
pub fn is_rejected(message: &OutgoingMessage, most: usize) -> bool {
    message.body.is_empty()
        || message.body.len() > most
        || message.delay > MAX_DELAY
        || !message.body.chars().all(is_accepted)
}

fn is_accepted(c: char) -> bool {
    matches!(c, '\u{9}' | '\u{A}' | '\u{D}' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Converts to milliseconds, rounded up so that a message is never visible too early.
pub fn millis(time: Duration) -> i64 {
    let part = u128::from(!time.subsec_nanos().is_multiple_of(1_000_000));
    i64::try_from(time.as_millis().saturating_add(part)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up() {
        for (nanos, expected) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(millis(Duration::from_nanos(nanos)), expected, "{nanos}");
        }
        assert_eq!(millis(Duration::MAX), i64::MAX);
    }
}
