//! Scans of work lists: the rows of a manifest in place of the listings of both sides. Each object is asked for at both
//! sides, many at once, and what differs is sent as by any scan.

mod csv;
mod lookup;
mod object;
mod parquet;
mod rows;
mod scan;

use migration_core::error::ServiceError;
use migration_core::etag::ETag;
use migration_core::manifest::{IndexError, MAX_INDEX_BYTES, ManifestIndex, ManifestLocation, RowError};

use super::ScanError;
use crate::{Process, Services};
use object::Object;

pub(super) use scan::scan_rows;

/// Why a work list can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The list, or a file of it, is not there.
    #[error("failed to read manifest: {bucket} has no object {key:?}")]
    Missing {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// The service.
    #[error("failed to read manifest {bucket}/{key}: {source}")]
    Service {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What it said.
        source: ServiceError,
    },
    /// It was replaced while it was read, or while the run was under way: what was read says nothing of what is there.
    #[error("failed to read manifest: {bucket}/{key} was replaced while the run was under way; start a new run")]
    Replaced {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// The bytes are not those that the index promises.
    #[error("failed to read manifest: {bucket}/{key} is not what its manifest.json says: {what}")]
    Damaged {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What differs.
        what: String,
    },
    /// The `manifest.json`.
    #[error("failed to read manifest {bucket}/{key}: {source}")]
    Index {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// Why.
        source: IndexError,
    },
    /// It is too large for what it says that it is.
    #[error("failed to read manifest {bucket}/{key}: a manifest.json of {size} bytes; {MAX_INDEX_BYTES} are read")]
    TooLarge {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// Its bytes.
        size: u64,
    },
    /// A row.
    #[error("failed to read row {row} of manifest {bucket}/{key}: {source}")]
    Row {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The row, from 1.
        row: u64,
        /// Why.
        source: RowError,
    },
    /// A row of a bucket that the job has nothing to do with.
    #[error(
        "failed to take row {row} of manifest {bucket}/{key}: it names bucket {named:?}, which is the source of no pair in spec.buckets"
    )]
    OtherBucket {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// The row, from 1.
        row: u64,
        /// What it names.
        named: String,
    },
    /// The bytes of a file are not of its form.
    #[error("failed to read manifest {bucket}/{key} after row {row}: {what}")]
    Form {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// Rows before.
        row: u64,
        /// What is wrong.
        what: String,
    },
}

/// The work list of a run.
pub(super) struct Manifest {
    pub(super) location: ManifestLocation,
    /// The content of the list itself, or of its `manifest.json`.
    pub(super) list: ETag,
    index: ManifestIndex,
}

impl Manifest {
    /// Looks what the list is.
    pub(super) async fn open<P: Services>(
        process: &Process<P>,
        location: &ManifestLocation,
    ) -> Result<Self, ScanError> {
        let object = Object::find(process, location.side, &location.bucket, &location.key).await?;
        let index = if object.begins_as_index(process).await? {
            if object.size > MAX_INDEX_BYTES {
                let (bucket, key, size) = (object.bucket, object.key, object.size);
                return Err(ManifestError::TooLarge { bucket, key, size }.into());
            }
            let text = object.span(process, 0, object.size).await?;
            ManifestIndex::parse(&text).map_err(|source| {
                let (bucket, key) = (object.bucket.clone(), object.key.clone());
                ManifestError::Index { bucket, key, source }
            })?
        } else {
            ManifestIndex::of_csv(location)
        };
        Ok(Self { location: location.clone(), list: object.etag, index })
    }
}
