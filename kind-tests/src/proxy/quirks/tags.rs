//! ETags in XML.

const OPEN: &str = "<ETag>";
const CLOSE: &str = "</ETag>";
const QUOTES: [&str; 3] = ["\"", "&quot;", "&#34;"];

/// Rewrites each ETag in the text; quotes stay as they are.
pub(super) fn respell(xml: &str, spell: fn(&str) -> String) -> String {
    let mut out = String::with_capacity(xml.len());
    let mut rest = xml;
    while let Some((before, tag, after)) = next(rest) {
        out.push_str(before);
        out.push_str(OPEN);
        out.push_str(&quoted(tag, spell));
        out.push_str(CLOSE);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Returns the text before the next ETag, the ETag, and the rest.
fn next(xml: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = xml.split_once(OPEN)?;
    let (tag, after) = rest.split_once(CLOSE)?;
    Some((before, tag, after))
}

/// Rewrites an ETag; quotes stay as they are.
pub(super) fn quoted(tag: &str, spell: fn(&str) -> String) -> String {
    let tag = tag.trim();
    for quote in QUOTES {
        if let Some(inner) = tag.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return format!("{quote}{}{quote}", spell(inner));
        }
    }
    if tag == "*" { tag.to_owned() } else { spell(tag) }
}
