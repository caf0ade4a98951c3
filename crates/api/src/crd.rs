//! The CustomResourceDefinition.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt;
use serde_json::Value;

use crate::MigrationJob;

/// Returns the definition, ready to be applied.
pub fn crd() -> CustomResourceDefinition {
    let crd = MigrationJob::crd();
    let Ok(mut value) = serde_json::to_value(&crd) else { return crd };
    tidy(&mut value);
    serde_json::from_value(value).unwrap_or(crd)
}

/// Returns the definition as YAML, as it is committed and as programs print it.
pub fn yaml() -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&crd())
}

/// Removes `nullable`, since a null would count as a value in `has()`, and null from lists of values, and replaces number
/// formats that the API server warns about.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            let format = match map.get("format").and_then(Value::as_str) {
                Some("uint32") => Some("int32"),
                Some("uint64" | "uint") => Some("int64"),
                _ => None,
            };
            if let Some(format) = format {
                map.insert("format".to_owned(), format.into());
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        serde_json::to_value(crd()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    /// Collects the paths of all schemas for which `wanted` returns true.
    fn paths(schema: &Value, path: &str, wanted: &dyn Fn(&Value) -> bool, found: &mut Vec<String>) {
        if wanted(schema) {
            found.push(path.to_owned());
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            paths(property, &format!("{path}.{name}"), wanted, found);
        }
        for (keyword, sign) in [("items", "[]"), ("additionalProperties", "{}")] {
            if schema[keyword].is_object() {
                paths(&schema[keyword], &format!("{path}{sign}"), wanted, found);
            }
        }
    }

    #[test]
    fn the_committed_definition_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crds/migrationjobs.yaml");
        let committed = std::fs::read_to_string(path).unwrap();
        let expected = yaml().unwrap();
        assert!(
            committed == expected,
            "crds/migrationjobs.yaml is stale: run `operator crd > crds/migrationjobs.yaml`"
        );
    }

    #[test]
    fn every_field_of_ours_is_documented() {
        let mut found = Vec::new();
        paths(&schema(), "", &|field| field["description"].is_null(), &mut found);
        // Items of string lists are documented by their list, and types of Kubernetes by Kubernetes.
        let foreign = |path: &String| {
            let is_item = path.ends_with("[]") || path.ends_with("{}");
            path.is_empty() || path == ".metadata" || is_item || path.contains("Affinity.")
        };
        found.retain(|path| !foreign(path));
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn nothing_is_nullable_and_every_rule_says_what_to_write() {
        let mut found = Vec::new();
        let unclear = |field: &Value| {
            !field["nullable"].is_null()
                || field["x-kubernetes-validations"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|rule| rule["message"].is_null())
                || field["enum"].as_array().into_iter().flatten().any(Value::is_null)
        };
        paths(&schema(), "", &unclear, &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn everything_a_person_writes_is_bounded() {
        let unbounded = |field: &Value| match field["type"].as_str() {
            Some("string") => field["maxLength"].is_null() && field["enum"].is_null(),
            Some("array") => field["maxItems"].is_null(),
            Some("object") if field["additionalProperties"].is_object() => field["maxProperties"].is_null(),
            Some("object") => field["properties"].is_null() && field["x-kubernetes-preserve-unknown-fields"] == true,
            None => field["maxLength"].is_null(),
            Some(_) => false,
        };
        let mut found = Vec::new();
        paths(&schema()["properties"]["spec"], "spec", &unbounded, &mut found);
        // What the operator reads itself, and what is always refused.
        let open = |path: &String| path.contains(".affinity.") || path.ends_with(".hostPath");
        assert_eq!(found.iter().filter(|path| open(path)).count(), 18, "{found:?}");
        found.retain(|path| !open(path));
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn it_fits_the_annotation_of_kubectl_apply_with_room() {
        // `kubectl.kubernetes.io/last-applied-configuration`. Source: `TotalAnnotationSizeLimitB` of Kubernetes.
        let bytes = serde_json::to_vec(&crd()).unwrap().len();
        assert!(bytes < 262_144 * 3 / 4, "{bytes} bytes");
    }

    #[test]
    fn defaults_stand_in_the_schema() {
        let schema = schema();
        let transfer = &schema["properties"]["spec"]["properties"]["transfer"];
        assert_eq!(transfer["default"]["partSize"], "Auto");
        assert_eq!(transfer["properties"]["memoryLimit"]["default"], "256Mi");
        // Absent stays absent, so that a later release may choose for those who did not.
        assert!(transfer["properties"]["filesPerWorker"]["default"].is_null());
        assert!(transfer["default"]["filesPerWorker"].is_null());
        assert_eq!(
            (&transfer["default"]["splitThreshold"], &transfer["default"]["mode"]),
            (&"8Gi".into(), &"Auto".into())
        );
        let preserve = serde_json::json!({"metadata": true, "tags": true, "objectLock": false, "onLoss": "Count"});
        assert_eq!(
            (&transfer["default"]["preserve"], &transfer["properties"]["preserve"]["default"]),
            (&preserve, &preserve)
        );
        let versioning = &schema["properties"]["spec"]["properties"]["versioning"];
        assert_eq!(versioning["properties"]["compareVersionId"]["default"], false);
        assert_eq!(
            schema["properties"]["spec"]["properties"]["buckets"]["items"]["properties"]["sourcePrefix"]["default"],
            ""
        );
    }
}
