//! Answers to requests that are not carried out.

use serde_json::{Value, json};

/// Returns a failure: its code and a `Status`.
pub(super) fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, body)
}

/// Returns that a field is not valid.
pub(super) fn invalid(field: &str) -> (u16, Value) {
    let (code, mut body) = status(422, "Invalid", &format!("{field}: not valid"));
    body["details"] = json!({"causes": [{"reason": "FieldValueInvalid", "message": "not valid", "field": field}]});
    (code, body)
}
