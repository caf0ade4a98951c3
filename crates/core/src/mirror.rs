//! Which objects of the destination are deleted, because the source does not have them.

use crate::object::ObjectHead;
use crate::records::{ExtraneousRecord, MirrorCounts};

/// What became of an extra object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was deleted.
    Deleted,
    /// It stays.
    Kept,
}

impl MirrorCounts {
    /// Adds what became of one object.
    pub fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Deleted => self.deleted += 1,
            Fate::Kept => self.kept += 1,
        }
    }
}

/// By how much an object must be older than the scan's start, in milliseconds: listings show whole seconds, and the
/// clocks of services and pods differ.
const MARGIN: i64 = 5_000;

/// Whether an extra object may be deleted, by what was asked for after the whole scan.
///
/// | source | destination | written | deleted |
/// |---|---|---|---|
/// | has it, or does not say | any | any | no |
/// | says that it has none | another content than listed, or nothing | any | no |
/// | says that it has none | as listed | less than 5 s before the scan began, or since | no |
/// | says that it has none | as listed | before that | yes |
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
