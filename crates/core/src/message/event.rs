//! S3 event notifications.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use super::MessageError;
use crate::etag::ETag;

/// An event of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// The kind of event.
    pub kind: EventKind,
    /// The bucket.
    pub bucket: String,
    /// The key, decoded.
    pub key: String,
    /// Size in bytes, if given.
    pub size: Option<u64>,
    /// The ETag, if given.
    pub etag: Option<ETag>,
    /// The version ID, in versioned buckets.
    pub version_id: Option<String>,
    /// A hexadecimal number of any length that increases with each event of a key.
    /// Source: "Event message structure" in the S3 user guide.
    pub sequencer: Option<String>,
}

/// The kind of an object event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The object was written.
    Created,
    /// The object, or a version of it, was removed, by a request or a lifecycle rule.
    Removed,
    /// Any other event, such as restored or tagged.
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

/// The object in either form. Services differ in the members that they omit, leave empty or write as text. All but the
/// key are taken if readable, since the worker looks the object up anyway.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    key: String,
    #[serde(default)]
    size: Value,
    #[serde(default, alias = "etag")]
    e_tag: Value,
    #[serde(default, alias = "version-id")]
    version_id: Value,
    #[serde(default)]
    sequencer: Value,
}

/// An S3 event as delivered by `EventBridge`.
#[derive(Deserialize)]
struct Bridged {
    source: String,
    #[serde(rename = "detail-type")]
    kind: String,
    detail: S3,
}

/// Parses a notification with any number of records. One invalid record makes the whole message unknown, so that a
/// person can fix it and send it again.
pub(super) fn read(value: Value) -> Result<Vec<ObjectEvent>, MessageError> {
    let found: Notification =
        serde_json::from_value(value).map_err(|e| MessageError::Unknown(format!("Records of an S3 event: {e}")))?;
    let events = found.records.into_iter().map(|record| {
        let key = decode(&record.s3.object.key).ok_or_else(|| {
            MessageError::Unknown(format!("the key {:?} of an S3 event is not UTF-8", record.s3.object.key))
        })?;
        object_event(kind(&record.name), key, record.s3)
    });
    events.collect()
}

/// Parses an event delivered by `EventBridge`, whose key is not encoded.
/// Source: "`EventBridge` event message structure" in the S3 user guide, which unlike "Event message structure"
/// mentions no encoding of keys.
pub(super) fn read_bridged(value: Value) -> Result<ObjectEvent, MessageError> {
    let found: Bridged =
        serde_json::from_value(value).map_err(|e| MessageError::Unknown(format!("an event of EventBridge: {e}")))?;
    if found.source != "aws.s3" {
        return Err(MessageError::Unknown(format!("an event of EventBridge from {:?}", found.source)));
    }
    let kind = match found.kind.as_str() {
        "Object Created" => EventKind::Created,
        "Object Deleted" => EventKind::Removed,
        _ => EventKind::Other,
    };
    let key = found.detail.object.key.clone();
    object_event(kind, key, found.detail)
}

fn object_event(kind: EventKind, key: String, S3 { bucket, object }: S3) -> Result<ObjectEvent, MessageError> {
    if key.is_empty() && kind == EventKind::Created {
        return Err(MessageError::NoKey { bucket: bucket.name });
    }
    Ok(ObjectEvent {
        kind,
        bucket: bucket.name,
        key,
        size: number(&object.size),
        etag: text(&object.e_tag).map(ETag::new),
        version_id: text(&object.version_id).filter(|id| *id != "null").map(ToOwned::to_owned),
        sequencer: text(&object.sequencer).map(ToOwned::to_owned),
    })
}

/// Reads a number given as a number or as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Reads a non-empty text.
fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// Returns the kind of an event name, with or without the prefix `s3:`.
fn kind(name: &str) -> EventKind {
    match name.trim_start_matches("s3:") {
        name if name.starts_with("ObjectCreated:") => EventKind::Created,
        name if name.starts_with("ObjectRemoved:") || name.starts_with("LifecycleExpiration:") => EventKind::Removed,
        _ => EventKind::Other,
    }
}

/// Decodes the key of an event: percent-encoded, with a space as `+` or `%20`.
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

    /// Messages as services send them, each with the expected kind, key, size, version and sequencer.
    #[test]
    fn events_are_understood_as_services_send_them() {
        let direct = |object: &str| {
            body(&format!(
                r#"{{"eventName":"ObjectCreated:Put","s3":{{"bucket":{{"name":"a"}},"object":{{{object}}}}}}}"#
            ))
        };
        let sns = |message: &str| {
            let message = serde_json::to_string(message).unwrap();
            format!(
                r#"{{"Type":"Notification","MessageId":"m","TopicArn":"arn:aws:sns:r:1:t","Subject":"Amazon S3 Notification","Message":{message},"Timestamp":"t"}}"#
            )
        };
        let bridge = |kind: &str, object: &str| {
            format!(
                r#"{{"version":"0","id":"i","detail-type":"{kind}","source":"aws.s3","detail":{{"version":"0","bucket":{{"name":"a"}},"object":{{{object}}},"reason":"PutObject"}}}}"#
            )
        };
        let plain = direct(r#""key":"x+y%2B","size":1024,"versionId":"v","sequencer":"0A""#);
        let bridged =
            bridge("Object Created", r#""key":"x y+%2B é","size":5,"etag":"e","version-id":"v","sequencer":"0A""#);
        let (created, removed, other) = (EventKind::Created, EventKind::Removed, EventKind::Other);
        for (what, text, expected) in [
            ("AWS", plain.clone(), (created, "x y+", Some(1_024), Some("v"), Some("0A"))),
            (
                "Ceph",
                direct(r#""key":"k","size":1,"versionId":"","sequencer":"F""#),
                (created, "k", Some(1), None, Some("F")),
            ),
            ("a size as text", direct(r#""key":"k","size":"1024""#), (created, "k", Some(1_024), None, None)),
            ("a size that is none", direct(r#""key":"k","size":"large""#), (created, "k", None, None, None)),
            (
                "nulls",
                direct(r#""key":"k","size":null,"versionId":null,"eTag":null"#),
                (created, "k", None, None, None),
            ),
            (
                "a version that is null",
                direct(r#""key":"k","versionId":"null","sequencer":"" "#),
                (created, "k", None, None, None),
            ),
            ("SNS", sns(&plain), (created, "x y+", Some(1_024), Some("v"), Some("0A"))),
            ("EventBridge", bridged.clone(), (created, "x y+%2B é", Some(5), Some("v"), Some("0A"))),
            ("EventBridge through SNS", sns(&bridged), (created, "x y+%2B é", Some(5), Some("v"), Some("0A"))),
            (
                "a deletion from EventBridge",
                bridge("Object Deleted", r#""key":"k","version-id":"v""#),
                (removed, "k", None, Some("v"), None),
            ),
            ("tags from EventBridge", bridge("Object Tags Added", r#""key":"k""#), (other, "k", None, None, None)),
        ] {
            let Ok(Message::Events(events)) = Message::parse(&text) else {
                panic!("{what}: {:?}", Message::parse(&text))
            };
            let [event] = events.as_slice() else { panic!("{what}: {events:?}") };
            let seen =
                (event.kind, event.key.as_str(), event.size, event.version_id.as_deref(), event.sequencer.as_deref());
            assert_eq!(seen, expected, "{what}: {text}");
        }
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"a"}"#;
        for text in [test.to_owned(), sns(test)] {
            assert_eq!(Message::parse(&text), Ok(Message::TestEvent), "{text}");
        }
        for (text, expected) in [
            (direct(r#""key":"""#), "empty key"),
            (sns(&direct(r#""key":"""#)), "empty key"),
            (bridge("Object Created", r#""key":"""#), "empty key"),
            (sns("hello"), "not JSON"),
            (sns(r#"{"v":1}"#), "none of the members"),
            (
                r#"{"Type":"SubscriptionConfirmation","TopicArn":"t","Message":"m"}"#.to_owned(),
                "confirm the subscription",
            ),
            (bridged.replace("aws.s3", "aws.ec2"), "aws.ec2"),
            (r#"{"source":"aws.s3","detail-type":"Object Created","detail":{}}"#.to_owned(), "missing field"),
        ] {
            let error = Message::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
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
        assert_eq!(kind("s3:LifecycleExpiration:DeleteMarkerCreated"), EventKind::Removed);
    }
}
