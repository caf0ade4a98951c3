//! The ignore list: patterns over `bucket/key`, matched as the predecessor does.

use std::sync::Arc;

use aho_corasick::AhoCorasick;

use glob::Glob;

mod glob;

/// A compiled list of patterns. An object is ignored if one of them matches the whole of `bucket/key`.
///
/// Matching is that of Python's `fnmatch.fnmatchcase`, which the predecessor uses: case-sensitive; `*` and `?` also
/// match `/`; `[seq]` and `[!seq]` match one character; there is no escape, so a literal `[` is written `[[]`. Lines
/// are taken literally: no comments, no trimming, no negation. An empty pattern matches nothing.
///
/// The cost per key does not grow with the list: one pass over the key finds the patterns whose longest literal it
/// contains, and only these are matched. Clones share the compiled list.
#[derive(Clone, Debug, Default)]
pub struct IgnoreList {
    compiled: Option<Arc<Compiled>>,
}

#[derive(Debug)]
struct Compiled {
    patterns: Vec<Glob>,
    /// The longest literal of each pattern, without duplicates.
    texts: AhoCorasick,
    /// For each literal, the indices of the patterns that contain it.
    of_text: Vec<Vec<usize>>,
    /// The indices of the patterns without a literal.
    without: Vec<usize>,
}

/// A pattern that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to compile ignore pattern {pattern:?}: {reason}")]
pub struct IgnoreError {
    pattern: String,
    reason: String,
}

impl IgnoreList {
    /// Compiles patterns. Fails on the first invalid character class, such as `[z-a]`.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, IgnoreError> {
        let mut compiled = Vec::new();
        for pattern in patterns.iter().map(AsRef::as_ref).filter(|pattern| !pattern.is_empty()) {
            let error = |reason| IgnoreError { pattern: pattern.to_owned(), reason };
            compiled.push(Glob::new(pattern).map_err(error)?);
        }
        if compiled.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self { compiled: Some(Arc::new(Compiled::new(compiled)?)) })
    }

    /// Returns true if an object of a source bucket is ignored.
    pub fn ignores(&self, bucket: &str, key: &str) -> bool {
        self.compiled.as_ref().is_some_and(|compiled| compiled.matches(&format!("{bucket}/{key}")))
    }
}

impl Compiled {
    fn new(patterns: Vec<Glob>) -> Result<Self, IgnoreError> {
        let mut places = std::collections::BTreeMap::<&str, Vec<usize>>::new();
        let mut without = Vec::new();
        for (place, pattern) in patterns.iter().enumerate() {
            match pattern.longest_text() {
                Some(text) => places.entry(text).or_default().push(place),
                None => without.push(place),
            }
        }
        // Fails only for a list of gigabytes.
        let refused =
            |error: aho_corasick::BuildError| IgnoreError { pattern: String::new(), reason: error.to_string() };
        let texts = AhoCorasick::new(places.keys()).map_err(refused)?;
        let of_text = places.into_values().collect();
        Ok(Self { patterns, texts, of_text, without })
    }

    fn matches(&self, text: &str) -> bool {
        self.candidates(text).any(|pattern| pattern.matches(text))
    }

    /// Returns the patterns that may match, some of them more than once.
    fn candidates<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a Glob> {
        let found =
            self.texts.find_overlapping_iter(text).filter_map(|found| self.of_text.get(found.pattern().as_usize()));
        found.flatten().chain(&self.without).filter_map(|place| self.patterns.get(*place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let (bucket, key) = text.split_once('/').unwrap();
        IgnoreList::new(&[pattern]).unwrap().ignores(bucket, key)
    }

    #[test]
    fn matches_as_fnmatchcase_does() {
        // Each row was checked with Python's fnmatch.fnmatchcase(text, pattern).
        for (pattern, text, expected) in [
            ("b/*", "b/a/b/c", true),
            ("b/dir/", "b/dir/", true),
            ("b/dir/", "b/dir/x", false),
            ("b/dir/*", "b/dir/x", true),
            ("*.tmp", "b/x/y.tmp", true),
            ("*.tmp", "b/x/y.TMP", false),
            ("b/a/**/c", "b/a/c", false),
            ("b/a/**/c", "b/a//c", true),
            ("b/?", "b/é", true),
            ("b/?", "b//", true),
            ("b/[ab]", "b/b", true),
            ("b/[!ab]", "b/b", false),
            ("b/[^a]", "b/^", true),
            ("b/[^a]", "b/c", false),
            ("b/[[]x", "b/[x", true),
            ("b/[x", "b/[x", true),
            ("b/[]x]", "b/]", true),
            ("b/[a-]", "b/-", true),
            ("b/[-a]", "b/-", true),
            ("b/{x,y}", "b/{x,y}", true),
            ("b/\\*", "b/\\zz", true),
            ("b/a b#", "b/a b#", true),
            ("b/line\nend", "b/line\nend", true),
            ("b/*", "b/line\nend", true),
            (" b/a", "b/a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn an_empty_line_matches_nothing() {
        assert!(!IgnoreList::new(&["", ""]).unwrap().ignores("b", ""));
    }

    #[test]
    fn a_bad_class_is_named() {
        let error = IgnoreList::new(&["fine", "b/[z-a]"]).unwrap_err();
        assert!(error.to_string().contains("b/[z-a]"), "{error}");
    }

    #[test]
    fn a_key_is_tried_with_few_of_many_patterns() {
        let patterns: Vec<String> = (0..10_000)
            .map(|n| match n % 4 {
                0 => format!("b/logs/{n:05}/*"),
                1 => format!("*.x{n:05}"),
                2 => format!("*/tmp-{n:05}/?"),
                _ => format!("b/p/[ab]{n:05}"),
            })
            .collect();
        let list = IgnoreList::new(&patterns).unwrap();
        let compiled = list.compiled.as_ref().unwrap();
        for (key, tried, ignored) in [
            ("logs/2024/part-00001.json", 0, false),
            ("logs/00004/x", 1, true),
            ("x.x00001", 1, true),
            ("x.x00001.gz", 1, false),
            ("logs/00004/tmp-00002/a", 2, true),
            ("p/a00003", 1, true),
        ] {
            assert_eq!(compiled.candidates(&format!("b/{key}")).count(), tried, "{key}");
            assert_eq!(list.ignores("b", key), ignored, "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_list_ignores_what_one_of_its_patterns_does(
            patterns in prop::collection::vec("[ab*?/]{0,4}(\\[[ab!-]{1,3}\\])?[ab*]{0,2}", 0..6),
            key in "[ab/]{0,6}",
        ) {
            let valid: Vec<&String> = patterns.iter().filter(|pattern| IgnoreList::new(&[pattern]).is_ok()).collect();
            let one = valid.iter().any(|pattern| IgnoreList::new(&[pattern]).unwrap().ignores("b", &key));
            prop_assert_eq!(IgnoreList::new(&valid).unwrap().ignores("b", &key), one);
        }
    }
}
