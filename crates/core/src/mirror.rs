//! Which objects of the destination are deleted, because the source does not have them.

use serde::{Deserialize, Serialize};

use crate::ports::ObjectHead;
use crate::records::ExtraRecord;

/// That the destination is to have nothing that the source does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MirrorSettings {
    /// Most objects that one run deletes. Where more are extra, none is: so many were never meant.
    pub max_deletes: u64,
}

/// What a run did about what is extra.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MirrorCounts {
    /// Objects that were deleted.
    pub deleted: u64,
    /// Objects that stayed: the source has them by now, they changed, or nobody can say.
    pub kept: u64,
    /// More were extra than may be deleted, so that all stayed.
    pub refused: bool,
    /// Extra objects whose fate was known when the run was [reopened](crate::reopen), of ranges that were left as they were.
    #[serde(skip_serializing_if = "is_zero")]
    pub settled: u64,
    /// Objects that were deleted before the run was reopened.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted_before: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl MirrorCounts {
    /// How many objects the run may delete in all, reopenings included, by the extra objects that its ranges found.
    pub fn deletions(&self, found: u64) -> u64 {
        found.saturating_sub(self.settled) + self.deleted_before
    }

    /// Adds what became of one object.
    pub fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Deleted => self.deleted += 1,
            Fate::Kept => self.kept += 1,
        }
    }
}

/// What became of an extra object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was deleted.
    Deleted,
    /// It stays.
    Kept,
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
    extra: &ExtraRecord,
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
        let extra =
            |etag: Option<&str>| ExtraRecord { pair: 0, key: "k".into(), etag: etag.map(ETag::new), modified: 10_000 };
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
