//! What a scan finds of each key: what runs act on, plans list, and verifications judge.

use crate::compare::{Difference, Evidence};
use crate::object::ListedObject;
use crate::outcome::FailureClass;

/// What a scan finds of one key. Every source key under a pair's prefix is found once, whatever it is found to be; a key
/// of the destination only where it is nobody's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding<'a> {
    /// The object has to be transferred.
    Transfer {
        /// The object.
        source: &'a ListedObject,
        /// What stands in its place.
        destination: Option<&'a ListedObject>,
        /// Why.
        difference: Difference,
    },
    /// The object is at the destination.
    InPlace {
        /// The object.
        source: &'a ListedObject,
        /// By what this was found.
        evidence: Evidence,
    },
    /// The filters hide the object.
    Ignored {
        /// The object.
        source: &'a ListedObject,
    },
    /// The object can't be moved, as is known before anybody tries: a run records the failure.
    Unmovable {
        /// The object.
        source: &'a ListedObject,
        /// Why.
        class: FailureClass,
    },
    /// The object was listed some time ago, and is gone since then.
    Gone {
        /// The object, as it was listed.
        source: &'a ListedObject,
    },
    /// An object of the destination under a key that no source key maps to, and that the filters do not hide. Found only
    /// where somebody asks for it.
    Extraneous {
        /// The object.
        destination: &'a ListedObject,
    },
}

impl Finding<'_> {
    /// What a run does about it.
    pub const fn action(&self) -> Action {
        match self {
            Self::Transfer { difference: Difference::Missing, .. } => Action::Transfer,
            Self::Transfer { .. } => Action::Update,
            Self::InPlace { .. } | Self::Gone { .. } => Action::Skip,
            Self::Ignored { .. } => Action::Ignore,
            Self::Unmovable { .. } => Action::Fail,
            Self::Extraneous { .. } => Action::Delete,
        }
    }

    /// The object that it is about: the source's, but of what is extra.
    pub const fn object(&self) -> &ListedObject {
        match self {
            Self::Transfer { source, .. }
            | Self::InPlace { source, .. }
            | Self::Ignored { source }
            | Self::Gone { source }
            | Self::Unmovable { source, .. } => source,
            Self::Extraneous { destination } => destination,
        }
    }

    /// Why, in a word, for lists.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Transfer { difference, .. } => match difference {
                Difference::Missing => "missing",
                Difference::Size => "size",
                Difference::Content => "content",
                Difference::MaybeNewer => "maybe newer",
                Difference::Version => "version",
            },
            Self::InPlace { evidence, .. } => match evidence {
                Evidence::Content => "same content",
                Evidence::Size => "same size",
                Evidence::SizeAndTime => "same size, not newer",
            },
            Self::Ignored { .. } => "hidden by filters",
            Self::Unmovable { class, .. } => match class {
                FailureClass::KeyNotMappable => "no valid destination key",
                FailureClass::NotFound => "not at the source",
                FailureClass::OldVersion => "not the latest version",
                FailureClass::AccessDenied => "access denied",
                FailureClass::Archived => "archived",
                _ => "refused",
            },
            Self::Gone { .. } => "gone since it was listed",
            Self::Extraneous { .. } => "not at the source",
        }
    }
}

/// What a run does about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Copies an object that is missing.
    Transfer,
    /// Copies an object over another content.
    Update,
    /// Nothing: it is in place.
    Skip,
    /// Nothing: the filters hide it.
    Ignore,
    /// Records a failure.
    Fail,
    /// Deletes it at the destination, where the job mirrors.
    Delete,
}

impl Action {
    /// As lists name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Update => "update",
            Self::Skip => "skip",
            Self::Ignore => "ignore",
            Self::Fail => "fail",
            Self::Delete => "delete",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_has_its_action() {
        let object =
            ListedObject { key: "k".into(), size: 1, etag: None, modified: 0, version_id: None, storage_class: None };
        let source = &object;
        let transfer = |difference| Finding::Transfer { source, destination: None, difference };
        for (finding, action, reason) in [
            (transfer(Difference::Missing), "transfer", "missing"),
            (transfer(Difference::Size), "update", "size"),
            (transfer(Difference::Version), "update", "version"),
            (Finding::InPlace { source, evidence: Evidence::Size }, "skip", "same size"),
            (Finding::Ignored { source }, "ignore", "hidden by filters"),
            (Finding::Unmovable { source, class: FailureClass::KeyNotMappable }, "fail", "no valid destination key"),
            (Finding::Unmovable { source, class: FailureClass::OldVersion }, "fail", "not the latest version"),
            (Finding::Gone { source }, "skip", "gone since it was listed"),
            (Finding::Extraneous { destination: source }, "delete", "not at the source"),
        ] {
            assert_eq!((finding.action().as_str(), finding.reason()), (action, reason), "{finding:?}");
        }
    }
}
