//! The IAM actions that recorded requests need, and what policies allow.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::proxy::log::Event;
pub use needs::{ACCOUNT, Need, Shown, needs};

mod needs;

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

    /// Compares it with the requests of those who have it.
    pub fn compare<'a>(&self, events: impl IntoIterator<Item = &'a Event>, shown: Shown) -> anyhow::Result<Comparison> {
        let mut found = Comparison::default();
        for event in events {
            for need in needs(event, shown)? {
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

/// Returns a policy document that allows what several do.
pub fn union(documents: &[Value]) -> Value {
    let statements = documents.iter().filter_map(|document| document["Statement"].as_array()).flatten();
    json!({"Version": "2012-10-17", "Statement": statements.collect::<Vec<_>>()})
}

fn matches(pattern: &str, resource: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == resource, |begin| resource.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::classify::Request;
    use std::net::{IpAddr, Ipv4Addr};

    fn event(operation: &str, key: &str) -> Event {
        let request =
            Request { operation: operation.into(), bucket: "b".into(), key: key.into(), ..Request::default() };
        Event::new(0, "source", IpAddr::V4(Ipv4Addr::LOCALHOST), request, 0)
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
    fn what_is_allowed_and_what_is_used_are_told_apart() {
        let policy = Policy::read(&policy()).unwrap();
        let events = [event("GetObject", "a/k"), event("GetObject", "z/k")];
        let found = policy.compare(&events, Shown::Used).unwrap();
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

    #[test]
    fn policies_are_added_up() {
        let bucket =
            without(&without(&policy(), &grant("Objects", "s3:PutObject")).unwrap(), &grant("Objects", "s3:GetObject"))
                .unwrap();
        let objects = without(&policy(), &grant("Bucket", "s3:ListBucket")).unwrap();
        assert_eq!(union(&[bucket, objects]), policy());
    }
}
