//! Parts that are stored otherwise than was told.

use std::collections::BTreeMap;

use migration_core::object::ListedPart;
use migration_core::ports::{CompletedPart, Written};

/// What was told of parts, and what is stored, by upload and number.
#[derive(Debug, Default)]
pub(super) struct StoredParts(BTreeMap<(String, u32), (Written, Written)>);

impl StoredParts {
    /// Remembers a part.
    pub(super) fn insert(&mut self, upload: &str, number: u32, told: Written, stored: Written) {
        self.0.insert((upload.to_owned(), number), (told, stored));
    }

    /// The part is stored as it was sent.
    pub(super) fn forget(&mut self, upload: &str, number: u32) {
        self.0.remove(&(upload.to_owned(), number));
    }

    fn get(&self, upload: &str, number: u32) -> Option<&(Written, Written)> {
        self.0.get(&(upload.to_owned(), number))
    }

    /// Lists a part as it was told.
    pub(super) fn listed(&self, upload: &str, part: &mut ListedPart) {
        if let Some((told, stored)) = self.get(upload, part.number)
            && stored.etag == part.etag
        {
            part.etag = told.etag.clone();
            part.checksum = part.checksum.and(told.checksum);
        }
    }

    /// Names a part of a completion as it is stored.
    pub(super) fn completed(&self, upload: &str, part: &mut CompletedPart) {
        if let Some((told, stored)) = self.get(upload, part.number)
            && told.etag == part.etag
        {
            part.etag = stored.etag.clone();
            part.checksum = part.checksum.and(stored.checksum);
        }
    }
}
