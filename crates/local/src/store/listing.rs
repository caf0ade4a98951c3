//! Listings of keys, versions and uploads.

use std::ops::Bound::{Excluded, Included, Unbounded};

use migration_core::error::ServiceError;
use migration_core::object::ListedObject;
use migration_core::ports::{ListPage, ListRequest, Operation};

use super::checks::{refused, whole_seconds};
use super::object::StoredObject;
use super::state::Bucket;
use super::upload::Upload;
use super::versions::{Version, Versions};

/// Prefix of continuation tokens, so that no caller can use one as a key.
const TOKEN: &str = "page-after:";
/// Prefix of continuation tokens of versions. The number of listed versions of the key follows, then a colon.
const VERSION_TOKEN: &str = "versions-after:";

/// Place in a listing of keys after which a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// After this key.
    Key(String),
    /// After all keys with this prefix.
    Prefix(String),
}

/// A page of keys, and of common prefixes if there is a delimiter.
#[derive(Clone, Debug, Default)]
pub struct KeyPage {
    /// The objects, in byte order of their keys.
    pub objects: Vec<ListedObject>,
    /// Parts of keys up to the first delimiter after the requested prefix, in byte order; each stands for all keys that
    /// begin with it.
    pub prefixes: Vec<String>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<After>,
}

/// What a page of keys holds.
#[derive(Clone, Copy, Debug)]
pub struct KeyQuery<'a> {
    /// Only keys that begin with this.
    pub prefix: &'a str,
    /// Keys with this text after the prefix are listed by a common prefix; `None` and the empty text list all.
    pub delimiter: Option<&'a str>,
    /// Where the page begins; `None` is the start of the bucket.
    pub after: Option<&'a After>,
    /// Most entries of the page, objects and prefixes.
    pub page: usize,
}

/// A version or a delete marker in a listing.
#[derive(Clone, Debug)]
pub struct ListedVersion {
    /// The key.
    pub key: String,
    /// Version id; `None` for the version `null`.
    pub version_id: Option<String>,
    /// True for the newest version of its key.
    pub is_latest: bool,
    /// Last modification, as Unix time in milliseconds.
    pub modified: i64,
    /// The object; `None` for a delete marker.
    pub object: Option<ListedObject>,
}

/// Place in a listing of versions, after some of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionPlace {
    /// Key.
    pub key: String,
    /// Number of versions of the key before the place, newest first.
    pub before: usize,
}

/// A page of versions.
#[derive(Clone, Debug, Default)]
pub struct VersionPage {
    /// The versions, in byte order of their keys, and newest first.
    pub versions: Vec<ListedVersion>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<VersionPlace>,
}

/// An open upload in a listing.
#[derive(Clone, Debug)]
pub struct ListedUpload {
    /// Key of the object.
    pub key: String,
    /// Id of the upload.
    pub upload_id: String,
    /// Name of who created it.
    pub initiator: String,
    /// When it was created, as Unix time in milliseconds.
    pub initiated: i64,
}

fn bad_token(operation: Operation) -> ServiceError {
    refused(operation, "InvalidArgument", "the continuation token provided is incorrect")
}

impl Bucket {
    /// Iterates over the keys from this one on.
    fn from<'a>(&'a self, key: &str, after: bool) -> impl Iterator<Item = (&'a String, &'a Versions)> {
        let begins = if after { Excluded(key) } else { Included(key) };
        self.objects.range::<str, _>((begins, Unbounded))
    }

    /// Returns the first current object at or after a place.
    fn first(&self, place: &Place) -> Option<(&String, &StoredObject)> {
        let (key, after) = match place {
            Place::At(key) => (key, false),
            Place::After(key) => (key, true),
            Place::End => return None,
        };
        self.from(key, after).find_map(|(key, versions)| Some((key, versions.current()?)))
    }

    /// Lists a page of keys.
    pub(super) fn keys_page(&self, query: KeyQuery<'_>) -> KeyPage {
        let KeyQuery { prefix, delimiter, after, page: most } = query;
        let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
        let mut place = match after {
            Some(After::Key(key)) if key.as_str() >= prefix => Place::After(key.clone()),
            Some(After::Prefix(group)) if group.as_str() >= prefix => Place::beyond(group),
            _ => Place::At(prefix.to_owned()),
        };
        let (mut page, mut last) = (KeyPage::default(), None);
        while let Some((key, object)) = self.first(&place).filter(|(key, _)| key.starts_with(prefix)) {
            if page.objects.len() + page.prefixes.len() == most.max(1) {
                page.next = last;
                break;
            }
            if let Some(group) = delimiter.and_then(|delimiter| group(key, prefix, delimiter)) {
                place = Place::beyond(group);
                page.prefixes.push(group.to_owned());
                last = Some(After::Prefix(group.to_owned()));
            } else {
                place = Place::After(key.clone());
                page.objects.push(ListedObject { version_id: None, ..listed(key, object) });
                last = Some(After::Key(key.clone()));
            }
        }
        page
    }

    pub(super) fn list(&self, request: ListRequest<'_>, page: usize) -> Result<ListPage, ServiceError> {
        let after = match request.continuation {
            Some(token) => Some(token.strip_prefix(TOKEN).ok_or_else(|| bad_token(Operation::ListObjects))?),
            None => request.start_after,
        };
        let after = after.map(|key| After::Key(key.to_owned()));
        let query = KeyQuery { prefix: request.prefix, delimiter: None, after: after.as_ref(), page };
        let found = self.keys_page(query);
        let continuation = found.next.map(|next| match next {
            After::Key(text) | After::Prefix(text) => format!("{TOKEN}{text}"),
        });
        Ok(ListPage { objects: found.objects, continuation })
    }

    /// Lists a page of versions. Source: `ListObjectVersions` in the S3 API reference.
    pub(super) fn versions_page(&self, prefix: &str, from: Option<&VersionPlace>, most: usize) -> VersionPage {
        let start = from.map(|place| place.key.as_str()).filter(|key| *key >= prefix).unwrap_or(prefix);
        let skip = from.filter(|place| place.key == start).map_or(0, |place| place.before);
        let keys = self.from(start, false).take_while(|(key, _)| key.starts_with(prefix));
        let mut rest = keys
            .flat_map(|(key, versions)| versions.newest_first().enumerate().map(move |(at, found)| (key, at, found)))
            .filter(|(key, at, _)| key.as_str() != start || *at >= skip);
        let shown: Vec<_> = rest.by_ref().take(most.max(1)).collect();
        let last = shown.last().filter(|_| rest.next().is_some());
        let next = last.map(|(key, at, _)| VersionPlace { key: (*key).clone(), before: at + 1 });
        VersionPage { versions: shown.into_iter().map(|(key, at, found)| version(key, at, found)).collect(), next }
    }

    /// Lists a page of versions of which it shows the newest. Old versions and delete markers count too, so a page may
    /// show no object.
    pub(super) fn list_versions(&self, request: ListRequest<'_>, page: usize) -> Result<ListPage, ServiceError> {
        let from = match request.continuation {
            Some(token) => Some(version_token(token).ok_or_else(|| bad_token(Operation::ListVersions))?),
            None => request.start_after.map(|key| VersionPlace { key: key.to_owned(), before: usize::MAX }),
        };
        let found = self.versions_page(request.prefix, from.as_ref(), page);
        let objects =
            found.versions.into_iter().filter(|version| version.is_latest).filter_map(|version| version.object);
        let continuation = found.next.map(|place| format!("{VERSION_TOKEN}{}:{}", place.before, place.key));
        Ok(ListPage { objects: objects.collect(), continuation })
    }

    /// Returns the place after a version in a listing; after all versions of the key without an id.
    pub(super) fn place_after(&self, key: &str, version_id: Option<&str>) -> VersionPlace {
        let versions = self.objects.get(key);
        let place = version_id.and_then(|id| versions?.newest_first().position(|version| version.has_id(id)));
        VersionPlace { key: key.to_owned(), before: place.map_or(usize::MAX, |place| place + 1) }
    }

    /// Lists a page of open uploads, ordered by key and age, after a key or after one of its uploads.
    pub(super) fn uploads_page(
        &self,
        prefix: &str,
        after: Option<(&str, Option<&str>)>,
        most: usize,
    ) -> (Vec<ListedUpload>, bool) {
        let after = after.map(|(key, id)| (key, id.map_or(u64::MAX, Upload::number_of)));
        let mut found: Vec<(&String, &Upload)> = self
            .uploads
            .iter()
            .filter(|(_, upload)| upload.key.starts_with(prefix))
            .filter(|(_, upload)| after.is_none_or(|after| (upload.key.as_str(), upload.number) > after))
            .collect();
        found.sort_by_key(|(_, upload)| (upload.key.as_str(), upload.number));
        let is_truncated = found.len() > most.max(1);
        let listed = found.into_iter().take(most.max(1)).map(|(id, upload)| ListedUpload {
            key: upload.key.clone(),
            upload_id: id.clone(),
            initiator: upload.initiator.clone(),
            initiated: whole_seconds(upload.initiated),
        });
        (listed.collect(), is_truncated)
    }
}

/// Place among keys.
enum Place {
    At(String),
    After(String),
    End,
}

impl Place {
    /// The first place beyond all keys with a prefix.
    fn beyond(prefix: &str) -> Self {
        let mut rest = prefix.to_owned();
        while let Some(last) = rest.pop() {
            // The code points after the surrogates follow those before them.
            let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
            if let Some(next) = next {
                rest.push(next);
                return Self::At(rest);
            }
        }
        Self::End
    }
}

/// Returns the part of a key up to the first delimiter after the prefix.
fn group<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let place = key.get(prefix.len()..)?.find(delimiter)?;
    key.get(..prefix.len() + place + delimiter.len())
}

fn version_token(token: &str) -> Option<VersionPlace> {
    let (seen, key) = token.strip_prefix(VERSION_TOKEN)?.split_once(':')?;
    Some(VersionPlace { key: key.to_owned(), before: seen.parse().ok()? })
}

fn version(key: &str, at: usize, version: &Version) -> ListedVersion {
    ListedVersion {
        key: key.to_owned(),
        version_id: version.id.clone(),
        is_latest: at == 0,
        modified: whole_seconds(version.modified),
        object: version.object.as_ref().map(|object| listed(key, object)),
    }
}

fn listed(key: &str, object: &StoredObject) -> ListedObject {
    ListedObject {
        key: key.to_owned(),
        size: object.size(),
        etag: Some(object.etag.clone()),
        modified: whole_seconds(object.modified),
        version_id: object.version_id.clone(),
        storage_class: object.attributes.storage_class.clone(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use migration_core::ports::{Attributes, Tags};

    use super::super::settings::StoreSettings;
    use super::*;

    fn bucket(keys: &[&str]) -> Bucket {
        let mut bucket = Bucket::default();
        for key in keys {
            let received = Bytes::from_static(b"x").into();
            let (attributes, tags) = (Attributes::default(), Tags::new());
            let object = StoredObject::whole(received, &attributes, &tags, &StoreSettings::default(), 0);
            bucket.store(key, object);
        }
        bucket
    }

    /// Reads all pages of `page` entries, and returns keys and prefixes in order of their pages.
    fn listed(bucket: &Bucket, prefix: &str, delimiter: &str, page: usize) -> Vec<String> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = KeyQuery { prefix, delimiter: Some(delimiter), after: after.as_ref(), page };
            let found = bucket.keys_page(query);
            assert!(found.objects.len() + found.prefixes.len() <= page);
            all.extend(found.objects.into_iter().map(|object| object.key));
            all.extend(found.prefixes);
            after = found.next;
            if after.is_none() {
                all.sort();
                return all;
            }
        }
    }

    #[test]
    fn keys_are_grouped_by_what_stands_before_the_delimiter() {
        let bucket = bucket(&["a", "a/1", "a/2/3", "a//", "b", "b/\u{10ffff}", "b/\u{10ffff}x", "\u{d7ff}/1", "c"]);
        for (prefix, delimiter, expected) in [
            ("", "/", &["a", "a/", "b", "b/", "c", "\u{d7ff}/"][..]),
            ("a/", "/", &["a//", "a/1", "a/2/"]),
            ("b/", "\u{10ffff}", &["b/\u{10ffff}"]),
            ("", "", &["a", "a//", "a/1", "a/2/3", "b", "b/\u{10ffff}", "b/\u{10ffff}x", "c", "\u{d7ff}/1"]),
            ("d", "/", &[]),
        ] {
            for page in [1, 2, 100] {
                assert_eq!(listed(&bucket, prefix, delimiter, page), expected, "{prefix} {delimiter} {page}");
            }
        }
    }

    #[test]
    fn no_key_lies_beyond_the_last_character() {
        assert!(matches!(Place::beyond("\u{10ffff}"), Place::End));
        assert!(matches!(Place::beyond("a\u{10ffff}"), Place::At(next) if next == "b"));
        assert!(matches!(Place::beyond("\u{d7ff}"), Place::At(next) if next == "\u{e000}"));
    }
}
