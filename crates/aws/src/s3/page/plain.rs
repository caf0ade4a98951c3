//! Entries as nearly all services write them: elements without attributes that hold text alone. These are read at two
//! fifths of the instructions; an entry that is written otherwise, or has a value that can't be read, is left to the
//! reader of XML.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use quick_xml::escape::{resolve_xml_entity, unescape_with};

use super::{Entry, Listed};

/// Reads the elements of an entry, up to its end tag. Returns the entry and what is left of the document.
pub(super) fn entry(listed: Listed, document: &str) -> Option<(Entry<'_>, &str)> {
    let mut entry = Entry::default();
    let mut rest = document.trim_ascii_start();
    while !rest.starts_with("</") {
        let (name, text, after) = element(rest)?;
        entry.set(listed, name, text)?;
        rest = after.trim_ascii_start();
    }
    Some((entry, rest))
}

/// Returns the name of an element, its text, and what is left of the document.
fn element(document: &str) -> Option<(&str, Cow<'_, str>, &str)> {
    let tag = document.strip_prefix('<')?;
    let (name, tag) = tag.split_at_checked(tag.bytes().position(|byte| !byte.is_ascii_alphanumeric())?)?;
    let content = tag.strip_prefix('>')?;
    let first = memchr2(b'<', b'&', content.as_bytes())?;
    let (text, end) = content.split_at_checked(first)?;
    let (text, end) = if end.starts_with('<') { (Cow::Borrowed(text), end) } else { with_references(content)? };
    let (end, rest) = end.split_at_checked("</>".len() + name.len())?;
    let is_end = end.as_bytes().starts_with(b"</") && end.ends_with('>') && end.get(2..end.len() - 1)? == name;
    is_end.then_some((name, text, rest))
}

fn with_references(content: &str) -> Option<(Cow<'_, str>, &str)> {
    let (text, end) = content.split_at_checked(memchr(b'<', content.as_bytes())?)?;
    Some((unescape_with(text, resolve_xml_entity).ok()?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_elements_of_text_are_read() {
        let quoted = "\n <Key>a&amp;b</Key><Strange/></Contents>";
        assert_eq!(entry(Listed::Objects, quoted), None);
        let (found, rest) =
            entry(Listed::Objects, "\n <Key>a&amp;b</Key><Strange></Strange>\n</Contents><Contents>").unwrap();
        assert_eq!((found.key.as_deref(), rest), (Some("a&b"), "</Contents><Contents>"));
        for other in [
            "<Key>a</Key>",
            "<Key>a</Kez></Contents>",
            "<Key>a<!-- b --></Key></Contents>",
            "<Key><![CDATA[a]]></Key></Contents>",
            "<Key a=\"b\">a</Key></Contents>",
            "<Key>a&b</Key></Contents>",
            "<s:Key>a</s:Key></Contents>",
            "<Size>x</Size></Contents>",
            "<Owner><Key>a</Key></Owner></Contents>",
            "text</Contents>",
            "<Key>a",
            "",
        ] {
            assert_eq!(entry(Listed::Objects, other), None, "{other}");
        }
    }
}
