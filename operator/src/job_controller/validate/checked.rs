//! Identifies what a preflight checks, in a way that stays the same in later versions.

use std::collections::{BTreeMap, BTreeSet};

use migration_api::MigrationJobSpec;
use migration_core::config::{JobConfig, Preserve, Versioning, WriteSettings};
use migration_core::records::RunSides;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Identifies what a preflight checks, but for the content of Secrets: sides, buckets and prefixes, what is written
/// with objects, how they are read, and the workers' identity.
///
/// Options that are absent or have their default are left out. So an option that a later version adds repeats no
/// preflight of jobs that do not use it.
pub fn checked(spec: &MigrationJobSpec, config: &JobConfig, ca_version: Option<&str>) -> String {
    let ranges: BTreeSet<_> = config
        .buckets
        .iter()
        .map(|pair| (&pair.source_bucket, &pair.source_prefix, &pair.destination_bucket, pair.destination_range()))
        .collect();
    let facts = BTreeMap::from([
        ("sides", in_use(json!(RunSides::of(config)))),
        ("ranges", json!(ranges)),
        ("write", changed(json!(config.write), &json!(WriteSettings::default()))),
        ("versioning", changed(json!(config.versioning), &json!(Versioning::default()))),
        ("preserve", changed(json!(config.transfer.preserve), &json!(Preserve::default()))),
        ("manifest", json!(config.manifest.is_some())),
        ("certificates", json!(ca_version)),
        ("serviceAccount", json!(spec.worker.service_account_name)),
        ("env", in_use(json!(spec.worker.env))),
    ]);
    let facts: BTreeMap<_, _> = facts.into_iter().filter(|(_, fact)| !is_unused(fact)).collect();
    hex::encode(Sha256::digest(json!(facts).to_string())).chars().take(16).collect()
}

/// Returns true for what is absent, off or empty.
fn is_unused(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Returns a value without members that are absent, off or empty, at any depth. The members are in the order of their
/// names.
pub fn in_use(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.into_iter().map(|(name, member)| (name, in_use(member))).collect();
            members.into_iter().filter(|(_, member)| !is_unused(member)).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(in_use).collect(),
        other => other,
    }
}

/// Returns a value without the members that have their default. One that is off where the default is on stays.
fn changed(value: Value, default: &Value) -> Value {
    let Value::Object(members) = value else { return value };
    let members: BTreeMap<_, _> =
        members.into_iter().filter(|(name, member)| default.get(name) != Some(member)).collect();
    members.into_iter().map(|(name, member)| (name, in_use(member))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::input;
    use crate::job_controller::validate::validate;
    use crate::pod_defaults::PodDefaults;

    /// As little as a job can say.
    const LEAST: &str = "
metadata: {name: photos, namespace: media, uid: u-1}
spec:
  buckets: [{sourceBucket: a, destinationBucket: b}]
  source: {region: eu-central-1}
  destination: {region: cn-north-1}
  queue: {region: eu-central-1}
  ledger: {region: eu-central-1}
";

    /// Everything that a preflight depends on.
    const MOST: &str = "
metadata: {name: photos, namespace: media, uid: u-1}
spec:
  buckets:
  - {sourceBucket: a, sourcePrefix: x/, destinationBucket: b, destinationPrefix: p/}
  - {sourceBucket: c, destinationBucket: d}
  source:
    {region: eu-central-1, requesterPays: true, credentials: {assumeRole: {roleArn: 'arn:aws:iam::1:role/r'}}}
  destination:
    region: us-east-1
    endpoint: 'http://s3:9000'
    pathStyle: true
    storageClass: STANDARD_IA
    acl: bucket-owner-full-control
    encryption: {type: SSE-KMS, kmsKeyId: alias/copies}
    credentials: {secretRef: {name: to}}
  queue: {region: us-east-1, endpoint: 'http://sqs', credentials: {secretRef: {name: queue}}}
  ledger: {region: us-east-1}
  versioning: {compareVersionId: true}
  transfer: {preserve: {tags: false}}
  worker: {serviceAccountName: mover, env: [{name: A, value: b}]}
";

    fn digest(spec: &str) -> String {
        let resource = format!("apiVersion: s3migration.dev/v1alpha1\nkind: MigrationJob\n{}", spec.trim_start());
        let job = serde_yaml::from_str(&resource).unwrap();
        validate(&job, &input(), &PodDefaults::new("worker:1")).unwrap().checked
    }

    /// If this fails, an upgrade repeats the preflight of every job: leave out of the facts what a job does not use.
    #[test]
    fn a_specification_has_the_same_digest_in_every_version() {
        assert_eq!([digest(LEAST), digest(MOST)], ["becf0ddfdddc99c2", "6aa605fdbccf2b71"]);
    }

    #[test]
    fn an_option_that_a_later_version_adds_changes_nothing_where_it_is_not_used() {
        let sides = json!({"source": {"region": "a", "pathStyle": true}, "list": [{"name": "x"}]});
        let later = json!({
            "source": {"region": "a", "pathStyle": true, "new": null, "off": false, "text": "", "sub": {"deep": null}},
            "list": [{"name": "x", "from": {}}], "empty": [],
        });
        assert_eq!(in_use(later).to_string(), in_use(sides).to_string());
        let default = json!({"tags": true, "lock": false});
        let written = changed(json!({"tags": false, "lock": false}), &default);
        assert_eq!(written, json!({"tags": false}));
        let later = json!({"tags": false, "lock": false, "new": true, "other": "Count"});
        let later = changed(later, &json!({"tags": true, "lock": false, "new": true, "other": "Count"}));
        assert_eq!(later.to_string(), written.to_string());
    }
}
