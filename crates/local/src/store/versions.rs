//! Versions of a key.

use super::object::StoredObject;
use super::settings::Versioning;

/// Name of the version without an id.
pub(super) const NULL: &str = "null";

/// Versions of a key, oldest first.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<Version>);

#[derive(Clone, Debug)]
pub(super) struct Version {
    /// Number that no other version of the bucket has; later ones have higher numbers.
    pub(super) number: u64,
    /// Version id; `None` for the version `null`.
    pub(super) id: Option<String>,
    /// Time of modification, in milliseconds since 1970.
    pub(super) modified: i64,
    /// The object; `None` for a delete marker.
    pub(super) object: Option<StoredObject>,
}

impl Version {
    pub(super) fn has_id(&self, id: &str) -> bool {
        self.id.as_deref().unwrap_or(NULL) == id
    }
}

impl IntoIterator for Versions {
    type Item = Version;
    type IntoIter = std::vec::IntoIter<Version>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Versions {
    /// Returns the newest version, unless it is a delete marker.
    pub(super) fn current(&self) -> Option<&StoredObject> {
        self.0.last()?.object.as_ref()
    }

    /// Returns the newest version, unless it is a delete marker, or the one with this id, to change its object.
    pub(super) fn find_mut(&mut self, id: Option<&str>) -> Option<&mut Version> {
        let version = match id {
            None => self.0.last_mut(),
            Some(id) => self.0.iter_mut().find(|version| version.has_id(id)),
        };
        version.filter(|version| version.object.is_some())
    }

    /// Returns a version by id, delete markers included.
    pub(super) fn find(&self, id: &str) -> Option<&Version> {
        self.0.iter().find(|version| version.has_id(id))
    }

    /// Iterates over the versions, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Version> {
        self.0.iter().rev()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the newest version. One without an id replaces the version `null`, which is returned.
    pub(super) fn push(&mut self, version: Version) -> Option<Version> {
        let replaced = if version.id.is_none() { self.remove(NULL) } else { None };
        self.0.push(version);
        replaced
    }

    /// Permanently removes a version, and returns it. A bucket without versioning has the version `null` only.
    pub(super) fn remove(&mut self, id: &str) -> Option<Version> {
        let place = self.0.iter().position(|version| version.has_id(id))?;
        Some(self.0.remove(place))
    }

    /// Returns the delete marker that a deletion makes where the bucket has versions; `None` where it has none.
    pub(super) fn marker(versioning: Versioning, number: u64, modified: i64) -> Option<Version> {
        let id = match versioning {
            Versioning::Off => return None,
            Versioning::Enabled => Some(format!("version-{number}")),
            Versioning::Suspended => None,
        };
        Some(Version { number, id, modified, object: None })
    }
}
