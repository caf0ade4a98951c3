//! How patches and field managers change an object.

use serde_json::{Value, json};

/// Records the field manager that a query names.
pub(super) fn manage(object: &mut Value, query: &str, operation: &str, subresource: Option<&str>) {
    let Some(manager) = query.split('&').find_map(|part| part.strip_prefix("fieldManager=")) else { return };
    let entry = json!({
        "manager": manager, "operation": operation, "subresource": subresource, "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}}},
    });
    match &mut object["metadata"]["managedFields"] {
        Value::Array(entries) => entries.push(entry),
        none => *none = json!([entry]),
    }
}

/// Applies a JSON merge patch. Source: RFC 7386.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in members {
        if let (true, Value::Object(members)) = (value.is_null(), &mut *target) {
            members.remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// Applies an operation of a JSON patch on the list of finalizers, which is all that kube's finalizers send.
pub(super) fn change(object: &mut Value, operation: &Value) {
    let path = operation["path"].as_str().unwrap_or_default();
    let Some(place) = path.strip_prefix("/metadata/finalizers") else { return };
    let list = &mut object["metadata"]["finalizers"];
    match (operation["op"].as_str().unwrap_or_default(), place.trim_start_matches('/'), list) {
        ("add", "", list) => *list = operation["value"].clone(),
        ("add", "-", Value::Array(list)) => list.push(operation["value"].clone()),
        ("remove", "", list) => *list = Value::Null,
        ("remove", place, Value::Array(list)) => {
            if let Some(place) = place.parse().ok().filter(|place| *place < list.len()) {
                list.remove(place);
            }
        }
        _ => {}
    }
}
