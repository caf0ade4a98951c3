//! Multipart uploads of ours, and the ranges of parts that many workers carry.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::RETENTION_MS;
use crate::object::SourceIdentity;
use crate::outcome::{FailureClass, Fingerprint, NotPreserved};
use crate::part::PartLayout;
use crate::ports::{Condition, Item, LedgerKey, Write};
use crate::verified::VerifiedParts;

/// Shards of the upload records of a job, each a partition of its own.
pub const UPLOAD_SHARDS: u8 = 16;

/// How long others wait for an upload that was announced, in milliseconds: as long as its message's lease.
pub const ANNOUNCED_MS: i64 = 60_000;

/// A multipart upload of ours that may be open: first the intent, then the upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadRecord {
    /// Counts writes of this record; each write asks for the one it has read.
    pub revision: u64,
    /// Bucket of the upload.
    pub destination_bucket: String,
    /// Key of the upload.
    pub destination_key: String,
    /// The content that it carries.
    pub source: SourceIdentity,
    /// How it is cut.
    #[serde(flatten)]
    pub layout: PartLayout,
    /// Who intends it.
    pub by: String,
    /// When the first intent that led to this was written, in milliseconds since 1970.
    pub intended: i64,
    /// Until when others wait for the upload that was announced, in milliseconds since 1970: for so long its worker is
    /// taken to be alive.
    #[serde(default)]
    pub wait_until: i64,
    /// Whether it is begun with CRC-64/NVME named as its checksum.
    #[serde(default)]
    pub checksum: bool,
    /// Other workers announced an upload of this object at the same time, so that one may be open which nothing names:
    /// whoever completes this one looks for it.
    #[serde(default)]
    pub contested: bool,
    /// What could not be taken along with the object.
    #[serde(default)]
    pub losses: NotPreserved,
    /// What the destination has to show once the upload is completed; written before that is asked for. A delivery that
    /// finds it at the destination has nothing left to do. The record stays until the end of the object's batch is
    /// recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Fingerprint>,
    /// What stands at the destination was found to be other bytes than were sent: it is written again, whatever its ETag
    /// and size say, until it proves right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<Damage>,
    /// The service's identifier; none between intent and creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_id: Option<String>,
}

/// Beside what a record says that its object is damaged at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// Beside an upload, which may be open.
    Upload,
    /// Beside nothing: the object goes in one request, and no upload is announced.
    Put,
}

impl UploadRecord {
    /// Whether nothing of the object was recorded before this upload was announced, and it was not asked to be completed:
    /// that writes revision 1, and its creation 2.
    pub const fn is_first(&self) -> bool {
        self.revision <= 2 && self.expected.is_none()
    }

    /// Whether an upload may be open that was announced and not recorded.
    pub fn is_announcement(&self) -> bool {
        self.upload_id.is_none() && self.damaged != Some(Damage::Put)
    }
}

/// Which parts of an upload were verified when they were sent, for the worker that carries the upload on. Written at most
/// every [`VERIFIED_EVERY_MS`] by who sends these parts; the last word stands, since each part that it holds was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedPartsRecord {
    /// The upload.
    pub upload_id: String,
    /// The part that the first digest is of, from 1.
    pub first: u32,
    /// 16 bytes a part, in base64: see [`VerifiedParts::encode`].
    pub digests: String,
    /// Who sent them.
    pub by: String,
    /// When this was written, in milliseconds since 1970.
    pub at: i64,
}

/// How often the parts that were verified are recorded at most, in milliseconds: what a killed worker has sent since is
/// sent again.
pub const VERIFIED_EVERY_MS: u64 = 30_000;

/// The write that records which parts of an upload were verified.
pub fn verified_write(key: LedgerKey, record: &VerifiedPartsRecord) -> Write {
    let item = Item::of(key, record).expiring(record.at + RETENTION_MS);
    Write::Put { item, condition: Condition::Always }
}

impl VerifiedPartsRecord {
    /// The parts; none of another upload's record.
    pub fn parts(&self, upload_id: &str) -> VerifiedParts {
        if self.upload_id == upload_id {
            VerifiedParts::decode(self.first, &self.digests)
        } else {
            VerifiedParts::default()
        }
    }
}

/// That a range of the parts of a huge object is over. Written by condition: the first word on a range stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartRangeRecord {
    /// The upload; a record of another one says nothing.
    pub upload_id: String,
    /// Its first part, from 1.
    pub first: u32,
    /// Its last part.
    pub last: u32,
    /// Who carried it.
    pub by: String,
    /// When it was over, in milliseconds since 1970.
    pub at: i64,
    /// What came of it.
    pub outcome: PartRangeOutcome,
}

/// What came of a range of parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PartRangeOutcome {
    /// Every part is at the destination and verified.
    Sent,
    /// The source has another content now.
    SourceChanged,
    /// The object is gone from the source.
    Gone,
    /// It can't be done.
    Failed {
        /// The kind.
        class: FailureClass,
        /// What happened.
        message: String,
        /// Whether another try may succeed.
        retry: bool,
    },
}

/// Partition of one shard of a job's uploads; `shard` is below [`UPLOAD_SHARDS`].
pub fn upload_partition(job: &str, shard: u8) -> String {
    format!("upload/{job}/{shard:x}")
}

/// Key of an [`UploadRecord`]: bucket and key hashed, so that both fit; the shard is the hash's first digit.
pub fn upload_key(job: &str, bucket: &str, key: &str) -> LedgerKey {
    let hash = Sha256::new().chain_update(bucket).chain_update("/").chain_update(key).finalize();
    LedgerKey::new(upload_partition(job, hash[0] >> 4), hex::encode(hash))
}

/// Partition of the part ranges of a destination object: bucket and key hashed.
pub fn part_range_partition(job: &str, bucket: &str, key: &str) -> String {
    format!("parts/{job}/{}", upload_key(job, bucket, key).sort)
}

/// Key of a [`PartRangeRecord`]: the upload's id is hashed, since services make long ones.
pub fn part_range_key(job: &str, bucket: &str, key: &str, upload_id: &str, first: u32) -> LedgerKey {
    LedgerKey::new(part_range_partition(job, bucket, key), part_range_name(upload_id, first))
}

/// What names a range in the ledger and in heartbeats.
pub fn part_range_name(upload_id: &str, first: u32) -> String {
    format!("{}{first:05}", part_range_prefix(upload_id))
}

/// Key of a [`VerifiedPartsRecord`] of the parts from `first` on.
pub fn verified_key(job: &str, bucket: &str, key: &str, upload_id: &str, first: u32) -> LedgerKey {
    let sort = format!("{}{first:05}", verified_prefix(upload_id));
    LedgerKey::new(part_range_partition(job, bucket, key), sort)
}

/// What sort keys of the [`VerifiedPartsRecord`]s of one upload start with: not as its ranges do, which are read often.
pub fn verified_prefix(upload_id: &str) -> String {
    format!("verified/{}", part_range_prefix(upload_id))
}

/// What sort keys of the part ranges of one upload start with.
pub fn part_range_prefix(upload_id: &str) -> String {
    format!("{}/", hex::encode(&Sha256::digest(upload_id)[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::ETag;

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
        parts.insert(5, &ETag::new("e"));
        let record = VerifiedPartsRecord {
            upload_id: "id".into(),
            first: 5,
            digests: parts.encode(5..=9),
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
        assert_eq!((record.expected, record.damaged), (None, None));
    }
}
