//! What the service of a bucket can do.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::job_partition;
use crate::operation::Operation;
use crate::ports::{LedgerKey, WriteCondition};

/// How long it stands that a service can't do something, in milliseconds. A wrong secret and a sick proxy answer like a
/// service that can't, and services learn.
pub const NO_STANDS_MS: i64 = 7 * 24 * 3_600 * 1_000;

/// Requests a job makes of a destination bucket to find out which conditions its service keeps, at most.
pub const MOST_PROBES: u32 = 8;

/// Those of them that ask which conditions PUT keeps.
const PUT_PROBES: u32 = 2;

/// Whether a service can do something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Support {
    /// Nobody has found out yet.
    #[default]
    Unknown,
    /// It can.
    Yes,
    /// It can't: the safe other way is taken.
    No,
}

/// Something that services differ in. Each is found out by itself: services keep one condition and not the other, of one
/// request and not of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ability {
    /// `If-None-Match: *` of a PUT is kept.
    PutIfNoneMatch,
    /// `If-Match` of a PUT is kept.
    PutIfMatch,
    /// `If-None-Match: *` of a completion is kept.
    CompleteIfNoneMatch,
    /// `If-Match` of a completion is kept.
    CompleteIfMatch,
    /// CRC-64/NVME is taken as trailing checksum and kept for the whole object.
    Checksums,
    /// Parts are taken as they arrive, without digest in front.
    StreamedParts,
    /// Content-MD5 is what proves parts: other bytes are refused, and ETags look like digests and are none.
    ContentMd5,
}

impl Ability {
    /// Those that keep conditions of writes.
    pub const CONDITIONS: [Self; 4] =
        [Self::PutIfNoneMatch, Self::PutIfMatch, Self::CompleteIfNoneMatch, Self::CompleteIfMatch];

    /// Those of them that are of PUT.
    pub const PUTS: &[Self] = Self::CONDITIONS.split_at(2).0;

    /// Those of them that are of completions.
    pub const COMPLETIONS: &[Self] = Self::CONDITIONS.split_at(2).1;

    /// Those that a small object finds out about. An empty one makes no upload.
    pub const fn found_out_by(is_empty: bool) -> &'static [Self] {
        if is_empty { Self::PUTS } else { &Self::CONDITIONS }
    }

    /// What a write needs of the service so that its condition is kept; none where nothing is asked for.
    ///
    /// Copies are taken for PUTs: who copies looks at both sides afterwards all the same.
    pub const fn of_write(operation: Operation, condition: &WriteCondition) -> Option<Self> {
        match (condition, operation) {
            (WriteCondition::Any, _) => None,
            (WriteCondition::Absent, Operation::CompleteUpload) => Some(Self::CompleteIfNoneMatch),
            (WriteCondition::Absent, _) => Some(Self::PutIfNoneMatch),
            (WriteCondition::Matches(_), Operation::CompleteUpload) => Some(Self::CompleteIfMatch),
            (WriteCondition::Matches(_), _) => Some(Self::PutIfMatch),
        }
    }

    /// Whether a no is tried again after [`NO_STANDS_MS`]. Conditions are not, since a job asks for them at most
    /// [`MOST_PROBES`] times: what is done without them is as safe.
    const fn is_tried_again(self) -> bool {
        matches!(self, Self::Checksums | Self::StreamedParts)
    }
}

/// What was found out of one ability, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Written")]
pub struct Known {
    /// Whether the service can.
    pub support: Support,
    /// When that was found out, in milliseconds since 1970.
    pub at: i64,
}

/// As it is written: earlier versions wrote no time.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Dated {
        support: Support,
        #[serde(default)]
        at: i64,
    },
    Bare(Support),
}

impl From<Written> for Known {
    fn from(written: Written) -> Self {
        match written {
            Written::Dated { support, at } => Self { support, at },
            Written::Bare(support) => Self { support, at: 0 },
        }
    }
}

/// What the service of a destination bucket can do, as the first worker that had to know found out.
///
/// | what | how it is found out | where it can't, and as long as nobody knows |
/// |---|---|---|
/// | conditions of PUT | a second PUT of a small object just written: 412 = kept, done = not | both sides are looked at after each write, and the object is done again if they moved |
/// | conditions of completion | an upload of that object's content, of one part, is completed over it: 412 = kept, done = not | the same |
/// | checksums | an upload that names CRC-64/NVME, or a part that brings one, is refused, and the same bytes go through without | ETags prove parts; where they can't, parts are held and sent with Content-MD5 |
/// | streamed parts | a streamed part is refused, or other bytes arrive, and the same bytes go through when they are held | parts are held and sent with Content-MD5 |
/// | Content-MD5 as proof | a held part gets an ETag that is another digest; sent with a wrong Content-MD5 it is refused, and sent again it gets the same ETag; only a yes is recorded | such a part is damaged |
///
/// Members of earlier versions that named one ability for all conditions are not read: it is found out anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BucketRecord {
    /// Counts writes of this record; each write asks for the one it has read. 0 = written by an earlier version.
    pub revision: u64,
    /// The endpoint of the service: another one is found out anew.
    pub service: String,
    /// See [`Ability::PutIfNoneMatch`].
    pub put_if_none_match: Known,
    /// See [`Ability::PutIfMatch`].
    pub put_if_match: Known,
    /// See [`Ability::CompleteIfNoneMatch`].
    pub complete_if_none_match: Known,
    /// See [`Ability::CompleteIfMatch`].
    pub complete_if_match: Known,
    /// See [`Ability::Checksums`].
    pub checksums: Known,
    /// See [`Ability::StreamedParts`].
    pub streamed_parts: Known,
    /// See [`Ability::ContentMd5`].
    pub content_md5: Known,
    /// Requests made to find out about conditions.
    pub probes: u32,
    /// Until when one worker has the right to make such requests, in milliseconds since 1970.
    pub probing_until: i64,
    /// Who wrote this.
    pub by: String,
}

impl BucketRecord {
    /// Amazon's own services can do everything: there is nothing to find out.
    pub fn of_amazon() -> Self {
        let all = Ability::CONDITIONS.into_iter().chain([Ability::Checksums, Ability::StreamedParts]);
        all.fold(Self::default(), |record, ability| record.learned(ability, Support::Yes, 0))
    }

    /// The record of a service at an endpoint: another one's says nothing.
    #[must_use]
    pub fn of_service(self, service: &str) -> Self {
        if self.service == service {
            return self;
        }
        Self { revision: self.revision, service: service.to_owned(), ..Self::default() }
    }

    const fn known(&self, ability: Ability) -> Known {
        match ability {
            Ability::PutIfNoneMatch => self.put_if_none_match,
            Ability::PutIfMatch => self.put_if_match,
            Ability::CompleteIfNoneMatch => self.complete_if_none_match,
            Ability::CompleteIfMatch => self.complete_if_match,
            Ability::Checksums => self.checksums,
            Ability::StreamedParts => self.streamed_parts,
            Ability::ContentMd5 => self.content_md5,
        }
    }

    const fn known_mut(&mut self, ability: Ability) -> &mut Known {
        match ability {
            Ability::PutIfNoneMatch => &mut self.put_if_none_match,
            Ability::PutIfMatch => &mut self.put_if_match,
            Ability::CompleteIfNoneMatch => &mut self.complete_if_none_match,
            Ability::CompleteIfMatch => &mut self.complete_if_match,
            Ability::Checksums => &mut self.checksums,
            Ability::StreamedParts => &mut self.streamed_parts,
            Ability::ContentMd5 => &mut self.content_md5,
        }
    }

    /// What to go by at this time.
    pub const fn support(&self, ability: Ability, now: i64) -> Support {
        let Known { support, at } = self.known(ability);
        match support {
            Support::No if ability.is_tried_again() && now - at >= NO_STANDS_MS => Support::Unknown,
            support => support,
        }
    }

    /// The same with what was found out now.
    #[must_use]
    pub fn learned(mut self, ability: Ability, support: Support, now: i64) -> Self {
        *self.known_mut(ability) = Known { support, at: now };
        self
    }

    /// Whether it is not known of some of these conditions whether it is kept.
    pub fn is_unsure(&self, conditions: &[Ability], now: i64) -> bool {
        conditions.iter().any(|ability| self.support(*ability, now) == Support::Unknown)
    }

    /// Whether a worker may begin to find out about these conditions: something is not known, nobody else is at it, and
    /// nobody has asked yet: what one round of requests did not show stays unknown, so that there are at most
    /// [`MOST_PROBES`].
    pub fn may_probe(&self, conditions: &[Ability], now: i64) -> bool {
        conditions.iter().any(|ability| self.may_ask(*ability, now)) && self.probing_until <= now
    }

    /// Whether a condition may be asked about: it is not known, and no round of requests was for it.
    pub fn may_ask(&self, ability: Ability, now: i64) -> bool {
        let most = if Ability::PUTS.contains(&ability) { 0 } else { PUT_PROBES };
        self.support(ability, now) == Support::Unknown && self.probes <= most
    }
}

/// Whether a service is Amazon's own: it has no endpoint of its own, or one of Amazon's, as VPC endpoints have.
pub fn is_amazon(endpoint: Option<&str>) -> bool {
    let Some(endpoint) = endpoint else { return true };
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(name, _)| name).trim_end_matches('.').to_ascii_lowercase();
    [".amazonaws.com", ".amazonaws.com.cn"].iter().any(|suffix| host.ends_with(suffix))
}

/// Key of a [`BucketRecord`].
pub fn bucket_key(job: &str, bucket: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("bucket/{}", hex::encode(Sha256::digest(bucket))))
}

/// What is known of the service of a source bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceBucketRecord {
    /// The endpoint of the service: another one is found out anew.
    pub service: String,
    /// Whether ETags that look like MD5s are such. A no is found out by an object that was read twice, with the same
    /// bytes and the same ETag, which is not their MD5.
    pub etags_are_digests: Known,
}

impl SourceBucketRecord {
    /// Whether ETags of this service are to be held against contents.
    pub fn has_digests(&self, service: &str, now: i64) -> bool {
        let Known { support, at } = self.etags_are_digests;
        self.service != service || support != Support::No || now - at >= NO_STANDS_MS
    }
}

/// Key of a [`SourceBucketRecord`]: buckets of both sides may have one name.
pub fn source_bucket_key(job: &str, bucket: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("source/{}", hex::encode(Sha256::digest(bucket))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::ETag;

    const OTHERS: [Ability; 3] = [Ability::Checksums, Ability::StreamedParts, Ability::ContentMd5];

    #[test]
    fn each_condition_of_each_request_is_an_ability_of_its_own() {
        let matches = WriteCondition::Matches(ETag::new("e"));
        for (operation, condition, expected) in [
            (Operation::PutObject, &WriteCondition::Any, None),
            (Operation::PutObject, &WriteCondition::Absent, Some(Ability::PutIfNoneMatch)),
            (Operation::PutObject, &matches, Some(Ability::PutIfMatch)),
            (Operation::CopyObject, &matches, Some(Ability::PutIfMatch)),
            (Operation::CompleteUpload, &WriteCondition::Absent, Some(Ability::CompleteIfNoneMatch)),
            (Operation::CompleteUpload, &matches, Some(Ability::CompleteIfMatch)),
            (Operation::CompleteUpload, &WriteCondition::Any, None),
        ] {
            assert_eq!(Ability::of_write(operation, condition), expected, "{operation:?} {condition:?}");
        }
    }

    #[test]
    fn what_is_learned_of_one_ability_says_nothing_of_the_others() {
        for ability in Ability::CONDITIONS.into_iter().chain(OTHERS) {
            let record = BucketRecord::default().learned(ability, Support::Yes, 5);
            for other in Ability::CONDITIONS.into_iter().chain(OTHERS) {
                let expected = if other == ability { Support::Yes } else { Support::Unknown };
                assert_eq!(record.support(other, 5), expected, "{ability:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_no_of_checksums_stands_for_seven_days() {
        let record = BucketRecord::default().learned(Ability::Checksums, Support::No, 1_000);
        let record = record.learned(Ability::PutIfMatch, Support::No, 1_000);
        for (now, expected) in [(1_000 + NO_STANDS_MS - 1, Support::No), (1_000 + NO_STANDS_MS, Support::Unknown)] {
            assert_eq!(record.support(Ability::Checksums, now), expected);
            assert_eq!(record.support(Ability::PutIfMatch, now), Support::No);
        }
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let old = r#"{"conditionalWrites":"Yes","checksums":"No","streamedParts":"Yes"}"#;
        let record: BucketRecord = serde_json::from_str(old).unwrap();
        assert_eq!(record.support(Ability::StreamedParts, NO_STANDS_MS), Support::Yes);
        assert_eq!(record.support(Ability::Checksums, NO_STANDS_MS), Support::Unknown, "it has no date");
        assert!(Ability::CONDITIONS.iter().all(|ability| record.support(*ability, 0) == Support::Unknown));
        let again: BucketRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(again, record);
    }

    #[test]
    fn another_service_is_found_out_anew() {
        let record = BucketRecord { revision: 3, service: "a".into(), ..BucketRecord::default() };
        let record = record.learned(Ability::PutIfMatch, Support::Yes, 5);
        assert_eq!(record.clone().of_service("a"), record);
        let other = BucketRecord { revision: 3, service: "b".into(), ..BucketRecord::default() };
        assert_eq!(record.of_service("b"), other);
    }

    #[test]
    fn amazon_is_known_by_its_names() {
        for (endpoint, expected) in [
            (None, true),
            (Some("https://s3.eu-west-1.amazonaws.com"), true),
            (Some("https://bucket.vpce-1.s3.cn-north-1.vpce.amazonaws.com.cn:443/x"), true),
            (Some("https://amazonaws.com.example.org"), false),
            (Some("http://minio:9000/s3.amazonaws.com"), false),
            (Some("http://s3.amazonaws.com@minio"), false),
        ] {
            assert_eq!(is_amazon(endpoint), expected, "{endpoint:?}");
        }
    }

    #[test]
    fn one_worker_asks_and_not_more_often_than_it_may() {
        let record = |probes, probing_until| BucketRecord { probes, probing_until, ..BucketRecord::default() };
        for (record, expected) in
            [(record(0, 0), true), (record(0, 100), true), (record(1, 0), false), (record(0, 101), false)]
        {
            assert_eq!(record.may_probe(Ability::PUTS, 100), expected, "{record:?}");
        }
        // An empty object asked about PUT; another one still asks about completions, once.
        for (probes, expected) in [(2, true), (3, false)] {
            assert_eq!(record(probes, 0).may_probe(&Ability::CONDITIONS, 100), expected, "{probes}");
        }
        let known = Ability::CONDITIONS
            .into_iter()
            .fold(BucketRecord::default(), |record, ability| record.learned(ability, Support::No, 0));
        assert!(!known.may_probe(&Ability::CONDITIONS, 100));
    }

    #[test]
    fn etags_of_a_source_are_digests_until_they_are_seen_not_to_be() {
        let none = Known { support: Support::No, at: 10 };
        let record = SourceBucketRecord { service: "a".into(), etags_are_digests: none };
        assert!(SourceBucketRecord::default().has_digests("a", 0));
        assert!(!record.has_digests("a", 10));
        assert!(record.has_digests("b", 10) && record.has_digests("a", 10 + NO_STANDS_MS));
    }
}
