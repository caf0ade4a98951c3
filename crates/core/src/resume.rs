//! Whether an upload found in the ledger and at the destination can be carried on.

use std::collections::BTreeMap;

use crate::etag::ETag;
use crate::part::PartLayout;
use crate::planted::{Defect, is_planted};
use crate::ports::{Checksum, CompletedPart};
use crate::records::{SourceIdentity, UploadRecord};

/// A part as the destination lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// From 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Its ETag.
    pub etag: ETag,
    /// Its checksum, where the upload was begun with one named.
    pub checksum: Option<Checksum>,
}

/// What to do with a recorded upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadDecision {
    /// Carry it on, with the layout it was begun with.
    Adopt(PartLayout),
    /// It is ours and carries another content or cut: abort it, begin anew.
    Replace,
    /// It was intended, and whether it was created is not known: look for it at the destination.
    Unfinished,
}

/// Decides by the record alone.
///
/// | upload id | source | size | decision |
/// |---|---|---|---|
/// | none | any | any | unfinished |
/// | there | same | same | adopt, whatever the part size now wanted |
/// | there | another | any | replace |
/// | there | same | another | replace |
pub fn decide(record: &UploadRecord, source: &SourceIdentity, size: u64) -> UploadDecision {
    if record.upload_id.is_none() {
        UploadDecision::Unfinished
    } else if record.source == *source && record.layout.size == size {
        UploadDecision::Adopt(record.layout)
    } else {
        UploadDecision::Replace
    }
}

/// The listed parts that fit the layout, by number; none if one does not fit, which means that the upload is not what
/// the ledger says, and is never completed.
pub fn fitting_parts(layout: &PartLayout, listed: &[ListedPart]) -> Option<BTreeMap<u32, ETag>> {
    let fits = |part: &ListedPart| {
        layout.part(part.number).is_some_and(|p| p.len == part.size || is_planted(Defect::PartMatchedByNumber))
    };
    listed.iter().all(fits).then(|| listed.iter().map(|part| (part.number, part.etag.clone())).collect())
}

/// Checks the destination's list of parts before completion: every part once, of the right size, with the ETag that
/// was verified when it was sent. Returns the parts in order, or the number of the first part that is wrong.
///
/// `verified` holds the parts that this process sent; others were verified by whoever sent them, and their ETags enter
/// the whole object's.
pub fn complete_parts(
    layout: &PartLayout,
    listed: &[ListedPart],
    verified: &BTreeMap<u32, ETag>,
) -> Result<Vec<CompletedPart>, u32> {
    let by_number: BTreeMap<u32, &ListedPart> = listed.iter().map(|part| (part.number, part)).collect();
    if let Some(extra) = by_number.keys().find(|number| layout.part(**number).is_none()) {
        return Err(*extra);
    }
    layout
        .parts()
        .map(|part| {
            let found = by_number
                .get(&part.number)
                .filter(|found| found.size == part.len || is_planted(Defect::PartMatchedByNumber))
                .ok_or(part.number)?;
            match verified.get(&part.number) {
                Some(etag) if *etag != found.etag => Err(part.number),
                _ => Ok(CompletedPart { number: part.number, etag: found.etag.clone(), checksum: found.checksum }),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(etag: &str) -> SourceIdentity {
        SourceIdentity { bucket: "b".into(), key: "k".into(), etag: ETag::new(etag), version_id: None }
    }

    fn record(upload_id: Option<&str>) -> UploadRecord {
        UploadRecord {
            revision: 1,
            destination_bucket: "d".into(),
            destination_key: "k".into(),
            source: identity("x"),
            layout: PartLayout { size: 25, part_size: 10 },
            by: "w".into(),
            intended: 0,
            checksum: true,
            wait_until: 0,
            contested: false,
            losses: crate::outcome::Losses::default(),
            upload_id: upload_id.map(str::to_owned),
        }
    }

    fn part(number: u32, size: u64) -> ListedPart {
        ListedPart { number, size, etag: ETag::new(&format!("e{number}")), checksum: None }
    }

    #[test]
    fn decides_as_the_table_says() {
        let layout = record(None).layout;
        for (id, source, size, expected) in [
            (None, "x", 25, UploadDecision::Unfinished),
            (Some("u"), "x", 25, UploadDecision::Adopt(layout)),
            (Some("u"), "y", 25, UploadDecision::Replace),
            (Some("u"), "x", 26, UploadDecision::Replace),
        ] {
            assert_eq!(decide(&record(id), &identity(source), size), expected);
        }
    }

    #[test]
    fn a_part_of_another_cut_spoils_the_upload() {
        let layout = PartLayout { size: 25, part_size: 10 };
        assert_eq!(fitting_parts(&layout, &[part(3, 5), part(1, 10)]).map(|p| p.len()), Some(2));
        assert_eq!(fitting_parts(&layout, &[part(1, 10), part(3, 10)]), None);
        assert_eq!(fitting_parts(&layout, &[part(4, 10)]), None);
    }

    #[test]
    fn completion_names_the_part_that_is_wrong() {
        let layout = PartLayout { size: 25, part_size: 10 };
        let whole = [part(1, 10), part(2, 10), part(3, 5)];
        let verified = BTreeMap::from([(2, ETag::new("e2"))]);
        assert_eq!(complete_parts(&layout, &whole, &verified).map(|p| p.len()), Ok(3));
        assert_eq!(complete_parts(&layout, &whole[..2], &verified), Err(3));
        assert_eq!(complete_parts(&layout, &[part(1, 9), part(2, 10), part(3, 5)], &verified), Err(1));
        let other = BTreeMap::from([(2, ETag::new("other"))]);
        assert_eq!(complete_parts(&layout, &whole, &other), Err(2));
        let extra = [part(1, 10), part(2, 10), part(3, 5), part(4, 1)];
        assert_eq!(complete_parts(&layout, &extra, &verified), Err(4));
    }

    proptest! {
        #[test]
        fn only_the_exact_cut_completes(size in 1_u64..200, part_size in 1_u64..50, drop in any::<prop::sample::Index>()) {
            let layout = PartLayout { size, part_size };
            let mut listed: Vec<ListedPart> = layout.parts().map(|p| part(p.number, p.len)).collect();
            prop_assert!(complete_parts(&layout, &listed, &BTreeMap::new()).is_ok());
            listed.remove(drop.index(listed.len()));
            prop_assert!(complete_parts(&layout, &listed, &BTreeMap::new()).is_err());
        }
    }
}
