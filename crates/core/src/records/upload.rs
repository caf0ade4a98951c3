//! Our multipart uploads, and the ranges of parts that several workers move.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::RETENTION_MS;
use crate::mutants::{Mutant, is_active};
use crate::object::SourceIdentity;
use crate::outcome::{FailureClass, Fingerprint, NotPreserved};
use crate::part::PartLayout;
use crate::ports::{Condition, Item, LedgerKey, Write};
use crate::verified::{ETagKinds, VerifiedParts};

/// Number of shards of a job's upload records, each a partition.
pub const UPLOAD_SHARDS: u8 = 16;

/// How long other workers wait for an announced upload, in milliseconds: the duration of its message's lease.
pub const ANNOUNCED_MS: i64 = 60_000;

/// A multipart upload of ours that may be open. Written first as an intent, then with the upload's ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadRecord {
    /// Increases with each write, which requires the revision it has read; see [`UploadRecord::revision_after`].
    pub revision: u64,
    /// Destination bucket.
    pub destination_bucket: String,
    /// Destination key.
    pub destination_key: String,
    /// The source content that it copies.
    pub source: SourceIdentity,
    /// The layout of the parts.
    #[serde(flatten)]
    pub layout: PartLayout,
    /// Name of the worker.
    pub by: String,
    /// When the first intent was written, as Unix time in milliseconds.
    pub intended: i64,
    /// Until when other workers wait for the announced upload, as Unix time in milliseconds. Its worker is assumed to
    /// be alive until then.
    #[serde(default)]
    pub wait_until: i64,
    /// True if the upload uses CRC-64/NVME as its checksum algorithm.
    #[serde(default)]
    pub checksum: bool,
    /// True if other workers announced an upload of this object at the same time. An unrecorded upload may then be
    /// open, and the worker that completes this one looks for it.
    #[serde(default)]
    pub contested: bool,
    /// Attributes of the object that could not be preserved.
    #[serde(default)]
    pub losses: NotPreserved,
    /// What the destination must show once the upload is completed, written before the completion request. A delivery
    /// that finds it at the destination has nothing left to do. The record is kept until the end of the object's batch
    /// is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Fingerprint>,
    /// Set if the destination was found to hold other bytes than were sent. The object is then written again, whatever
    /// its ETag and size, until it is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<Damage>,
    /// The service's ID of the upload; `None` until it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<String>,
}

/// The kind of write after which an object was found damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// A multipart upload, which may be open.
    Upload,
    /// A single PUT; there is no upload.
    Put,
}

impl UploadRecord {
    /// Returns the revision of the record that follows `before`. Without one it is a random number, made from a
    /// `random` one from 0 (inclusive) to 1 (exclusive): the record of an ended upload is deleted, and a worker that
    /// was suspended meanwhile must not take the record of the object's next upload for the one it has read.
    pub fn revision_after(before: Option<&Self>, random: f64) -> u64 {
        match before {
            Some(before) => before.revision + 1,
            None if is_active(Mutant::RevisionsRepeat) => 1,
            None => first_revision(random),
        }
    }

    /// Returns true if an upload was announced and may be open, though its ID is not recorded.
    pub fn is_announcement(&self) -> bool {
        self.upload_id.is_none() && self.damaged != Some(Damage::Put)
    }
}

/// Maps a random number from 0 (inclusive) to 1 (exclusive) to a revision from 1 to 2^52, so that it and those after it
/// are exact in every JSON reader.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^52")]
fn first_revision(random: f64) -> u64 {
    (random * 2_f64.powi(52)) as u64 + 1
}

/// Parts of an upload that were verified when sent, for the worker that continues the upload. Written by the worker that
/// sends them, at the times of [`RecordPace`]. The last write wins, since every part in it was verified.
///
/// [`RecordPace`]: crate::verified::RecordPace
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedPartsRecord {
    /// The service's ID of the upload.
    pub upload_id: String,
    /// Number of the part that the first digest belongs to, from 1.
    pub first: u32,
    /// Digests of the parts' ETags: see [`EncodedParts::digests`](crate::verified::EncodedParts::digests).
    pub digests: String,
    /// Checksums of what was read: see [`EncodedParts::checksums`](crate::verified::EncodedParts::checksums); empty in a record of an earlier version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checksums: String,
    /// Kinds of the ETags of these parts; none in a record of an earlier version.
    #[serde(default)]
    pub kinds: ETagKinds,
    /// Name of the worker.
    pub by: String,
    /// When it was written, as Unix time in milliseconds.
    pub at: i64,
}

/// Longest interval between writes of [`VerifiedPartsRecord`] to a ledger that is paid per write, in milliseconds. Parts
/// sent by a killed worker since the last write are sent again.
pub const VERIFIED_EVERY_MS: u64 = 30_000;

/// Returns the write of the record.
pub fn verified_write(key: LedgerKey, record: &VerifiedPartsRecord) -> Write {
    let item = Item::of(key, record).expiring(record.at + RETENTION_MS);
    Write::Put { item, condition: Condition::Always }
}

impl VerifiedPartsRecord {
    /// Returns the parts, or none if the record belongs to another upload.
    pub fn parts(&self, upload_id: &str) -> VerifiedParts {
        if self.upload_id != upload_id {
            return VerifiedParts::default();
        }
        let mut parts = VerifiedParts::decode(self.first, &self.digests, &self.checksums);
        parts.add_kinds(self.kinds);
        parts
    }
}

/// The end of a range of parts of a distributed object. Written conditionally: the first write wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartRangeRecord {
    /// The service's ID of the upload. A record of another upload is ignored.
    pub upload_id: String,
    /// First part of the range, from 1.
    pub first: u32,
    /// Last part of the range, inclusive.
    pub last: u32,
    /// Name of the worker.
    pub by: String,
    /// When it ended, as Unix time in milliseconds.
    pub at: i64,
    /// The outcome.
    pub outcome: PartRangeOutcome,
}

/// The outcome of a range of parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PartRangeOutcome {
    /// Every part is at the destination and verified.
    Sent,
    /// The source content has changed.
    SourceChanged,
    /// The source object no longer exists.
    Gone,
    /// The range could not be moved.
    Failed {
        /// Class of the failure.
        class: FailureClass,
        /// A description for people.
        message: String,
        /// True if a retry may succeed.
        retry: bool,
    },
}

/// Partition of one shard of a job's uploads; `shard` is below [`UPLOAD_SHARDS`].
pub fn upload_partition(job: &str, shard: u8) -> String {
    format!("upload/{job}/{shard:x}")
}

/// Key of an [`UploadRecord`]. Bucket and key are hashed to fit; the shard is the first hexadecimal digit of the hash.
pub fn upload_key(job: &str, bucket: &str, key: &str) -> LedgerKey {
    let hash = Sha256::new().chain_update(bucket).chain_update("/").chain_update(key).finalize();
    LedgerKey::new(upload_partition(job, hash[0] >> 4), hex::encode(hash))
}

/// Partition of the part ranges of a destination object. Bucket and key are hashed.
pub fn part_range_partition(job: &str, bucket: &str, key: &str) -> String {
    format!("parts/{job}/{}", upload_key(job, bucket, key).sort)
}

/// Key of a [`PartRangeRecord`]. The upload's ID is hashed, since some services use long ones.
pub fn part_range_key(job: &str, bucket: &str, key: &str, upload_id: &str, first: u32) -> LedgerKey {
    LedgerKey::new(part_range_partition(job, bucket, key), part_range_name(upload_id, first))
}

/// Returns the name of a range in the ledger and in heartbeats.
pub fn part_range_name(upload_id: &str, first: u32) -> String {
    format!("{}{first:05}", part_range_prefix(upload_id))
}

/// Key of a [`VerifiedPartsRecord`] for the parts from `first` on.
pub fn verified_key(job: &str, bucket: &str, key: &str, upload_id: &str, first: u32) -> LedgerKey {
    let sort = format!("{}{first:05}", verified_prefix(upload_id));
    LedgerKey::new(part_range_partition(job, bucket, key), sort)
}

/// Prefix of the sort keys of one upload's [`VerifiedPartsRecord`]s. Differs from the prefix of its ranges, which are
/// read often.
pub fn verified_prefix(upload_id: &str) -> String {
    format!("verified/{}", part_range_prefix(upload_id))
}

/// Prefix of the sort keys of one upload's part ranges.
pub fn part_range_prefix(upload_id: &str) -> String {
    format!("{}/", hex::encode(&Sha256::digest(upload_id)[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::ETag;
    use crate::object::Checksum;
    use crate::verified::EncodedParts;

    #[test]
    fn an_upload_key_fits_whatever_the_object_is_called() {
        let (bucket, object) = ("b".repeat(63), "é".repeat(512));
        let key = upload_key("u", &bucket, &object);
        assert!(key.sort.len() <= 1024);
        let shard = u8::from_str_radix(&key.sort[..1], 16).unwrap();
        assert_eq!(key.partition, upload_partition("u", shard));
        let range = part_range_key("u", &bucket, &object, &"i".repeat(2_000), 9_999);
        assert!(range.sort.len() <= 1024 && range.sort.starts_with(&part_range_prefix(&"i".repeat(2_000))));
        let verified = verified_key("u", &bucket, &object, "id", 9_999);
        assert_eq!(verified.partition, range.partition);
        assert!(
            verified.sort.starts_with(&verified_prefix("id")) && !verified.sort.starts_with(&part_range_prefix("id"))
        );
    }

    #[test]
    fn verified_parts_of_another_upload_prove_nothing() {
        let mut parts = VerifiedParts::default();
        parts.insert(5, &ETag::new("e"), Some(Checksum(5)));
        parts.add_kinds(ETagKinds { digests: false, others: true });
        let EncodedParts { digests, checksums } = parts.encode(5..=9);
        let record = VerifiedPartsRecord {
            upload_id: "id".into(),
            first: 5,
            digests,
            checksums,
            kinds: parts.kinds(),
            by: "w".into(),
            at: 0,
        };
        assert_eq!((record.parts("id"), record.parts("other")), (parts, VerifiedParts::default()));
    }

    #[test]
    fn a_record_of_before_is_read() {
        let text = r#"{"revision":1,"destinationBucket":"b","destinationKey":"k","source":{"bucket":"a","key":"k",
            "etag":"e"},"size":25,"partSize":10,"by":"w","intended":0,"uploadId":"id"}"#;
        let record: UploadRecord = serde_json::from_str(text).unwrap();
        assert_eq!((&record.expected, record.damaged), (&None, None));
        assert_eq!(UploadRecord::revision_after(Some(&record), 0.5), 2);
        let text = r#"{"uploadId":"id","first":5,"digests":"","by":"w","at":0}"#;
        let record: VerifiedPartsRecord = serde_json::from_str(text).unwrap();
        assert_eq!(record.parts("id").kinds(), ETagKinds::default());
    }

    #[test]
    fn the_first_revision_of_a_record_is_random_and_exact_in_json() {
        let first = |random| UploadRecord::revision_after(None, random);
        assert_eq!((first(0.0), first(0.5)), (1, (1 << 51) + 1));
        assert_ne!(first(0.5), first(0.5 + f64::EPSILON));
        assert!(first(1.0 - f64::EPSILON / 2.0) <= 1 << 52);
    }
}
