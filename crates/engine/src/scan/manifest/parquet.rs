//! Reads rows of Parquet files, fetching blocks on demand.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use migration_core::manifest::{Column, RawRow};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use tokio::runtime::Handle;

use super::super::ScanError;
use super::object::Object;
use crate::{Process, Services};

/// Bytes of one request. Columns are read in parallel, in pages of a few hundred kilobytes.
const BLOCK: u64 = 512 << 10;
/// Blocks cached in memory.
const BLOCKS: usize = 16;

/// Fetches the bytes of a file on demand. Only for threads that may block.
pub(super) struct Blocks<P: Services> {
    process: Arc<Process<P>>,
    object: Object,
    runtime: Handle,
    held: Mutex<VecDeque<(u64, Bytes)>>,
    /// Error of the service, which the reader's error type cannot carry.
    failed: Arc<Mutex<Option<ScanError>>>,
}

impl<P: Services> Blocks<P> {
    pub(super) fn new(process: Arc<Process<P>>, object: Object, failed: Arc<Mutex<Option<ScanError>>>) -> Self {
        Self { process, object, runtime: Handle::current(), held: Mutex::default(), failed }
    }

    fn block(&self, number: u64) -> io::Result<Bytes> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = held.iter().position(|(other, _)| *other == number)
            && let Some(block) = held.remove(place)
        {
            // The most recently used block is evicted last.
            let bytes = block.1.clone();
            held.push_back(block);
            return Ok(bytes);
        }
        let offset = number * BLOCK;
        let len = BLOCK.min(self.object.size.saturating_sub(offset));
        let bytes = self.runtime.block_on(self.object.span(&self.process, offset, len)).map_err(|error| {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            io::Error::other(error)
        })?;
        if held.len() == BLOCKS {
            held.pop_front();
        }
        held.push_back((number, bytes.clone()));
        Ok(bytes)
    }

    /// Returns the bytes from an offset to the end of its block; empty at the end of the file.
    fn rest_of_block(&self, offset: u64) -> io::Result<Bytes> {
        if offset >= self.object.size {
            return Ok(Bytes::new());
        }
        let mut block = self.block(offset / BLOCK)?;
        block.advance(usize::try_from(offset % BLOCK).unwrap_or(usize::MAX).min(block.len()));
        Ok(block)
    }
}

/// Adapts the file to the Parquet reader.
struct Chunks<P: Services>(Arc<Blocks<P>>);

impl<P: Services> Length for Chunks<P> {
    fn len(&self) -> u64 {
        self.0.object.size
    }
}

impl<P: Services> ChunkReader for Chunks<P> {
    type T = FromOffset<P>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(FromOffset { blocks: self.0.clone(), offset: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut reader = self.get_read(start)?;
        let block = self.0.rest_of_block(start)?;
        if block.len() >= length {
            return Ok(block.slice(..length));
        }
        let mut bytes = BytesMut::zeroed(length.min(usize::try_from(self.len()).unwrap_or(usize::MAX)));
        reader.read_exact(&mut bytes)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes were expected at {start}")));
        }
        Ok(bytes.freeze())
    }
}

/// Reads the file from an offset.
struct FromOffset<P: Services> {
    blocks: Arc<Blocks<P>>,
    offset: u64,
}

impl<P: Services> Read for FromOffset<P> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let block = self.blocks.rest_of_block(self.offset)?;
        let len = block.len().min(into.len());
        into[..len].copy_from_slice(&block[..len]);
        self.offset += len as u64;
        Ok(len)
    }
}

/// Returns the rows of a file in order. Reads only the columns that a run uses.
pub(super) fn rows<P: Services>(
    blocks: Blocks<P>,
) -> Result<impl Iterator<Item = Result<RawRow, ParquetError>>, ParquetError> {
    let reader = SerializedFileReader::new(Chunks(Arc::new(blocks)))?;
    let schema = reader.metadata().file_metadata().schema();
    let known = |field: &&TypePtr| field.is_primitive() && Column::named(field.name()).is_some();
    let fields: Vec<TypePtr> = schema.get_fields().iter().filter(known).cloned().collect();
    for column in [Column::Bucket, Column::Key] {
        if !fields.iter().any(|field| Column::named(field.name()) == Some(column)) {
            return Err(ParquetError::General(format!("its schema has no column {column:?}")));
        }
    }
    let wanted = Type::group_type_builder(schema.name()).with_fields(fields).build()?;
    let rows = RowIter::from_file_into(Box::new(reader)).project(Some(wanted))?;
    Ok(rows.map(|row| raw(&row?)))
}

fn raw(row: &Row) -> Result<RawRow, ParquetError> {
    let mut raw = RawRow::default();
    for (name, field) in row.get_column_iter() {
        let Some(column) = Column::named(name) else { continue };
        let text = || match field {
            Field::Str(text) => Some(text.clone().into_bytes()),
            Field::Bytes(bytes) => Some(bytes.data().to_owned()),
            _ => None,
        };
        let string =
            || text().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).filter(|text| !text.is_empty());
        let is_known = match (column, field) {
            (_, Field::Null) => true,
            (Column::IsLatest, Field::Bool(is)) => raw.is_latest.insert(*is) == is,
            (Column::IsDeleteMarker, Field::Bool(is)) => raw.is_delete_marker.insert(*is) == is,
            (Column::Size, Field::Long(size)) => {
                raw.size = u64::try_from(*size).ok();
                raw.size.is_some()
            }
            (Column::Bucket, _) => text().map(|text| raw.bucket = text).is_some(),
            (Column::Key, _) => text().map(|text| raw.key = text).is_some(),
            (Column::VersionId, _) => string().map(|text| raw.version_id = Some(text)).is_some(),
            (Column::ETag, _) => string().map(|text| raw.etag = Some(text)).is_some(),
            _ => false,
        };
        // An empty text means none.
        if !is_known && !matches!(field, Field::Str(text) if text.is_empty()) {
            return Err(ParquetError::General(format!("its column {name} holds {field}")));
        }
    }
    Ok(raw)
}
