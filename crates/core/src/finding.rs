//! Findings of a scan, one per key. Runs act on them, plans list them, and verifications judge them.

use crate::compare::{Difference, Evidence};
use crate::object::ListedObject;
use crate::outcome::FailureClass;

/// The result of a scan for one key. Every source key under a pair's prefix yields exactly one finding; a destination
/// key only if no source key maps to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding<'a> {
    /// The object has to be transferred.
    Transfer {
        /// The source object.
        source: &'a ListedObject,
        /// The object at its mapped key.
        destination: Option<&'a ListedObject>,
        /// Why it has to be transferred.
        difference: Difference,
    },
    /// The object is in place at the destination.
    InPlace {
        /// The source object.
        source: &'a ListedObject,
        /// The evidence for that.
        evidence: Evidence,
    },
    /// The filters exclude the object.
    Ignored {
        /// The source object.
        source: &'a ListedObject,
    },
    /// The object is known in advance to be impossible to move. A run records the failure.
    Unmovable {
        /// The source object.
        source: &'a ListedObject,
        /// Why it cannot be moved.
        class: FailureClass,
    },
    /// The object was deleted after it was listed in a work list.
    Gone {
        /// The object as it was listed.
        source: &'a ListedObject,
    },
    /// A destination object that no source key maps to and that the filters do not exclude. Reported only on request.
    Extraneous {
        /// The destination object.
        destination: &'a ListedObject,
    },
}

impl Finding<'_> {
    /// Returns what a run does about the finding.
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

    /// Returns the source object, or the destination object if it is extraneous.
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

    /// Returns the reason in a few words, for lists.
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
    /// Copy an object that the destination lacks.
    Transfer,
    /// Copy an object over different content.
    Update,
    /// Nothing: the object is in place.
    Skip,
    /// Nothing: the filters exclude the object.
    Ignore,
    /// Record a failure.
    Fail,
    /// Delete the object at the destination, if the job mirrors.
    Delete,
}

impl Action {
    /// All actions, in their order.
    pub const ALL: [Self; 6] = [Self::Transfer, Self::Update, Self::Skip, Self::Ignore, Self::Fail, Self::Delete];

    /// Returns the name used in lists.
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
