//! Requests of a run, as counted by the proxies.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, ensure};

use crate::proxy::log::Event;
use crate::tree::Object;

/// Largest object copied by one GET and one PUT, in bytes: the default of `transfer.multipartThreshold`.
pub const SMALL_OBJECT: u64 = 16 << 20;

/// Counts requests by operation.
pub fn by_operation(events: &[Event]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event.request.operation.as_str()).or_insert(0) += 1;
    }
    counts
}

/// Formats the counts by operation.
pub fn in_words(events: &[Event]) -> String {
    let counts: Vec<String> = by_operation(events).iter().map(|(o, n)| format!("{n} {o}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// Most additional requests for detecting which write conditions a bucket's service honours: 8, and one that reads the
/// object back.
pub const MOST_PROBES: usize = 9;

/// Returns true if this object was used to detect which write conditions are honoured: it is written again under
/// conditions that fail, and completed from an upload of one part. If conditions are ignored, it is also read.
fn is_probe(operations: &[&str]) -> bool {
    let (looks, writes): (Vec<&str>, Vec<&str>) =
        operations.iter().copied().partition(|operation| *operation == "HeadObject");
    // The conditions of PUT may already have been tested with an empty object.
    let asks = |operation: &&str| matches!(*operation, "PutObject" | "CompleteMultipartUpload");
    writes.iter().filter(|operation| asks(operation)).count() > 1 && writes.len() <= 1 + MOST_PROBES && looks.len() <= 1
}

/// Checks that every small object cost 1 GET at the source, one more for its tags if it has any, and 1 PUT at the
/// destination. The first writes of at most `writers` workers are exempt. Returns the number of objects, and how many
/// of them were such first writes.
pub fn one_get_one_put(
    objects: &[&Object],
    source: &[Event],
    destination: &[Event],
    writers: usize,
) -> anyhow::Result<(usize, usize)> {
    let small: Vec<&&Object> = objects.iter().filter(|o| o.size <= SMALL_OBJECT).collect();
    let (at_source, at_destination) = (by_key(source), by_key(destination));
    let (mut wrong, mut probes) = (Vec::new(), 0);
    for object in &small {
        let get = if object.tags.is_empty() { vec!["GetObject"] } else { vec!["GetObject", "GetObjectTagging"] };
        let found = at_source.get(object.key.as_str()).cloned().unwrap_or_default();
        if found != get {
            wrong.push(format!("{:?} at the source: {found:?}", object.key));
        }
        let found = at_destination.get(object.key.as_str()).cloned().unwrap_or_default();
        if is_probe(&found) && probes < writers {
            probes += 1;
        } else if found != ["PutObject"] {
            wrong.push(format!("{:?} at the destination: {found:?}", object.key));
        }
    }
    if !wrong.is_empty() {
        let shown = wrong.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
        bail!("{} small objects cost other requests than 1 GET and 1 PUT, such as {shown}", wrong.len());
    }
    Ok((small.len(), probes))
}

fn by_key(events: &[Event]) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in events.iter().filter(|e| !e.request.key.is_empty()) {
        found.entry(&event.request.key).or_default().push(&event.request.operation);
    }
    for operations in found.values_mut() {
        operations.sort_unstable();
    }
    found
}

/// Checks that all requests are listings; returns the number of pages.
pub fn listings_only(events: &[Event]) -> anyhow::Result<usize> {
    let other: BTreeSet<&str> =
        events.iter().map(|e| e.request.operation.as_str()).filter(|o| *o != "ListObjectsV2").collect();
    ensure!(other.is_empty(), "requests other than listings were made: {}", in_words(events));
    Ok(events.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::classify::Request;
    use std::net::{IpAddr, Ipv4Addr};

    fn event(operation: &str, key: &str) -> Event {
        let (operation, bucket, key) = (operation.into(), "b".into(), key.into());
        let request = Request { operation, bucket, key, ..Request::default() };
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Event { status: Some(200), ..Event::new(0, "source", peer, request, 0) }
    }

    #[test]
    fn more_than_one_get_is_found() {
        let object = Object::of_bytes("k", "x");
        let put = [event("PutObject", "k")];
        let get = [event("GetObject", "k")];
        assert_eq!(one_get_one_put(&[&object], &get, &put, 0).unwrap(), (1, 0));
        let twice = [event("GetObject", "k"), event("GetObject", "k")];
        assert!(one_get_one_put(&[&object], &twice, &put, 1).is_err());
        assert!(one_get_one_put(&[&object], &get, &[], 1).is_err());
        let probe = [
            "PutObject",
            "PutObject",
            "PutObject",
            "CreateMultipartUpload",
            "UploadPart",
            "CompleteMultipartUpload",
            "CompleteMultipartUpload",
            "AbortMultipartUpload",
        ];
        let probe = probe.map(|operation| event(operation, "k"));
        assert_eq!(one_get_one_put(&[&object], &get, &probe, 1).unwrap(), (1, 1));
        assert!(one_get_one_put(&[&object], &get, &probe, 0).is_err());
    }

    #[test]
    fn a_head_is_no_listing() {
        assert_eq!(listings_only(&[event("ListObjectsV2", "")]).unwrap(), 1);
        assert!(listings_only(&[event("ListObjectsV2", ""), event("HeadObject", "k")]).is_err());
    }
}
