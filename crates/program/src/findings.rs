//! Findings of a scan as a CSV file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use migration_core::finding::{Action, Finding};
use migration_core::pair::BucketPair;

/// Failure to write the whole list.
#[derive(Debug, thiserror::Error)]
#[error("failed to write list {path}: {source}")]
pub struct ListError {
    path: PathBuf,
    source: csv::Error,
}

/// A CSV file with one line per finding, in no particular order, since key ranges are scanned concurrently.
pub struct List {
    path: PathBuf,
    state: Mutex<ListState>,
}

struct ListState {
    writer: csv::Writer<File>,
    failed: Option<csv::Error>,
}

const HEADER: [&str; 9] =
    ["action", "reason", "sourceBucket", "key", "versionId", "size", "etag", "destinationBucket", "destinationKey"];

impl List {
    /// Creates the file, replacing an existing one.
    pub fn create(path: &Path) -> Result<Self, ListError> {
        let begin = || {
            let mut writer = csv::Writer::from_path(path)?;
            writer.write_record(HEADER)?;
            Ok(writer)
        };
        let writer = begin().map_err(|source| ListError { path: path.into(), source })?;
        Ok(Self { path: path.into(), state: Mutex::new(ListState { writer, failed: None }) })
    }

    fn state(&self) -> MutexGuard<'_, ListState> {
        // If another thread panicked, the file still consists of whole lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line. Lines are buffered and written a few kilobytes at a time, so the scan is hardly delayed. Errors are
    /// returned by [`Self::end`].
    pub fn add(&self, pair: &BucketPair, finding: &Finding<'_>) {
        let object = finding.object();
        let (source_key, destination_key) = match finding.action() {
            Action::Delete => (pair.source_key(&object.key), Some(object.key.clone())),
            _ => (Some(object.key.clone()), pair.map_key(&object.key).ok()),
        };
        let size = object.size.to_string();
        let etag = object.etag.as_ref().map(migration_core::etag::ETag::as_str);
        let line = [
            finding.action().as_str(),
            finding.reason(),
            &pair.source_bucket,
            source_key.as_deref().unwrap_or_default(),
            object.version_id.as_deref().unwrap_or_default(),
            &size,
            etag.unwrap_or_default(),
            &pair.destination_bucket,
            destination_key.as_deref().unwrap_or_default(),
        ];
        let mut state = self.state();
        if state.failed.is_none()
            && let Err(error) = state.writer.write_record(line)
        {
            state.failed = Some(error);
        }
    }

    /// Flushes the file; returns the first error of any write.
    pub fn end(&self) -> Result<(), ListError> {
        let mut state = self.state();
        let failed = state.failed.take().or_else(|| state.writer.flush().err().map(csv::Error::from));
        failed.map_or(Ok(()), |source| Err(ListError { path: self.path.clone(), source }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::compare::{Difference, Evidence};
    use migration_core::object::ListedObject;

    #[test]
    fn every_finding_is_a_line_whatever_its_key_holds() {
        let path = std::env::temp_dir().join(format!("findings-{}.csv", std::process::id()));
        let list = List::create(&path).unwrap();
        let pair: BucketPair =
            serde_yaml::from_str("{sourceBucket: a, sourcePrefix: s/, destinationBucket: b, destinationPrefix: d/}")
                .unwrap();
        let object = |key: &str| ListedObject {
            key: key.into(),
            size: 7,
            etag: Some(migration_core::etag::ETag::new("e-2")),
            modified: 0,
            version_id: None,
            storage_class: None,
        };
        let (odd, there) = (object("s/a,\"b\"\nc"), object("d/s/x"));
        list.add(&pair, &Finding::Transfer { source: &odd, destination: None, difference: Difference::Missing });
        list.add(&pair, &Finding::InPlace { source: &odd, evidence: Evidence::Content });
        list.add(&pair, &Finding::Extraneous { destination: &there });
        list.end().unwrap();
        let mut reader = csv::Reader::from_path(&path).unwrap();
        let lines: Vec<Vec<String>> =
            reader.records().map(|line| line.unwrap().iter().map(ToOwned::to_owned).collect()).collect();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(lines[0], ["transfer", "missing", "a", "s/a,\"b\"\nc", "", "7", "e-2", "b", "d/s/a,\"b\"\nc"]);
        assert_eq!(lines[1][..2], ["skip", "same content"]);
        assert_eq!(lines[2], ["delete", "not at the source", "a", "s/x", "", "7", "e-2", "b", "d/s/x"]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn a_list_that_can_not_be_written_is_named() {
        let error = List::create(Path::new("/nowhere/list.csv")).err().unwrap().to_string();
        assert!(error.starts_with("failed to write list /nowhere/list.csv"), "{error}");
    }
}
