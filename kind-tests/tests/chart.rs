//! The chart's own files, without Helm: values, schema, README and annotations agree. What it renders is tested on a
//! cluster, see `cases::chart`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeSet;

use kind_tests::{chart, paths};
use serde_json::Value;

fn read(path: &str) -> String {
    std::fs::read_to_string(paths::repository().join(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&read(path)).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&read("charts/s3-migration/values.schema.json")).unwrap()
}

#[test]
fn generated_files_of_the_chart_are_up_to_date() {
    assert!(read("charts/s3-migration/README.md") == chart::readme().unwrap(), "run make generate");
    assert!(read("charts/s3-migration/LICENSE") == read("LICENSE"), "run make generate");
}

/// Collects the objects of a schema that take properties without a name.
fn open_objects(schema: &Value, path: &str, open: &mut BTreeSet<String>) {
    if schema["properties"].is_object() && schema["additionalProperties"] != false {
        open.insert(path.to_owned());
    }
    for (name, inner) in schema.as_object().into_iter().flatten() {
        open_objects(inner, &format!("{path}.{name}"), open);
    }
    for inner in schema.as_array().into_iter().flatten() {
        open_objects(inner, path, open);
    }
}

#[test]
fn the_schema_takes_no_other_names() {
    let mut open = BTreeSet::new();
    open_objects(&schema(), "", &mut open);
    assert_eq!(open, BTreeSet::new());
}

/// Collects the paths of values that a schema does not describe, and of properties that the values lack.
fn differences(schema: &Value, values: &Value, path: &str, found: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let names: BTreeSet<&String> =
        properties.keys().chain(values.as_object().into_iter().flatten().map(|v| v.0)).collect();
    for name in names {
        let path = format!("{path}.{name}");
        match (properties.get(name), values.get(name)) {
            (Some(schema), Some(value)) => differences(schema, value, &path, found),
            (None, _) => found.push(format!("{path} is not in values.schema.json")),
            (_, None) => found.push(format!("{path} is not in values.yaml")),
        }
    }
}

/// Settings without a default of ours, and Helm's own `global`.
const WITHOUT_DEFAULT: &[&str] = &[".global", ".podSecurityContext.", ".containerSecurityContext.", ".seccompProfile."];

#[test]
fn values_and_schema_have_the_same_names() {
    let mut found = Vec::new();
    differences(&schema(), &yaml("charts/s3-migration/values.yaml"), "", &mut found);
    found.retain(|line| !WITHOUT_DEFAULT.iter().any(|name| line.contains(name)) || line.contains("schema.json"));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn annotations_for_artifact_hub_are_true() {
    let chart = yaml("charts/s3-migration/Chart.yaml");
    let annotation = |name: &str| -> Value {
        let text = chart["annotations"][format!("artifacthub.io/{name}")].as_str().unwrap();
        serde_yaml::from_str(text).unwrap()
    };
    let version =
        read("Cargo.toml").lines().find_map(|l| Some(l.strip_prefix("version = \"")?.trim_end_matches('"').to_owned()));
    assert_eq!(chart["version"].as_str().map(str::to_owned), version);
    assert_eq!(chart["appVersion"], chart["version"]);
    let values = yaml("charts/s3-migration/values.yaml");
    let image = |values: &Value| format!("{}:{}", values["repository"].as_str().unwrap(), version.clone().unwrap());
    let images: Vec<Value> = annotation("images").as_array().unwrap().iter().map(|i| i["image"].clone()).collect();
    assert_eq!(images, [image(&values["image"]), image(&values["worker"]["image"])]);
    assert_eq!(annotation("crdsExamples"), Value::Array(vec![yaml("examples/minimal.yaml")]));
    let crd = yaml("crds/migrationjobs.yaml");
    let named = &annotation("crds")[0];
    assert_eq!(named["name"], crd["metadata"]["name"]);
    assert_eq!(named["kind"], crd["spec"]["names"]["kind"]);
    assert_eq!(named["version"], crd["spec"]["versions"][0]["name"]);
    for change in annotation("changes").as_array().unwrap() {
        let kinds = ["added", "changed", "deprecated", "removed", "fixed", "security"];
        assert!(kinds.contains(&change["kind"].as_str().unwrap()), "{change}");
    }
}
