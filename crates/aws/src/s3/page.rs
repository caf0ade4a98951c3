//! Reading of pages of listings: `ListBucketResult` and `ListVersionsResult`.
//!
//! The SDK's reader needs many times as long, and takes a page that is cut off for a whole one, so that what is missing
//! looks absent. Pages are thus read here, whoever sent the request.
//!
//! | page | result |
//! |---|---|
//! | no XML, or another document | [`PageError::Foreign`] |
//! | cut off, or otherwise malformed | [`PageError::CutOff`], [`PageError::Xml`], … |
//! | a number, time or truth value that is none; an unknown entity or an element in a text | [`PageError::Value`] |
//!
//! Elements are known by their names without prefixes. Unknown ones are skipped; of those that come twice the last one
//! counts. Sources: `ListObjectsV2` and `ListObjectVersions` in the S3 API reference.

use std::borrow::Cow;

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use migration_core::etag::ETag;
use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

mod plain;

/// What a page lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Objects,
    Versions,
}

impl Listed {
    fn root(self) -> &'static str {
        match self {
            Self::Objects => "ListBucketResult",
            Self::Versions => "ListVersionsResult",
        }
    }

    fn entry(self) -> &'static str {
        match self {
            Self::Objects => "Contents",
            Self::Versions => "Version",
        }
    }
}

/// A page that can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    #[error("the response is no listing")]
    Foreign,
    #[error("the page ends before its last element does")]
    CutOff,
    #[error("the page goes on after its last element")]
    Trailing,
    #[error("the page has a control character")]
    ControlCharacter,
    #[error("the page is no XML: {0}")]
    Xml(#[from] quick_xml::Error),
    #[error("the value of {0} can't be read")]
    Value(String),
}

/// A page as the service sent it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page<'a> {
    pub entries: Vec<Entry<'a>>,
    pub is_truncated: Option<bool>,
    /// True if keys are encoded as in URLs.
    pub is_encoded: bool,
    pub next_token: Option<String>,
    pub next_key: Option<String>,
    pub next_version: Option<String>,
}

/// An object, or a version of one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub key: Option<Cow<'a, str>>,
    /// Size in bytes.
    pub size: Option<i64>,
    /// Last modification, as Unix time in milliseconds.
    pub modified: Option<i64>,
    pub etag: Option<ETag>,
    pub storage_class: Option<Cow<'a, str>>,
    pub version_id: Option<Cow<'a, str>>,
    pub is_latest: Option<bool>,
}

impl<'a> Entry<'a> {
    /// Elements that are read.
    const MEMBERS: [&'static str; 7] = ["Key", "Size", "LastModified", "ETag", "StorageClass", "VersionId", "IsLatest"];

    /// Sets a member; others are ignored. Returns `None` if the text is no value of it.
    fn set(&mut self, listed: Listed, name: &str, text: Cow<'a, str>) -> Option<()> {
        match name {
            // Objects of a listing without versions have none.
            "VersionId" | "IsLatest" if listed == Listed::Objects => {}
            "Key" => self.key = Some(text),
            "Size" => self.size = Some(text.parse().ok()?),
            "LastModified" => self.modified = Some(time(&text)?),
            "ETag" => self.etag = Some(ETag::new(&text)),
            "StorageClass" => self.storage_class = Some(text),
            "VersionId" => self.version_id = Some(text),
            "IsLatest" => self.is_latest = Some(truth(&text)?),
            _ => {}
        }
        Some(())
    }
}

/// Reads a page.
pub(super) fn read(body: &[u8], listed: Listed) -> Result<Page<'_>, PageError> {
    let mut document = Document::new(body);
    if !matches!(document.root(), Ok(Some(root)) if root.local_name().as_ref() == listed.root()) {
        return Err(PageError::Foreign);
    }
    document.text = std::str::from_utf8(body).map_err(quick_xml::Error::from)?;
    if has_control_characters(body) {
        return Err(PageError::ControlCharacter);
    }
    let mut page = Page::default();
    while let Some(element) = document.next()? {
        document.member(&element, listed, &mut page)?;
    }
    document.end()?;
    Ok(page)
}

/// Returns true if there is a character that XML does not have. Source: "Characters" in XML 1.0, section 2.2.
fn has_control_characters(body: &[u8]) -> bool {
    // Looks at many bytes together.
    let is_control = |byte: u8| byte < b' ' && byte != b'\t' && byte != b'\n' && byte != b'\r';
    body.chunks(256).any(|chunk| chunk.iter().fold(false, |found, byte| found | is_control(*byte)))
}

struct Document<'a> {
    reader: Reader<&'a [u8]>,
    /// The whole document; empty if it is not known to be UTF-8.
    text: &'a str,
}

impl<'a> Document<'a> {
    fn new(body: &'a [u8]) -> Self {
        let mut reader = Reader::from_reader(body);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, text: "" }
    }

    /// Reads to the start of the root; `None` if something else comes before it.
    fn root(&mut self) -> Result<Option<BytesStart<'a>>, PageError> {
        loop {
            match self.reader.read_event()? {
                Event::Start(root) => return Ok(Some(root)),
                Event::Text(text) if text.trim_ascii().is_empty() => {}
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
                _ => return Ok(None),
            }
        }
    }

    /// Returns the start of the next element in the present one; `None` at its end.
    fn next(&mut self) -> Result<Option<BytesStart<'a>>, PageError> {
        loop {
            match self.reader.read_event()? {
                Event::Start(element) => return Ok(Some(element)),
                Event::End(_) => return Ok(None),
                Event::Eof => return Err(PageError::CutOff),
                _ => {}
            }
        }
    }

    /// Reads what follows the root.
    fn end(&mut self) -> Result<(), PageError> {
        loop {
            match self.reader.read_event()? {
                Event::Eof => return Ok(()),
                Event::Text(text) if text.trim_ascii().is_empty() => {}
                Event::Comment(_) | Event::PI(_) => {}
                _ => return Err(PageError::Trailing),
            }
        }
    }

    fn member(&mut self, element: &BytesStart<'a>, listed: Listed, page: &mut Page<'a>) -> Result<(), PageError> {
        match element.local_name().as_ref() {
            name if name == listed.entry() => page.entries.push(self.entry(listed)?),
            "IsTruncated" => {
                page.is_truncated = Some(truth(&self.text(element)?).ok_or_else(|| unreadable(element))?);
            }
            "EncodingType" => page.is_encoded = self.text(element)? == "url",
            "NextContinuationToken" => page.next_token = Some(self.text(element)?.into_owned()),
            "NextKeyMarker" => page.next_key = Some(self.text(element)?.into_owned()),
            "NextVersionIdMarker" => page.next_version = Some(self.text(element)?.into_owned()),
            _ => self.skip(element)?,
        }
        Ok(())
    }

    fn entry(&mut self, listed: Listed) -> Result<Entry<'a>, PageError> {
        if let Some(entry) = self.plain_entry(listed) {
            self.next()?;
            return Ok(entry);
        }
        let mut entry = Entry::default();
        while let Some(element) = self.next()? {
            let name = element.local_name();
            if !Entry::MEMBERS.contains(&name.as_ref()) {
                self.skip(&element)?;
                continue;
            }
            let text = self.text(&element)?;
            entry.set(listed, name.as_ref(), text).ok_or_else(|| unreadable(&element))?;
        }
        Ok(entry)
    }

    /// Reads to the end tag of an entry, if it is a plain one.
    fn plain_entry(&mut self, listed: Listed) -> Option<Entry<'a>> {
        let at = self.text.len().checked_sub(self.reader.get_ref().len())?;
        let (before, inside) = self.text.split_at_checked(at)?;
        // `<Contents/>`: what follows is not inside.
        if before.ends_with("/>") {
            return None;
        }
        let (entry, rest) = plain::entry(listed, inside)?;
        *self.reader.get_mut() = rest.as_bytes();
        Some(entry)
    }

    /// Reads the text of an element, to its end.
    fn text(&mut self, element: &BytesStart<'a>) -> Result<Cow<'a, str>, PageError> {
        let mut text = Cow::Borrowed("");
        loop {
            match self.reader.read_event()? {
                Event::Text(piece) => append(&mut text, piece.into_inner()),
                Event::CData(piece) => append(&mut text, piece.into_inner()),
                Event::GeneralRef(reference) => {
                    append(&mut text, resolved(&reference).ok_or_else(|| unreadable(element))?);
                }
                Event::End(_) => return Ok(text),
                Event::Eof => return Err(PageError::CutOff),
                Event::Comment(_) | Event::PI(_) => {}
                _ => return Err(unreadable(element)),
            }
        }
    }

    /// Reads over an element, whose text may hold a bare `&`: nobody reads it.
    fn skip(&mut self, element: &BytesStart<'a>) -> Result<(), PageError> {
        self.reader.config_mut().allow_dangling_amp = true;
        let skipped = self.reader.read_to_end(element.name());
        self.reader.config_mut().allow_dangling_amp = false;
        skipped.map(drop).map_err(PageError::Xml)
    }
}

fn unreadable(element: &BytesStart<'_>) -> PageError {
    PageError::Value(element.local_name().as_ref().to_owned())
}

fn append<'a>(text: &mut Cow<'a, str>, piece: Cow<'a, str>) {
    if text.is_empty() {
        *text = piece;
        return;
    }
    let mut joined = match std::mem::take(text) {
        Cow::Owned(joined) => joined,
        Cow::Borrowed(first) => {
            // One more, for the second quote of an ETag.
            let mut joined = String::with_capacity(first.len() + piece.len() + 1);
            joined.push_str(first);
            joined
        }
    };
    joined.push_str(&piece);
    *text = Cow::Owned(joined);
}

/// Returns what an entity or a number of a character stands for.
fn resolved(reference: &BytesRef<'_>) -> Option<Cow<'static, str>> {
    match reference.resolve_char_ref().ok()? {
        Some(character) => Some(Cow::Owned(character.to_string())),
        None => resolve_xml_entity(reference).map(Cow::Borrowed),
    }
}

fn truth(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// Returns a time in milliseconds since 1970.
fn time(text: &str) -> Option<i64> {
    DateTime::from_str(text, DateTimeFormat::DateTimeWithOffset).ok()?.to_millis().ok()
}
