//! Decides which extraneous objects of the destination are deleted.

use crate::object::ObjectHead;
use crate::records::{ExtraneousRecord, MirrorCounts};

/// What was done with an extraneous object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was deleted.
    Deleted,
    /// It was kept.
    Kept,
}

impl MirrorCounts {
    /// Counts one object.
    pub fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Deleted => self.deleted += 1,
            Fate::Kept => self.kept += 1,
        }
    }
}

/// Minimum age of an object at the start of the scan, in milliseconds. Listings have a resolution of one second, and
/// the clocks of services and pods differ.
const MARGIN: i64 = 5_000;

/// Returns true if an extraneous object may be deleted, given the results of requests made after the whole scan.
///
/// | source | destination | written | deleted |
/// |---|---|---|---|
/// | has the object, or is unclear | any | any | no |
/// | reports its absence | absent, or other content than listed | any | no |
/// | reports its absence | as listed | less than 5 s before the scan, or later | no |
/// | reports its absence | as listed | earlier | yes |
pub fn may_delete(
    extra: &ExtraneousRecord,
    is_gone_at_source: bool,
    destination: Option<&ObjectHead>,
    scan_started: i64,
) -> bool {
    let unchanged = destination.is_some_and(|head| head.etag.is_some() && head.etag == extra.etag);
    is_gone_at_source && unchanged && extra.modified + MARGIN < scan_started
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::ETag;

    #[test]
    fn objects_are_deleted_as_the_table_says() {
        let extra = |etag: Option<&str>| ExtraneousRecord {
            pair: 0,
            key: "k".into(),
            etag: etag.map(ETag::new),
            modified: 10_000,
        };
        let head = |etag| ObjectHead { etag: Some(ETag::new(etag)), ..ObjectHead::default() };
        let listed = extra(Some("a"));
        for (extra, gone, destination, started, expected) in [
            (&listed, true, Some(head("a")), 15_001, true),
            (&listed, true, Some(head("a")), 15_000, false),
            (&listed, false, Some(head("a")), 99_000, false),
            (&listed, true, Some(head("b")), 99_000, false),
            (&listed, true, None, 99_000, false),
            (&extra(None), true, Some(ObjectHead::default()), 99_000, false),
        ] {
            let may = may_delete(extra, gone, destination.as_ref(), started);
            assert_eq!(may, expected, "{extra:?} {gone} {destination:?} {started}");
        }
    }
}
