//! The notification configuration of a bucket. A PUT replaces the whole configuration, so it is read, merged and written
//! back with everything that others put there.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The notification configuration of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationConfig {
    /// The entries, in the order of the service.
    pub entries: Vec<NotificationEntry>,
    /// All events also go to `EventBridge`.
    pub event_bridge: bool,
}

/// An entry: which events go where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationEntry {
    /// The kind of target.
    pub target: NotificationTarget,
    /// The id, which is unique in the bucket. The service assigns one if it is absent.
    pub id: Option<String>,
    /// The ARN of the target.
    pub arn: String,
    /// Event types, such as `s3:ObjectCreated:*`.
    pub events: Vec<String>,
    /// Only keys that match all rules; empty = all keys.
    pub filter: Vec<FilterRule>,
}

/// The kind of target of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NotificationTarget {
    /// An SQS queue.
    Queue,
    /// An SNS topic.
    Topic,
    /// A Lambda function.
    Function,
}

impl NotificationTarget {
    /// Returns the name used in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Topic => "topic",
            Self::Function => "function",
        }
    }
}

/// A rule of a key filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterRule {
    /// `prefix` or `suffix`, in the case in which the service writes it.
    pub name: String,
    /// The text that the key begins or ends with.
    pub value: String,
}

/// The event types to follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventTypes {
    /// Objects that are written.
    #[default]
    Created,
    /// Objects that are written or deleted.
    CreatedAndRemoved,
}

impl EventTypes {
    /// Returns the types as S3 names them.
    fn names(self) -> Vec<String> {
        let names: &[&str] = match self {
            Self::Created => &["s3:ObjectCreated:*"],
            Self::CreatedAndRemoved => &["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// The entries that a job wants in a bucket: one for each prefix that it migrates.
#[derive(Clone, Copy, Debug)]
pub struct WantedEntries<'a> {
    /// UID of the job. Entries whose ids carry it are the job's.
    pub job: &'a str,
    /// ARN of the job's queue.
    pub queue_arn: &'a str,
    /// Prefixes of the keys in this bucket. None = no entries.
    pub prefixes: &'a [&'a str],
    /// The event types.
    pub types: EventTypes,
}

impl WantedEntries<'_> {
    /// Returns the entries. Prefixes within others are left out, since S3 refuses overlapping entries.
    fn entries(&self) -> Vec<NotificationEntry> {
        let prefixes: BTreeSet<&str> = self.prefixes.iter().map(|prefix| safe_prefix(prefix)).collect();
        // In byte order, a prefix comes right before all that begin with it.
        let mut widest: Vec<&str> = Vec::new();
        for prefix in prefixes {
            if !widest.last().is_some_and(|wider| prefix.starts_with(wider)) {
                widest.push(prefix);
            }
        }
        let filter = |prefix: &str| match prefix {
            "" => Vec::new(),
            prefix => vec![FilterRule { name: "prefix".to_owned(), value: prefix.to_owned() }],
        };
        let entry = |(number, prefix): (usize, &str)| NotificationEntry {
            target: NotificationTarget::Queue,
            id: Some(format!("{}{number}", id_prefix(self.job))),
            arn: self.queue_arn.to_owned(),
            events: self.types.names(),
            filter: filter(prefix),
        };
        (1..).zip(widest).map(entry).collect()
    }

    fn is_own(&self, entry: &NotificationEntry) -> bool {
        let number = entry.id.as_deref().and_then(|id| id.strip_prefix(&id_prefix(self.job)));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    }
}

/// Returns the beginning of the ids of a job's entries.
fn id_prefix(job: &str) -> String {
    format!("s3-migration-{job}-")
}

/// Returns the longest beginning of a key prefix that means the same to every service as the prefix of a filter. S3
/// compares filters with encoded keys, compatible services with the keys themselves; these characters are never encoded.
/// Events of other keys, which a shorter prefix lets through, belong to no pair and are dropped by workers.
///
/// Source: "Configuring event notifications using object key name filtering" in the S3 user guide; "Safe characters" in
/// "Naming Amazon S3 objects", without `*`, which is no wildcard but may look like one.
pub fn safe_prefix(prefix: &str) -> &str {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '!' | '-' | '_' | '.' | '\'' | '(' | ')');
    prefix.find(|c| !is_safe(c)).map_or(prefix, |end| prefix.get(..end).unwrap_or_default())
}

/// Returns the configuration with the job's entries as wanted and everything else as it is, or `None` if it is so
/// already.
pub fn merge(current: &NotificationConfig, wanted: &WantedEntries<'_>) -> Option<NotificationConfig> {
    let new = wanted.entries();
    let own: BTreeSet<_> = current.entries.iter().filter(|entry| wanted.is_own(entry)).map(normal).collect();
    let number = current.entries.iter().filter(|entry| wanted.is_own(entry)).count();
    if number == new.len() && own == new.iter().map(normal).collect() {
        return None;
    }
    let foreign = current.entries.iter().filter(|entry| !wanted.is_own(entry)).cloned();
    Some(NotificationConfig { entries: foreign.chain(new).collect(), event_bridge: current.event_bridge })
}

/// An entry in a form in which equal ones are equal, whatever the service did to order and case.
type Normal = (NotificationTarget, Option<String>, String, BTreeSet<String>, BTreeSet<FilterRule>);

fn normal(entry: &NotificationEntry) -> Normal {
    let NotificationEntry { target, id, arn, events, filter } = entry.clone();
    // S3 returns an empty prefix for a filter without one.
    let filter = filter.into_iter().filter(|rule| !rule.value.is_empty());
    let filter = filter.map(|rule| FilterRule { name: rule.name.to_ascii_lowercase(), ..rule }).collect();
    (target, id, arn, events.into_iter().collect(), filter)
}

/// Returns the entries of others because of which S3 may refuse the job's: they have an event type in common and their
/// filters accept common keys.
/// Source: "Examples of invalid prefix/suffix overlapping" in the S3 user guide.
pub fn overlapping<'a>(current: &'a NotificationConfig, wanted: &WantedEntries<'_>) -> Vec<&'a NotificationEntry> {
    let new = wanted.entries();
    let foreign = current.entries.iter().filter(|entry| !wanted.is_own(entry));
    foreign.filter(|entry| new.iter().any(|own| overlap(own, entry))).collect()
}

fn overlap(a: &NotificationEntry, b: &NotificationEntry) -> bool {
    let types = |a: &str, b: &str| a == b || a.strip_suffix('*').is_some_and(|stem| b.starts_with(stem));
    let of = |entry: &NotificationEntry, name: &str| {
        let rule = entry.filter.iter().find(|rule| rule.name.eq_ignore_ascii_case(name));
        rule.map(|rule| rule.value.clone()).unwrap_or_default()
    };
    let (prefix_a, prefix_b) = (of(a, "prefix"), of(b, "prefix"));
    let (suffix_a, suffix_b) = (of(a, "suffix"), of(b, "suffix"));
    a.events.iter().any(|a| b.events.iter().any(|b| types(a, b) || types(b, a)))
        && (prefix_a.starts_with(&prefix_b) || prefix_b.starts_with(&prefix_a))
        && (suffix_a.ends_with(&suffix_b) || suffix_b.ends_with(&suffix_a))
}

#[cfg(test)]
mod tests;
