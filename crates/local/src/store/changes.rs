//! What requests changed, for watchers and for the index.

use super::object::StoredObject;
use super::state::{Bucket, StoreState};
use super::upload::{Part, Upload};
use super::versions::Version;

/// A change of a bucket. What was made or changed is named, what was removed is kept until the index says so too.
#[derive(Debug)]
pub(super) enum Change {
    /// A version or delete marker was made, or changed.
    Version { key: String, number: u64, is_new: bool },
    /// A version or delete marker was removed.
    VersionRemoved { key: String, version: Version },
    /// An upload was created.
    Upload { id: String },
    /// An upload was completed or aborted.
    UploadRemoved { upload: Upload },
    /// A part was uploaded, in place of another one or of none.
    Part { id: String, number: u32, replaced: Option<Part> },
}

/// A change of the list of buckets.
#[derive(Debug)]
pub(super) enum BucketChange {
    /// A bucket was created, or its settings changed.
    Bucket { name: String },
    /// A bucket was removed with its content.
    BucketRemoved { name: String, bucket: Bucket },
}

impl Change {
    /// Returns key and object, if one became visible.
    pub(super) fn visible<'a>(&'a self, bucket: &'a Bucket) -> Option<(&'a str, &'a StoredObject)> {
        let Self::Version { key, number, is_new: true } = self else { return None };
        Some((key, bucket.version(key, *number)?.object.as_ref()?))
    }
}

/// All changes since they were taken last, in order.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) buckets: Vec<BucketChange>,
    /// Changes by bucket.
    pub(super) objects: Vec<(String, Vec<Change>)>,
}

impl Changes {
    pub(super) fn take(state: &mut StoreState) -> Self {
        let objects = state.buckets.iter_mut().filter(|(_, bucket)| !bucket.changes.is_empty());
        let objects = objects.map(|(name, bucket)| (name.clone(), std::mem::take(&mut bucket.changes)));
        Self { objects: objects.collect(), buckets: std::mem::take(&mut state.changes) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buckets.is_empty() && self.objects.is_empty()
    }
}
