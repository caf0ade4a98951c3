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

/// Small objects of a run, and what their requests beside 1 GET and 1 PUT were for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Small objects of the run.
    pub objects: usize,
    /// Objects with which a worker detected the write conditions that are honoured.
    pub probes: usize,
    /// PUTs with a wrong Content-MD5, rejected: each worker tests once if they are.
    pub tests: usize,
}

/// Returns true if the request tested whether a wrong Content-MD5 is rejected, and it was: docs/contracts.md,
/// `checksMd5`.
fn is_test(event: &Event) -> bool {
    event.request.operation == "PutObject" && event.status == Some(400)
}

/// Checks that every small object cost 1 GET at the source, one more for its tags if it has any, and 1 PUT at the
/// destination. Exempt are the write conditions that at most `probing` workers detect with one object each, and one
/// test of Content-MD5 by each of `workers`, with whichever object of theirs comes first.
pub fn one_get_one_put(
    objects: &[&Object],
    source: &[Event],
    destination: &[Event],
    probing: usize,
    workers: usize,
) -> anyhow::Result<Counted> {
    let small: Vec<&&Object> = objects.iter().filter(|o| o.size <= SMALL_OBJECT).collect();
    let (tested, destination): (Vec<Event>, Vec<Event>) = destination.iter().cloned().partition(is_test);
    let tests = tested.len();
    ensure!(tests <= workers, "{tests} requests of {workers} workers tested if a wrong Content-MD5 is rejected");
    let (at_source, at_destination) = (by_key(source), by_key(&destination));
    let (mut wrong, mut probes) = (Vec::new(), 0);
    for object in &small {
        let get = if object.tags.is_empty() { vec!["GetObject"] } else { vec!["GetObject", "GetObjectTagging"] };
        let found = at_source.get(object.key.as_str()).cloned().unwrap_or_default();
        if found != get {
            wrong.push(format!("{:?} at the source: {found:?}", object.key));
        }
        let found = at_destination.get(object.key.as_str()).cloned().unwrap_or_default();
        if is_probe(&found) && probes < probing {
            probes += 1;
        } else if found != ["PutObject"] {
            wrong.push(format!("{:?} at the destination: {found:?}", object.key));
        }
    }
    if !wrong.is_empty() {
        let shown = wrong.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
        bail!("{} small objects cost other requests than 1 GET and 1 PUT, such as {shown}", wrong.len());
    }
    Ok(Counted { objects: small.len(), probes, tests })
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

    /// Counts the requests of the object `k`: what `probing` and `workers` exempt is in [`one_get_one_put`].
    fn count(gets: &[Event], puts: &[Event], probing: usize, workers: usize) -> anyhow::Result<Counted> {
        one_get_one_put(&[&Object::of_bytes("k", "x")], gets, puts, probing, workers)
    }

    #[test]
    fn more_than_one_get_is_found() {
        let (get, put) = ([event("GetObject", "k")], [event("PutObject", "k")]);
        let counted = Counted { objects: 1, probes: 0, tests: 0 };
        assert_eq!(count(&get, &put, 0, 0).unwrap(), counted);
        assert!(count(&[event("GetObject", "k"), event("GetObject", "k")], &put, 1, 1).is_err());
        assert!(count(&get, &[], 1, 1).is_err());
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
        assert_eq!(count(&get, &probe, 1, 0).unwrap(), Counted { probes: 1, ..counted });
        assert!(count(&get, &probe, 0, 1).is_err());
    }

    #[test]
    fn each_worker_may_test_content_md5_once() {
        let (get, put) = ([event("GetObject", "k")], event("PutObject", "k"));
        let rejected = Event { status: Some(400), ..put.clone() };
        let puts = [rejected.clone(), put.clone()];
        assert_eq!(count(&get, &puts, 0, 1).unwrap(), Counted { objects: 1, probes: 0, tests: 1 });
        assert!(count(&get, &puts, 0, 0).is_err());
        assert!(count(&get, &[rejected.clone(), rejected, put.clone()], 0, 1).is_err());
        assert!(count(&get, &[put.clone(), put], 0, 1).is_err());
    }

    #[test]
    fn a_head_is_no_listing() {
        assert_eq!(listings_only(&[event("ListObjectsV2", "")]).unwrap(), 1);
        assert!(listings_only(&[event("ListObjectsV2", ""), event("HeadObject", "k")]).is_err());
    }
}
