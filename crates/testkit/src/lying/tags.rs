//! ETags that look otherwise than they are.

use std::collections::{BTreeMap, BTreeSet};

use md5::{Digest, Md5};
use migration_core::etag::ETag;

use super::lie::ETagStyle;

/// How weak tags begin.
const WEAK: &str = "W/";
/// What no content has.
const NOBODYS: &str = "the tag of no content";

/// Which ETags were shown for which. While ETags look otherwise, what was shown otherwise is not understood as it is.
#[derive(Debug, Default)]
pub(super) struct ShownTags {
    real: BTreeMap<String, ETag>,
    hidden: BTreeSet<String>,
    count: u64,
}

impl ShownTags {
    /// The tag as it is shown.
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
        // To the letter: equal tags may be written in two ways.
        if shown.as_str() != tag.as_str() {
            self.hidden.insert(text.to_owned());
            // What looks otherwise twice is still the same tag.
            let real = self.real(tag);
            self.real.insert(shown.as_str().to_owned(), real);
        }
        shown
    }

    /// The tag that this one was shown for.
    pub(super) fn real(&self, tag: &ETag) -> ETag {
        self.real.get(tag.as_str()).unwrap_or(tag).clone()
    }

    /// A tag of a condition, as it really is. Weak ones are nobody's.
    pub(super) fn understood(&self, tag: &ETag, otherwise: bool) -> ETag {
        match self.real.get(tag.as_str()) {
            Some(_) if tag.as_str().starts_with(WEAK) => ETag::new(NOBODYS),
            Some(real) => real.clone(),
            None if otherwise && self.hidden.contains(tag.as_str()) => ETag::new(NOBODYS),
            None => tag.clone(),
        }
    }

    /// A part's tag in a completion: weak ones are taken too, as they only name the part.
    pub(super) fn understood_of_part(&self, tag: &ETag, otherwise: bool) -> ETag {
        if tag.as_str().starts_with(WEAK) { self.real(tag) } else { self.understood(tag, otherwise) }
    }
}

fn digest(words: &[&str]) -> String {
    hex::encode(Md5::digest(words.join("/")))
}

/// Another digest, with as many parts as the tag says.
fn digest_like(tag: &str, words: &[&str]) -> String {
    match tag.split_once('-') {
        Some((_, parts)) => format!("{}-{parts}", digest(words)),
        None => digest(words),
    }
}
