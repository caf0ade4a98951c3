//! Messages in the queue. Writing is strict; reading is lenient: unknown members are ignored, and unknown messages go
//! to the dead letters with a reason.

use serde::{Deserialize, Serialize};

use crate::etag::ETag;
use crate::pair::BucketPair;
use crate::retry::Tried;

mod envelope;
mod event;
mod foreign;
mod parts;

pub use event::{EventKind, ObjectEvent};
pub use foreign::{EVENTS_RUN, ForeignJob, batch_of_job, batches_of_events};
pub use parts::{MAX_RANGES, PartRange, ranges};

/// Version of the messages written. Readers accept this and lower versions.
pub const MESSAGE_VERSION: u32 = 1;

/// Maximum size of a body that we write, in bytes. SQS accepts 1 MiB since 2025; before that, and on
/// compatible services, the limit is 256 KiB.
pub const MAX_BODY_BYTES: usize = 240 * 1024;

/// A unit of work: objects of one bucket pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// [`MESSAGE_VERSION`] of the writer.
    #[serde(rename = "v")]
    pub version: u32,
    /// UID of the job.
    pub job: String,
    /// ID of the run.
    pub run: String,
    /// ID of the batch, unique within the run.
    pub id: BatchId,
    /// When the scan listed the objects, as Unix time in milliseconds.
    pub scanned: i64,
    /// Source and destination of the objects. Must be one of the run's recorded pairs.
    pub pair: BucketPair,
    /// Number of times the objects were re-sent. It is the number of attempts for each entry without a number of its
    /// own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// Small objects, or one large object.
    pub objects: Vec<Entry>,
}

/// Serializes a message as JSON. Escapes the two characters that keys may contain and SQS rejects, though JSON does not
/// require it.
/// Source: `SendMessage` in the SQS API reference.
pub(crate) fn json<T: Serialize>(message: &T) -> String {
    // Cannot fail: the types consist of strings, numbers and lists.
    let text = serde_json::to_string(message).unwrap_or_default();
    if text.contains(['\u{fffe}', '\u{ffff}']) {
        return text.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff");
    }
    text
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// An object to transfer, with the state of both sides as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Source key.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// ETag at the source; each GET requests it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<ETag>,
    /// Version at the source, if the job uses versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// State of the mapped key at the destination; each write requires it. `None` means absent, unless `unlisted` is
    /// set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationState>,
    /// True if the destination was not listed, so that the worker has to look it up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlisted: bool,
    /// Earlier attempts for this object.
    #[serde(default, skip_serializing_if = "Tried::is_default")]
    pub tried: Tried,
}

/// An object listed at the destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationState {
    /// The ETag. A few services return none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<ETag>,
}

/// ID of a batch within its run: `range/epoch/index`, with a suffix for each remainder.
///
/// The epoch is the number of the sender that created the batch. What a killed sender sent after its last checkpoint is
/// sent again under a new epoch and does not count under the old one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(String);

/// The origin of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchOrigin {
    /// The scan of a key range, in an epoch.
    Scan {
        /// Number of the range.
        range: u32,
        /// The epoch.
        epoch: u32,
    },
    /// An S3 event that names an object.
    Event,
    /// A job message of the predecessor.
    Job,
}

/// Number of nested remainders written as a `/r` each. Deeper ones are written as a number, since ledger keys have at
/// most 1,024 bytes.
const CHAINED: usize = 16;

/// Prefix of the IDs of batches made from events.
const OF_EVENT: &str = "foreign/event/";
/// Prefix of the IDs of those made from events of removals.
const OF_REMOVAL: &str = "foreign/event/removed/";

impl BatchId {
    /// Creates the ID of a batch sent by a scan.
    pub fn new(range: u32, epoch: u32, index: u64) -> Self {
        Self(format!("{range:06}/{epoch:04}/{index:010}"))
    }

    /// Returns the ID of the batch that continues what this one left over.
    #[must_use]
    pub fn remainder(&self) -> Self {
        let base = self.0.trim_end_matches("/r");
        let chained = (self.0.len() - base.len()) / 2;
        match base.rsplit_once("/r").and_then(|(root, depth)| Some((root, depth.parse::<u32>().ok()?))) {
            Some((root, depth)) if chained == 0 => Self(format!("{root}/r{}", depth.saturating_add(1))),
            _ if chained >= CHAINED => Self(format!("{base}/r{}", chained + 1)),
            _ => Self(format!("{}/r", self.0)),
        }
    }

    /// Returns what the batch was made from.
    pub fn origin(&self) -> BatchOrigin {
        let mut parts = self.0.split('/').map(str::parse::<u32>);
        match (parts.next(), parts.next()) {
            (Some(Ok(range)), Some(Ok(epoch))) => BatchOrigin::Scan { range, epoch },
            _ if self.0.starts_with(OF_EVENT) => BatchOrigin::Event,
            _ => BatchOrigin::Job,
        }
    }

    /// Returns range and epoch of a batch sent by a scan, or `None` for a batch of no run.
    pub fn place(&self) -> Option<(u32, u32)> {
        match self.origin() {
            BatchOrigin::Scan { range, epoch } => Some((range, epoch)),
            BatchOrigin::Event | BatchOrigin::Job => None,
        }
    }

    /// Returns the common prefix of the IDs of all batches, and their remainders, of one range and epoch.
    pub fn prefix(range: u32, epoch: u32) -> String {
        format!("{range:06}/{epoch:04}/")
    }

    /// Creates the ID of a batch made from a predecessor's job, from the queue's ID of its message.
    fn of_job(message_id: &str) -> Self {
        Self(format!("foreign/job/{message_id}"))
    }

    /// Creates the ID of a batch made from an S3 event. `name` identifies the event across deliveries.
    fn of_event(name: &str) -> Self {
        Self(format!("{OF_EVENT}{name}"))
    }

    /// Creates the ID of a batch made from an S3 event of a removal, likewise.
    fn of_removal(name: &str) -> Self {
        Self(format!("{OF_REMOVAL}{name}"))
    }

    /// Returns true if the batch, or the one that it continues, was made from an S3 event of a removal.
    pub fn is_of_removal(&self) -> bool {
        self.0.starts_with(OF_REMOVAL)
    }

    /// Returns the ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A parsed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A batch of objects.
    Batch(Batch),
    /// A range of the parts of a distributed object.
    PartRange(PartRange),
    /// A job of the predecessor.
    Job(ForeignJob),
    /// S3 event notifications.
    Events(Vec<ObjectEvent>),
    /// The test event that S3 sends when notifications are set up. Requires no action.
    TestEvent,
}

/// Why a message cannot be processed. Sent to the dead letters with the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is not JSON.
    #[error("failed to read message: not JSON: {0}")]
    NotJson(String),
    /// It is JSON of an unknown form.
    #[error("failed to read message: neither a batch nor another known message: {0}")]
    Unknown(String),
    /// It was written by a newer version.
    #[error(
        "failed to read message: version {0} is not supported, this program reads up to {MESSAGE_VERSION}; update the worker's image"
    )]
    Version(u32),
    /// It belongs to another job.
    #[error("failed to take message: it belongs to job {found}, but this worker serves {expected}")]
    OtherJob {
        /// UID of the job in the message.
        found: String,
        /// UID of the worker's job.
        expected: String,
    },
    /// Its bucket pair is not one of its run's.
    #[error("failed to take message: its run {run} has no pair {bucket} to {destination} with these prefixes")]
    OtherPair {
        /// The run.
        run: String,
        /// Source bucket.
        bucket: String,
        /// Destination bucket.
        destination: String,
    },
    /// No pair of the job matches its buckets and keys.
    #[error(
        "failed to take message: no pair of the job maps {bucket}/{key} to {destination}; add a pair to spec.buckets"
    )]
    NoPair {
        /// Source bucket.
        bucket: String,
        /// Source key.
        key: String,
        /// Destination bucket and key, or a placeholder for any.
        destination: String,
    },
    /// It names an object with an empty key.
    #[error("failed to take message: it names an object of bucket {bucket} with an empty key, which is not valid")]
    NoKey {
        /// The bucket.
        bucket: String,
    },
    /// Its run is not in the ledger.
    #[error("failed to take message: the ledger has no run {0}")]
    UnknownRun(String),
}

impl Message {
    /// Parses a message body.
    ///
    /// | members | message |
    /// |---|---|
    /// | `v`, over ours | error: a newer writer's |
    /// | `v`, `kind` = `parts` | a range of parts |
    /// | `v` | a batch |
    /// | `Records` | S3's events |
    /// | `source` = `aws.s3`, `detail-type` | one event of S3, from `EventBridge` |
    /// | `Event` = `s3:TestEvent` | S3's test |
    /// | `Type` = `Notification`, `TopicArn` | one of the three above, in `Message`, from SNS |
    /// | `Src_bucket` | the predecessor's job |
    /// | anything else | error: unknown |
    ///
    /// Sources: "Event message structure" and "`EventBridge` event message structure" in the S3 user guide; "HTTP/HTTPS
    /// notification JSON format" in the SNS developer guide; the predecessor's message schema.
    pub fn parse(body: &str) -> Result<Self, MessageError> {
        use serde_json::{Value, from_value};
        let unknown = |e: serde_json::Error| MessageError::Unknown(e.to_string());
        let value: Value = serde_json::from_str(body).map_err(|e| MessageError::NotJson(e.to_string()))?;
        if let Some(version) = value.get("v").and_then(Value::as_u64) {
            if version > u64::from(MESSAGE_VERSION) {
                return Err(MessageError::Version(u32::try_from(version).unwrap_or(u32::MAX)));
            }
            return match value.get("kind").and_then(Value::as_str) {
                Some(parts::KIND) => from_value(value).map(Self::PartRange).map_err(unknown),
                Some(kind) => Err(MessageError::Unknown(format!("kind is {kind:?}"))),
                None => from_value(value).map(Self::Batch).map_err(unknown),
            };
        }
        if value.get("Src_bucket").is_some() {
            return from_value(value).map(Self::Job).map_err(unknown);
        }
        envelope::read(value)
    }
}

impl Batch {
    /// Returns the message body.
    pub fn body(&self) -> String {
        json(self)
    }

    /// Returns the total size of the objects, in bytes.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|entry| entry.size).sum()
    }

    /// Rejects a batch of another job or of a pair that its run does not have, and one that contains an empty key.
    pub fn check(&self, job: &str, pairs: &[BucketPair]) -> Result<(), MessageError> {
        if self.job != job {
            return Err(MessageError::OtherJob { found: self.job.clone(), expected: job.to_owned() });
        }
        if pairs.contains(&self.pair) {
            if self.objects.iter().any(|entry| entry.key.is_empty()) {
                return Err(MessageError::NoKey { bucket: self.pair.source_bucket.clone() });
            }
            return Ok(());
        }
        Err(MessageError::OtherPair {
            run: self.run.clone(),
            bucket: self.pair.source_bucket.clone(),
            destination: self.pair.destination_bucket.clone(),
        })
    }

    /// Returns the number of earlier attempts without progress for an entry.
    pub fn tries(&self, entry: &Entry) -> u32 {
        entry.tried.tries.unwrap_or(self.attempts)
    }

    /// Returns the largest number of earlier attempts among the entries.
    pub fn most_tries(&self) -> u32 {
        self.objects.iter().map(|entry| self.tries(entry)).max().unwrap_or(self.attempts)
    }

    /// Returns the batch that continues with the entries at these indices. `tried` holds their attempts so far, in the
    /// same order; if it is empty (a record of an older version), this batch counts as one attempt for each.
    #[must_use]
    pub fn remainder(&self, entries: &[u32], tried: &[Tried]) -> Self {
        let left = entries.iter().zip(tried.iter().copied().map(Some).chain(std::iter::repeat(None)));
        let left = left.filter_map(|(place, tried)| Some((self.objects.get(*place as usize)?, tried)));
        let objects =
            left.map(|(entry, tried)| Entry { tried: tried.unwrap_or_else(|| one_more(entry)), ..entry.clone() });
        let objects = objects.collect();
        Self { id: self.id.remainder(), attempts: self.attempts + 1, objects, ..self.clone() }
    }

    /// Returns the same batch as re-sent, without an attempt counted.
    #[must_use]
    pub fn sent_again(&self) -> Self {
        let objects = self.objects.iter().map(|entry| {
            let tried = Tried { tries: Some(self.tries(entry)), ..entry.tried };
            Entry { tried, ..entry.clone() }
        });
        Self { attempts: self.attempts + 1, objects: objects.collect(), ..self.clone() }
    }

    /// Returns the same batch with one more attempt counted for each entry.
    #[must_use]
    pub fn tried_once_more(&self) -> Self {
        let objects = self.objects.iter().map(|entry| Entry { tried: one_more(entry), ..entry.clone() });
        Self { attempts: self.attempts + 1, objects: objects.collect(), ..self.clone() }
    }
}

/// Returns an entry's attempts after another one. Without a number of its own, it keeps following its batch's.
fn one_more(entry: &Entry) -> Tried {
    Tried { tries: entry.tried.tries.map(|tries| tries + 1), ..entry.tried }
}

#[cfg(test)]
pub(crate) mod tests;
