//! A single pattern in the syntax of Python's `fnmatch`.

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// A literal.
    Text(String),
    /// Any one character.
    One,
    /// One character of a class.
    Class(Class),
    /// Any number of characters.
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    negated: bool,
    /// First and last character of each range, inclusive.
    ranges: Vec<(char, char)>,
}

impl Glob {
    /// Parses a pattern. Fails with a description of an invalid class.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            match c {
                '*' if parts.last() == Some(&Part::Any) => {}
                '*' => parts.push(Part::Any),
                '?' => parts.push(Part::One),
                '[' => match Class::new(rest)? {
                    Some((class, after)) => {
                        parts.push(Part::Class(class));
                        rest = after;
                    }
                    None => push_text(&mut parts, c),
                },
                c => push_text(&mut parts, c),
            }
        }
        Ok(Self { parts })
    }

    /// Returns the longest literal, which every match must contain.
    pub(super) fn longest_text(&self) -> Option<&str> {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.max_by_key(|text| text.len())
    }

    /// Returns true if the whole text matches. Backtracks to the last `*` only: everything before it has matched as
    /// early as possible.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (mut place, mut left) = (0, text);
        let mut after_any: Option<(usize, &str)> = None;
        loop {
            match self.parts.get(place) {
                Some(Part::Any) => {
                    place += 1;
                    after_any = Some((place, left));
                    continue;
                }
                Some(part) => {
                    if let Some(after) = part.take(left) {
                        (place, left) = (place + 1, after);
                        continue;
                    }
                }
                None if left.is_empty() => return true,
                None => {}
            }
            // Let the `*` match one character more.
            let Some((next, from)) = after_any else { return false };
            let mut chars = from.chars();
            if chars.next().is_none() {
                return false;
            }
            after_any = Some((next, chars.as_str()));
            (place, left) = (next, chars.as_str());
        }
    }
}

fn push_text(parts: &mut Vec<Part>, c: char) {
    match parts.last_mut() {
        Some(Part::Text(text)) => text.push(c),
        _ => parts.push(Part::Text(c.to_string())),
    }
}

impl Part {
    /// Returns the rest of a text after this part, or `None` if the text does not start with it.
    fn take<'a>(&self, text: &'a str) -> Option<&'a str> {
        let mut chars = text.chars();
        match self {
            Self::Text(wanted) => text.strip_prefix(wanted.as_str()),
            Self::One => chars.next().map(|_| chars.as_str()),
            Self::Class(class) => chars.next().filter(|c| class.has(*c)).map(|_| chars.as_str()),
            Self::Any => Some(text),
        }
    }
}

impl Class {
    /// Parses the class that starts after `[`. Returns it with the rest of the pattern, or `None` if it is never
    /// closed.
    fn new(rest: &str) -> Result<Option<(Self, &str)>, String> {
        let (negated, body) = rest.strip_prefix('!').map_or((false, rest), |body| (true, body));
        // A `]` in the first position is one of the characters.
        let Some(first) = body.chars().next() else { return Ok(None) };
        let Some(end) = body.get(first.len_utf8()..).and_then(|tail| tail.find(']')) else { return Ok(None) };
        let (members, after) = body.split_at(first.len_utf8() + end);
        let after = after.get(1..).unwrap_or_default();
        let mut ranges = Vec::new();
        let mut left = members.chars();
        while let Some(from) = left.next() {
            let mut ahead = left.clone();
            // A hyphen at either end stands for itself.
            match (ahead.next(), ahead.next()) {
                (Some('-'), Some(to)) if from > to => return Err(format!("the range {from}-{to} is empty")),
                (Some('-'), Some(to)) => {
                    ranges.push((from, to));
                    left = ahead;
                }
                _ => ranges.push((from, from)),
            }
        }
        Ok(Some((Self { negated, ranges }, after)))
    }

    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    /// The regular expression of a pattern, as Python's `fnmatch.translate` builds it.
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

    /// The regular expression of the class that starts after `[`, with the rest; `None` if it is never closed.
    fn class(rest: &str) -> Option<(String, &str)> {
        let (negated, body) = rest.strip_prefix('!').map_or((false, rest), |body| (true, body));
        // A `]` in the first position is one of the characters.
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

    #[test]
    fn patterns_are_read_into_their_parts() {
        let text = |text: &str| Part::Text(text.into());
        let class = |negated, ranges: &[(char, char)]| Part::Class(Class { negated, ranges: ranges.to_vec() });
        for (pattern, parts) in [
            ("a**b?", vec![text("a"), Part::Any, text("b"), Part::One]),
            ("[!a-c-]x", vec![class(true, &[('a', 'c'), ('-', '-')]), text("x")]),
            ("[-a][]b]", vec![class(false, &[('-', '-'), ('a', 'a')]), class(false, &[(']', ']'), ('b', 'b')])]),
            ("[a", vec![text("[a")]),
            ("[", vec![text("[")]),
            ("[!]", vec![text("[!]")]),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().parts, parts, "{pattern}");
        }
        assert_eq!(Glob::new("*/tmp-1/?").unwrap().longest_text(), Some("/tmp-1/"));
        assert_eq!(Glob::new("*[a]?").unwrap().longest_text(), None);
        assert!(Glob::new("x[z-a]").unwrap_err().contains("z-a"));
    }

    #[test]
    fn many_stars_cost_little() {
        // Exponential if every star were backtracked to.
        let pattern = "a*".repeat(40) + "b";
        assert!(!Glob::new(&pattern).unwrap().matches(&"a".repeat(1_000)));
    }

    proptest! {
        /// Matches exactly as the regular expressions that Python's `fnmatch` builds.
        #[test]
        fn matches_as_the_regular_expression_does(
            pattern in "([ab/é*?]|\\[!?[]ab-]{1,3}\\]|[\\[\\]!-]){0,6}",
            text in "[ab/é\\[\\]!\n-]{0,7}",
        ) {
            let (Ok(glob), Ok(regex)) = (Glob::new(&pattern), Regex::new(&translate(&pattern))) else { return Ok(()) };
            prop_assert_eq!(glob.matches(&text), regex.is_match(&text), "{} {:?}", pattern, regex);
        }
    }
}
