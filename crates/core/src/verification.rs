//! Verification: an independent comparison of both sides after a run.

use serde::{Deserialize, Serialize};

use crate::compare::{CompareContext, CompareMode, Difference, Evidence, Verdict, compare};
use crate::finding::Finding;
use crate::object::{Checksum, ListedObject};

/// How copies are verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum VerifyMethod {
    /// By sizes and ETags. Costs listings only.
    #[default]
    Listing,
    /// As `Listing`; if the ETags are not comparable, by stored checksums, which costs one more HEAD on each side.
    Checksum,
    /// By reading every object on both sides and comparing all bytes.
    Read,
}

impl VerifyMethod {
    /// Returns the name used in `spec.verify.method`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listing => "Listing",
            Self::Checksum => "Checksum",
            Self::Read => "Read",
        }
    }
}

/// The verdict on one object, or the next step to reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The copy matches.
    Same(Evidence),
    /// The copy is missing or differs.
    Differs(Difference),
    /// Fetch the checksums of both objects, then call [`judge_checksums`].
    AskForChecksums,
    /// Read and compare both objects.
    Read,
}

/// Judges an object by the listings of both sides. Times, earlier runs and recorded versions are not considered.
///
/// | method | destination | sizes | ETags | judgement |
/// |---|---|---|---|---|
/// | any | absent | | | differs: missing |
/// | any | present | differ | | differs: size |
/// | any | present | equal | both MD5, differ | differs: content |
/// | Read | present | equal | others | read |
/// | others | present | equal | same | same, by content |
/// | Listing | present | equal | not comparable | same, by size |
/// | Checksum | present | equal | not comparable | ask for checksums |
///
/// `opaque_etags` is as in [`CompareContext`].
pub fn judge(
    source: &ListedObject,
    destination: Option<&ListedObject>,
    method: VerifyMethod,
    opaque_etags: bool,
) -> Judgement {
    let mode = if method == VerifyMethod::Checksum { CompareMode::Checksum } else { CompareMode::ETag };
    let context = CompareContext { mode, opaque_etags, ..CompareContext::default() };
    match compare(source, destination, context) {
        Verdict::Transfer(difference) => Judgement::Differs(difference),
        Verdict::InPlace(_) if method == VerifyMethod::Read => Judgement::Read,
        Verdict::InPlace(evidence) => Judgement::Same(evidence),
        Verdict::AskForChecksums => Judgement::AskForChecksums,
    }
}

/// Judges an object by its stored checksums. If one is missing, only the size is known to match.
pub fn judge_checksums(checksums: (Option<Checksum>, Option<Checksum>)) -> Verdict {
    match checksums {
        (Some(a), Some(b)) if a == b => Verdict::InPlace(Evidence::Content),
        (Some(_), Some(_)) => Verdict::Transfer(Difference::Content),
        _ => Verdict::InPlace(Evidence::Size),
    }
}

/// The result of a verification, as numbers of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verification {
    /// Copies whose content matches.
    pub proven: u64,
    /// Copies of the right size whose content the chosen method could not compare.
    pub by_size: u64,
    /// Objects missing at the destination.
    pub missing: u64,
    /// Objects whose content at the destination differs.
    pub different: u64,
    /// Those missing or different objects that changed at the source after the run began, which is not the run's fault.
    pub newer: u64,
    /// Objects that cannot be mapped to the destination.
    pub unmappable: u64,
    /// Objects excluded by the filters and not verified.
    pub ignored: u64,
    /// Destination objects that no source key maps to.
    pub extra: u64,
}

impl Verification {
    /// Counts a finding. `since` is the start of the verified run, as Unix time in milliseconds.
    pub fn add(&mut self, finding: &Finding<'_>, since: Option<i64>) {
        match finding {
            Finding::Transfer { source, difference, .. } => {
                let count = if *difference == Difference::Missing { &mut self.missing } else { &mut self.different };
                *count += 1;
                self.newer += u64::from(since.is_some_and(|since| source.modified >= since));
            }
            Finding::InPlace { evidence: Evidence::Content, .. } => self.proven += 1,
            Finding::InPlace { .. } => self.by_size += 1,
            Finding::Ignored { .. } | Finding::Gone { .. } => self.ignored += 1,
            Finding::Unmovable { .. } => self.unmappable += 1,
            Finding::Extraneous { .. } => self.extra += 1,
        }
    }

    /// Returns true if everything that was at the source when the run began, and has not changed since, is at the
    /// destination.
    pub const fn is_whole(&self) -> bool {
        self.missing + self.different == self.newer && self.unmappable == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::ETag;
    use crate::outcome::FailureClass;

    const A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const B: &str = "92eb5ffee6ae2fec3ad71c777531578f";

    fn object(size: u64, etag: &str) -> ListedObject {
        let etag = Some(ETag::new(etag));
        ListedObject { key: "k".into(), size, etag, modified: 5, version_id: None, storage_class: None }
    }

    #[test]
    fn judges_as_the_table_says() {
        use Judgement::{AskForChecksums, Differs, Read, Same};
        use VerifyMethod as By;
        let source = object(1, A);
        for (method, there, opaque, expected) in [
            (By::Listing, None, false, Differs(Difference::Missing)),
            (By::Read, None, false, Differs(Difference::Missing)),
            (By::Checksum, Some(object(2, A)), false, Differs(Difference::Size)),
            (By::Listing, Some(object(1, B)), false, Differs(Difference::Content)),
            (By::Checksum, Some(object(1, B)), false, Differs(Difference::Content)),
            (By::Read, Some(object(1, B)), false, Differs(Difference::Content)),
            (By::Listing, Some(object(1, A)), false, Same(Evidence::Content)),
            (By::Checksum, Some(object(1, A)), false, Same(Evidence::Content)),
            (By::Read, Some(object(1, A)), false, Read),
            (By::Listing, Some(object(1, "x-2")), false, Same(Evidence::Size)),
            (By::Listing, Some(object(1, B)), true, Same(Evidence::Size)),
            (By::Checksum, Some(object(1, "x-2")), false, AskForChecksums),
            (By::Read, Some(object(1, "x-2")), false, Read),
        ] {
            assert_eq!(judge(&source, there.as_ref(), method, opaque), expected, "{method:?} {there:?} {opaque}");
        }
    }

    #[test]
    fn checksums_prove_or_say_nothing() {
        let sum = |n| Some(Checksum(n));
        for (checksums, expected) in [
            ((sum(1), sum(1)), Verdict::InPlace(Evidence::Content)),
            ((sum(1), sum(2)), Verdict::Transfer(Difference::Content)),
            ((sum(1), None), Verdict::InPlace(Evidence::Size)),
            ((None, sum(1)), Verdict::InPlace(Evidence::Size)),
            ((None, None), Verdict::InPlace(Evidence::Size)),
        ] {
            assert_eq!(judge_checksums(checksums), expected, "{checksums:?}");
        }
    }

    #[test]
    fn a_copy_is_whole_without_what_changed_since() {
        let source = object(1, A);
        let missing = Finding::Transfer { source: &source, destination: None, difference: Difference::Missing };
        let count = |findings: &[Finding<'_>], since| {
            let mut verification = Verification::default();
            for finding in findings {
                verification.add(finding, since);
            }
            verification
        };
        let proven = Finding::InPlace { source: &source, evidence: Evidence::Content };
        let extra = Finding::Extraneous { destination: &source };
        let unmappable = Finding::Unmovable { source: &source, class: FailureClass::KeyNotMappable };
        for (findings, since, whole) in [
            (vec![], None, true),
            (vec![proven, extra, Finding::Ignored { source: &source }], None, true),
            (vec![proven, missing], None, false),
            // Modified at 5.
            (vec![proven, missing], Some(6), false),
            (vec![proven, missing], Some(5), true),
            (vec![unmappable], Some(5), false),
        ] {
            let counts = count(&findings, since);
            assert_eq!(counts.is_whole(), whole, "{findings:?} {since:?}: {counts:?}");
        }
    }
}
