//! Texts of others, such as keys and messages of services, as they may be shown.

use migration_core::printable::printable;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is encoded in a key: all that a spreadsheet, a shell or a terminal might take for more than a letter.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'~');

/// Returns a printable text for a cell of a CSV file, no part of which a spreadsheet takes for a formula: one that could
/// be begins with an apostrophe. Where the list separator is a semicolon, cells end there too, also within quotes.
/// Source: OWASP, "CSV Injection".
pub fn cell(text: &str) -> String {
    let shown = printable(text);
    let parts: Vec<_> =
        shown.split(';').map(|part| if is_formula(part) { format!("'{part}") } else { part.into() }).collect();
    parts.join(";")
}

/// Returns true if a spreadsheet may take a text for a formula. Spreadsheets skip spaces and quotes, and know the
/// full-width forms of the signs.
fn is_formula(text: &str) -> bool {
    let first = text.trim_start_matches(|c: char| c.is_whitespace() || c == '"').chars().next();
    let signs = |c| matches!(c, '=' | '+' | '-' | '@' | '|' | '%' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}');
    first.is_some_and(signs)
}

/// Returns a key in percent-encoding, from which it can be had back exactly.
pub fn encoded(key: &str) -> String {
    utf8_percent_encode(key, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "|cmd", "\u{ff1d}1", "\u{a0}=1", "%0A=1"] {
            assert!(cell(text).starts_with('\''), "{text}");
        }
        for text in ["a=1", "", "photos/-1", "\t=1", "\n+1"] {
            assert_eq!(cell(text), printable(text), "an escape begins with a backslash");
        }
        for (text, expected) in [
            ("a;=1", "a;'=1"),
            ("a; =1;b", "a;' =1;b"),
            ("=1;;-2", "'=1;;'-2"),
            ("a;\"=1\"", "a;'\"=1\""),
            ("a;b;", "a;b;"),
        ] {
            assert_eq!(cell(text), expected, "cells end at a semicolon in some countries");
        }
    }

    #[test]
    fn an_encoded_key_is_harmless_and_exact() {
        assert_eq!(encoded("a/b.c_d~e"), "a/b.c_d~e");
        assert_eq!(encoded("=-+\n\"<ä"), "%3D%2D%2B%0A%22%3C%C3%A4");
        let back = percent_encoding::percent_decode_str("%3D%2D%2B%0A%22%3C%C3%A4").decode_utf8().unwrap();
        assert_eq!(back, "=-+\n\"<ä");
    }
}
