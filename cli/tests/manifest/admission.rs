//! What is accepted and what is refused, as by an API server.

use migration_api::MigrationJob;
use migration_core::part::PartSize;
use migration_core::size::ByteSize;
use s3migrate::manifest::{ManifestError, validate};
use serde::Deserialize;
use serde_json::Value;

use crate::support::{documents, job, repository};

/// A row of `bad-resources.yaml`.
#[derive(Deserialize)]
struct Bad {
    name: String,
    message: String,
    /// Part of the message without a server, where that has other words for the same.
    offline: Option<String>,
    before: Option<Value>,
    manifest: Value,
}

fn admitted(text: &str, previous: &[MigrationJob]) -> Result<MigrationJob, ManifestError> {
    let mut jobs = validate(&documents(text), previous)?;
    assert_eq!(jobs.len(), 1);
    Ok(jobs.remove(0))
}

fn refusal(text: &str) -> String {
    admitted(text, &[]).unwrap_err().to_string()
}

#[test]
fn every_bad_resource_is_refused_with_the_words_of_the_api_server() {
    let text = std::fs::read_to_string(repository("kind-tests/bad-resources.yaml")).unwrap();
    let (mut rows, mut wrong) = (0, Vec::new());
    for document in serde_yaml::Deserializer::from_str(&text) {
        let row = Option::<Bad>::deserialize(document).unwrap();
        let Some(Bad { name, message, offline, before, manifest }) = row else { continue };
        let yaml = |value: &Value| serde_yaml::to_string(value).unwrap();
        let before: Vec<_> = before.iter().map(|before| admitted(&yaml(before), &[]).unwrap()).collect();
        let expected = offline.unwrap_or(message);
        match admitted(&yaml(&manifest), &before) {
            Ok(_) => wrong.push(format!("{name} was accepted")),
            Err(error) => {
                let text = error.to_string();
                if !text.contains(&expected) || text.contains("failed to evaluate") {
                    wrong.push(format!("{name}: {expected:?} is not in: {text}"));
                }
            }
        }
        rows += 1;
    }
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows >= 70, "there are only {rows} rows");
}

#[test]
fn every_example_is_accepted() {
    let mut number = 0;
    for entry in std::fs::read_dir(repository("examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let result = admitted(&text, &[]);
        assert!(result.is_ok(), "{}: {}", path.display(), result.unwrap_err());
        number += 1;
    }
    assert!(number >= 6, "only {number} examples were read");
}

/// Returns the manifests of jobs that a document shows in blocks of YAML.
fn jobs_in(text: &str) -> Vec<&str> {
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.contains("kind: MigrationJob")).collect()
}

#[test]
fn every_job_that_documents_show_is_accepted() {
    let documents = std::fs::read_dir(repository("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut showing = Vec::new();
    for path in documents.filter(|path| path.extension().is_some_and(|e| e == "md")).chain([repository("README.md")]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for job in jobs_in(&text) {
            let result = admitted(job, &[]);
            assert!(result.is_ok(), "{}: {}\n{job}", path.display(), result.unwrap_err());
            showing.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    for name in ["README.md", "eks.md"] {
        assert!(showing.iter().any(|found| found == name), "{name} shows no job");
    }
}

/// A resource that sets every field of ours, but those that exclude each other. So all rules are evaluated.
const FULL: &str = include_str!("full.yaml");

#[test]
fn a_resource_with_every_field_is_accepted_and_may_be_applied_again() {
    let first = admitted(FULL, &[]).unwrap();
    let again = admitted(FULL, std::slice::from_ref(&first)).unwrap();
    assert_eq!(again, first);
    let read_back = serde_yaml::to_string(&first).unwrap();
    assert_eq!(
        admitted(&read_back, std::slice::from_ref(&first)).unwrap(),
        first,
        "what is kept can be validated again"
    );
}

#[test]
fn every_field_with_a_rule_is_in_the_full_resource() {
    let crd = serde_json::to_value(migration_api::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut resource: serde_yaml::Value = serde_yaml::from_str(FULL).unwrap();
    resource.apply_merge().unwrap();
    let resource = serde_json::to_value(resource).unwrap();
    let mut absent = Vec::new();
    find_absent(schema, &resource["spec"], "spec", &mut absent);
    // They exclude queue.create and ledger.create.
    absent.retain(|path| !["spec.queue.url", "spec.ledger.tableName"].contains(&path.as_str()));
    // Those of other drivers and identities than the full resource's are in examples.
    for example in ["examples/keda.yaml", "examples/hpa.yaml", "examples/assume-role.yaml"] {
        let text = std::fs::read_to_string(repository(example)).unwrap();
        let resource: Value = serde_yaml::from_str(&text).unwrap();
        let mut absent_there = Vec::new();
        find_absent(schema, &resource["spec"], "spec", &mut absent_there);
        absent.retain(|path| absent_there.contains(path));
    }
    assert_eq!(absent, Vec::<String>::new());
}

/// Collects the paths of fields with CEL rules that a value does not have.
fn find_absent(schema: &Value, value: &Value, path: &str, absent: &mut Vec<String>) {
    if !schema["x-kubernetes-validations"].is_null() && value.is_null() {
        absent.push(path.to_owned());
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        find_absent(property, &value[name], &format!("{path}.{name}"), absent);
    }
    if schema["items"].is_object() {
        find_absent(&schema["items"], &value[0], &format!("{path}[]"), absent);
    }
}

#[test]
fn defaults_of_the_schema_are_applied_before_the_rules() {
    let admitted = admitted(&job("transfer: {partsPerFile: 9}, filters: null,"), &[]).unwrap();
    let transfer = &admitted.spec.transfer;
    assert_eq!((transfer.parts_per_file, transfer.part_size), (9, PartSize::Auto));
    assert_eq!(transfer.memory_limit, ByteSize::mib(256));
    // The rule on memory sees the default of the other field.
    assert!(refusal(&job("transfer: {memoryLimit: 1Mi},")).contains("memoryLimit is smaller than"));
}

#[test]
fn sizes_are_numbers_or_texts_in_every_combination() {
    let forms = ["1073741824", "'1073741824'", "1Gi", "1.0Gi", "1048576Ki", "1.1G", "0.002T"];
    for limit in forms {
        for threshold in ["16777216", "'16777216'", "16Mi", "16.5Mi", "16M", "0.017G"] {
            let sizes =
                format!("memoryLimit: {limit}, multipartThreshold: {threshold}, splitThreshold: {limit}, partSize");
            for part in ["Auto", threshold] {
                let text = job(&format!(
                    "transfer: {{{sizes}: {part}}}, filters: {{minSize: {threshold}, maxSize: {limit}}},"
                ));
                let spec = admitted(&text, &[]).unwrap().spec;
                assert!(spec.transfer.memory_limit >= ByteSize::mib(1024), "{text}");
                assert!(spec.filters.min_size.unwrap() >= ByteSize(16_000_000), "{text}");
            }
        }
    }
    let text = job("transfer: {multipartThreshold: 5368709120, memoryLimit: 1099511627776, splitThreshold: 50Ti},");
    assert!(admitted(&text, &[]).is_ok(), "the bounds themselves");
    let text = refusal(&job("transfer: {memoryLimit: 1099511627777},"));
    assert!(text.contains("memoryLimit is over 1Ti"), "{text}");
}

#[test]
fn fields_that_do_not_exist_are_refused_by_their_path() {
    for (more, path) in [
        ("filter: {ignore: []},", "spec.filter"),
        ("trigger: {event: true},", "spec.trigger.event"),
        ("ledgers: {},", "spec.ledgers"),
    ] {
        let text = refusal(&job(more));
        assert!(text.contains(&format!("unknown field \"{path}\"")), "{text}");
    }
    let text = refusal(&job("").replace("sourceBucket: photos,", "sourceBucket: photos, prefix: a/,"));
    assert!(text.contains("unknown field \"spec.buckets[0].prefix\""), "{text}");
    let text = refusal(&job("").replace("{name: photos}", "{name: photos, lables: {}}"));
    assert!(text.contains("unknown field \"metadata.lables\""), "{text}");
    let source = "source: {region: us-east-1, credentials: {anonymous: {really: true}}";
    let text = refusal(&job("").replace("source: {region: us-east-1", source));
    assert!(text.contains("unknown field \"spec.source.credentials.anonymous.really\""), "{text}");
}

#[test]
fn types_are_those_of_the_schema() {
    for (more, expected) in [
        ("suspend: maybe,", "spec.suspend in body must be of type boolean: \"string\""),
        ("transfer: {maxAttempts: '4'},", "spec.transfer.maxAttempts in body must be of type integer: \"string\""),
        ("transfer: {filesPerWorker: '4'},", "not a number of objects: write Auto, or a number from 1 to 256"),
        (
            "transfer: {filesPerWorker: true},",
            "spec.transfer.filesPerWorker in body must be of type integer,string: \"boolean\"",
        ),
        ("filters: {ignore: '*.tmp'},", "spec.filters.ignore in body must be of type array: \"string\""),
        ("worker: {resources: {limits: {cpu: 0.5}}},", "must be of type"),
    ] {
        let text = refusal(&job(more));
        assert!(text.contains(expected), "{text}");
    }
    assert!(admitted(&job("worker: {resources: {limits: {cpu: 1, memory: 2Gi}}},"), &[]).is_ok());
}

#[test]
fn all_mistakes_are_named_at_once_with_their_file() {
    let text = format!(
        "{}---\n{}",
        job("compare: Hash, transfer: {maxAttempts: 0},"),
        job("suspend: 1,").replace("{name: photos}", "{name: films}")
    );
    let ManifestError::Refused(refusals) = validate(&documents(&text), &[]).unwrap_err() else {
        panic!("another error than a refusal");
    };
    let found: Vec<_> = refusals.iter().map(|refusal| (refusal.job.as_str(), refusal.violations.len())).collect();
    assert_eq!(found, [("photos", 2), ("films", 1)]);
    let text = ManifestError::Refused(refusals).to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("failed to validate MigrationJob photos in ") && lines[0].ends_with("document 1:"));
    assert!(lines[3].ends_with("job.yaml, document 2:"), "{text}");
    assert!(
        text.contains("  spec.compare: Unsupported value: \"Hash\": supported values: \"Default\", \"Size\""),
        "{text}"
    );
}

#[test]
fn an_edit_is_one_of_the_same_namespace_and_name() {
    let before = admitted(&job(""), &[]).unwrap();
    let moved = job("").replace("queue: {region: us-east-1}", "queue: {region: eu-west-1}");
    let text = admitted(&moved, std::slice::from_ref(&before)).unwrap_err().to_string();
    assert!(text.contains("spec.queue: Invalid value: queue.region and queue.endpoint can't change"), "{text}");
    for elsewhere in ["{name: films}", "{name: photos, namespace: media}"] {
        assert!(admitted(&moved.replace("{name: photos}", elsewhere), std::slice::from_ref(&before)).is_ok());
    }
    assert!(admitted(&job("suspend: true,"), &[before]).is_ok(), "other fields may change");
}

#[test]
fn the_status_and_what_a_server_adds_are_no_mistake() {
    let text = job("").replace(
        "{name: photos}",
        "{name: photos, uid: u, resourceVersion: '7', generation: 2, creationTimestamp: '2026-01-31T00:00:00Z'}",
    );
    let admitted = admitted(&format!("{text}status: {{phase: Complete}}\n"), &[]).unwrap();
    assert_eq!(admitted.status, None);
    assert_ne!(admitted.metadata.uid.as_deref(), Some("u"), "the UID follows from namespace and name");
}
