//! Conversion of JSON values to and from DynamoDB attributes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::LedgerKey;
use serde_json::{Map, Number, Value};

pub(super) fn from_json(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(truth) => AttributeValue::Bool(*truth),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(values) => AttributeValue::L(values.iter().map(from_json).collect()),
        Value::Object(values) => AttributeValue::M(map_from_json(values)),
    }
}

pub(super) fn map_from_json(values: &Map<String, Value>) -> HashMap<String, AttributeValue> {
    values.iter().map(|(name, value)| (name.clone(), from_json(value))).collect()
}

/// Returns `None` for sets, binary values and numbers that [`from_json`] never writes.
pub(super) fn to_json(attribute: AttributeValue) -> Option<Value> {
    Some(match attribute {
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::Bool(truth) => Value::Bool(truth),
        AttributeValue::N(text) => Value::Number(number(&text)?),
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::L(values) => Value::Array(values.into_iter().map(to_json).collect::<Option<_>>()?),
        AttributeValue::M(values) => {
            let read = |(name, value)| Some((name, to_json(value)?));
            Value::Object(values.into_iter().map(read).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn number(text: &str) -> Option<Number> {
    let whole = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    whole.ok().or_else(|| Number::from_f64(text.parse().ok()?))
}

/// Error for an item that something else has written into the table.
pub(super) fn unreadable(operation: &str, key: &LedgerKey, name: &str) -> ServiceError {
    let LedgerKey { partition, sort } = key;
    let message = format!(
        "the attribute {name} of the item {partition} / {sort} has a type that no record has; use a table of its own"
    );
    ServiceError::new(ErrorClass::Refused, operation, "InvalidItem", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_reads_back() {
        let value = json!({
            "null": null, "truth": [true, false], "text": "é\u{0}", "empty": "", "least": i64::MIN, "most": u64::MAX,
            "part": 0.25, "deep": {"list": [{}, [], [1, "1"]]}
        });
        assert_eq!(to_json(from_json(&value)), Some(value));
    }

    #[test]
    fn other_types_are_not_guessed() {
        for attribute in [
            AttributeValue::Ss(vec!["a".into()]),
            AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new("a")),
            AttributeValue::N("x".into()),
            AttributeValue::L(vec![AttributeValue::Ns(vec!["1".into()])]),
        ] {
            assert_eq!(to_json(attribute.clone()), None, "{attribute:?}");
        }
    }
}
