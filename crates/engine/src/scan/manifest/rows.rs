//! Reads the rows of a range from a work list, ahead of their use.

use std::sync::{Arc, Mutex, PoisonError};

use migration_core::etag::Md5Digest;
use migration_core::manifest::{Encoding, FileForm, ManifestFile, ManifestRow, Position, RawRow, RowError};
use migration_core::pair::BucketPair;
use parquet::errors::ParquetError;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::super::ScanError;
use super::csv::{CsvError, CsvRows, Digester};
use super::object::Object;
use super::parquet::{self as columnar, Blocks};
use super::{Manifest, ManifestError};
use crate::log_context::inherit;
use crate::{Process, Services};

/// Rows read ahead.
const AHEAD: usize = 1_000;

/// The rows of a range being read.
pub(super) struct Rows {
    rows: mpsc::Receiver<Result<(Position, ManifestRow), ScanError>>,
    /// `None` once the reader has ended without an error.
    reader: Option<AbortOnDropHandle<Result<(), ScanError>>>,
}

impl Rows {
    /// Begins to read the rows of a pair after a position.
    pub(super) fn open<P: Services>(
        process: Arc<Process<P>>,
        manifest: Arc<Manifest>,
        pairs: Arc<[BucketPair]>,
        pair: BucketPair,
        behind: Option<Position>,
    ) -> Self {
        let (send, rows) = mpsc::channel(AHEAD);
        let reader = Reader { process, manifest, pairs, pair, behind, send };
        Self { rows, reader: Some(AbortOnDropHandle::new(tokio::spawn(inherit(reader.read())))) }
    }

    /// Returns the next row and the position after it, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<(Position, ManifestRow)>, ScanError> {
        if let Some(row) = self.rows.recv().await {
            return row.map(Some);
        }
        // If the reader ended early, the remaining rows are unknown.
        if let Some(reader) = self.reader.take() {
            reader.await.map_err(|error| ScanError::Broken(error.to_string()))??;
        }
        Ok(None)
    }
}

struct Reader<P: Services> {
    process: Arc<Process<P>>,
    manifest: Arc<Manifest>,
    pairs: Arc<[BucketPair]>,
    pair: BucketPair,
    behind: Option<Position>,
    send: mpsc::Sender<Result<(Position, ManifestRow), ScanError>>,
}

/// Result of passing a row on.
enum Taken {
    /// The row was passed on, or skipped.
    GoOn,
    /// The receiver was dropped.
    Unwanted,
}

impl<P: Services> Reader<P> {
    async fn read(self) -> Result<(), ScanError> {
        let first = self.behind.as_ref().map_or(0, |behind| behind.file);
        for (file, number) in self.manifest.index.files.iter().zip(0_u32..).skip(first as usize) {
            let skip = self.behind.as_ref().filter(|behind| behind.file == number).map_or(0, |behind| behind.rows);
            let object = self.find(file).await?;
            let cursor = Cursor { file: number, skip, rows: 0, object: object.clone() };
            match self.manifest.index.form {
                FileForm::Csv => self.read_csv(object, cursor, file.md5).await?,
                FileForm::Parquet => self.read_parquet(object, cursor).await?,
            }
        }
        Ok(())
    }

    /// Opens a file of the list, and checks that its content is what the list says.
    async fn find(&self, file: &ManifestFile) -> Result<Object, ScanError> {
        let location = &self.manifest.location;
        let object = Object::find(&self.process, location.side, &file.bucket, &file.key).await?;
        let is_list = (&file.bucket, &file.key) == (&location.bucket, &location.key);
        let (bucket, key) = (file.bucket.clone(), file.key.clone());
        if is_list && object.etag != self.manifest.list {
            return Err(ManifestError::Replaced { bucket, key }.into());
        }
        if let Some(size) = file.size.filter(|size| *size != object.size) {
            let what = format!("it has {} bytes instead of {size}", object.size);
            return Err(ManifestError::Damaged { bucket, key, what }.into());
        }
        Ok(object)
    }

    async fn read_csv(&self, object: Object, mut cursor: Cursor, md5: Option<Md5Digest>) -> Result<(), ScanError> {
        let digester = Digester::default();
        let bytes = object.bytes(self.process.clone());
        let mut rows = CsvRows::open(bytes, digester.clone()).await.map_err(|error| cursor.broken(error.into()))?;
        while let Some(fields) = rows.next().await.map_err(|error| cursor.broken(error))? {
            if cursor.is_behind() {
                continue;
            }
            let raw = RawRow::of_csv(&fields, self.manifest.index.columns.as_ref());
            if let Taken::Unwanted = self.take(&cursor, raw, Encoding::Url).await? {
                return Ok(());
            }
        }
        match md5.filter(|md5| *md5 != digester.digest()) {
            None => Ok(()),
            Some(_) => Err(cursor.damaged("its MD5 differs".to_owned())),
        }
    }

    async fn read_parquet(&self, object: Object, mut cursor: Cursor) -> Result<(), ScanError> {
        let failed = Arc::new(Mutex::new(None));
        let blocks = Blocks::new(self.process.clone(), object, failed.clone());
        let (send, mut rows) = mpsc::channel(AHEAD);
        // Ends when the receiver is dropped.
        let reading = tokio::task::spawn_blocking(move || {
            for row in columnar::rows(blocks)? {
                if send.blocking_send(row?).is_err() {
                    break;
                }
            }
            Ok::<(), ParquetError>(())
        });
        while let Some(raw) = rows.recv().await {
            if cursor.is_behind() {
                continue;
            }
            if let Taken::Unwanted = self.take(&cursor, Ok(raw), Encoding::Plain).await? {
                return Ok(());
            }
        }
        let read = reading.await.map_err(|error| ScanError::Broken(error.to_string()))?;
        let said = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        read.map_err(|error| said.unwrap_or_else(|| cursor.malformed(error.to_string())))
    }

    /// Passes a row on if it belongs to the range's pair.
    async fn take(&self, at: &Cursor, raw: Result<RawRow, RowError>, encoding: Encoding) -> Result<Taken, ScanError> {
        let (bucket, key, row) = (&at.object.bucket, &at.object.key, at.rows);
        let read = raw.and_then(|raw| raw.read(encoding, self.manifest.index.is_inventory));
        let wrong = |source| ManifestError::Row { bucket: bucket.clone(), key: key.clone(), row, source };
        let Some(found) = read.map_err(wrong)? else { return Ok(Taken::GoOn) };
        if !self.pairs.iter().any(|pair| pair.source_bucket == found.bucket) {
            let (bucket, key) = (bucket.clone(), key.clone());
            return Err(ManifestError::OtherBucket { bucket, key, row, named: found.bucket }.into());
        }
        if found.bucket != self.pair.source_bucket || !found.key.starts_with(&self.pair.source_prefix) {
            return Ok(Taken::GoOn);
        }
        let position = Position { file: at.file, rows: at.rows, list: self.manifest.list.clone() };
        let sent = self.send.send(Ok((position, found))).await;
        Ok(if sent.is_ok() { Taken::GoOn } else { Taken::Unwanted })
    }
}

/// A position in a file.
struct Cursor {
    file: u32,
    /// Rows to skip because they were processed before.
    skip: u64,
    /// Rows read so far.
    rows: u64,
    object: Object,
}

impl Cursor {
    /// Counts a row, and returns true if it was processed before.
    fn is_behind(&mut self) -> bool {
        self.rows += 1;
        self.rows <= self.skip
    }

    fn malformed(&self, what: String) -> ScanError {
        let (bucket, key) = (self.object.bucket.clone(), self.object.key.clone());
        ManifestError::Form { bucket, key, row: self.rows, what }.into()
    }

    fn damaged(&self, what: String) -> ScanError {
        let (bucket, key) = (self.object.bucket.clone(), self.object.key.clone());
        ManifestError::Damaged { bucket, key, what }.into()
    }

    /// Converts an error of a CSV file. A service's error passes through the decoder unchanged.
    fn broken(&self, error: CsvError) -> ScanError {
        let CsvError::Read(error) = error else { return self.malformed(error.to_string()) };
        let words = error.to_string();
        let own = error.into_inner().and_then(|inner| inner.downcast::<ScanError>().ok());
        own.map_or_else(|| self.malformed(words), |own| *own)
    }
}
