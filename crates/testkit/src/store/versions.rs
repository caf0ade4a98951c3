//! Versions of a key.

use super::object::StoredObject;
use super::settings::Versioning;

/// Name of the version without an id.
const NULL: &str = "null";

/// Versions of a key, oldest first.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<Version>);

#[derive(Debug)]
pub(super) struct Version {
    /// Version id; `None` for the version `null`.
    id: Option<String>,
    /// The object; `None` for a delete marker.
    pub(super) object: Option<StoredObject>,
}

impl Versions {
    /// Returns the newest version, unless it is a delete marker.
    pub(super) fn current(&self) -> Option<&StoredObject> {
        self.0.last()?.object.as_ref()
    }

    /// Returns the newest version for changes, unless it is a delete marker.
    pub(super) fn current_mut(&mut self) -> Option<&mut StoredObject> {
        self.0.last_mut()?.object.as_mut()
    }

    /// Returns a version by id, delete markers included.
    pub(super) fn find(&self, id: &str) -> Option<&Version> {
        self.0.iter().find(|version| version.id.as_deref().unwrap_or(NULL) == id)
    }

    /// Returns the object of a version for changes.
    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut StoredObject> {
        let version = self.0.iter_mut().find(|version| version.id.as_deref().unwrap_or(NULL) == id);
        version.and_then(|version| version.object.as_mut())
    }

    /// Iterates over the versions, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Version> {
        self.0.iter().rev()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes an object the newest version. An object without an id replaces the version `null`.
    pub(super) fn push(&mut self, object: StoredObject) {
        self.replace_null(object.version_id.clone(), Some(object));
    }

    /// Deletes the key without naming a version. Returns the id of the new delete marker if versioning is enabled.
    pub(super) fn delete(&mut self, versioning: Versioning, id: String) -> Option<String> {
        let id = (versioning == Versioning::Enabled).then_some(id);
        if versioning == Versioning::Off {
            self.remove(NULL);
        } else {
            self.replace_null(id.clone(), None);
        }
        id
    }

    /// Permanently removes one version.
    pub(super) fn remove(&mut self, id: &str) {
        self.0.retain(|version| version.id.as_deref().unwrap_or(NULL) != id);
    }

    /// Adds a version; keeps at most one version `null`.
    fn replace_null(&mut self, id: Option<String>, object: Option<StoredObject>) {
        if id.is_none() {
            self.remove(NULL);
        }
        self.0.push(Version { id, object });
    }
}
