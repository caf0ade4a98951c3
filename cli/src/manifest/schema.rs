//! The schema of the resource, as an API server applies it.

use serde_json::{Map, Value, json};

use super::error::ManifestError;

/// Fields of `metadata` that have no schema of their own here: the API server sets them, or other programs use them.
/// Source: `ObjectMeta` in the reference of Kubernetes.
const METADATA: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Returns the `OpenAPI` schema of the resource, with what every object has.
pub fn openapi() -> Result<Value, ManifestError> {
    let unusable = |what: &str| ManifestError::Schema(what.to_owned());
    let crd = serde_json::to_value(migration_api::crd()).map_err(|error| unusable(&error.to_string()))?;
    let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned();
    let mut schema = schema.ok_or_else(|| unusable("it has no schema"))?;
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    let properties = properties.ok_or_else(|| unusable("it has no properties"))?;
    properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
    properties.insert("kind".to_owned(), json!({"type": "string"}));
    properties.insert("metadata".to_owned(), metadata());
    Ok(schema)
}

fn metadata() -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let mut properties: Map<_, _> = METADATA.iter().map(|field| ((*field).to_owned(), json!({}))).collect();
    properties.insert("annotations".to_owned(), texts.clone());
    properties.insert("labels".to_owned(), texts);
    properties.insert("name".to_owned(), json!({"type": "string"}));
    // Source: "RFC 1123 Label Names" in the documentation of Kubernetes.
    let namespace = json!({"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"});
    properties.insert("namespace".to_owned(), namespace);
    json!({"type": "object", "properties": properties})
}

/// Converts the schema to JSON Schema: objects have no other fields than those of the schema, and what may be a number
/// or a text says so in `type`.
pub fn json_schema(openapi: &Value) -> Value {
    let Value::Object(schema) = openapi else { return openapi.clone() };
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        let mut either = Map::from_iter([("type".to_owned(), json!(["integer", "string"]))]);
        either.extend(schema.get("maxLength").map(|most| ("maxLength".to_owned(), most.clone())));
        return Value::Object(either);
    }
    let mut converted = schema.clone();
    if let Some(Value::Object(properties)) = converted.get_mut("properties") {
        properties.values_mut().for_each(|property| *property = json_schema(property));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = converted.get_mut(inner) {
            *schema = json_schema(schema);
        }
    }
    let is_object = schema.get("type").and_then(Value::as_str) == Some("object");
    if is_object && !schema.contains_key("x-kubernetes-preserve-unknown-fields") {
        converted.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    Value::Object(converted)
}

/// Removes nulls, which count as absent: the resource has no nullable fields.
/// Source: "Defaulting and Nullable" in the documentation of custom resources.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_unless_their_keys_are_free() {
        let openapi = json!({"type": "object", "properties": {
            "free": {"type": "object", "additionalProperties": {"type": "string"}},
            "list": {"type": "array", "items": {"type": "object"}},
            "quantity": {"anyOf": [{"type": "string"}], "x-kubernetes-int-or-string": true, "maxLength": 9},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }});
        let closed = json_schema(&openapi);
        assert_eq!(closed["additionalProperties"], false);
        let properties = &closed["properties"];
        assert_eq!(properties["free"]["additionalProperties"], json!({"type": "string"}));
        assert_eq!(properties["list"]["items"]["additionalProperties"], false);
        assert_eq!(properties["quantity"], json!({"type": ["integer", "string"], "maxLength": 9}));
        assert_eq!(properties["any"].get("additionalProperties"), None);
    }

    #[test]
    fn nulls_are_absent_at_any_depth() {
        let value = json!({"a": null, "b": {"c": null, "d": 1}, "e": [{"f": null}, null]});
        assert_eq!(without_nulls(value), json!({"b": {"d": 1}, "e": [{}, null]}));
    }
}
