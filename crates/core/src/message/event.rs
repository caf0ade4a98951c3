//! S3's notifications of what happened to objects.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use super::MessageError;
use crate::etag::ETag;

/// What happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// What.
    pub kind: EventKind,
    /// The bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// Bytes, where the event says so.
    pub size: Option<u64>,
    /// The ETag, where the event says so.
    pub etag: Option<ETag>,
    /// The version, in versioned buckets.
    pub version_id: Option<String>,
    /// Grows with each event of a key, as hexadecimal digits of any number. Source: "Event message structure" in the
    /// S3 user guide.
    pub sequencer: Option<String>,
}

/// What kind of thing happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Created,
    /// It, or a version of it, was removed.
    Removed,
    /// Something else: restored, tagged, lost.
    Other,
}

#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName", default)]
    name: String,
    s3: S3,
}

#[derive(Deserialize)]
struct S3 {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    key: String,
    size: Option<u64>,
    e_tag: Option<String>,
    version_id: Option<String>,
    sequencer: Option<String>,
}

/// Reads a notification with any number of records. One bad record makes the whole of it unknown: it goes to a person,
/// who can send it again.
pub(super) fn read(value: Value) -> Result<Vec<ObjectEvent>, MessageError> {
    let found: Notification =
        serde_json::from_value(value).map_err(|e| MessageError::Unknown(format!("Records of an S3 event: {e}")))?;
    found.records.into_iter().map(object_event).collect()
}

fn object_event(record: Record) -> Result<ObjectEvent, MessageError> {
    let object = record.s3.object;
    let key = decode(&object.key)
        .ok_or_else(|| MessageError::Unknown(format!("the key {:?} of an S3 event is not UTF-8", object.key)))?;
    Ok(ObjectEvent {
        kind: kind(&record.name),
        bucket: record.s3.bucket.name,
        key,
        size: object.size,
        etag: object.e_tag.as_deref().filter(|etag| !etag.is_empty()).map(ETag::new),
        version_id: object.version_id.filter(|id| id != "null"),
        sequencer: object.sequencer,
    })
}

/// The kind, by the name with or without `s3:` in front.
fn kind(name: &str) -> EventKind {
    match name.trim_start_matches("s3:") {
        name if name.starts_with("ObjectCreated:") => EventKind::Created,
        name if name.starts_with("ObjectRemoved:") => EventKind::Removed,
        _ => EventKind::Other,
    }
}

/// The key of an event: a space is `+` or `%20`, everything else percent-encoded.
fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn body(records: &str) -> String {
        format!(r#"{{"Records":[{records}]}}"#)
    }

    fn record(name: &str, key: &str) -> String {
        format!(
            r#"{{"eventVersion":"2.1","eventName":"{name}","s3":{{"bucket":{{"name":"a"}},"object":{{"key":"{key}","size":3,"eTag":"e","versionId":"v","sequencer":"0A"}}}}}}"#
        )
    }

    #[test]
    fn every_record_is_read_and_its_key_decoded() {
        let text =
            body(&[record("ObjectCreated:Put", "a+b%2Bc%C3%A9/%20"), record("ObjectRemoved:Delete", "x")].join(","));
        let Ok(Message::Events(events)) = Message::parse(&text) else { panic!("{text}") };
        let seen: Vec<_> = events.iter().map(|e| (e.kind, e.key.as_str(), e.version_id.as_deref())).collect();
        assert_eq!(seen, [(EventKind::Created, "a b+cé/ ", Some("v")), (EventKind::Removed, "x", Some("v"))]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = body(r#"{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"a"},"object":{}}}"#);
        assert!(Message::parse(&text).unwrap_err().to_string().contains("missing field `key`"));
        let text = body(&record("ObjectCreated:Put", "%FF"));
        assert!(Message::parse(&text).unwrap_err().to_string().contains("not UTF-8"));
    }

    #[test]
    fn a_removal_without_size_and_a_null_version_are_read() {
        let text = body(
            r#"{"eventName":"s3:ObjectRemoved:DeleteMarkerCreated","s3":{"bucket":{"name":"a"},"object":{"key":"k","versionId":"null"}}}"#,
        );
        let Ok(Message::Events(events)) = Message::parse(&text) else { panic!("{text}") };
        assert_eq!((events[0].kind, events[0].size, events[0].version_id.clone()), (EventKind::Removed, None, None));
        assert_eq!(Message::parse(r#"{"Service":"Amazon S3","Event":"s3:TestEvent"}"#), Ok(Message::TestEvent));
        assert_eq!(kind("ObjectRestore:Completed"), EventKind::Other);
    }
}
