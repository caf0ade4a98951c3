//! Scans work lists: the rows of a manifest replace the listings of both sides. Objects are read by HEAD at both sides,
//! many at once, and differences are sent as by any scan.

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

/// Why a work list could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The list, or one of its files, does not exist.
    #[error("failed to read manifest: {bucket} has no object {key:?}")]
    Missing {
        /// Bucket of the list or its file.
        bucket: String,
        /// Key of the list or its file.
        key: String,
    },
    /// A service failed.
    #[error("failed to read manifest {bucket}/{key}: {source}")]
    Service {
        /// Bucket of the list or its file.
        bucket: String,
        /// Key of the list or its file.
        key: String,
        /// The service's error.
        source: ServiceError,
    },
    /// The list was replaced while it was read, or during the run: the rows already read may be outdated.
    #[error("failed to read manifest: {bucket}/{key} was replaced during the run; start a new run")]
    Replaced {
        /// Bucket of the list or its file.
        bucket: String,
        /// Key of the list or its file.
        key: String,
    },
    /// The content differs from what the index says.
    #[error("failed to read manifest: {bucket}/{key} is not what its manifest.json says: {what}")]
    Damaged {
        /// Bucket of the list or its file.
        bucket: String,
        /// Key of the list or its file.
        key: String,
        /// The difference.
        what: String,
    },
    /// The `manifest.json` is invalid.
    #[error("failed to read manifest {bucket}/{key}: {source}")]
    Index {
        /// Bucket of the list or its file.
        bucket: String,
        /// Key of the list or its file.
        key: String,
        /// The reason.
        source: IndexError,
    },
    /// The object is too large for a `manifest.json`.
    #[error(
        "failed to read manifest {bucket}/{key}: a manifest.json of {size} bytes; the maximum is {MAX_INDEX_BYTES}"
    )]
    TooLarge {
        /// Bucket of the list or its file.
        bucket: String,
        /// Key of the list or its file.
        key: String,
        /// Size in bytes.
        size: u64,
    },
    /// A row is invalid.
    #[error("failed to read row {row} of manifest {bucket}/{key}: {source}")]
    Row {
        /// Bucket of the list or its file.
        bucket: String,
        /// Key of the list or its file.
        key: String,
        /// Number of the row, from 1.
        row: u64,
        /// The reason.
        source: RowError,
    },
    /// A row names a bucket that no pair of the job has as its source.
    #[error(
        "failed to take row {row} of manifest {bucket}/{key}: it names bucket {named:?}, which is the source of no pair in spec.buckets"
    )]
    OtherBucket {
        /// Bucket of the list or its file.
        bucket: String,
        /// Key of the list or its file.
        key: String,
        /// Number of the row, from 1.
        row: u64,
        /// Bucket in the row.
        named: String,
    },
    /// A file is not in the expected format.
    #[error("failed to read manifest {bucket}/{key} after row {row}: {what}")]
    Form {
        /// Bucket of the list or its file.
        bucket: String,
        /// Key of the list or its file.
        key: String,
        /// Number of rows read before.
        row: u64,
        /// The reason.
        what: String,
    },
}

/// The work list of a run.
pub(super) struct Manifest {
    pub(super) location: ManifestLocation,
    /// ETag of the list itself, or of its `manifest.json`.
    pub(super) list: ETag,
    index: ManifestIndex,
}

impl Manifest {
    /// Opens a work list and detects its format.
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
