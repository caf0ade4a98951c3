//! Texts of others, such as keys and messages of services, as they may be shown.

use migration_core::printable::printable;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is encoded in a key: all that a spreadsheet, a shell or a terminal might take for more than a letter.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'_').remove(b'~');

/// Returns a printable text for a cell of a CSV file, which no spreadsheet takes for a formula: one that could be begins
/// with an apostrophe. Source: OWASP, "CSV Injection".
pub fn cell(text: &str) -> String {
    let shown = printable(text).into_owned();
    // Spreadsheets skip spaces, and know the full-width forms of the signs.
    let first = shown.trim_start().chars().next();
    let is_formula =
        |c| matches!(c, '=' | '+' | '-' | '@' | '|' | '%' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}');
    if first.is_some_and(is_formula) { format!("'{shown}") } else { shown }
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
    }

    #[test]
    fn an_encoded_key_is_harmless_and_exact() {
        assert_eq!(encoded("a/b.c_d~e"), "a/b.c_d~e");
        assert_eq!(encoded("=-+\n\"<ä"), "%3D%2D%2B%0A%22%3C%C3%A4");
        let back = percent_encoding::percent_decode_str("%3D%2D%2B%0A%22%3C%C3%A4").decode_utf8().unwrap();
        assert_eq!(back, "=-+\n\"<ä");
    }
}
