//! Capabilities of the services behind buckets, as found out by probing.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::job_partition;
use crate::ports::{Ability, Capabilities, LedgerKey, Support};

/// Time for which a negative result is trusted, in milliseconds. A wrong secret or a faulty proxy looks like a missing
/// capability, and services gain capabilities.
pub const NO_STANDS_MS: i64 = 7 * 24 * 3_600 * 1_000;

/// Maximum number of requests per job that probe which conditions a destination bucket's service honors.
pub const MOST_PROBES: u32 = 8;

/// How many of them probe the conditions of PUT.
const PUT_PROBES: u32 = 2;

/// Returns true if a negative result is probed again after [`NO_STANDS_MS`]. Conditions are not, since a job sends
/// at most [`MOST_PROBES`] probes and the alternative is as safe.
const fn is_tried_again(ability: Ability) -> bool {
    matches!(ability, Ability::Checksums | Ability::StreamedParts)
}

/// A probe's result and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Written")]
pub struct Known {
    /// Whether the service has the capability.
    pub support: Support,
    /// When this was found out, as Unix time in milliseconds.
    pub at: i64,
}

/// The serialized form. Earlier versions wrote no time.
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

/// Capabilities of a destination bucket's service, as probed by the first worker that needed them.
///
/// | capability | probe | if missing, or not probed yet |
/// |---|---|---|
/// | conditions of PUT | a second PUT of a small object just written: honored if answered with 412, not honored if it succeeds | both sides are checked after each write, and the object is moved again if they changed |
/// | conditions of completion | an upload of the same content, in one part, is completed over that object: as above | as above |
/// | checksums | an upload with CRC-64/NVME, or a part with a checksum, is rejected, and the same bytes succeed without | ETags prove parts; if they cannot, parts are held and sent with Content-MD5 |
/// | streamed parts | a streamed part is rejected or corrupted, and the same bytes succeed when held | parts are held and sent with Content-MD5 |
/// | Content-MD5 as proof | a held part gets the ETag of another digest; it is rejected with a wrong Content-MD5, and gets the same ETag when sent again three times; only a positive result is recorded | such a part counts as corrupted |
/// | checked Content-MD5 | an object just written is written again with a wrong one, under the condition that it is still there: rejected, or accepted | the MD5 of each object is computed |
///
/// Members of earlier versions that stood for all conditions together are ignored, and the conditions probed again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BucketRecord {
    /// Number of writes of this record; each write requires the revision it has read. 0 for a record of an earlier
    /// version.
    pub revision: u64,
    /// Endpoint of the service. The record is discarded when it changes.
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
    /// See [`Ability::ChecksMd5`].
    pub checks_md5: Known,
    /// Number of requests sent to probe conditions.
    pub probes: u32,
    /// Until when one worker has the exclusive right to probe, as Unix time in milliseconds.
    pub probing_until: i64,
    /// Name of the process that has it. A process that was killed and started again under its name takes its own right
    /// over at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prober: Option<String>,
    /// Name of the process that wrote the record.
    pub by: String,
}

impl BucketRecord {
    /// The same with what the service's adapter knows now: that need not be found out.
    #[must_use]
    pub fn declared(self, capabilities: &Capabilities, now: i64) -> Self {
        Ability::ALL.into_iter().fold(self, |record, ability| match capabilities.support(ability) {
            Support::Unknown => record,
            known => record.learned(ability, known, now),
        })
    }

    /// Returns the record for the service at this endpoint: empty if the record belongs to another endpoint.
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
            Ability::ChecksMd5 => self.checks_md5,
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
            Ability::ChecksMd5 => &mut self.checks_md5,
        }
    }

    /// Returns what is known of a capability at this time.
    pub const fn support(&self, ability: Ability, now: i64) -> Support {
        let Known { support, at } = self.known(ability);
        match support {
            Support::No if is_tried_again(ability) && now - at >= NO_STANDS_MS => Support::Unknown,
            support => support,
        }
    }

    /// Returns the record with a new probe result.
    #[must_use]
    pub fn learned(mut self, ability: Ability, support: Support, now: i64) -> Self {
        *self.known_mut(ability) = Known { support, at: now };
        self
    }

    /// Returns true if any of these conditions is unknown.
    pub fn is_unsure(&self, conditions: &[Ability], now: i64) -> bool {
        conditions.iter().any(|ability| self.support(*ability, now) == Support::Unknown)
    }

    /// Returns true if the process of this name may start to probe these conditions: one is unknown, no other process is probing,
    /// and none has probed it before. A condition that one round of probes leaves open stays unknown, which limits the
    /// requests to [`MOST_PROBES`].
    pub fn may_probe(&self, conditions: &[Ability], by: &str, now: i64) -> bool {
        conditions.iter().any(|ability| self.may_ask(*ability, now)) && !self.is_probed_by_another(by, now)
    }

    /// Returns true if another process than the one of this name has the right to probe.
    pub fn is_probed_by_another(&self, name: &str, now: i64) -> bool {
        self.probing_until > now && self.prober.as_deref() != Some(name)
    }

    /// Returns true if a condition may be probed: it is unknown, and no round of probes included it.
    pub fn may_ask(&self, ability: Ability, now: i64) -> bool {
        let most = if Ability::PUTS.contains(&ability) { 0 } else { PUT_PROBES };
        self.support(ability, now) == Support::Unknown && self.probes <= most
    }
}

/// Key of a [`BucketRecord`].
pub fn bucket_key(job: &str, bucket: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("bucket/{}", hex::encode(Sha256::digest(bucket))))
}

/// Properties of a source bucket's service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceBucketRecord {
    /// Endpoint of the service. The record is ignored when it changes.
    pub service: String,
    /// Whether ETags that look like MD5s are MD5s. Disproved by an object that was read twice with the same bytes and
    /// the same ETag, which is not their MD5.
    pub etags_are_digests: Known,
}

impl SourceBucketRecord {
    /// Returns true if this service's ETags are to be checked against the content.
    pub fn has_digests(&self, service: &str, now: i64) -> bool {
        let Known { support, at } = self.etags_are_digests;
        self.service != service || support != Support::No || now - at >= NO_STANDS_MS
    }
}

/// Key of a [`SourceBucketRecord`]. Its prefix differs from [`bucket_key`]'s, since buckets of both sides may have the
/// same name.
pub fn source_bucket_key(job: &str, bucket: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("source/{}", hex::encode(Sha256::digest(bucket))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: [Ability; 4] = [Ability::Checksums, Ability::StreamedParts, Ability::ContentMd5, Ability::ChecksMd5];

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
    fn what_the_adapter_knows_stands_over_what_was_found_out() {
        let capabilities =
            Capabilities { has: &[Ability::PutIfMatch], lacks: &[Ability::Checksums], ..Capabilities::default() };
        let found = BucketRecord::default().learned(Ability::PutIfMatch, Support::No, 1);
        let found = found.learned(Ability::StreamedParts, Support::Yes, 1).declared(&capabilities, NO_STANDS_MS);
        for (ability, expected) in [
            (Ability::PutIfMatch, Support::Yes),
            (Ability::Checksums, Support::No),
            (Ability::StreamedParts, Support::Yes),
            (Ability::PutIfNoneMatch, Support::Unknown),
        ] {
            assert_eq!(found.support(ability, NO_STANDS_MS), expected, "{ability:?}");
        }
    }

    #[test]
    fn one_worker_asks_and_not_more_often_than_it_may() {
        let record = |probes, probing_until| BucketRecord { probes, probing_until, ..BucketRecord::default() };
        for (record, expected) in
            [(record(0, 0), true), (record(0, 100), true), (record(1, 0), false), (record(0, 101), false)]
        {
            assert_eq!(record.may_probe(Ability::PUTS, "w", 100), expected, "{record:?}");
        }
        // An empty object probed PUT; another object may still probe completions, once.
        for (probes, expected) in [(2, true), (3, false)] {
            assert_eq!(record(probes, 0).may_probe(&Ability::CONDITIONS, "w", 100), expected, "{probes}");
        }
        let known = Ability::CONDITIONS
            .into_iter()
            .fold(BucketRecord::default(), |record, ability| record.learned(ability, Support::No, 0));
        assert!(!known.may_probe(&Ability::CONDITIONS, "w", 100));
        let own = BucketRecord { prober: Some("w".into()), ..record(0, 101) };
        assert!(own.may_probe(Ability::PUTS, "w", 100) && !own.may_probe(Ability::PUTS, "x", 100));
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
