//! Which objects of the source have to be transferred, from two listings.

use crate::etag::{ETag, ETagComparison};

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The whole key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The ETag; a few services leave it out.
    pub etag: Option<ETag>,
    /// Last modification, in milliseconds since 1970.
    pub modified: i64,
    /// The version, where versions were listed and the bucket keeps them; the version `null` is none.
    pub version_id: Option<String>,
}

/// Why an object is transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Not at the destination.
    Missing,
    /// Of another size there.
    Size,
    /// Both ETags are content digests and differ.
    Content,
    /// The ETags say nothing, and the source may be newer than the copy.
    MaybeNewer,
    /// Another version than the one recorded at the last copy.
    Version,
}

/// By what an object was found to be in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// By its content: equal ETags.
    Content,
    /// By size and time only; counted apart in the status.
    SizeAndTime,
}

/// What the comparison of one object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Transfer it.
    Transfer(Difference),
    /// It is in place.
    InPlace(Evidence),
}

/// What the comparison needs to know besides the two objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CompareContext {
    /// When the last complete scan of this job began, in milliseconds since 1970.
    pub last_complete_scan: Option<i64>,
    /// How far the two services' clocks may be apart, in milliseconds; 5 s are added to it.
    pub clock_offset: i64,
    /// The last run has failed to move this object: what the destination has may be an older content, even if it was
    /// written later.
    pub failed_last: bool,
}

/// The margin by which the source must be older than its copy, besides the clocks' offset: listings show whole seconds,
/// and services stamp an object some time after its request began.
const MARGIN: i64 = 5_000;

/// Compares an object with what the destination has under its mapped key.
///
/// | destination | sizes | ETags | times | verdict |
/// |---|---|---|---|---|
/// | absent | | | | transfer: missing |
/// | there | differ | | | transfer: size |
/// | there | equal | same | | in place, by content |
/// | there | equal | both MD5, differ | | transfer: content |
/// | there | equal | not comparable | source older than destination by offset + 5 s, and older than the last complete scan, where there was one, and the last run did not fail with it | in place, by size and time |
/// | there | equal | not comparable | otherwise | transfer: maybe newer |
pub fn compare(source: &ListedObject, destination: Option<&ListedObject>, context: CompareContext) -> Verdict {
    let Some(destination) = destination else { return Verdict::Transfer(Difference::Missing) };
    if source.size != destination.size {
        return Verdict::Transfer(Difference::Size);
    }
    let tags = match (&source.etag, &destination.etag) {
        (Some(a), Some(b)) => a.compare(b),
        _ => ETagComparison::NotComparable,
    };
    match tags {
        ETagComparison::Same => Verdict::InPlace(Evidence::Content),
        ETagComparison::Different => Verdict::Transfer(Difference::Content),
        ETagComparison::NotComparable => {
            let older = source.modified + context.clock_offset + MARGIN < destination.modified;
            let scanned = context.last_complete_scan.is_none_or(|start| source.modified < start);
            if older && scanned && !context.failed_last {
                Verdict::InPlace(Evidence::SizeAndTime)
            } else {
                Verdict::Transfer(Difference::MaybeNewer)
            }
        }
    }
}

/// Compares an object's version with the one that was recorded when it was last copied.
///
/// | destination | sizes | source's version | recorded | verdict |
/// |---|---|---|---|---|
/// | absent | | | | transfer: missing |
/// | there | differ | | | transfer: size |
/// | there | equal | v | v | in place, by content |
/// | there | equal | v | another, or none | transfer: version |
/// | there | equal | none: the bucket keeps no versions | any | as [`compare`] |
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

/// What to do with the heads of the two ordered listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeStep {
    /// The source's head has nothing at the destination: compare it with nothing, go on at the source.
    Source,
    /// Both heads have one key: compare them, go on at both.
    Both,
    /// The destination's head has no source: go on at the destination.
    Destination,
    /// Both listings are at their ends.
    End,
}

/// One step of the merge-join of two listings in byte order of (mapped) keys.
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
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const B: &str = "92eb5ffee6ae2fec3ad71c777531578f";

    fn object(size: u64, etag: &str, modified: i64) -> ListedObject {
        let etag = (!etag.is_empty()).then(|| ETag::new(etag));
        ListedObject { key: "k".into(), size, etag, modified, version_id: None }
    }

    #[test]
    fn compares_as_the_table_says() {
        use Difference::{Content, MaybeNewer, Missing, Size};
        let context =
            |last_complete_scan| CompareContext { last_complete_scan, clock_offset: 1_000, failed_last: false };
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
