//! Decides whether a denied request concerns one object or the whole side.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{ErrorClass, ServiceFault};
use crate::mutants::{Mutant, is_active};
use crate::operation::Operation;

/// Number of different objects denied in a row after which a permission is taken to be missing, if the operation has
/// never worked. Fewer occur with a prefix encrypted under another key, or a policy for some objects.
pub const DENIALS_OF_A_SIDE: u32 = 1_000;
/// Time without another denied object, in milliseconds, after which the denials of an operation that has never worked
/// are attributed to the objects: there is nothing else left to try it on.
const SETTLED_AFTER_MS: u64 = 10_000;

/// The results of one operation on one side since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessHistory {
    ever_allowed: bool,
    /// The last object that it was allowed for.
    last_allowed: Option<String>,
    /// Hashes of the objects denied since then, at most [`DENIALS_OF_A_SIDE`].
    denied: BTreeSet<u64>,
}

impl AccessHistory {
    /// Records that the operation was allowed, for this object or for the bucket.
    pub fn allow(&mut self, key: Option<&str>) {
        self.ever_allowed = true;
        self.denied.clear();
        if let Some(key) = key {
            key.clone_into(self.last_allowed.get_or_insert_default());
        }
    }

    /// Records that the operation was denied for this object.
    pub fn deny(&mut self, key: &str) {
        if self.denied_in_a_row() < DENIALS_OF_A_SIDE {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            self.denied.insert(hasher.finish());
        }
    }

    /// Returns true if the operation has worked since the process started.
    pub fn ever_allowed(&self) -> bool {
        self.ever_allowed
    }

    /// Returns the last object that the operation was allowed for.
    pub fn last_allowed(&self) -> Option<&str> {
        self.last_allowed.as_deref()
    }

    /// Returns the number of different objects denied since the operation last worked, up to [`DENIALS_OF_A_SIDE`].
    pub fn denied_in_a_row(&self) -> u32 {
        u32::try_from(self.denied.len()).unwrap_or(u32::MAX)
    }
}

/// The subject of a denied request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A bucket.
    Bucket,
    /// One object.
    Object,
}

/// The result of a check request, sent after an object was denied: to an object allowed before, or to the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Testimony {
    /// No answer, or an inconclusive one.
    None,
    /// The credentials are valid: the request succeeded, or only a permission on the bucket is missing.
    Good,
    /// An object allowed before is now denied too.
    DeniedToo,
    /// Credentials, bucket or clock are wrong.
    Wrong(ServiceFault),
}

impl Testimony {
    /// Interprets the answer to a check request. `worked_before` is true if the same request was allowed before.
    pub fn of(class: Option<ErrorClass>, worked_before: bool) -> Self {
        match class {
            Some(ErrorClass::Service(fault)) => Self::Wrong(fault),
            Some(ErrorClass::SignatureMismatch) => Self::Wrong(ServiceFault::CredentialsInvalid),
            Some(ErrorClass::AccessDenied) if worked_before => Self::DeniedToo,
            Some(ErrorClass::Transient | ErrorClass::NoAnswer | ErrorClass::Throttled | ErrorClass::Stopped) => {
                Self::None
            }
            Some(_) | None => Self::Good,
        }
    }
}

/// Everything known about a denied request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// [`ErrorClass::AccessDenied`] or [`ErrorClass::SignatureMismatch`].
    pub class: ErrorClass,
    /// The denied operation.
    pub operation: Operation,
    /// The subject of the request.
    pub subject: Subject,
    /// True if the operation worked before in this process.
    pub ever_allowed: bool,
    /// Number of different objects denied in a row, this one included.
    pub denied_in_a_row: u32,
    /// The result of the check request.
    pub testimony: Testimony,
}

/// Classifies a denied request: as a fault of the side, or with its original class as a failure of the object.
///
/// | subject | error | check request | the operation worked before | objects in a row | result |
/// |---|---|---|---|---|---|
/// | any | any | credentials, bucket or clock are wrong | any | any | side: that fault |
/// | any | any | an object allowed before is denied | any | any | side: a permission was revoked |
/// | bucket | signature | | any | | side: the secret is wrong |
/// | bucket | denied | | yes | | side: a permission was revoked |
/// | bucket | denied | | no | | unchanged: this caller never had the permission, which says nothing about the side |
/// | object | signature | good, or none | any | any | object: its request was rewritten on the way |
/// | object | denied | good, or none | yes | any | object |
/// | object | denied | good, or none | no | < 1,000 | object |
/// | object | denied | good, or none | no | ≥ 1,000 | side: a permission is missing |
///
/// Reading tags is exempt from the last row: objects are moved without tags if these cannot be read.
pub fn denial(denial: Denial) -> ErrorClass {
    let side = ErrorClass::Service;
    match (denial.testimony, denial.subject, denial.class) {
        (Testimony::Wrong(fault), ..) => side(fault),
        (Testimony::DeniedToo, ..) => side(ServiceFault::AccessDenied),
        (_, Subject::Bucket, ErrorClass::SignatureMismatch) => side(ServiceFault::CredentialsInvalid),
        (_, Subject::Bucket, _) if denial.ever_allowed => side(ServiceFault::AccessDenied),
        (_, Subject::Object, ErrorClass::AccessDenied) if is_missing_right(denial) => side(ServiceFault::AccessDenied),
        (.., class) => class,
    }
}

fn is_missing_right(denial: Denial) -> bool {
    let enough = if is_active(Mutant::DenialsOfFewPauseASide) { 3 } else { DENIALS_OF_A_SIDE };
    !denial.ever_allowed && denial.denied_in_a_row >= enough && denial.operation != Operation::GetTags
}

/// Returns true if the denials of an operation, unless a fault of the side, are known to concern the objects only.
///
/// | the operation worked before | denied objects | since the last one | settled |
/// |---|---|---|---|
/// | yes | any | any | yes |
/// | no | none | | yes |
/// | no | some | < 10 s | no: others may be denied as well, or allowed |
/// | no | some | ≥ 10 s | yes |
pub fn is_settled(history: &AccessHistory, since_denial_ms: u64) -> bool {
    history.ever_allowed || history.denied.is_empty() || since_denial_ms >= SETTLED_AFTER_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorClass::{AccessDenied, SignatureMismatch};

    fn judged(class: ErrorClass, subject: Subject, ever_allowed: bool, row: u32, testimony: Testimony) -> ErrorClass {
        let operation = Operation::GetObject;
        denial(Denial { class, operation, subject, ever_allowed, denied_in_a_row: row, testimony })
    }

    #[test]
    fn denials_mean_what_the_table_says() {
        let side = |fault| ErrorClass::Service(fault);
        let expired = Testimony::Wrong(ServiceFault::CredentialsExpired);
        for (class, subject, ever_allowed, row, testimony, expected) in [
            (AccessDenied, Subject::Object, true, 1, expired, side(ServiceFault::CredentialsExpired)),
            (SignatureMismatch, Subject::Object, false, 1, expired, side(ServiceFault::CredentialsExpired)),
            (AccessDenied, Subject::Object, true, 1, Testimony::DeniedToo, side(ServiceFault::AccessDenied)),
            (SignatureMismatch, Subject::Bucket, true, 0, Testimony::None, side(ServiceFault::CredentialsInvalid)),
            (AccessDenied, Subject::Bucket, true, 0, Testimony::None, side(ServiceFault::AccessDenied)),
            (AccessDenied, Subject::Bucket, false, 0, Testimony::None, AccessDenied),
            (SignatureMismatch, Subject::Object, false, 1_000, Testimony::Good, SignatureMismatch),
            (SignatureMismatch, Subject::Object, true, 1_000, Testimony::None, SignatureMismatch),
            (AccessDenied, Subject::Object, true, 1_000, Testimony::Good, AccessDenied),
            (AccessDenied, Subject::Object, false, 999, Testimony::Good, AccessDenied),
            (AccessDenied, Subject::Object, false, 1_000, Testimony::Good, side(ServiceFault::AccessDenied)),
        ] {
            let found = judged(class, subject, ever_allowed, row, testimony);
            assert_eq!(found, expected, "{class:?} {subject:?} {ever_allowed} {row} {testimony:?}");
        }
        let tags = Denial {
            class: AccessDenied,
            operation: Operation::GetTags,
            subject: Subject::Object,
            ever_allowed: false,
            denied_in_a_row: 1_000,
            testimony: Testimony::None,
        };
        assert_eq!(denial(tags), AccessDenied);
    }

    #[test]
    fn objects_in_a_row_are_counted_once_each_and_in_bounded_memory() {
        let mut history = AccessHistory::default();
        for _ in 0..2 {
            for number in 0..3 {
                history.deny(&number.to_string());
            }
        }
        assert_eq!((history.denied_in_a_row(), history.ever_allowed()), (3, false));
        for number in 0..5_000 {
            history.deny(&number.to_string());
        }
        assert_eq!(history.denied_in_a_row(), DENIALS_OF_A_SIDE);
        history.allow(Some("k"));
        assert_eq!((history.denied_in_a_row(), history.last_allowed()), (0, Some("k")));
    }

    #[test]
    fn denials_settle_when_nothing_else_is_denied_or_something_is_allowed() {
        let mut history = AccessHistory::default();
        assert!(is_settled(&history, 0));
        history.deny("k");
        assert_eq!([0, 9_999, 10_000].map(|ms| is_settled(&history, ms)), [false, false, true]);
        history.allow(None);
        history.deny("k");
        assert!(is_settled(&history, 0));
    }

    #[test]
    fn a_testimony_is_of_credentials_bucket_or_clock_only() {
        for (class, worked_before, expected) in [
            (None, false, Testimony::Good),
            (Some(AccessDenied), false, Testimony::Good),
            (Some(AccessDenied), true, Testimony::DeniedToo),
            (Some(ErrorClass::NoSuchKey), true, Testimony::Good),
            (Some(ErrorClass::Throttled), true, Testimony::None),
            (Some(SignatureMismatch), false, Testimony::Wrong(ServiceFault::CredentialsInvalid)),
            (Some(ErrorClass::Service(ServiceFault::ClockSkewed)), false, Testimony::Wrong(ServiceFault::ClockSkewed)),
        ] {
            assert_eq!(Testimony::of(class, worked_before), expected, "{class:?} {worked_before}");
        }
    }
}
