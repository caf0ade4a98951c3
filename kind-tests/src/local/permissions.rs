//! The IAM actions that recorded requests need, and what policies allow.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::proxy::log::Event;

/// Status of an absent object. Without the right to list, S3 answers 403 instead.
const ABSENT: u16 = 404;

/// An action on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Name of the action.
    pub action: String,
    /// ARN of the bucket or object.
    pub resource: String,
}

/// An action of a policy's statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// ID of the statement.
    pub sid: String,
    /// Name of the action.
    pub action: String,
}

/// A policy of which each statement allows actions on resources that are named, or whose names begin with a text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    statement: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    sid: String,
    effect: String,
    action: Vec<String>,
    resource: Vec<String>,
}

/// What a policy and the requests of a side say about each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What was needed, and no statement allows.
    pub denied: BTreeSet<Need>,
    /// What is allowed and was needed, with the number of requests.
    pub used: BTreeMap<Grant, u64>,
    /// What is allowed and was not needed.
    pub unused: BTreeSet<Grant>,
}

/// Returns what a request needs.
/// Source: "Required permissions for Amazon S3 API operations" in the S3 user guide.
pub fn needs(event: &Event) -> anyhow::Result<Vec<Need>> {
    let request = &event.request;
    let bucket = format!("arn:aws:s3:::{}", request.bucket);
    let object = format!("{bucket}/{}", request.key);
    let need = |action: &str, resource: &str| Need { action: format!("s3:{action}"), resource: resource.to_owned() };
    let versioned = |verb: &str, what: &str, of_version: bool| {
        format!("{verb}Object{}{what}", if of_version { "Version" } else { "" })
    };
    let mut needs = vec![match request.operation.as_str() {
        "ListObjectsV2" | "ListObjects" | "HeadBucket" => need("ListBucket", &bucket),
        "ListObjectVersions" => need("ListBucketVersions", &bucket),
        "ListMultipartUploads" => need("ListBucketMultipartUploads", &bucket),
        "GetObject" | "HeadObject" => need(&versioned("Get", "", request.of_version), &object),
        "GetObjectTagging" => need(&versioned("Get", "Tagging", request.of_version), &object),
        "PutObjectTagging" => need(&versioned("Put", "Tagging", request.of_version), &object),
        "DeleteObject" => need(&versioned("Delete", "", request.of_version), &object),
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => need("PutObject", &object),
        "ListParts" => need("ListMultipartUploadParts", &object),
        "AbortMultipartUpload" => need("AbortMultipartUpload", &object),
        other => bail!("no action is known for {other}"),
    }];
    if request.with_tags {
        needs.push(need("PutObjectTagging", &object));
    }
    if let Some(source) = &request.copied_from {
        let from = format!("arn:aws:s3:::{}", source.object);
        needs.push(need(&versioned("Get", "", source.of_version), &from));
        if request.operation == "CopyObject" && !request.with_tags {
            needs.push(need(&versioned("Get", "Tagging", source.of_version), &from));
        }
    }
    if event.status == Some(ABSENT) && !request.key.is_empty() {
        needs.push(need("ListBucket", &bucket));
    }
    Ok(needs)
}

impl Policy {
    /// Reads a policy document.
    pub fn read(document: &Value) -> anyhow::Result<Self> {
        let policy: Self = serde_json::from_value(document.clone()).context("failed to read a policy")?;
        for statement in &policy.statement {
            ensure!(statement.effect == "Allow", "the statement {} does not allow", statement.sid);
            let odd = statement.resource.iter().find(|resource| resource.contains("${"));
            ensure!(odd.is_none(), "the statement {} has a variable: {odd:?}", statement.sid);
        }
        Ok(policy)
    }

    /// Returns all that it allows.
    pub fn grants(&self) -> BTreeSet<Grant> {
        let of = |statement: &Statement| {
            let sid = statement.sid.clone();
            statement.action.clone().into_iter().map(move |action| Grant { sid: sid.clone(), action })
        };
        self.statement.iter().flat_map(of).collect()
    }

    /// Returns what allows something; nothing if it is denied.
    fn granting(&self, need: &Need) -> Vec<Grant> {
        let allows = |statement: &&Statement| {
            statement.action.contains(&need.action) && statement.resource.iter().any(|r| matches(r, &need.resource))
        };
        let grant = |statement: &Statement| Grant { sid: statement.sid.clone(), action: need.action.clone() };
        self.statement.iter().filter(allows).map(grant).collect()
    }

    /// Compares it with the requests of a side.
    pub fn compare<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> anyhow::Result<Comparison> {
        let mut found = Comparison::default();
        for event in events {
            for need in needs(event)? {
                let grants = self.granting(&need);
                if grants.is_empty() {
                    found.denied.insert(need);
                }
                for grant in grants {
                    *found.used.entry(grant).or_default() += 1;
                }
            }
        }
        found.unused = self.grants().into_iter().filter(|grant| !found.used.contains_key(grant)).collect();
        Ok(found)
    }
}

/// Returns a policy document without one action of one statement.
pub fn without(document: &Value, grant: &Grant) -> anyhow::Result<Value> {
    let mut document = document.clone();
    let statements = document["Statement"].as_array_mut().context("the policy has no statements")?;
    for statement in statements.iter_mut().filter(|statement| statement["Sid"] == grant.sid.as_str()) {
        if let Some(actions) = statement["Action"].as_array_mut() {
            actions.retain(|action| action != grant.action.as_str());
        }
    }
    statements.retain(|statement| statement["Action"].as_array().is_some_and(|actions| !actions.is_empty()));
    Ok(document)
}

fn matches(pattern: &str, resource: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == resource, |begin| resource.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::classify::{CopySource, Request};
    use serde_json::json;
    use std::net::{IpAddr, Ipv4Addr};

    fn event(operation: &str, key: &str, change: impl FnOnce(&mut Event)) -> Event {
        let request =
            Request { operation: operation.into(), bucket: "b".into(), key: key.into(), ..Request::default() };
        let mut event = Event::new(0, "source", IpAddr::V4(Ipv4Addr::LOCALHOST), request, 0);
        change(&mut event);
        event
    }

    fn policy() -> Value {
        json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "Bucket", "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::b"]},
            {"Sid": "Objects", "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": ["arn:aws:s3:::b/a/*"]},
        ]})
    }

    fn grant(sid: &str, action: &str) -> Grant {
        Grant { sid: sid.into(), action: action.into() }
    }

    #[test]
    fn requests_need_what_the_guide_says() {
        type Change = fn(&mut Event);
        let cases: [(&str, Change, &[&str]); 7] = [
            ("HeadObject", |_| (), &["s3:GetObject arn:aws:s3:::b/k"]),
            (
                "HeadObject",
                |e| e.status = Some(404),
                &["s3:GetObject arn:aws:s3:::b/k", "s3:ListBucket arn:aws:s3:::b"],
            ),
            ("GetObject", |e| e.request.of_version = true, &["s3:GetObjectVersion arn:aws:s3:::b/k"]),
            ("GetObjectTagging", |e| e.request.of_version = true, &["s3:GetObjectVersionTagging arn:aws:s3:::b/k"]),
            (
                "CreateMultipartUpload",
                |e| e.request.with_tags = true,
                &["s3:PutObject arn:aws:s3:::b/k", "s3:PutObjectTagging arn:aws:s3:::b/k"],
            ),
            (
                "UploadPartCopy",
                |e| e.request.copied_from = Some(CopySource { object: "c/k".into(), of_version: true }),
                &["s3:PutObject arn:aws:s3:::b/k", "s3:GetObjectVersion arn:aws:s3:::c/k"],
            ),
            (
                "CopyObject",
                |e| e.request.copied_from = Some(CopySource { object: "c/k".into(), of_version: false }),
                &[
                    "s3:PutObject arn:aws:s3:::b/k",
                    "s3:GetObject arn:aws:s3:::c/k",
                    "s3:GetObjectTagging arn:aws:s3:::c/k",
                ],
            ),
        ];
        for (operation, change, expected) in cases {
            let found = needs(&event(operation, "k", change)).unwrap();
            let found: Vec<_> = found.iter().map(|need| format!("{} {}", need.action, need.resource)).collect();
            assert_eq!(found, expected, "{operation}");
        }
        assert!(needs(&event("PATCH object", "k", |_| ())).is_err());
    }

    #[test]
    fn what_is_allowed_and_what_is_used_are_told_apart() {
        let policy = Policy::read(&policy()).unwrap();
        let events = [event("GetObject", "a/k", |_| ()), event("GetObject", "z/k", |_| ())];
        let found = policy.compare(&events).unwrap();
        assert_eq!(found.used, BTreeMap::from([(grant("Objects", "s3:GetObject"), 1)]));
        assert_eq!(found.unused, [grant("Bucket", "s3:ListBucket"), grant("Objects", "s3:PutObject")].into());
        let denied: Vec<_> = found.denied.iter().map(|need| need.resource.as_str()).collect();
        assert_eq!(denied, ["arn:aws:s3:::b/z/k"]);
    }

    #[test]
    fn one_action_is_taken_away() {
        let left = without(&policy(), &grant("Objects", "s3:PutObject")).unwrap();
        let left = Policy::read(&without(&left, &grant("Bucket", "s3:ListBucket")).unwrap()).unwrap();
        assert_eq!(left.grants(), [grant("Objects", "s3:GetObject")].into());
    }
}
