//! Decides whether a recorded upload can be continued, and which of its parts are proved to hold the source's bytes.

use std::collections::BTreeSet;

use crate::etag::{ETag, ETagComparison, Md5Digest};
use crate::mutants::{Mutant, is_active};
use crate::object::{CompletedPart, ListedPart, ObjectHead, SourceIdentity};
use crate::part::PartLayout;
use crate::records::UploadRecord;
use crate::verified::VerifiedParts;

/// What to do with a recorded upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadDecision {
    /// Continue it, with its original layout.
    Adopt(PartLayout),
    /// It is ours but has other content or another layout: abort it and begin again.
    Replace,
    /// It was announced but may not have been created: look for it at the destination.
    Unfinished,
}

/// Decides what to do with a recorded upload. `longest` is the maximum part size that can be sent, in bytes.
///
/// | upload ID | source | size | its parts | decision |
/// |---|---|---|---|---|
/// | none | any | any | any | unfinished |
/// | present | same | same | short enough | adopt, whatever part size is configured now |
/// | present | another | any | any | replace |
/// | present | same | another | any | replace |
/// | present | same | same | too long | replace |
pub fn decide(record: &UploadRecord, source: &SourceIdentity, size: u64, longest: u64) -> UploadDecision {
    if record.upload_id.is_none() {
        UploadDecision::Unfinished
    } else if record.source == *source && record.layout.size == size && record.layout.longest() <= longest {
        UploadDecision::Adopt(record.layout)
    } else {
        UploadDecision::Replace
    }
}

/// Evidence that listed parts hold the bytes read from the source.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// True if the service rejects parts that do not match their checksum and the upload uses one. A part stored with a
    /// checksum is then exactly what was sent.
    pub checksums_enforced: bool,
    /// Parts that were verified when sent.
    pub verified: &'a VerifiedParts,
    /// ETag of the source.
    pub source: &'a ETag,
}

impl Evidence<'_> {
    fn proves(&self, part: &ListedPart) -> bool {
        (self.checksums_enforced && part.checksum.is_some())
            || self.verified.proves(part.number, &part.etag)
            || is_active(Mutant::UnprovenPartAdopted)
    }

    /// Returns true if these parts are complete and yield the source's own ETag, for a source uploaded in the same
    /// layout.
    fn proves_all(&self, layout: &PartLayout, listed: &[ListedPart]) -> bool {
        let complete = listed.len() == layout.count() as usize && self.source.parts() == Some(layout.count());
        complete
            && listed.is_sorted_by(|a, b| a.number < b.number)
            && composite(listed.iter().map(|p| &p.etag)).as_ref() == Some(self.source)
    }
}

/// Returns the ETag of an object completed from parts with these ETags, or `None` if one of them is not an MD5.
pub fn composite<'a>(parts: impl Iterator<Item = &'a ETag>) -> Option<ETag> {
    let digests: Option<Vec<Md5Digest>> = parts.map(ETag::md5).collect();
    Some(ETag::of_parts(&digests?))
}

fn fits(layout: &PartLayout, part: &ListedPart) -> bool {
    layout.part(part.number).is_some_and(|p| p.len == part.size || is_active(Mutant::PartMatchedByNumber))
}

/// Returns the numbers of the listed parts that need not be sent again. Returns `None` if a part does not fit the
/// layout: the upload is then not the recorded one, and is never completed.
///
/// | size | proof, cheapest first | part |
/// |---|---|---|
/// | differs from the layout | any | invalidates the upload |
/// | as in the layout | a checksum enforced by the service | proved |
/// | | all parts are listed and yield the source's ETag | proved |
/// | | verified when sent, and still with the same ETag | proved |
/// | | none of these | sent again |
pub fn proven_parts(layout: &PartLayout, listed: &[ListedPart], evidence: Evidence<'_>) -> Option<BTreeSet<u32>> {
    let all = evidence.proves_all(layout, listed);
    let proven = listed.iter().filter(|part| all || evidence.proves(part)).map(|part| part.number);
    listed.iter().all(|part| fits(layout, part)).then(|| proven.collect())
}

/// Why a list of parts cannot be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// A listed part is not in the layout.
    Foreign(u32),
    /// These parts are not listed, have another size, or are not proved: they have to be sent.
    Missing(Vec<u32>),
}

/// Checks the destination's list of parts before completion: it must have every part once, of the right size and proved
/// to hold the source's bytes. Returns the parts in order.
pub fn complete_parts(
    layout: &PartLayout,
    listed: &[ListedPart],
    evidence: Evidence<'_>,
) -> Result<Vec<CompletedPart>, Incomplete> {
    if let Some(extra) = listed.iter().find(|part| layout.part(part.number).is_none()) {
        return Err(Incomplete::Foreign(extra.number));
    }
    let all = evidence.proves_all(layout, listed);
    let good = listed.iter().filter(|part| fits(layout, part) && (all || evidence.proves(part)));
    let mut parts: Vec<CompletedPart> = good
        .map(|part| CompletedPart { number: part.number, etag: part.etag.clone(), checksum: part.checksum })
        .collect();
    parts.sort_by_key(|part| part.number);
    parts.dedup_by_key(|part| part.number);
    let there: BTreeSet<u32> = parts.iter().map(|part| part.number).collect();
    let missing: Vec<u32> = (1..=layout.count()).filter(|number| !there.contains(number)).collect();
    if missing.is_empty() { Ok(parts) } else { Err(Incomplete::Missing(missing)) }
}

/// Returns true if the destination already has the wanted content. `record` is the ledger's record of the object's
/// upload; `found` must include the checksum if the record expects one. `changed` is true for a redelivered object sent
/// in one request with Content-MD5 that was absent or different when it was listed.
///
/// | found damaged | expected after completion | size | ETags | changed | done |
/// |---|---|---|---|---|---|
/// | any | any | differs | any | any | no |
/// | yes | any | same | any | any | no |
/// | no | this checksum | same | any | any | yes |
/// | no | another checksum | same | any | any | no |
/// | no | this ETag | same | any | any | yes |
/// | no | another ETag, or unknown | same | same | any | yes |
/// | no | | same | both MD5, differ | any | no |
/// | no | | same | not comparable | yes | yes |
/// | no | | same | not comparable | no | no |
pub fn is_done(
    (source, size): (Option<&ETag>, u64),
    found: &ObjectHead,
    record: Option<&UploadRecord>,
    changed: bool,
) -> bool {
    if found.size != size || record.is_some_and(|record| record.damaged.is_some()) {
        return false;
    }
    let same = record.filter(|record| Some(&record.source.etag) == source && record.layout.size == size);
    if let Some(expected) = same.and_then(|record| record.expected.as_ref()) {
        if let (Some(expected), Some(found)) = (expected.checksum, found.checksum) {
            return expected == found;
        }
        if expected.etag.is_some() && expected.etag == found.etag {
            return true;
        }
    }
    match source.zip(found.etag.as_ref()).map(|(source, found)| source.compare(found)) {
        Some(ETagComparison::Same) => true,
        Some(ETagComparison::Different) => false,
        Some(ETagComparison::NotComparable) | None => changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Checksum;
    use crate::outcome::{Fingerprint, NotPreserved};
    use crate::records::Damage;
    use proptest::prelude::*;

    const LAYOUT: PartLayout = PartLayout { size: 25, part_size: 10 };

    fn identity(etag: &str) -> SourceIdentity {
        SourceIdentity { bucket: "b".into(), key: "k".into(), etag: ETag::new(etag), version_id: None }
    }

    fn record(upload_id: Option<&str>) -> UploadRecord {
        UploadRecord {
            revision: 1,
            destination_bucket: "d".into(),
            destination_key: "k".into(),
            source: identity("x-2"),
            layout: LAYOUT,
            by: "w".into(),
            intended: 0,
            checksum: true,
            wait_until: 0,
            contested: false,
            losses: NotPreserved::default(),
            expected: None,
            damaged: None,
            upload_id: upload_id.map(str::to_owned),
        }
    }

    /// The ETag that services give to a part.
    fn etag(number: u32) -> ETag {
        ETag::of_content(&[u8::try_from(number % 251).unwrap(); 16])
    }

    fn part(number: u32, size: u64) -> ListedPart {
        ListedPart { number, size, etag: etag(number), checksum: None }
    }

    fn verified(numbers: impl IntoIterator<Item = u32>) -> VerifiedParts {
        let mut verified = VerifiedParts::default();
        numbers.into_iter().for_each(|number| verified.insert(number, &etag(number), None));
        verified
    }

    fn evidence<'a>(verified: &'a VerifiedParts, source: &'a ETag) -> Evidence<'a> {
        Evidence { checksums_enforced: false, verified, source }
    }

    #[test]
    fn decides_as_the_table_says() {
        for (id, source, size, longest, expected) in [
            (None, "x-2", 25, 10, UploadDecision::Unfinished),
            (Some("u"), "x-2", 25, 10, UploadDecision::Adopt(LAYOUT)),
            (Some("u"), "y", 25, 10, UploadDecision::Replace),
            (Some("u"), "x-2", 26, 10, UploadDecision::Replace),
            (Some("u"), "x-2", 25, 9, UploadDecision::Replace),
        ] {
            assert_eq!(decide(&record(id), &identity(source), size, longest), expected);
        }
    }

    #[test]
    fn a_part_of_another_cut_spoils_the_upload() {
        let (verified, source) = (verified([1, 3]), ETag::new("x"));
        let proven = |listed: &[ListedPart]| proven_parts(&LAYOUT, listed, evidence(&verified, &source));
        assert_eq!(proven(&[part(3, 5), part(1, 10)]), Some([1, 3].into()));
        assert_eq!(proven(&[part(1, 10), part(3, 10)]), None);
        assert_eq!(proven(&[part(4, 10)]), None);
    }

    #[test]
    fn a_listed_part_is_there_only_with_proof() {
        let (own, none) = (verified([1]), VerifiedParts::default());
        let other = ETag::new("x");
        let same_cut = composite((1..=3).map(etag).collect::<Vec<_>>().iter()).unwrap();
        let whole = [part(1, 10), part(2, 10), part(3, 5)];
        let summed = whole.clone().map(|part| ListedPart { checksum: Some(Checksum(1)), ..part });
        let mut replaced = whole.clone();
        replaced[0].etag = etag(9);
        for (case, listed, checksums_enforced, verified, source, expected) in [
            ("size alone", &whole[..], false, &none, &other, vec![]),
            ("verified", &whole, false, &own, &other, vec![1]),
            ("stored again since", &replaced, false, &own, &other, vec![]),
            ("checksums that nobody checks", &summed, false, &none, &other, vec![]),
            ("checksums that the service checks", &summed, true, &none, &other, vec![1, 2, 3]),
            ("no checksum on a service that checks them", &whole, true, &none, &other, vec![]),
            ("the source's own ETag", &whole, false, &none, &same_cut, vec![1, 2, 3]),
            ("the source's own ETag, one missing", &whole[..2], false, &none, &same_cut, vec![]),
            ("the source's cut with another part", &replaced, false, &none, &same_cut, vec![]),
        ] {
            let evidence = Evidence { checksums_enforced, verified, source };
            let proven = proven_parts(&LAYOUT, listed, evidence);
            assert_eq!(proven, Some(expected.iter().copied().collect()), "{case}");
            let missing: Vec<u32> = (1..=3).filter(|number| !expected.contains(number)).collect();
            let completed = complete_parts(&LAYOUT, listed, evidence);
            assert_eq!(completed.err(), (!missing.is_empty()).then_some(Incomplete::Missing(missing)), "{case}");
        }
    }

    #[test]
    fn completion_names_the_parts_that_are_wrong() {
        let (verified, source) = (verified(1..=3), ETag::new("x"));
        let complete = |listed: &[ListedPart]| complete_parts(&LAYOUT, listed, evidence(&verified, &source));
        let whole = [part(3, 5), part(1, 10), part(2, 10)];
        assert_eq!(complete(&whole).map(|p| p.iter().map(|p| p.number).collect()), Ok(vec![1, 2, 3]));
        assert_eq!(complete(&whole[..2]), Err(Incomplete::Missing(vec![2])));
        assert_eq!(complete(&[part(1, 9), part(2, 10)]), Err(Incomplete::Missing(vec![1, 3])));
        let extra = [part(1, 10), part(2, 10), part(3, 5), part(4, 1)];
        assert_eq!(complete(&extra), Err(Incomplete::Foreign(4)));
    }

    #[test]
    fn what_stands_at_the_destination_is_done_where_the_table_says() {
        const A: &str = "0cc175b9c0f1b6a831c399e269772661";
        const B: &str = "92eb5ffee6ae2fec3ad71c777531578f";
        let found = |etag: &str, checksum: Option<u64>| ObjectHead {
            size: 25,
            etag: Some(ETag::new(etag)),
            checksum: checksum.map(Checksum),
            ..ObjectHead::default()
        };
        let expects = |etag: Option<&str>, checksum: Option<u64>| UploadRecord {
            expected: Some(Fingerprint { etag: etag.map(ETag::new), checksum: checksum.map(Checksum) }),
            ..record(Some("u"))
        };
        let damaged = || UploadRecord { damaged: Some(Damage::Upload), ..expects(Some("y-3"), None) };
        let of_other = || UploadRecord { source: identity("z-2"), ..expects(Some("y-3"), None) };
        for (source, size, found, record, changed, expected) in [
            ("x-2", 24, found("x-2", None), None, true, false),
            ("x-2", 25, found("x-2", None), None, false, true),
            (A, 25, found(A, None), None, false, true),
            (A, 25, found(B, None), None, true, false),
            // Not comparable: only an object sent in one request is done because it changed.
            ("x-2", 25, found("y-3", None), None, false, false),
            ("x-2", 25, found("y-3", None), None, true, true),
            // Expected after completion.
            ("x-2", 25, found("y-3", None), Some(expects(Some("y-3"), None)), false, true),
            ("x-2", 25, found("z-3", None), Some(expects(Some("y-3"), None)), false, false),
            ("x-2", 25, found("z-3", Some(7)), Some(expects(None, Some(7))), false, true),
            ("x-2", 25, found("y-3", Some(8)), Some(expects(Some("y-3"), Some(7))), false, false),
            ("x-2", 25, found("x-2", Some(8)), Some(expects(None, Some(7))), false, false),
            ("x-2", 25, found("z-3", None), Some(expects(None, Some(7))), false, false),
            ("x-2", 25, found("y-3", None), Some(of_other()), false, false),
            ("x-2", 25, found("y-3", None), Some(damaged()), false, false),
            ("x-2", 25, found("x-2", None), Some(damaged()), true, false),
        ] {
            let done = is_done((Some(&ETag::new(source)), size), &found, record.as_ref(), changed);
            assert_eq!(done, expected, "{source} {size} {found:?} {record:?} {changed}");
        }
    }

    proptest! {
        #[test]
        fn only_the_exact_cut_completes(size in 1_u64..200, part_size in 1_u64..50, drop in any::<prop::sample::Index>()) {
            let layout = PartLayout { size, part_size };
            let mut listed: Vec<ListedPart> = layout.parts().map(|p| part(p.number, p.len)).collect();
            let (verified, source) = (verified(1..=layout.count()), ETag::new("x"));
            prop_assert!(complete_parts(&layout, &listed, evidence(&verified, &source)).is_ok());
            let gone = listed.remove(drop.index(listed.len())).number;
            let missing = Err(Incomplete::Missing(vec![gone]));
            prop_assert_eq!(complete_parts(&layout, &listed, evidence(&verified, &source)), missing);
        }
    }
}
