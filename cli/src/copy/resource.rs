//! The manifest that a copy is short for.

use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Compare, CopyArgs, CopyError, ObjectArgs, TransferArgs};
use migration_core::verification::VerifyMethod;
use migration_program::verification::Method;

/// Key of the certificates in the generated ConfigMaps.
const CA_KEY: &str = "ca.crt";

/// Returns the manifest of a copy as YAML: a `MigrationJob`, and a `ConfigMap` per file of certificates.
pub fn manifest(args: &CopyArgs) -> Result<String, CopyError> {
    let name = name(args);
    let mut documents = vec![job(args, &name)];
    for (side, file) in
        [("source", &args.services.source_ca_bundle), ("destination", &args.services.destination_ca_bundle)]
    {
        if let Some(file) = file {
            documents.push(certificates(&ca_name(&name, side), file)?);
        }
    }
    let texts: Result<Vec<_>, _> = documents.iter().map(serde_yaml::to_string).collect();
    Ok(texts?.join("---\n"))
}

/// Returns the name of the job: the same for the same places, so that a copy is continued by the same command.
fn name(args: &CopyArgs) -> String {
    let services = &args.services;
    let string = args.prefix_as_string;
    let places = (
        (&args.source.bucket, args.source.key_prefix(string), &services.source_endpoint, &services.source_region),
        (
            &args.destination.bucket,
            args.destination.key_prefix(string),
            &services.destination_endpoint,
            &services.destination_region,
        ),
    );
    let hash = hex::encode(Sha256::digest(format!("{places:?}")));
    let hash = hash.get(..8).unwrap_or_default();
    let bucket: String = args.destination.bucket.chars().take(30).collect();
    let bucket = bucket.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    format!("copy-{}-{hash}", bucket.trim_matches('-'))
}

fn ca_name(job: &str, side: &str) -> String {
    format!("{job}-{side}-ca")
}

fn certificates(name: &str, file: &Path) -> Result<Value, CopyError> {
    let text =
        std::fs::read_to_string(file).map_err(|source| CopyError::Certificates { path: file.to_owned(), source })?;
    Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {CA_KEY: text}}))
}

fn job(args: &CopyArgs, name: &str) -> Value {
    let mut spec = Map::new();
    let prefix = |location: &super::Location| some(location.key_prefix(args.prefix_as_string));
    let pair = object([
        ("sourceBucket", Some(json!(args.source.bucket))),
        ("sourcePrefix", prefix(&args.source)),
        ("destinationBucket", Some(json!(args.destination.bucket))),
        ("destinationPrefix", prefix(&args.destination)),
        ("prefixMode", Some(json!("Replace"))),
    ]);
    spec.insert("buckets".into(), json!([pair]));
    spec.insert("source".into(), source(args, name));
    spec.insert("destination".into(), destination(args, name));
    let optional = [
        ("filters", filters(&args.objects)),
        ("compare", compare(args.objects.compare)),
        ("mirror", mirror(&args.objects)),
        ("transfer", transfer(&args.transfer)),
        ("verify", args.transfer.verify.map(verify)),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            spec.insert(field.into(), value);
        }
    }
    // Required by the resource; in a cluster they are the queue and the table in this region.
    spec.insert("queue".into(), json!({"region": args.services.source_region}));
    spec.insert("ledger".into(), json!({"region": args.services.source_region}));
    let (version, kind) = ("s3migration.dev/v1alpha1", "MigrationJob");
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn source(args: &CopyArgs, job: &str) -> Value {
    let services = &args.services;
    let ca = services.source_ca_bundle.as_ref().map(|_| ca_reference(job, "source"));
    object([
        ("region", Some(json!(services.source_region))),
        ("endpoint", services.source_endpoint.as_ref().map(|url| json!(url))),
        ("pathStyle", path_style(services.source_endpoint.as_deref(), services.source_path_style)),
        ("requesterPays", services.source_requester_pays.then_some(Value::Bool(true))),
        ("caBundle", ca),
        ("credentials", services.source_anonymous.then(|| json!({"anonymous": {}}))),
    ])
}

fn destination(args: &CopyArgs, job: &str) -> Value {
    let services = &args.services;
    let ca = services.destination_ca_bundle.as_ref().map(|_| ca_reference(job, "destination"));
    object([
        ("region", Some(json!(services.destination_region))),
        ("endpoint", services.destination_endpoint.as_ref().map(|url| json!(url))),
        ("pathStyle", path_style(services.destination_endpoint.as_deref(), services.destination_path_style)),
        ("caBundle", ca),
        ("storageClass", args.transfer.storage_class.as_ref().map(|class| json!(class))),
    ])
}

/// Services other than Amazon's are addressed by path unless told otherwise: few have a name per bucket.
fn path_style(endpoint: Option<&str>, given: Option<bool>) -> Option<Value> {
    let style = given.or_else(|| endpoint.map(|url| !migration_aws::is_amazon(Some(url))));
    style.filter(|by_path| *by_path).map(Value::from)
}

fn ca_reference(job: &str, side: &str) -> Value {
    json!({"configMapKeyRef": {"name": ca_name(job, side), "key": CA_KEY}})
}

fn filters(args: &ObjectArgs) -> Option<Value> {
    let ObjectArgs { exclude, min_size, max_size, modified_after, modified_before, .. } = args;
    let size = |size: &Option<migration_core::size::ByteSize>| size.as_ref().map(|size| json!(String::from(*size)));
    let time = |time: &Option<jiff::Timestamp>| time.as_ref().map(|time| json!(time.strftime("%FT%TZ").to_string()));
    filled(object([
        ("ignore", (!exclude.is_empty()).then(|| json!(exclude))),
        ("minSize", size(min_size)),
        ("maxSize", size(max_size)),
        ("modifiedAfter", time(modified_after)),
        ("modifiedBefore", time(modified_before)),
    ]))
}

fn compare(compare: Compare) -> Option<Value> {
    match compare {
        Compare::Default => None,
        Compare::Size => Some(json!("Size")),
        Compare::Etag => Some(json!("ETag")),
        Compare::Checksum => Some(json!("Checksum")),
    }
}

fn mirror(args: &ObjectArgs) -> Option<Value> {
    args.delete.then(|| json!({"deleteExtraneous": true, "maxDeletes": args.max_deletes}))
}

fn transfer(args: &TransferArgs) -> Option<Value> {
    let TransferArgs { files_at_once, parts_at_once, memory_limit, storage_class: _, verify: _ } = args;
    filled(object([
        ("filesPerWorker", files_at_once.map(Value::from)),
        ("partsPerFile", parts_at_once.map(Value::from)),
        ("memoryLimit", memory_limit.map(|size| json!(String::from(size)))),
    ]))
}

fn verify(method: Method) -> Value {
    json!({"mode": "Full", "method": VerifyMethod::from(method)})
}

/// Returns an object of the fields that have a value.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect())
}

fn filled(object: Value) -> Option<Value> {
    object.as_object().is_some_and(|fields| !fields.is_empty()).then_some(object)
}

fn some(text: String) -> Option<Value> {
    (!text.is_empty()).then_some(Value::String(text))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::manifest::{load, validate};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        copy: CopyArgs,
    }

    fn args(words: &[&str]) -> CopyArgs {
        Line::try_parse_from([&["copy"], words].concat()).unwrap().copy
    }

    #[test]
    fn each_option_reaches_a_field_that_the_resource_has() {
        let all = args(&[
            "s3://originals/photo",
            "s3://copies/album",
            "--source-region",
            "eu-west-1",
            "--destination-region",
            "cn-north-1",
            "--source-endpoint",
            "http://s3:9000",
            "--destination-path-style",
            "true",
            "--source-anonymous",
            "--source-requester-pays",
            "--exclude",
            "from/*.tmp",
            "--min-size",
            "1Ki",
            "--max-size",
            "5Gi",
            "--modified-after",
            "2026-01-01T00:00:00Z",
            "--modified-before",
            "2026-02-01T00:00:00Z",
            "--compare",
            "checksum",
            "--delete",
            "--max-deletes",
            "7",
            "--storage-class",
            "STANDARD_IA",
            "--files-at-once",
            "9",
            "--parts-at-once",
            "3",
            "--memory-limit",
            "512Mi",
            "--verify",
            "read",
        ]);
        let yaml = manifest(&all).unwrap();
        let documents = load(&["-".into()], &mut yaml.as_bytes()).unwrap();
        let jobs = validate(&documents, &[]).unwrap();
        let spec = serde_json::to_value(&jobs[0].spec).unwrap();
        for (pointer, expected) in [
            ("/buckets/0/sourcePrefix", json!("photo/")),
            ("/buckets/0/destinationPrefix", json!("album/")),
            ("/buckets/0/prefixMode", json!("Replace")),
            ("/source/region", json!("eu-west-1")),
            ("/source/endpoint", json!("http://s3:9000")),
            ("/source/pathStyle", json!(true)),
            ("/source/credentials/anonymous", json!({})),
            ("/source/requesterPays", json!(true)),
            ("/destination/region", json!("cn-north-1")),
            ("/destination/pathStyle", json!(true)),
            ("/destination/storageClass", json!("STANDARD_IA")),
            ("/filters/ignore/0", json!("from/*.tmp")),
            ("/filters/minSize", json!("1Ki")),
            ("/filters/maxSize", json!("5Gi")),
            ("/filters/modifiedAfter", json!("2026-01-01T00:00:00Z")),
            ("/compare", json!("Checksum")),
            ("/mirror/deleteExtraneous", json!(true)),
            ("/mirror/maxDeletes", json!(7)),
            ("/transfer/filesPerWorker", json!(9)),
            ("/transfer/partsPerFile", json!(3)),
            ("/transfer/memoryLimit", json!("512Mi")),
            ("/verify/mode", json!("Full")),
            ("/verify/method", json!("Read")),
        ] {
            assert_eq!(spec.pointer(pointer), Some(&expected), "{pointer} in\n{yaml}");
        }
    }

    #[test]
    fn nothing_is_deleted_without_a_bound() {
        for words in [&["s3://a", "s3://b", "--delete"][..], &["s3://a", "s3://b", "--max-deletes", "1"]] {
            assert!(Line::try_parse_from([&["copy"], words].concat()).is_err(), "{words:?}");
        }
        let yaml = manifest(&args(&["s3://a", "s3://b"])).unwrap();
        assert!(!yaml.contains("mirror"), "{yaml}");
    }

    #[test]
    fn the_same_places_have_the_same_name() {
        let name_of = |words: &[&str]| name(&args(words));
        let first = name_of(&["s3://a/x", "s3://My.Bucket"]);
        assert!(first.starts_with("copy-my-bucket-"), "{first}");
        assert_eq!(name_of(&["s3://a/x/", "s3://My.Bucket/", "--compare", "size"]), first);
        assert_ne!(name_of(&["s3://a/x", "s3://My.Bucket", "--prefix-as-string"]), first);
        assert_ne!(name_of(&["s3://a/x", "s3://My.Bucket", "--source-endpoint", "http://h"]), first);
    }
}
