//! What services can do.

use serde::{Deserialize, Serialize};

use super::WriteCondition;
use crate::operation::Operation;

/// Whether a service has a capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Support {
    /// Not probed yet.
    #[default]
    Unknown,
    /// The service has it.
    Yes,
    /// The service lacks it; the safe alternative is used.
    No,
}

/// A capability that not all services have. Each is probed separately: a service may honor one condition and not
/// another, or honor it for one request and not for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ability {
    /// Honors `If-None-Match: *` on PUT.
    PutIfNoneMatch,
    /// Honors `If-Match` on PUT.
    PutIfMatch,
    /// Honors `If-None-Match: *` on completion.
    CompleteIfNoneMatch,
    /// Honors `If-Match` on completion.
    CompleteIfMatch,
    /// Accepts CRC-64/NVME as a trailing checksum and stores it for the whole object.
    Checksums,
    /// Accepts streamed parts without a digest in the headers.
    StreamedParts,
    /// Content-MD5 proves parts: the service rejects other bytes, and its ETags look like digests but are not.
    ContentMd5,
    /// Rejects a PUT whose Content-MD5 is not that of its body, whatever its ETags are. Source: "Content-MD5" in
    /// `PutObject` of the S3 API reference.
    ChecksMd5,
}

impl Ability {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::PutIfNoneMatch,
        Self::PutIfMatch,
        Self::CompleteIfNoneMatch,
        Self::CompleteIfMatch,
        Self::Checksums,
        Self::StreamedParts,
        Self::ChecksMd5,
        Self::ContentMd5,
    ];

    /// The conditions of writes.
    pub const CONDITIONS: [Self; 4] =
        [Self::PutIfNoneMatch, Self::PutIfMatch, Self::CompleteIfNoneMatch, Self::CompleteIfMatch];

    /// The conditions of PUT.
    pub const PUTS: &[Self] = Self::CONDITIONS.split_at(2).0;

    /// The conditions of completion.
    pub const COMPLETIONS: &[Self] = Self::CONDITIONS.split_at(2).1;

    /// Returns the conditions that a small object can probe. An empty one creates no upload, nor does one whose source
    /// gives no ETag to record the upload with.
    pub const fn found_out_by(is_empty: bool, has_etag: bool) -> &'static [Self] {
        if is_empty || !has_etag { Self::PUTS } else { &Self::CONDITIONS }
    }

    /// Returns the capability that a write needs for its condition to be honored, or `None` for an unconditional write.
    ///
    /// Copies count as PUTs; both sides are checked after a copy in any case.
    pub const fn of_write(operation: Operation, condition: &WriteCondition) -> Option<Self> {
        match (condition, operation) {
            (WriteCondition::Any, _) => None,
            (WriteCondition::Absent, Operation::CompleteUpload) => Some(Self::CompleteIfNoneMatch),
            (WriteCondition::Absent, _) => Some(Self::PutIfNoneMatch),
            (WriteCondition::Matches(_), Operation::CompleteUpload) => Some(Self::CompleteIfMatch),
            (WriteCondition::Matches(_), _) => Some(Self::PutIfMatch),
        }
    }
}

/// What an adapter knows of its service before anything is asked of it. [`Default`] is a service of which nothing is
/// known: each ability is found out by the work's own requests, and what is written is looked at afterwards.
///
/// | what | where it is not known |
/// |---|---|
/// | abilities that it has, and those that it lacks | found out once a bucket, remembered in the ledger |
/// | it enforces checksums | a part is proved by what was verified when it was sent |
/// | it keeps attributes | an object written in parts is looked at, and what is missing is given again or counted |
/// | its ETags are opaque | ETags that look like digests are held against contents |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What the service has: requests rely on that from the first one on, and a refusal is the object's own.
    pub has: &'static [Ability],
    /// What it lacks: it is never asked for.
    pub lacks: &'static [Ability],
    /// It refuses a part that is not what the checksum says that came with it, so that a listed checksum proves a part.
    pub enforces_checksums: bool,
    /// It keeps all that an object is written with, or refuses to write the object.
    pub keeps_attributes: bool,
    /// What is written here gets ETags that look like digests of the content and are none, by the settings of the job.
    pub has_opaque_etags: bool,
    /// The rights that a caller needs to read tags, as the service names them, for messages.
    pub tag_reading_rights: &'static str,
}

impl Capabilities {
    /// Whether the service has an ability.
    pub fn support(&self, ability: Ability) -> Support {
        if self.has.contains(&ability) {
            Support::Yes
        } else if self.lacks.contains(&ability) {
            Support::No
        } else {
            Support::Unknown
        }
    }

    /// Whether nothing of its abilities has to be found out.
    pub fn is_complete(&self) -> bool {
        Ability::ALL.into_iter().all(|ability| self.support(ability) != Support::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::ETag;

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
    fn what_is_neither_there_nor_lacking_is_found_out() {
        let some = Capabilities { has: Ability::PUTS, lacks: Ability::COMPLETIONS, ..Capabilities::default() };
        for (ability, expected) in [
            (Ability::PutIfMatch, Support::Yes),
            (Ability::CompleteIfMatch, Support::No),
            (Ability::Checksums, Support::Unknown),
        ] {
            assert_eq!(some.support(ability), expected, "{ability:?}");
        }
        assert!(!some.is_complete());
        assert!(Capabilities { lacks: &Ability::ALL, ..some }.is_complete());
    }
}
