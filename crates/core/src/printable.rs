//! Makes text of others fit to be shown: keys and messages of services may hold any character, and some would change the
//! terminal, end a line of a log, or reorder what stands around them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns a text whose control and invisible characters are written as escapes of Rust, such as `\n` and `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c, shown| {
        // Writing to a String cannot fail.
        let _ = write!(shown, "{}", c.escape_default());
    })
}

/// Returns a JSON document in which the same characters are written as escapes of JSON, such as `\u001b`. Its strings keep
/// their values, since outside of strings JSON has none of these characters but line feeds, tabs and spaces: those must not
/// be there.
pub fn printable_json(document: &str) -> Cow<'_, str> {
    escaped(document, |c, shown| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(shown, "\\u{unit:04x}");
        }
    })
}

/// Returns true for characters that must not be shown as they are.
pub fn is_hidden(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

/// Returns true for characters that reorder or hide what stands around them.
/// Source: Unicode, "Bidirectional Algorithm", table 4, the zero-width characters, and the blocks of tags and of
/// interlinear annotations.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) || !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            escape(c, &mut shown);
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_a_terminal_is_escaped() {
        for (text, expected) in [
            ("plain/ä/日本", "plain/ä/日本"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("line\nbreak\r\t", "line\\nbreak\\r\\t"),
            ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
            ("\u{7f}\u{9b}\u{61c}\u{e0041}", "\\u{7f}\\u{9b}\\u{61c}\\u{e0041}"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn strings_of_json_keep_their_values() {
        let value = "a\u{1b}[2J\n\u{7f}\u{9b}\u{202e}\"\\\u{2028}\u{e0041}日";
        let document = serde_json::to_string(&serde_json::json!({ "key": value })).unwrap();
        let shown = printable_json(&document);
        assert!(!shown.contains(is_hidden), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap()["key"], value);
    }
}
