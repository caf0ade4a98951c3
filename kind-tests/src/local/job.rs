//! Manifests of a case, as a person would write them.

use serde_json::{Map, Value, json};

use crate::services::REGION;

/// A side of a job.
#[derive(Clone, Debug)]
pub struct Side<'a> {
    /// URL of the service.
    pub endpoint: &'a str,
    /// Keys, for the Secret that the side names.
    pub keys: (&'a str, &'a str),
    /// The bucket.
    pub bucket: &'a str,
    /// Certificates, for the `ConfigMap` that the side names.
    pub ca: Option<&'a str>,
}

impl<'a> Side<'a> {
    /// Creates a side that is reached by the path, with the system's certificates.
    pub fn new(endpoint: &'a str, keys: (&'a str, &'a str), bucket: &'a str) -> Self {
        Self { endpoint, keys, bucket, ca: None }
    }
}

/// Returns the manifest of a job with the Secrets and `ConfigMaps` that it names, as YAML. `fields` are those of
/// `spec` besides buckets and services; those of services are added to them.
pub fn manifest(name: &str, source: &Side<'_>, destination: &Side<'_>, fields: Value) -> anyhow::Result<String> {
    let mut spec = Map::new();
    spec.insert("buckets".into(), json!([{"sourceBucket": source.bucket, "destinationBucket": destination.bucket}]));
    let mut documents = Vec::new();
    for (field, side) in [("source", source), ("destination", destination)] {
        spec.insert(field.into(), service(name, field, side));
        documents.push(secret(&format!("{name}-{field}"), side.keys));
        documents.extend(side.ca.map(|text| config_map(&format!("{name}-{field}-ca"), text)));
    }
    for field in ["queue", "ledger"] {
        spec.insert(field.into(), json!({"region": REGION}));
    }
    if let Value::Object(fields) = fields {
        for (name, value) in fields {
            if let (Some(Value::Object(known)), Value::Object(more)) = (spec.get_mut(&name), &value) {
                known.extend(more.clone());
            } else {
                spec.insert(name, value);
            }
        }
    }
    let version = "s3migration.dev/v1alpha1";
    documents.push(json!({"apiVersion": version, "kind": "MigrationJob", "metadata": {"name": name}, "spec": spec}));
    let texts: Result<Vec<_>, _> = documents.iter().map(serde_yaml::to_string).collect();
    Ok(texts?.join("---\n"))
}

fn service(job: &str, field: &str, side: &Side<'_>) -> Value {
    let mut service = json!({
        "region": REGION,
        "endpoint": side.endpoint,
        "pathStyle": true,
        "credentials": {"secretRef": {"name": format!("{job}-{field}")}},
    });
    if side.ca.is_some() {
        service["caBundle"] = json!({"configMapKeyRef": {"name": format!("{job}-{field}-ca"), "key": "ca.crt"}});
    }
    service
}

/// Returns a Secret with keys, in a namespace if one is given before the name and a slash.
pub fn secret(name: &str, (id, secret): (&str, &str)) -> Value {
    let data = json!({"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": secret});
    let mut metadata = json!({"name": name});
    if let Some((namespace, name)) = name.split_once('/') {
        metadata = json!({"name": name, "namespace": namespace});
    }
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
}

fn config_map(name: &str, certificates: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": certificates}})
}
