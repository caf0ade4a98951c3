//! Parts stored differently from their report.

use std::collections::BTreeMap;

use migration_core::object::ListedPart;
use migration_core::ports::{CompletedPart, Written};

/// Reported and actual state of parts, by upload and number.
#[derive(Debug, Default)]
pub(super) struct StoredParts(BTreeMap<(String, u32), (Written, Written)>);

impl StoredParts {
    /// Records a part.
    pub(super) fn insert(&mut self, upload: &str, number: u32, told: Written, stored: Written) {
        self.0.insert((upload.to_owned(), number), (told, stored));
    }

    /// Removes a part that is stored as sent.
    pub(super) fn forget(&mut self, upload: &str, number: u32) {
        self.0.remove(&(upload.to_owned(), number));
    }

    fn get(&self, upload: &str, number: u32) -> Option<&(Written, Written)> {
        self.0.get(&(upload.to_owned(), number))
    }

    /// Changes a listed part to its reported state.
    pub(super) fn listed(&self, upload: &str, part: &mut ListedPart) {
        if let Some((told, stored)) = self.get(upload, part.number)
            && stored.etag == part.etag
        {
            part.etag = told.etag.clone();
            part.checksum = part.checksum.and(told.checksum);
        }
    }

    /// Changes a part of a completion to its actual state.
    pub(super) fn completed(&self, upload: &str, part: &mut CompletedPart) {
        if let Some((told, stored)) = self.get(upload, part.number)
            && told.etag == part.etag
        {
            part.etag = stored.etag.clone();
            part.checksum = part.checksum.and(stored.checksum);
        }
    }
}
