//! Conditions of requests. Source: RFC 9110, section 13.2.2; "Conditional requests" in the S3 user guide.

use hyper::HeaderMap;
use migration_core::etag::ETag;
use migration_core::ports::WriteCondition;
use migration_local::store::StoredObject;
use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::attributes::{add, text};
use crate::error::refused;
use crate::time::timestamp;

/// Conditions of a read.
#[derive(Debug, Default)]
pub(crate) struct ReadConditions {
    pub(crate) matches: Option<ETagCondition>,
    pub(crate) matches_none: Option<ETagCondition>,
    pub(crate) modified_since: Option<Timestamp>,
    pub(crate) unmodified_since: Option<Timestamp>,
}

/// Whether the conditions of a read hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Read,
    NotModified,
    Failed,
}

impl ReadConditions {
    pub(crate) fn judge(&self, object: &StoredObject) -> Verdict {
        let modified = timestamp(object.modified - object.modified.rem_euclid(1_000));
        let is = |condition: &ETagCondition| matches(condition, &object.etag);
        let unmodified = || self.unmodified_since.as_ref().is_none_or(|since| modified <= *since);
        if !self.matches.as_ref().map_or_else(unmodified, is) {
            return Verdict::Failed;
        }
        let unchanged = || self.modified_since.as_ref().is_some_and(|since| modified <= *since);
        if self.matches_none.as_ref().map_or_else(unchanged, is) { Verdict::NotModified } else { Verdict::Read }
    }

    /// Checks the conditions of a GET or HEAD.
    pub(crate) fn check(&self, object: &StoredObject) -> S3Result<()> {
        match self.judge(object) {
            Verdict::Read => Ok(()),
            Verdict::Failed => Err(failed()),
            Verdict::NotModified => {
                let mut told = S3Error::new(S3ErrorCode::NotModified);
                let mut headers = HeaderMap::new();
                add(&mut headers, "etag", &object.etag.quoted());
                told.set_headers(headers);
                Err(told)
            }
        }
    }

    /// Checks the conditions of a copy's source, of which each that does not hold is a failure.
    pub(crate) fn check_source(&self, object: &StoredObject) -> S3Result<()> {
        if self.judge(object) == Verdict::Read { Ok(()) } else { Err(failed()) }
    }
}

fn matches(condition: &ETagCondition, etag: &ETag) -> bool {
    condition.as_etag().is_none_or(|tag| tag.value() == etag.opaque())
}

fn failed() -> S3Error {
    refused("PreconditionFailed", "at least one of the pre-conditions you specified did not hold")
}

/// Returns the condition in a header that the library does not read of every request.
pub(crate) fn header(headers: &HeaderMap, name: &str) -> S3Result<Option<ETagCondition>> {
    let parse = |text: &str| text.parse().map_err(|_| refused("InvalidArgument", format!("{name} is no ETag")));
    text(headers, name)?.map(parse).transpose()
}

/// Returns the condition of a write.
pub(crate) fn write_condition(
    matches: Option<&ETagCondition>,
    matches_none: Option<&ETagCondition>,
) -> S3Result<WriteCondition> {
    match (matches, matches_none) {
        (None, None) => Ok(WriteCondition::Any),
        (Some(ETagCondition::ETag(tag)), None) => Ok(WriteCondition::Matches(ETag::new(tag.value()))),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::Absent),
        _ => Err(refused("NotImplemented", "a condition of a write is If-Match with an ETag, or If-None-Match: *")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use migration_core::ports::{Attributes, Tags};
    use migration_local::store::StoreSettings;
    use s3s::dto::ETag as Tag;

    use super::*;

    fn tag(text: &str) -> ETagCondition {
        if text == "*" { ETagCondition::Any } else { ETagCondition::ETag(Tag::Strong(text.to_owned())) }
    }

    #[test]
    fn conditions_of_reads_are_judged_in_their_order() {
        let received = Bytes::from_static(b"x").into();
        let settings = StoreSettings::default();
        let object = StoredObject::whole(received, &Attributes::default(), &Tags::new(), &settings, 10_500);
        let own = object.etag.as_str().to_owned();
        let at = |seconds: i64| Some(timestamp(seconds * 1_000));
        let none = ReadConditions::default;
        for (conditions, expected) in [
            (none(), Verdict::Read),
            (ReadConditions { matches: Some(tag(&own)), ..none() }, Verdict::Read),
            (ReadConditions { matches: Some(tag("*")), ..none() }, Verdict::Read),
            (ReadConditions { matches: Some(tag("other")), ..none() }, Verdict::Failed),
            (ReadConditions { matches: Some(tag(&own)), unmodified_since: at(9), ..none() }, Verdict::Read),
            (ReadConditions { unmodified_since: at(9), ..none() }, Verdict::Failed),
            (ReadConditions { unmodified_since: at(10), ..none() }, Verdict::Read),
            (ReadConditions { matches_none: Some(tag(&own)), ..none() }, Verdict::NotModified),
            (ReadConditions { matches_none: Some(tag("other")), modified_since: at(11), ..none() }, Verdict::Read),
            (ReadConditions { modified_since: at(10), ..none() }, Verdict::NotModified),
            (ReadConditions { modified_since: at(9), ..none() }, Verdict::Read),
        ] {
            assert_eq!(conditions.judge(&object), expected, "{conditions:?}");
        }
    }

    #[test]
    fn writes_ask_for_absence_or_for_one_content() {
        assert_eq!(write_condition(None, None).unwrap(), WriteCondition::Any);
        assert_eq!(write_condition(None, Some(&tag("*"))).unwrap(), WriteCondition::Absent);
        assert_eq!(write_condition(Some(&tag("e")), None).unwrap(), WriteCondition::Matches(ETag::new("e")));
        for (matches, matches_none) in
            [(Some(tag("*")), None), (None, Some(tag("e"))), (Some(tag("e")), Some(tag("*")))]
        {
            assert!(write_condition(matches.as_ref(), matches_none.as_ref()).is_err());
        }
    }
}
