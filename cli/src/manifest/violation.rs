//! What is wrong with a field.

use std::fmt;

/// What is wrong with a field, in the words of an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, as in `spec.buckets[0].sourceBucket`. Empty if it concerns the whole resource.
    pub path: String,
    /// The kind of mistake.
    pub kind: ViolationKind,
    /// What is wrong; for CEL rules their own message.
    pub message: String,
}

/// The kind of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViolationKind {
    /// The schema has no such field.
    Unknown,
    /// A required field is absent.
    Required,
    /// The value has another type.
    Type,
    /// The value is too long, or has too many items.
    TooLong,
    /// The value is none of those that the schema lists.
    Unsupported,
    /// The value breaks another bound of the schema, or a CEL rule.
    Invalid,
}

impl ViolationKind {
    /// Returns true if CEL rules are not evaluated after such a mistake, as they assume a value of the right shape.
    /// Source: `hasBlockingErr` in apiextensions-apiserver.
    pub(super) const fn hides_rules(self) -> bool {
        match self {
            Self::Unknown | Self::Required | Self::Type | Self::TooLong => true,
            Self::Unsupported | Self::Invalid => false,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, kind, message } = self;
        if !path.is_empty() && *kind != ViolationKind::Unknown {
            write!(f, "{path}: ")?;
        }
        match kind {
            ViolationKind::Unknown => write!(f, "unknown field \"{path}\"{message}"),
            ViolationKind::Required => write!(f, "Required value{message}"),
            ViolationKind::Type | ViolationKind::Invalid => write!(f, "Invalid value: {message}"),
            ViolationKind::TooLong => write!(f, "Too long: {message}"),
            ViolationKind::Unsupported => write!(f, "Unsupported value: {message}"),
        }
    }
}
