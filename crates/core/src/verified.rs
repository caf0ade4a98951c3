//! Records which parts of an upload were verified when sent, so that a worker that continues the upload can tell proved
//! parts from parts that merely have the right size.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::etag::{ETag, Md5Digest};
use crate::object::Checksum;

/// Bytes of a digest stored per part.
const DIGEST_LEN: usize = 16;
/// Bytes of a checksum stored per part.
const CHECKSUM_LEN: usize = 8;
/// Placeholder for a part that was not verified.
const UNVERIFIED: Md5Digest = [0; DIGEST_LEN];

/// How the ETags of parts relate to the MD5s of their bytes. Both kinds in one upload contradict each other: a part
/// whose ETag was assumed not to be an MD5 may be damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ETagKinds {
    /// True if the ETags of some parts are the MD5s of their bytes.
    pub digests: bool,
    /// True if the ETags of some parts look like the MD5s of other bytes, although Content-MD5 verified the parts.
    pub others: bool,
}

impl ETagKinds {
    /// Returns the kinds that either of two sets of parts has.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { digests: self.digests || other.digests, others: self.others || other.others }
    }
}

/// A verified part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct VerifiedPart {
    /// A digest of its ETag at the destination.
    digest: Md5Digest,
    /// CRC-64/NVME of the bytes that were read at the source and sent, if a worker read them. A checksum of 0 counts as
    /// unknown.
    read: Option<Checksum>,
}

/// The verified parts of one upload, each with a digest of its ETag at the destination and the checksum of the bytes
/// that were read, and the kinds of these ETags. A part that was later overwritten with other bytes has another ETag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedParts {
    parts: BTreeMap<u32, VerifiedPart>,
    kinds: ETagKinds,
}

/// [`VerifiedParts`] of a range of numbers as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedParts {
    /// Base64 of 16 bytes for each part, in order, up to the last verified one; zeros stand for a part that was not
    /// verified.
    pub digests: String,
    /// Base64 of 8 bytes for each part, likewise; zeros stand for an unknown checksum.
    pub checksums: String,
}

/// Returns the MD5 that an ETag consists of, or 16 bytes of its SHA-256 if it is not an MD5.
fn digest_of(etag: &ETag) -> Md5Digest {
    etag.md5().unwrap_or_else(|| {
        let mut digest = Md5Digest::default();
        digest.copy_from_slice(&Sha256::digest(etag.as_str())[..DIGEST_LEN]);
        digest
    })
}

impl VerifiedParts {
    /// Adds a verified part with its ETag at the destination, and the checksum of the bytes that were read at the
    /// source, if a worker read them.
    pub fn insert(&mut self, number: u32, etag: &ETag, read: Option<Checksum>) {
        let read = read.filter(|checksum| checksum.0 != 0);
        self.parts.insert(number, VerifiedPart { digest: digest_of(etag), read });
    }

    /// Returns true if the part was verified and still has this ETag.
    pub fn proves(&self, number: u32, etag: &ETag) -> bool {
        self.proved(number, etag).is_some()
    }

    /// Returns the checksum of the bytes that were read for a part, if it was verified and still has this ETag.
    pub fn checksum_read(&self, number: u32, etag: &ETag) -> Option<Checksum> {
        self.proved(number, etag)?.read
    }

    fn proved(&self, number: u32, etag: &ETag) -> Option<VerifiedPart> {
        self.parts.get(&number).copied().filter(|part| part.digest != UNVERIFIED && part.digest == digest_of(etag))
    }

    /// Adds the parts verified by another worker, and the kinds of their ETags. Existing entries are kept.
    pub fn merge(&mut self, other: Self) {
        for (number, part) in other.parts {
            self.parts.entry(number).or_insert(part);
        }
        self.add_kinds(other.kinds);
    }

    /// Adds kinds of ETags that parts have.
    pub fn add_kinds(&mut self, kinds: ETagKinds) {
        self.kinds = self.kinds.and(kinds);
    }

    /// Returns the kinds of the parts' ETags.
    pub const fn kinds(&self) -> ETagKinds {
        self.kinds
    }

    /// Returns the number of verified parts.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns true if no part was verified.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Encodes the parts in a range of numbers. 10,000 parts, the maximum of an upload, take 320,004 characters, within
    /// the 400 KB of a DynamoDB item.
    pub fn encode(&self, numbers: RangeInclusive<u32>) -> EncodedParts {
        let first = *numbers.start();
        let (mut digests, mut checksums) = (Vec::new(), Vec::new());
        for (number, part) in self.parts.range(numbers) {
            let place = usize::try_from(number - first).unwrap_or(usize::MAX);
            digests.resize(place.saturating_mul(DIGEST_LEN), 0);
            digests.extend_from_slice(&part.digest);
            if let Some(Checksum(read)) = part.read {
                checksums.resize(place.saturating_mul(CHECKSUM_LEN), 0);
                checksums.extend_from_slice(&read.to_be_bytes());
            }
        }
        EncodedParts { digests: STANDARD.encode(digests), checksums: STANDARD.encode(checksums) }
    }

    /// Decodes the output of [`Self::encode`] for parts from `first` on, without kinds of ETags. Invalid digests yield
    /// no parts, so that they are sent again; invalid checksums yield parts whose checksums are unknown.
    pub fn decode(first: u32, digests: &str, checksums: &str) -> Self {
        let digests = STANDARD.decode(digests).unwrap_or_default();
        let checksums = STANDARD.decode(checksums).unwrap_or_default();
        let mut read = checksums
            .chunks_exact(CHECKSUM_LEN)
            .filter_map(|chunk| Some(u64::from_be_bytes(chunk.try_into().ok()?)))
            .map(|checksum| Some(Checksum(checksum)).filter(|_| checksum != 0));
        let mut parts = BTreeMap::new();
        for (number, chunk) in (first..).zip(digests.chunks_exact(DIGEST_LEN)) {
            let read = read.next().flatten();
            if let Ok(digest) = Md5Digest::try_from(chunk)
                && digest != UNVERIFIED
            {
                parts.insert(number, VerifiedPart { digest, read });
            }
        }
        Self { parts, kinds: ETagKinds::default() }
    }
}

/// Interval before the first record of verified parts.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// Decides when a worker records the parts that it has verified: 1 s after it began to send them, then after another 2,
/// 4, 8 … s, up to the longest interval. Times are since it began.
///
/// A worker killed after `t` seconds loses what it verified in the last `(t + 1) / 2` of them at most, so that an object
/// progresses however often its workers are killed. A start costs no more than log₂ of the longest interval in seconds
/// more records than one in each longest interval.
#[derive(Clone, Copy, Debug)]
pub struct RecordPace {
    longest: Duration,
    interval: Duration,
    next: Duration,
}

impl RecordPace {
    /// Returns the pace of a worker that begins to send parts. With a longest interval of zero, a record is always due.
    pub fn new(longest: Duration) -> Self {
        let interval = FIRST_INTERVAL.min(longest);
        Self { longest, interval, next: interval }
    }

    /// Returns the time from which the next record is due.
    pub const fn next(&self) -> Duration {
        self.next
    }

    /// Notes a record at a time.
    pub fn recorded(&mut self, at: Duration) {
        self.interval = self.interval.saturating_mul(2).min(self.longest);
        self.next = at.saturating_add(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::MAX_PARTS;
    use proptest::prelude::*;

    #[test]
    fn a_part_is_proved_by_the_etag_that_it_was_verified_with() {
        let (plain, opaque) = (ETag::of_content(&[7; 16]), ETag::new("no digest"));
        let mut parts = VerifiedParts::default();
        parts.insert(1, &plain, None);
        parts.insert(3, &opaque, Some(Checksum(3)));
        for (number, etag, expected) in [
            (1, &plain, true),
            (1, &opaque, false),
            (2, &plain, false),
            (3, &opaque, true),
            (3, &ETag::new("another"), false),
            (4, &ETag::of_content(&UNVERIFIED), false),
        ] {
            assert_eq!(parts.proves(number, etag), expected, "{number} {etag:?}");
        }
        assert!(parts.proves(1, &ETag::new(&plain.as_str().to_uppercase())), "hex in any case");
        assert_eq!(parts.checksum_read(3, &opaque), Some(Checksum(3)));
        assert_eq!((parts.checksum_read(1, &plain), parts.checksum_read(3, &plain)), (None, None));
    }

    #[test]
    fn the_kinds_of_etags_of_all_workers_are_merged() {
        let digests = ETagKinds { digests: true, others: false };
        let others = ETagKinds { digests: false, others: true };
        let (mut own, mut foreign) = (VerifiedParts::default(), VerifiedParts::default());
        own.add_kinds(digests);
        foreign.add_kinds(others);
        assert_eq!((own.kinds(), foreign.kinds()), (digests, others));
        own.merge(foreign);
        assert_eq!(own.kinds(), ETagKinds { digests: true, others: true });
    }

    #[test]
    fn all_parts_of_the_largest_upload_fit_into_an_item() {
        let mut parts = VerifiedParts::default();
        let last = u32::try_from(MAX_PARTS).unwrap();
        (1..=last).for_each(|number| parts.insert(number, &ETag::of_content(&[1; 16]), Some(Checksum(1))));
        let EncodedParts { digests, checksums } = parts.encode(1..=last);
        assert_eq!((digests.len(), checksums.len()), (213_336, 106_668));
    }

    #[test]
    fn what_is_no_list_of_parts_proves_nothing() {
        for text in ["", "!", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA=="] {
            assert!(VerifiedParts::decode(1, text, "").is_empty(), "{text}");
        }
    }

    #[test]
    fn parts_are_proved_without_their_checksums() {
        let (mut parts, etag) = (VerifiedParts::default(), ETag::new("e"));
        parts.insert(2, &etag, Some(Checksum(7)));
        let encoded = parts.encode(1..=2);
        for checksums in ["", "!", "AAAAAAAAAAA="] {
            let read = VerifiedParts::decode(1, &encoded.digests, checksums);
            assert!(read.proves(2, &etag), "{checksums}");
            assert_eq!(read.checksum_read(2, &etag), None, "{checksums}");
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the times of the records of a worker that works for so many seconds, with a verified part every `part`.
    fn records(longest: u32, part: f64, seconds: u32) -> Vec<f64> {
        let (mut pace, mut records, mut at) = (RecordPace::new(longest * SECOND), Vec::new(), Duration::ZERO);
        while at <= seconds * SECOND {
            if at >= pace.next() {
                pace.recorded(at);
                records.push(at.as_secs_f64());
            }
            at += Duration::from_secs_f64(part);
        }
        records
    }

    #[test]
    fn records_become_rare_after_a_start() {
        assert_eq!(records(30, 0.5, 130), [1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0, 121.0]);
        assert_eq!(records(30, 10.0, 130), [10.0, 20.0, 30.0, 40.0, 60.0, 90.0, 120.0], "as parts are verified");
        assert_eq!(records(0, 2.0, 6), [0.0, 2.0, 4.0, 6.0], "each part");
    }

    proptest! {
        #[test]
        fn a_kill_costs_half_of_the_time_at_most_and_a_start_a_few_records(
            seconds in 0_u32..400, part in 0.01_f64..20.0, longest in 1_u32..60,
        ) {
            let records = records(longest, part, seconds);
            let (time, last) = (f64::from(seconds), records.last().copied().unwrap_or_default());
            // Nothing is verified before the first part, and a record waits for a part.
            let bound = f64::midpoint(time, 1.0).min(longest.into()) + part;
            prop_assert!(time - last <= bound + 1e-6, "{time} {last} {bound}");
            let bound = time / f64::from(longest) + f64::from(longest).log2().ceil() + 1.0;
            prop_assert!(f64::from(u32::try_from(records.len()).unwrap()) <= bound, "{records:?} {bound}");
        }

        #[test]
        fn what_was_recorded_is_read_back(numbers in prop::collection::btree_set(1_u32..300, 0..40), first in 1_u32..300) {
            let mut parts = VerifiedParts::default();
            for number in &numbers {
                let read = (number % 3 != 0).then_some(Checksum(u64::from(*number)));
                parts.insert(*number, &ETag::new(&format!("etag {number}")), read);
            }
            let encoded = parts.encode(first..=299);
            let read = VerifiedParts::decode(first, &encoded.digests, &encoded.checksums);
            for number in 1..300 {
                let expected = number >= first && numbers.contains(&number);
                let etag = ETag::new(&format!("etag {number}"));
                prop_assert_eq!(read.proves(number, &etag), expected);
                let checksum = (expected && number % 3 != 0).then_some(Checksum(u64::from(number)));
                prop_assert_eq!(read.checksum_read(number, &etag), checksum);
            }
        }
    }
}
