//! Rewritten ETags.

use std::collections::{BTreeMap, BTreeSet};

use md5::{Digest, Md5};
use migration_core::etag::ETag;

use super::lie::ETagStyle;

/// Start of weak ETags.
const WEAK: &str = "W/";
/// An ETag that no content has.
const NOBODYS: &str = "the tag of no content";

/// Originals of rewritten ETags. While ETags are rewritten, the originals are not accepted.
#[derive(Debug, Default)]
pub(super) struct ShownTags {
    real: BTreeMap<String, ETag>,
    hidden: BTreeSet<String>,
    count: u64,
}

impl ShownTags {
    /// Rewrites an ETag.
    pub(super) fn shown(&mut self, style: ETagStyle, key: &str, tag: &ETag) -> ETag {
        let text = tag.as_str();
        let shown = match style {
            ETagStyle::UpperCase => text.to_uppercase(),
            ETagStyle::Weak => format!("{WEAK}\"{text}\""),
            ETagStyle::Quoted => format!("'{text}'"),
            ETagStyle::NoDigest => format!("0x8D{}", &digest(&[key, text])[..14].to_uppercase()),
            ETagStyle::FalseDigest => digest_like(text, &[key, text]),
            ETagStyle::Changing => {
                self.count += 1;
                digest_like(text, &[key, text, &self.count.to_string()])
            }
            ETagStyle::Missing => return tag.clone(),
        };
        let shown = ETag::new(&shown);
        // Compared as text: `ETag` treats some spellings as equal.
        if shown.as_str() != tag.as_str() {
            self.hidden.insert(text.to_owned());
            // Keeps the first original if the ETag was already rewritten.
            let real = self.real(tag);
            self.real.insert(shown.as_str().to_owned(), real);
        }
        shown
    }

    /// Returns the original of an ETag.
    pub(super) fn real(&self, tag: &ETag) -> ETag {
        self.real.get(tag.as_str()).unwrap_or(tag).clone()
    }

    /// Translates the ETag of a condition to its original. Weak ETags match nothing.
    pub(super) fn understood(&self, tag: &ETag, otherwise: bool) -> ETag {
        match self.real.get(tag.as_str()) {
            Some(_) if tag.as_str().starts_with(WEAK) => ETag::new(NOBODYS),
            Some(real) => real.clone(),
            None if otherwise && self.hidden.contains(tag.as_str()) => ETag::new(NOBODYS),
            None => tag.clone(),
        }
    }

    /// Translates the ETag of a part in a completion. Weak ETags are accepted, since they only identify the part.
    pub(super) fn understood_of_part(&self, tag: &ETag, otherwise: bool) -> ETag {
        if tag.as_str().starts_with(WEAK) { self.real(tag) } else { self.understood(tag, otherwise) }
    }
}

fn digest(words: &[&str]) -> String {
    hex::encode(Md5::digest(words.join("/")))
}

/// Returns another digest, with the same number of parts.
fn digest_like(tag: &str, words: &[&str]) -> String {
    match tag.split_once('-') {
        Some((_, parts)) => format!("{}-{parts}", digest(words)),
        None => digest(words),
    }
}
