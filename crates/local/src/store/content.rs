//! Contents of objects: bytes in memory or in files, in one piece or in several.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::directory::{BodyFile, Directory};

/// The content of an object or a part. Clones and slices share the bytes.
#[derive(Clone, Debug, Default)]
pub struct Content {
    segments: Vec<Segment>,
    len: u64,
}

/// Bytes that lie in one place; at least one.
#[derive(Clone, Debug)]
enum Segment {
    Memory(Bytes),
    File { file: Arc<BodyFile>, offset: u64, len: u64 },
}

impl Segment {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Returns at most `len` bytes from `offset`, which is in the segment.
    fn slice(&self, offset: u64, len: u64) -> Self {
        let len = len.min(self.len() - offset);
        match self {
            Self::Memory(bytes) => Self::Memory(bytes.slice(index(offset)..index(offset + len))),
            Self::File { file, offset: begins, .. } => Self::File { file: file.clone(), offset: begins + offset, len },
        }
    }
}

/// Converts a place in memory, which fits.
fn index(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        let len = bytes.len() as u64;
        let segments = if bytes.is_empty() { Vec::new() } else { vec![Segment::Memory(bytes)] };
        Self { segments, len }
    }
}

/// Bytes in a file, as the index names them: number of the file, offset, length.
pub(super) type Place = (u64, u64, u64);

impl Content {
    /// Creates a content of bytes in files.
    pub(super) fn in_files(places: impl IntoIterator<Item = (Arc<BodyFile>, u64, u64)>) -> Self {
        let segments: Vec<_> = places
            .into_iter()
            .filter(|(_, _, len)| *len > 0)
            .map(|(file, offset, len)| Segment::File { file, offset, len })
            .collect();
        Self { len: segments.iter().map(Segment::len).sum(), segments }
    }

    /// Returns the places of bytes in files.
    pub(super) fn places(&self) -> Vec<Place> {
        let in_files = self.segments.iter().filter_map(|segment| match segment {
            Segment::Memory(_) => None,
            Segment::File { file, offset, len } => Some((file.id, *offset, *len)),
        });
        in_files.collect()
    }

    /// Moves what is in memory to files.
    pub(super) fn into_files(mut self, directory: &Arc<Directory>) -> io::Result<Self> {
        for segment in &mut self.segments {
            if let Segment::Memory(bytes) = segment {
                let file = Arc::new(directory.write(bytes)?);
                *segment = Segment::File { file, offset: 0, len: bytes.len() as u64 };
            }
        }
        Ok(self)
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns true if the content has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes where all of them are in memory; otherwise `None`.
    pub fn in_memory(&self) -> Option<Bytes> {
        match self.segments.as_slice() {
            [] => Some(Bytes::new()),
            [Segment::Memory(bytes)] => Some(bytes.clone()),
            several => {
                let bytes = several.iter().map(|segment| match segment {
                    Segment::Memory(bytes) => Some(bytes.as_ref()),
                    Segment::File { .. } => None,
                });
                bytes.collect::<Option<Vec<_>>>().map(|all| all.concat().into())
            }
        }
    }

    /// Returns at most `len` bytes from `offset` on; nothing if `offset` is beyond the end.
    pub(super) fn slice(&self, offset: u64, len: u64) -> Self {
        let end = offset.saturating_add(len).min(self.len);
        let (mut segments, mut begins) = (Vec::new(), 0);
        for segment in &self.segments {
            let first = offset.max(begins);
            let next = begins + segment.len();
            if first < next.min(end) {
                segments.push(segment.slice(first - begins, end - first));
            }
            begins = next;
        }
        Self { segments, len: end.saturating_sub(offset) }
    }

    /// Joins contents into one.
    pub(super) fn join<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        parts.into_iter().fold(Self::default(), |mut whole, part| {
            whole.segments.extend(part.segments.iter().cloned());
            whole.len += part.len;
            whole
        })
    }

    /// Reads the content in pieces of `piece` bytes, of which the last may be shorter.
    pub(super) fn reader(self, piece: usize) -> Reader {
        Reader { rest: self.segments.into(), open: None, piece: piece.max(1) }
    }
}

/// Reads a content piece by piece. Bytes in memory are neither copied nor waited for, except where a piece has bytes of
/// several segments.
#[derive(Debug)]
pub(super) struct Reader {
    rest: VecDeque<Segment>,
    /// The file of the first segment, once it is read.
    open: Option<Arc<File>>,
    piece: usize,
}

impl Reader {
    /// Returns the next piece, or `None` at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(first) = self.read(self.piece).await? else { return Ok(None) };
        if first.len() == self.piece || self.rest.is_empty() {
            return Ok(Some(first));
        }
        let mut joined = BytesMut::from(first);
        while let Some(more) = self.read(self.piece - joined.len()).await? {
            joined.extend_from_slice(&more);
            if joined.len() == self.piece {
                break;
            }
        }
        Ok(Some(joined.freeze()))
    }

    /// Returns at most `most` bytes of the first segment.
    async fn read(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        let (piece, is_end) = match self.rest.front_mut() {
            None => return Ok(None),
            Some(Segment::Memory(bytes)) => {
                let piece = bytes.split_to(most.min(bytes.len()));
                (piece, bytes.is_empty())
            }
            Some(Segment::File { file, offset, len }) => {
                let count = index((*len).min(most as u64));
                let (handle, piece) = read_at(file.clone(), self.open.take(), *offset, count).await?;
                self.open = Some(handle);
                *offset += count as u64;
                *len -= count as u64;
                (piece, *len == 0)
            }
        };
        if is_end {
            self.rest.pop_front();
            self.open = None;
        }
        Ok(Some(piece))
    }
}

/// Reads exactly `count` bytes of a file from `offset` on.
async fn read_at(
    file: Arc<BodyFile>,
    open: Option<Arc<File>>,
    offset: u64,
    count: usize,
) -> io::Result<(Arc<File>, Bytes)> {
    let read = move || {
        let open = match open {
            Some(open) => open,
            None => Arc::new(File::open(file.path())?),
        };
        let mut bytes = vec![0; count];
        open.read_exact_at(&mut bytes, offset)?;
        Ok((open, bytes.into()))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}
