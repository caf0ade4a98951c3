//! Decides from two listings which source objects have to be transferred.

use serde::{Deserialize, Serialize};

use crate::etag::ETagComparison;
use crate::object::{Checksum, ListedObject};

/// How the two objects of one key are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CompareMode {
    /// By size, then by ETag if both ETags are digests of the content, otherwise by time.
    #[default]
    Default,
    /// By size only.
    Size,
    /// By size, and by ETag if both ETags are digests of the content; never by time.
    ETag,
    /// By size and ETag; if the ETags are not comparable, by stored checksums, which costs one more request on each
    /// side.
    Checksum,
}

/// The reason to transfer an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The destination does not have the object.
    Missing,
    /// The sizes differ.
    Size,
    /// Both ETags are digests of the content and differ, or the checksums differ.
    Content,
    /// The ETags are not comparable, and the source may be newer than the copy.
    MaybeNewer,
    /// The source has another version than the one recorded at the last copy.
    Version,
}

/// The evidence that an object is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Equal ETags or checksums.
    Content,
    /// Equal sizes only. Counted separately in the status.
    Size,
    /// Equal sizes, and a source older than the copy. Counted separately in the status.
    SizeAndTime,
}

/// The result of comparing one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Transfer the object.
    Transfer(Difference),
    /// The object is in place.
    InPlace(Evidence),
    /// Fetch the stored checksums of both objects, then call [`compare_checksums`].
    AskForChecksums,
}

/// The inputs of a comparison besides the two objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CompareContext {
    /// The mode set in the job.
    pub mode: CompareMode,
    /// True if the destination's encryption makes its ETags something other than digests. Equal ETags still mean equal
    /// content; different ones mean nothing.
    pub opaque_etags: bool,
    /// Start of this job's last complete scan, as Unix time in milliseconds. `None` if there was none.
    pub last_complete_scan: Option<i64>,
    /// Upper bound of the offset between the clocks of the two services, in milliseconds. Another 5 s are added to it.
    pub clock_offset: i64,
    /// True if the last run failed to move this object. The destination may then hold older content, even if it was
    /// written later.
    pub failed_last: bool,
}

/// Minimum age difference of source and copy in addition to the clock offset, in milliseconds. Listings round times to
/// seconds, and a service stamps an object some time after its request began.
const MARGIN: i64 = 5_000;

/// Compares a source object with the destination object under its mapped key.
///
/// | mode | destination | sizes | ETags | last run | verdict |
/// |---|---|---|---|---|---|
/// | any | absent | | | | transfer: missing |
/// | any | present | differ | | | transfer: size |
/// | Size | present | equal | | failed for this object | transfer: maybe newer |
/// | Size | present | equal | | | in place, by size |
/// | others | present | equal | same | | in place, by content |
/// | others | present | equal | both MD5, differ | | transfer: content |
/// | `ETag` | present | equal | not comparable | failed for this object | transfer: maybe newer |
/// | `ETag` | present | equal | not comparable | | in place, by size |
/// | Checksum | present | equal | not comparable | | ask for checksums |
/// | Default | present | equal | not comparable | | by time, as [`compare_checksums`] without checksums |
pub fn compare(source: &ListedObject, destination: Option<&ListedObject>, context: CompareContext) -> Verdict {
    let Some(destination) = destination else { return Verdict::Transfer(Difference::Missing) };
    if source.size != destination.size {
        return Verdict::Transfer(Difference::Size);
    }
    let tags = match (&source.etag, &destination.etag) {
        _ if context.mode == CompareMode::Size => ETagComparison::NotComparable,
        (Some(a), Some(b)) => a.compare(b),
        _ => ETagComparison::NotComparable,
    };
    match (tags, context.mode) {
        (ETagComparison::Same, _) => Verdict::InPlace(Evidence::Content),
        (ETagComparison::Different, _) if !context.opaque_etags => Verdict::Transfer(Difference::Content),
        (_, CompareMode::Size | CompareMode::ETag) if context.failed_last => Verdict::Transfer(Difference::MaybeNewer),
        (_, CompareMode::Size | CompareMode::ETag) => Verdict::InPlace(Evidence::Size),
        (_, CompareMode::Checksum) => Verdict::AskForChecksums,
        (_, CompareMode::Default) => compare_times(source, destination, context),
    }
}

/// Compares two objects of equal size by their stored checksums. Called if the ETags are not comparable.
///
/// | checksums | times | verdict |
/// |---|---|---|
/// | equal | | in place, by content |
/// | differ | | transfer: content |
/// | one is missing | source older than destination by offset + 5 s and than the last complete scan (if any), and not failed in the last run | in place, by size and time |
/// | one is missing | otherwise | transfer: maybe newer |
pub fn compare_checksums(
    source: &ListedObject,
    destination: &ListedObject,
    checksums: (Option<Checksum>, Option<Checksum>),
    context: CompareContext,
) -> Verdict {
    match checksums {
        (Some(a), Some(b)) if a == b => Verdict::InPlace(Evidence::Content),
        (Some(_), Some(_)) => Verdict::Transfer(Difference::Content),
        _ => compare_times(source, destination, context),
    }
}

fn compare_times(source: &ListedObject, destination: &ListedObject, context: CompareContext) -> Verdict {
    let older = source.modified + context.clock_offset + MARGIN < destination.modified;
    let scanned = context.last_complete_scan.is_none_or(|start| source.modified < start);
    if older && scanned && !context.failed_last {
        Verdict::InPlace(Evidence::SizeAndTime)
    } else {
        Verdict::Transfer(Difference::MaybeNewer)
    }
}

/// Compares an object's version with the version recorded at the last copy.
///
/// | destination | sizes | source's version | recorded | verdict |
/// |---|---|---|---|---|
/// | absent | | | | transfer: missing |
/// | present | differ | | | transfer: size |
/// | present | equal | v | v | in place, by content |
/// | present | equal | v | another, or none | transfer: version |
/// | present | equal | none: the bucket keeps no versions | any | as [`compare`] |
pub fn compare_version(
    source: &ListedObject,
    destination: Option<&ListedObject>,
    recorded: Option<&str>,
    context: CompareContext,
) -> Verdict {
    match (compare(source, destination, context), source.version_id.as_deref()) {
        (verdict @ Verdict::Transfer(Difference::Missing | Difference::Size), _) | (verdict, None) => verdict,
        (_, Some(version)) if recorded == Some(version) => Verdict::InPlace(Evidence::Content),
        (_, Some(_)) => Verdict::Transfer(Difference::Version),
    }
}

/// The next step of the merge-join of two ordered listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeStep {
    /// The source's head is missing at the destination: compare it with nothing and advance the source.
    Source,
    /// Both heads have the same key: compare them and advance both.
    Both,
    /// The destination's head is missing at the source: advance the destination.
    Destination,
    /// Both listings are exhausted.
    End,
}

/// Returns the next step of the merge-join, for the heads of two listings in byte order of their (mapped) keys.
pub fn merge_step(source: Option<&str>, destination: Option<&str>) -> MergeStep {
    use std::cmp::Ordering;
    match (source, destination) {
        (None, None) => MergeStep::End,
        (Some(_), None) => MergeStep::Source,
        (None, Some(_)) => MergeStep::Destination,
        (Some(a), Some(b)) => match a.as_bytes().cmp(b.as_bytes()) {
            Ordering::Less => MergeStep::Source,
            Ordering::Equal => MergeStep::Both,
            Ordering::Greater => MergeStep::Destination,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::ETag;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const B: &str = "92eb5ffee6ae2fec3ad71c777531578f";

    fn object(size: u64, etag: &str, modified: i64) -> ListedObject {
        let etag = (!etag.is_empty()).then(|| ETag::new(etag));
        ListedObject { key: "k".into(), size, etag, modified, version_id: None, storage_class: None }
    }

    #[test]
    fn compares_as_the_table_says() {
        use Difference::{Content, MaybeNewer, Missing, Size};
        let context = |last_complete_scan| CompareContext {
            last_complete_scan,
            clock_offset: 1_000,
            ..CompareContext::default()
        };
        let source = object(1, "x-2", 10_000);
        for (source, destination, scan, expected) in [
            (source.clone(), None, None, Verdict::Transfer(Missing)),
            (source.clone(), Some(object(2, "x-2", 99_000)), None, Verdict::Transfer(Size)),
            (source.clone(), Some(object(1, "x-2", 0)), None, Verdict::InPlace(Evidence::Content)),
            (object(1, A, 0), Some(object(1, B, 99_000)), None, Verdict::Transfer(Content)),
            (source.clone(), Some(object(1, A, 16_000)), None, Verdict::Transfer(MaybeNewer)),
            (source.clone(), Some(object(1, A, 16_001)), None, Verdict::InPlace(Evidence::SizeAndTime)),
            (source.clone(), Some(object(1, "", 16_001)), None, Verdict::InPlace(Evidence::SizeAndTime)),
            (source.clone(), Some(object(1, A, 16_001)), Some(10_000), Verdict::Transfer(MaybeNewer)),
            (source.clone(), Some(object(1, A, 16_001)), Some(10_001), Verdict::InPlace(Evidence::SizeAndTime)),
        ] {
            assert_eq!(compare(&source, destination.as_ref(), context(scan)), expected, "{source:?} {destination:?}");
            let failed = compare(&source, destination.as_ref(), CompareContext { failed_last: true, ..context(scan) });
            let doubted = expected == Verdict::InPlace(Evidence::SizeAndTime);
            assert_eq!(failed, if doubted { Verdict::Transfer(MaybeNewer) } else { expected }, "{source:?}");
        }
    }

    #[test]
    fn each_mode_compares_as_the_table_says() {
        use CompareMode::{Checksum, Default, ETag, Size};
        let in_place = Verdict::InPlace;
        let (missing, size) = (Verdict::Transfer(Difference::Missing), Verdict::Transfer(Difference::Size));
        let (differs, newer) = (Verdict::Transfer(Difference::Content), Verdict::Transfer(Difference::MaybeNewer));
        let there = |size, etag| Some(object(size, etag, 99_000));
        let source = || object(1, A, 0);
        for (mode, source, destination, opaque_etags, failed_last, expected) in [
            (Size, source(), None, false, false, missing),
            (Size, source(), there(2, A), false, false, size),
            (Size, source(), there(1, B), false, false, in_place(Evidence::Size)),
            (Size, source(), there(1, A), false, false, in_place(Evidence::Size)),
            (Size, source(), there(1, A), false, true, newer),
            (ETag, source(), None, false, false, missing),
            (ETag, source(), there(2, A), false, false, size),
            (ETag, source(), there(1, A), false, true, in_place(Evidence::Content)),
            (ETag, source(), there(1, B), false, false, differs),
            (ETag, source(), there(1, B), true, false, in_place(Evidence::Size)),
            (ETag, source(), there(1, "x-2"), false, false, in_place(Evidence::Size)),
            (ETag, object(1, A, 99_999), there(1, "x-2"), false, false, in_place(Evidence::Size)),
            (ETag, source(), there(1, ""), false, false, in_place(Evidence::Size)),
            (ETag, source(), there(1, "x-2"), false, true, newer),
            (Checksum, source(), None, false, false, missing),
            (Checksum, source(), there(2, A), false, false, size),
            (Checksum, source(), there(1, A), false, false, in_place(Evidence::Content)),
            (Checksum, source(), there(1, B), false, false, differs),
            (Checksum, source(), there(1, B), true, false, Verdict::AskForChecksums),
            (Checksum, source(), there(1, "x-2"), false, false, Verdict::AskForChecksums),
            (Checksum, source(), there(1, ""), false, true, Verdict::AskForChecksums),
            (Default, source(), there(1, A), true, false, in_place(Evidence::Content)),
            (Default, source(), there(1, B), true, false, in_place(Evidence::SizeAndTime)),
            (Default, object(1, A, 99_000), there(1, B), true, false, newer),
        ] {
            let context = CompareContext { mode, opaque_etags, failed_last, ..CompareContext::default() };
            let verdict = compare(&source, destination.as_ref(), context);
            assert_eq!(verdict, expected, "{mode:?} {destination:?} {opaque_etags} {failed_last}");
        }
    }

    #[test]
    fn checksums_decide_where_both_are_kept() {
        let (x, y) = (Some(Checksum(1)), Some(Checksum(2)));
        let in_place = Verdict::InPlace;
        let (differs, newer) = (Verdict::Transfer(Difference::Content), Verdict::Transfer(Difference::MaybeNewer));
        for (checksums, modified, failed_last, expected) in [
            ((x, x), 0, false, in_place(Evidence::Content)),
            ((x, x), 99_999, true, in_place(Evidence::Content)),
            ((x, y), 0, false, differs),
            ((x, None), 0, false, in_place(Evidence::SizeAndTime)),
            ((None, y), 99_999, false, newer),
            ((None, None), 0, true, newer),
        ] {
            let context = CompareContext { failed_last, ..CompareContext::default() };
            let (source, destination) = (object(1, "x-2", modified), object(1, "y-2", 99_000));
            assert_eq!(compare_checksums(&source, &destination, checksums, context), expected, "{checksums:?}");
        }
    }

    #[test]
    fn compares_versions_as_the_table_says() {
        let versioned =
            |version: Option<&str>| ListedObject { version_id: version.map(str::to_owned), ..object(1, A, 0) };
        let there = object(1, B, 99_000);
        let context = CompareContext::default();
        for (version, destination, recorded, expected) in [
            (Some("v"), None, Some("v"), Verdict::Transfer(Difference::Missing)),
            (Some("v"), Some(object(2, A, 0)), Some("v"), Verdict::Transfer(Difference::Size)),
            (Some("v"), Some(there.clone()), Some("v"), Verdict::InPlace(Evidence::Content)),
            (Some("v"), Some(there.clone()), Some("w"), Verdict::Transfer(Difference::Version)),
            (Some("v"), Some(object(1, A, 0)), None, Verdict::Transfer(Difference::Version)),
            (None, Some(there.clone()), Some("v"), Verdict::Transfer(Difference::Content)),
            (None, Some(object(1, A, 0)), None, Verdict::InPlace(Evidence::Content)),
        ] {
            let verdict = compare_version(&versioned(version), destination.as_ref(), recorded, context);
            assert_eq!(verdict, expected, "{version:?} {destination:?} {recorded:?}");
        }
    }

    proptest! {
        #[test]
        fn the_merge_join_equals_a_look_up_by_key(
            source in prop::collection::btree_set("[a-c/é\u{1f600}]{0,3}", 0..20),
            destination in prop::collection::btree_set("[a-c/é\u{1f600}]{0,3}", 0..20),
        ) {
            let source: Vec<&String> = source.iter().collect();
            let listed: Vec<&String> = destination.iter().collect();
            let (mut i, mut j) = (0, 0);
            let mut found = BTreeMap::new();
            loop {
                match merge_step(source.get(i).map(|k| k.as_str()), listed.get(j).map(|k| k.as_str())) {
                    MergeStep::End => break,
                    MergeStep::Source => { found.insert(source[i], false); i += 1; }
                    MergeStep::Both => { found.insert(source[i], true); i += 1; j += 1; }
                    MergeStep::Destination => j += 1,
                }
            }
            let there: BTreeSet<&String> = listed.into_iter().collect();
            let expected: BTreeMap<&String, bool> = source.into_iter().map(|k| (k, there.contains(k))).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
