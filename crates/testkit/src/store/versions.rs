//! The versions of a key.

use super::object::StoredObject;
use super::settings::Versioning;

/// How requests name the version that has no id of its own.
const NULL: &str = "null";

/// The versions of a key, oldest first.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<Version>);

/// A version.
#[derive(Debug)]
pub(super) struct Version {
    /// Its id; none for the version `null`.
    id: Option<String>,
    /// The object; none for a delete marker.
    pub(super) object: Option<StoredObject>,
}

impl Versions {
    /// The newest version, unless that is a delete marker.
    pub(super) fn current(&self) -> Option<&StoredObject> {
        self.0.last()?.object.as_ref()
    }

    /// The same, to be changed.
    pub(super) fn current_mut(&mut self) -> Option<&mut StoredObject> {
        self.0.last_mut()?.object.as_mut()
    }

    /// A version by its id, delete markers included.
    pub(super) fn find(&self, id: &str) -> Option<&Version> {
        self.0.iter().find(|version| version.id.as_deref().unwrap_or(NULL) == id)
    }

    /// The object of a version by its id, to be changed.
    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut StoredObject> {
        let version = self.0.iter_mut().find(|version| version.id.as_deref().unwrap_or(NULL) == id);
        version.and_then(|version| version.object.as_mut())
    }

    /// All of them, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Version> {
        self.0.iter().rev()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes an object the newest version; one without an id takes the place of the version `null`.
    pub(super) fn push(&mut self, object: StoredObject) {
        self.replace_null(object.version_id.clone(), Some(object));
    }

    /// Deletes the key as a request without a version does, and gives the id of the delete marker that it is under now,
    /// where versions are kept.
    pub(super) fn delete(&mut self, versioning: Versioning, id: String) -> Option<String> {
        let id = (versioning == Versioning::Enabled).then_some(id);
        if versioning == Versioning::Off {
            self.remove(NULL);
        } else {
            self.replace_null(id.clone(), None);
        }
        id
    }

    /// Removes one version for good.
    pub(super) fn remove(&mut self, id: &str) {
        self.0.retain(|version| version.id.as_deref().unwrap_or(NULL) != id);
    }

    /// There is one version `null` at most.
    fn replace_null(&mut self, id: Option<String>, object: Option<StoredObject>) {
        if id.is_none() {
            self.remove(NULL);
        }
        self.0.push(Version { id, object });
    }
}
