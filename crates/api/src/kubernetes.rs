//! Schemas of Kubernetes' own types, in the settings of pods.
//!
//! Theirs have no bounds, and descriptions of several paragraphs, which made up most of the definition: `kubectl apply`
//! keeps what it applied in an annotation, which holds 262,144 bytes.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// The longest text, in characters. Values of environment variables may be files.
const LONGEST: u32 = 4_096;
/// The longest text of a field called `value`, in characters.
const LONGEST_VALUE: u32 = 32_768;
/// The longest quantity, in characters.
const LONGEST_QUANTITY: u32 = 64;
/// The most items of a list, and the most entries of a map.
const MOST: u32 = 64;

/// Returns the schema of a type of Kubernetes, with bounds and with the first sentences of its descriptions. All checks
/// of the type stay.
pub(crate) fn bounded<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    bound(schema.ensure_object(), "");
    schema
}

/// Returns the schema of a map of texts, with at most this number of entries of at most this length.
pub(crate) fn texts<const ENTRIES: u32, const LENGTH: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": ENTRIES,
        "additionalProperties": {"type": "string", "maxLength": LENGTH},
    })
}

/// Bounds a schema and those in it. `name` is that of its field.
fn bound(schema: &mut Map<String, Value>, name: &str) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        description.truncate(first_sentence(description));
    }
    let add = |schema: &mut Map<String, Value>, keyword: &str, bound: u32| {
        schema.entry(keyword).or_insert_with(|| bound.into());
    };
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    if schema.contains_key("x-kubernetes-int-or-string") {
        add(schema, "maxLength", LONGEST_QUANTITY);
    } else if kind == "string" && !schema.contains_key("enum") {
        add(schema, "maxLength", if name == "value" { LONGEST_VALUE } else { LONGEST });
    } else if kind == "array" {
        add(schema, "maxItems", MOST);
    } else if schema.contains_key("additionalProperties") {
        add(schema, "maxProperties", MOST);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(inner) {
            bound(inner, "");
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties {
            if let Value::Object(property) = property {
                bound(property, name);
            }
        }
    }
}

/// Returns where the first sentence of a text ends: before a line break, or after a full stop that a capital follows.
fn first_sentence(text: &str) -> usize {
    let line = text.find('\n').unwrap_or(text.len());
    let ends = text.match_indices(". ").map(|(at, _)| at + 1);
    let begins_anew =
        |end: &usize| text.get(end + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_uppercase()));
    ends.filter(begins_anew).chain([line]).min().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sentence_ends_before_a_capital_or_a_line_break() {
        for (text, first) in [
            ("One. Two. Three", "One."),
            ("Such as e.g. this. And that", "Such as e.g. this."),
            ("No stop\n\nMore", "No stop"),
            ("Version 1.5 of it.", "Version 1.5 of it."),
            ("", ""),
        ] {
            assert_eq!(&text[..first_sentence(text)], first);
        }
    }

    #[test]
    fn bounds_are_added_where_there_are_none() {
        let mut schema = json!({"type": "array", "items": {"type": "object", "properties": {
            "key": {"type": "string"},
            "value": {"type": "string"},
            "short": {"type": "string", "maxLength": 3},
            "one": {"type": "string", "enum": ["a"]},
            "amounts": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": true}},
        }}});
        bound(schema.as_object_mut().unwrap(), "");
        let expected = json!({"type": "array", "maxItems": 64, "items": {"type": "object", "properties": {
            "key": {"type": "string", "maxLength": 4096},
            "value": {"type": "string", "maxLength": 32768},
            "short": {"type": "string", "maxLength": 3},
            "one": {"type": "string", "enum": ["a"]},
            "amounts": {"type": "object", "maxProperties": 64,
                "additionalProperties": {"x-kubernetes-int-or-string": true, "maxLength": 64}},
        }}});
        assert_eq!(schema, expected);
    }
}
