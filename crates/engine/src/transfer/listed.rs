//! Compares the destination's state in the listing with its current state.

use migration_core::etag::ETag;
use migration_core::message::Entry;
use migration_core::ports::{ObjectHead, WriteCondition};

/// The object's state at the destination, as the scan listed it.
#[derive(Clone, Debug)]
pub(super) enum Listed {
    /// Not listed.
    Unknown,
    /// No object.
    Absent,
    /// An object, with its ETag if known.
    There(Option<ETag>),
}

impl Listed {
    pub(super) fn of(entry: &Entry) -> Self {
        match &entry.destination {
            _ if entry.unlisted => Self::Unknown,
            None => Self::Absent,
            Some(state) => Self::There(state.etag.clone()),
        }
    }

    pub(super) fn condition(&self) -> WriteCondition {
        match self {
            Self::Absent => WriteCondition::Absent,
            Self::There(Some(etag)) => WriteCondition::Matches(etag.clone()),
            Self::There(None) | Self::Unknown => WriteCondition::Any,
        }
    }

    /// Returns true if the destination differs from the listing. An ETag of another form is not a difference: the
    /// service's ETag format may have changed, and not the object.
    pub(super) fn differs_from(&self, found: &ObjectHead) -> bool {
        match (self, &found.etag) {
            (Self::Unknown, _) | (_, None) => false,
            (Self::Absent, Some(_)) => true,
            (Self::There(listed), Some(found)) => {
                listed.as_ref().is_some_and(|listed| listed != found && form_of(listed) == form_of(found))
            }
        }
    }
}

/// Returns whether an ETag is weak, and whether it has the form of a digest.
fn form_of(etag: &ETag) -> (bool, bool) {
    (etag.is_weak(), etag.md5().is_some() || etag.parts().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const B: &str = "92eb5ffee6ae2fec3ad71c777531578f";

    #[test]
    fn a_destination_that_is_not_what_was_listed_has_changed() {
        let head = |etag: &str| ObjectHead { size: 1, etag: Some(ETag::new(etag)), ..ObjectHead::default() };
        let there = |etag: &str| Listed::There(Some(ETag::new(etag)));
        for (listed, found, expected) in [
            (Listed::Unknown, head(A), false),
            (Listed::Absent, head(A), true),
            (there(A), head(A), false),
            (there(A), head(B), true),
            (there(A), head(&format!("{B}-2")), true),
            (there(A), head("0x8D4BCC2E4835CD0"), false),
            (there("0x8D4BCC2E4835CD0"), head("0x8D4BCC2E4835CD1"), true),
            (there("W/\"1\""), head("1"), false),
            (there("W/\"1\""), head("W/\"2\""), true),
            (Listed::There(None), head(B), false),
            (there(A), ObjectHead::default(), false),
        ] {
            assert_eq!(listed.differs_from(&found), expected, "{listed:?} {found:?}");
        }
    }
}
