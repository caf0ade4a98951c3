//! Reads rows of CSV in bounded memory, whatever the file contains.

use std::io;
use std::pin::Pin;

use async_compression::tokio::bufread::GzipDecoder;
use bytes::Bytes;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use futures::{Stream, StreamExt};
use md5::{Digest, Md5};
use migration_core::etag::Md5Digest;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio_util::io::StreamReader;

/// Maximum bytes of a row: a key takes 3,072 bytes encoded, and messages of reports some thousands. A quote that is
/// never closed would make one row of the rest of the file.
const LONGEST: usize = 64 << 10;
/// Maximum columns of a row; inventories have about thirty.
const MOST_COLUMNS: usize = 128;
/// First bytes of a gzip file. Source: RFC 1952, section 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A row that is not valid CSV.
#[derive(Debug, thiserror::Error)]
pub(super) enum CsvError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("a row of more than {LONGEST} bytes or {MOST_COLUMNS} columns; is there a quote that is not closed?")]
    TooLong,
}

type Input = Pin<Box<dyn AsyncBufRead + Send>>;

/// The rows of a file.
pub(super) struct CsvRows {
    input: Input,
    reader: Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
    written: usize,
    ended: usize,
}

impl CsvRows {
    /// Begins to read, and detects gzip by the first bytes.
    pub(super) async fn open(
        bytes: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        digest: Digester,
    ) -> io::Result<Self> {
        let bytes = bytes.map(move |piece| piece.inspect(|piece| digest.update(piece)));
        let mut plain = BufReader::new(StreamReader::new(Box::pin(bytes)));
        let is_gzip = plain.fill_buf().await?.starts_with(&GZIP);
        let input: Input = if is_gzip {
            let mut decoder = GzipDecoder::new(plain);
            // Concatenated gzip files count as one.
            decoder.multiple_members(true);
            Box::pin(BufReader::new(decoder))
        } else {
            Box::pin(plain)
        };
        let reader = ReaderBuilder::new().build();
        Ok(Self { input, reader, fields: vec![0; LONGEST], ends: vec![0; MOST_COLUMNS], written: 0, ended: 0 })
    }

    /// Returns the fields of the next row, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<&[u8]>>, CsvError> {
        (self.written, self.ended) = (0, 0);
        loop {
            let input = self.input.fill_buf().await?;
            let (fields, ends) = (self.fields.get_mut(self.written..), self.ends.get_mut(self.ended..));
            let (Some(fields), Some(ends)) = (fields, ends) else { return Err(CsvError::TooLong) };
            let (result, read, written, ended) = self.reader.read_record(input, fields, ends);
            self.input.as_mut().consume(read);
            self.written += written;
            self.ended += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => return Err(CsvError::TooLong),
                ReadRecordResult::Record => return Ok(Some(self.row())),
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    fn row(&self) -> Vec<&[u8]> {
        let mut begin = 0;
        let fields = self.ends.iter().take(self.ended).map(|end| {
            let field = self.fields.get(begin..*end).unwrap_or_default();
            begin = *end;
            field
        });
        fields.collect()
    }
}

/// Computes the MD5 of a file while it is read. Clones share their state.
#[derive(Clone, Default)]
pub(super) struct Digester(std::sync::Arc<std::sync::Mutex<Md5>>);

impl Digester {
    fn update(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).update(bytes);
    }

    /// Returns the digest of the bytes read so far.
    pub(super) fn digest(&self) -> Md5Digest {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone().finalize().into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot continue fails")]
mod tests {
    use super::*;
    use async_compression::tokio::write::GzipEncoder;
    use futures::stream;
    use tokio::io::AsyncWriteExt;

    async fn rows(pieces: Vec<Bytes>) -> Result<Vec<Vec<String>>, String> {
        let digest = Digester::default();
        let whole: Vec<u8> = pieces.concat();
        let mut rows = CsvRows::open(stream::iter(pieces.into_iter().map(Ok)), digest.clone()).await.unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().await.map_err(|error| error.to_string())? {
            found.push(row.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect());
        }
        assert_eq!(digest.digest(), <[u8; 16]>::from(Md5::digest(&whole)));
        Ok(found)
    }

    async fn gzipped(text: &str) -> Vec<u8> {
        let mut encoder = GzipEncoder::new(Vec::new());
        encoder.write_all(text.as_bytes()).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    }

    const TEXT: &str = "a,k1\n\"a\",\"k \"\"2\"\"\n,3\"\r\n\nb,last";

    #[tokio::test]
    async fn rows_are_the_same_however_they_are_cut_or_compressed() {
        let expected = [["a", "k1"], ["a", "k \"2\"\n,3"], ["b", "last"]];
        for size in 1..=TEXT.len() {
            let pieces = TEXT.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
            assert_eq!(rows(pieces).await.unwrap(), expected, "{size}");
        }
        let (first, second) = TEXT.split_at(5);
        let joined = [gzipped(first).await, gzipped(second).await].concat();
        assert_eq!(rows(vec![Bytes::from(joined)]).await.unwrap(), expected);
        assert!(rows(Vec::new()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_row_without_an_end_is_an_error_and_no_memory() {
        let endless = vec![Bytes::from_static(b"a,\"k"), Bytes::from(vec![b'x'; 1 << 20])];
        assert!(rows(endless).await.unwrap_err().contains("a quote that is not closed"));
        let wide = vec![Bytes::from(vec![b','; 1000])];
        assert!(rows(wide).await.unwrap_err().contains("128 columns"));
    }

    #[tokio::test]
    async fn a_file_that_is_cut_short_is_an_error() {
        let whole = gzipped(&"a,key\n".repeat(1000)).await;
        let cut = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
        let digest = Digester::default();
        let mut rows = CsvRows::open(stream::iter([Ok(cut)]), digest).await.unwrap();
        let error = loop {
            match rows.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(matches!(error, Some(CsvError::Read(_))), "{error:?}");
    }
}
