//! Batches for work that does not come from a scan: jobs of the predecessor and S3 events.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Batch, BatchId, Entry, EventKind, MESSAGE_VERSION, MessageError, ObjectEvent};
use crate::etag::ETag;
use crate::ignore::IgnoreList;
use crate::pair::BucketPair;
use crate::retry::Tried;

/// The run under which work that belongs to no scan is counted.
pub const EVENTS_RUN: &str = "events";

/// A job message of the predecessor. Source: its message schema, version 0.98.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignJob {
    /// Source bucket.
    #[serde(rename = "Src_bucket")]
    pub source_bucket: String,
    /// Source key, not encoded.
    #[serde(rename = "Src_key")]
    pub source_key: String,
    /// Destination bucket.
    #[serde(rename = "Des_bucket")]
    pub destination_bucket: String,
    /// Destination key, not encoded.
    #[serde(rename = "Des_key")]
    pub destination_key: String,
    /// Size in bytes.
    #[serde(rename = "Size")]
    pub size: u64,
    /// The version ID; `null` if unknown.
    #[serde(rename = "versionId", default)]
    pub version_id: Option<String>,
}

/// Creates the batch of a predecessor's job: one object, with the pair that maps its source key to its destination key.
/// `message_id` is the queue's; a message counts once, however often it is delivered.
pub fn batch_of_job(
    job: &str,
    found: &ForeignJob,
    pairs: &[BucketPair],
    message_id: &str,
    now: i64,
) -> Result<Batch, MessageError> {
    if found.source_key.is_empty() {
        return Err(MessageError::NoKey { bucket: found.source_bucket.clone() });
    }
    let fits = |pair: &&BucketPair| {
        pair.source_bucket == found.source_bucket
            && pair.destination_bucket == found.destination_bucket
            && pair.map_key(&found.source_key).as_deref() == Ok(found.destination_key.as_str())
    };
    let pair = pairs.iter().find(fits).ok_or_else(|| MessageError::NoPair {
        bucket: found.source_bucket.clone(),
        key: found.source_key.clone(),
        destination: format!("{}/{}", found.destination_bucket, found.destination_key),
    })?;
    let version_id = found.version_id.clone().filter(|id| id != "null" && !id.is_empty());
    let entry = unlisted(&found.source_key, found.size, None, version_id);
    Ok(batch(job, BatchId::of_job(message_id), pair, entry, now))
}

/// Creates the batches of a notification: one for each written object and each pair that matches its bucket and key,
/// unless the ignore list excludes it. An event counts once, by key and version or sequencer.
///
/// | event | batches |
/// |---|---|
/// | created, matched by n pairs, not ignored | n |
/// | created, ignored or matched by none | none: not wanted, or meant for another consumer |
/// | removed, where removals are followed | as if created, without size and version: what counts is what the source has |
/// | removed, where they are not; other | none |
pub fn batches_of_events(
    job: &str,
    events: &[ObjectEvent],
    pairs: &[BucketPair],
    ignore: &IgnoreList,
    follows_removals: bool,
    now: i64,
) -> Vec<Batch> {
    let mut batches = Vec::new();
    let is_followed = |event: &&ObjectEvent| match event.kind {
        EventKind::Created => true,
        EventKind::Removed => follows_removals,
        EventKind::Other => false,
    };
    for event in events.iter().filter(is_followed) {
        let matches = |pair: &&BucketPair| {
            pair.source_bucket == event.bucket
                && event.key.starts_with(&pair.source_prefix)
                && !ignore.ignores(&event.bucket, &event.key)
        };
        for pair in pairs.iter().filter(matches) {
            let name = event_name(event, pair, now);
            let (id, entry) = match event.kind {
                EventKind::Removed => (BatchId::of_removal(&name), unlisted(&event.key, 0, None, None)),
                EventKind::Created | EventKind::Other => {
                    let (size, etag) = (event.size.unwrap_or_default(), event.etag.clone());
                    (BatchId::of_event(&name), unlisted(&event.key, size, etag, event.version_id.clone()))
                }
            };
            batches.push(batch(job, id, pair, entry, now));
        }
    }
    batches
}

fn unlisted(key: &str, size: u64, etag: Option<ETag>, version_id: Option<String>) -> Entry {
    Entry { key: key.to_owned(), size, etag, version_id, destination: None, unlisted: true, tried: Tried::default() }
}

fn batch(job: &str, id: BatchId, pair: &BucketPair, entry: Entry, now: i64) -> Batch {
    Batch {
        version: MESSAGE_VERSION,
        job: job.to_owned(),
        run: EVENTS_RUN.to_owned(),
        id,
        scanned: now,
        pair: pair.clone(),
        attempts: 0,
        objects: vec![entry],
    }
}

/// Returns a name that identifies an event across messages: the same event may be delivered twice. A removal that has
/// nothing to tell it from another one of the same key is named by the time of its delivery: it may count twice, but none
/// is taken for one that was followed before.
fn event_name(event: &ObjectEvent, pair: &BucketPair, now: i64) -> String {
    let mut hash = Sha256::new();
    let delivery = now.to_string();
    let moment = event.version_id.as_deref().or(event.sequencer.as_deref());
    let moment = moment.unwrap_or_else(|| match event.kind {
        EventKind::Removed => &delivery,
        EventKind::Created | EventKind::Other => event.etag.as_ref().map(ETag::as_str).unwrap_or_default(),
    });
    for text in [&event.bucket, &event.key, moment, &pair.destination_bucket, &pair.destination_prefix] {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    // The removal of a version carries the same version as its creation.
    if event.kind == EventKind::Removed {
        hash.update("removed");
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::pair;
    use crate::message::{BatchOrigin, Message};

    fn event(key: &str, sequencer: &str) -> ObjectEvent {
        ObjectEvent {
            kind: EventKind::Created,
            bucket: "a".into(),
            key: key.into(),
            size: Some(3),
            etag: None,
            version_id: None,
            sequencer: Some(sequencer.into()),
        }
    }

    #[test]
    fn a_predecessors_job_is_read_and_mapped_by_a_pair() {
        let body =
            r#"{"Src_bucket":"a","Src_key":"x +/y","Des_bucket":"b","Des_key":"p/x +/y","Size":7,"versionId":"null"}"#;
        let Ok(Message::Job(found)) = Message::parse(body) else { panic!("{body}") };
        let batch = batch_of_job("u", &found, &[pair()], "m-1", 5).unwrap();
        let entry = &batch.objects[0];
        assert_eq!((entry.key.as_str(), entry.size, &entry.version_id, entry.unlisted), ("x +/y", 7, &None, true));
        assert_eq!((batch.run.as_str(), batch.id.as_str()), (EVENTS_RUN, "foreign/job/m-1"));
        let nameless = ForeignJob { source_key: String::new(), destination_key: "p/".into(), ..found.clone() };
        let refused = batch_of_job("u", &nameless, &[pair()], "m-1", 5);
        assert!(matches!(refused, Err(MessageError::NoKey { .. })), "{refused:?}");
        let elsewhere = ForeignJob { destination_key: "q/x".into(), ..found };
        let error = batch_of_job("u", &elsewhere, &[pair()], "m-1", 5).unwrap_err();
        assert!(error.to_string().contains("no pair of the job maps a/x +/y to b/q/x"), "{error}");
    }

    #[test]
    fn each_record_of_an_event_goes_to_each_pair_that_it_matches() {
        let other = BucketPair { destination_prefix: "q/".into(), source_prefix: "d/".into(), ..pair() };
        let ignore = IgnoreList::new(&["a/d/*.tmp"]).unwrap();
        let mut removed = event("d/gone", "1");
        removed.kind = EventKind::Removed;
        let elsewhere = ObjectEvent { bucket: "z".into(), ..event("d/x", "1") };
        let events = [event("top", "1"), event("d/x", "1"), event("d/y.tmp", "1"), removed, elsewhere];
        let batches = batches_of_events("u", &events, &[pair(), other], &ignore, false, 5);
        let seen: Vec<_> =
            batches.iter().map(|b| (b.objects[0].key.as_str(), b.pair.destination_prefix.as_str())).collect();
        assert_eq!(seen, [("top", "p/"), ("d/x", "p/"), ("d/x", "q/")]);
    }

    #[test]
    fn the_same_event_has_one_name_and_a_later_one_another() {
        let none = IgnoreList::new::<&str>(&[]).unwrap();
        let id = |e| batches_of_events("u", &[e], &[pair()], &none, true, 5)[0].id.clone();
        assert_eq!(id(event("k", "1")), id(event("k", "1")));
        assert_ne!(id(event("k", "1")), id(event("k", "2")));
        assert_ne!(id(event("k", "1")), id(event("l", "1")));
        assert_ne!(id(event("k", "1")), id(ObjectEvent { kind: EventKind::Removed, ..event("k", "1") }));
    }

    #[test]
    fn a_removal_names_a_key_only_and_is_followed_where_that_is_wanted() {
        let none = IgnoreList::new::<&str>(&[]).unwrap();
        let version_id = Some("marker".to_owned());
        let removed = ObjectEvent { kind: EventKind::Removed, version_id, size: Some(3), ..event("k", "1") };
        let of = |follows| batches_of_events("u", std::slice::from_ref(&removed), &[pair()], &none, follows, 5);
        assert!(of(false).is_empty());
        let batch = &of(true)[0];
        let entry = &batch.objects[0];
        assert_eq!((entry.key.as_str(), entry.size, &entry.version_id, entry.unlisted), ("k", 0, &None, true));
        assert!(batch.id.is_of_removal() && batch.id.remainder().is_of_removal());
        assert_eq!(batch.id.origin(), BatchOrigin::Event);
    }

    #[test]
    fn a_batch_that_is_sent_again_says_so_and_counts_no_attempt() {
        let none = IgnoreList::new::<&str>(&[]).unwrap();
        let batch = &batches_of_events("u", &[event("k", "1")], &[pair()], &none, false, 5)[0];
        assert!(!batch.id.is_of_removal());
        let Ok(Message::Batch(again)) = Message::parse(&batch.sent_again().body()) else { panic!("no batch") };
        assert_eq!((again.attempts, again.most_tries(), &again.id), (1, 0, &batch.id));
    }
}
