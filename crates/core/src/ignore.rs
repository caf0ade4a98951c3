//! The ignore list: patterns over `bucket/key`, with the predecessor's matching.

use regex::{RegexSet, RegexSetBuilder};

/// A compiled list of patterns. An object is ignored when `bucket/key` matches one of them as a whole.
///
/// The matching is that of Python's `fnmatch.fnmatchcase`, which the predecessor uses: case-sensitive; `*` and `?`
/// also cross `/`; `[seq]` and `[!seq]` stand for one character; there is no escape, so a literal `[` is written
/// `[[]`. A line is taken as it is: no comments, no trimming, no negation. An empty pattern matches nothing.
#[derive(Clone, Debug)]
pub struct IgnoreList {
    patterns: RegexSet,
}

/// Why a list of patterns can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to compile ignore pattern {pattern:?}: {reason}")]
pub struct IgnoreError {
    pattern: String,
    reason: String,
}

/// Bound on the compiled form of all patterns together, in bytes; about 10,000 patterns of 60 characters need 30 MB.
const SIZE_LIMIT: usize = 256 << 20;

impl IgnoreList {
    /// Compiles patterns. Fails on the first one whose character class is not valid, such as `[z-a]`.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, IgnoreError> {
        let wanted = || patterns.iter().map(AsRef::as_ref).filter(|p| !p.is_empty());
        let set = RegexSetBuilder::new(wanted().map(translate)).size_limit(SIZE_LIMIT).build().map_err(|all| {
            let bad = wanted().find(|p| RegexSet::new([translate(p)]).is_err()).unwrap_or_default();
            IgnoreError { pattern: bad.to_owned(), reason: all.to_string() }
        })?;
        Ok(Self { patterns: set })
    }

    /// Whether an object of a source bucket is to be left out.
    pub fn ignores(&self, bucket: &str, key: &str) -> bool {
        !self.patterns.is_empty() && self.patterns.is_match(&format!("{bucket}/{key}"))
    }
}

/// The regular expression of a pattern, as Python's `fnmatch.translate` makes it.
fn translate(pattern: &str) -> String {
    let mut out = String::from(r"(?s)\A");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '*' => {
                rest = rest.trim_start_matches('*');
                out.push_str(".*");
            }
            '?' => out.push('.'),
            '[' => match class(rest) {
                Some((class, after)) => {
                    out.push_str(&class);
                    rest = after;
                }
                None => out.push_str(r"\["),
            },
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out.push_str(r"\z");
    out
}

/// The regular expression of the class that starts after `[`, and what follows it; none where it is never closed.
fn class(rest: &str) -> Option<(String, &str)> {
    let (negated, body) = rest.strip_prefix('!').map_or((false, rest), |body| (true, body));
    // A `]` in the first place is one of the characters.
    let first = body.chars().next()?.len_utf8();
    let end = first + body.get(first..)?.find(']')?;
    let escaped: String = body[..end]
        .chars()
        .flat_map(|c| (!c.is_alphanumeric() && c != '-').then_some('\\').into_iter().chain([c]))
        .collect();
    // A hyphen at either end stands for itself.
    let escaped = escaped.strip_prefix('-').map_or(escaped.clone(), |tail| format!(r"\-{tail}"));
    let escaped = match escaped.strip_suffix('-') {
        Some(head) if !head.is_empty() && !head.ends_with('\\') => format!(r"{head}\-"),
        _ => escaped,
    };
    Some((format!("[{}{escaped}]", if negated { "^" } else { "" }), &body[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
