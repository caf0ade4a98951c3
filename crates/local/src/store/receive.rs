//! Bodies as the service receives them. Nothing is stored before their end.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crc_fast::CrcAlgorithm;
use futures::StreamExt;
use md5::{Digest, Md5};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::Md5Digest;
use migration_core::ports::{ByteStream, Checksum, Operation};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::checks::{check_md5, error, not_implemented};
use super::content::Content;
use super::directory::{BodyFile, Directory};
use super::settings::StreamedBodies;

/// Largest buffer that is made for a body before its bytes are there, in bytes.
const LARGEST_BUFFER: u64 = 16 << 20;

/// Computes the CRC-64/NVME of bytes.
pub fn crc64nvme(bytes: &[u8]) -> Checksum {
    Checksum(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes))
}

/// Computes the MD5 of bytes.
pub(super) fn md5(bytes: &[u8]) -> Md5Digest {
    Md5::digest(bytes).into()
}

/// A content with its digests.
#[derive(Clone, Debug)]
pub struct Received {
    /// The content.
    pub content: Content,
    /// Its MD5.
    pub md5: Md5Digest,
    /// Its CRC-64/NVME.
    pub checksum: Checksum,
}

impl From<Bytes> for Received {
    fn from(bytes: Bytes) -> Self {
        Self { md5: md5(&bytes), checksum: crc64nvme(&bytes), content: bytes.into() }
    }
}

/// Checks a body after its last byte. An error refuses it.
pub type Check = Box<dyn FnOnce(&Received) -> Result<(), ServiceError> + Send>;

/// The body of a write.
pub enum Incoming {
    /// A body in memory, with the MD5 that it must have.
    Held {
        /// The bytes.
        bytes: Bytes,
        /// Their MD5.
        md5: Md5Digest,
    },
    /// A body that arrives in pieces. An error in the stream refuses it.
    Streamed {
        /// The pieces.
        stream: ByteStream,
        /// Length in bytes. A body with more or fewer is refused.
        len: u64,
        /// True if the bytes came in the framing of `aws-chunked`, which not every service takes
        /// ([`StreamedBodies`]).
        framed: bool,
        /// What else has to hold.
        check: Check,
    },
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, len) = match self {
            Self::Held { bytes, .. } => ("Held", bytes.len() as u64),
            Self::Streamed { len, .. } => ("Streamed", *len),
        };
        f.debug_struct(name).field("len", &len).finish_non_exhaustive()
    }
}

/// Error of a disk that can't be read or written.
pub(super) fn disk_error(operation: Operation, what: &str, io: &io::Error) -> ServiceError {
    error(operation, ErrorClass::Transient, "InternalError", &format!("failed to {what}: {io}"))
}

/// Receives a body, into a file if there is a directory for files.
pub(super) async fn receive(
    operation: Operation,
    body: Incoming,
    directory: Option<&Arc<Directory>>,
    streamed: StreamedBodies,
) -> Result<Received, ServiceError> {
    match body {
        Incoming::Held { bytes, md5 } => {
            let failed = |io: io::Error| disk_error(operation, "write body", &io);
            let mut sink = Sink::new(bytes.len() as u64, directory);
            sink.write(&bytes).await.map_err(failed)?;
            let received = sink.finish().await.map_err(failed)?;
            check_md5(operation, &received.md5, &md5)?;
            Ok(received)
        }
        Incoming::Streamed { stream, len, framed, check } => {
            let keeps_frame = match (framed, streamed) {
                (true, StreamedBodies::Refused) => return Err(not_implemented(operation)),
                (is_framed, kind) => is_framed && kind == StreamedBodies::Mangled,
            };
            let received = collect(operation, stream, len, Sink::new(len, directory), keeps_frame).await?;
            check(&received)?;
            Ok(received)
        }
    }
}

/// Receives a stream. With `keeps_frame`, the chunk's frame is stored with the bytes, as a service without support for
/// `aws-chunked` does. Source: "Signature calculations with multiple chunks" in the S3 API reference.
async fn collect(
    operation: Operation,
    mut stream: ByteStream,
    len: u64,
    mut sink: Sink,
    keeps_frame: bool,
) -> Result<Received, ServiceError> {
    let incomplete = |message: &str| error(operation, ErrorClass::Transient, "IncompleteBody", message);
    let failed = |io: io::Error| disk_error(operation, "write body", &io);
    if keeps_frame {
        sink.write(format!("{len:x}\r\n").as_bytes()).await.map_err(failed)?;
    }
    let mut received = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| incomplete(&format!("the body broke: {error}")))?;
        received += piece.len() as u64;
        if received > len {
            return Err(incomplete("the body has more bytes than its Content-Length says"));
        }
        sink.write(&piece).await.map_err(failed)?;
        // A body takes time: other requests are served between its pieces.
        tokio::task::yield_now().await;
    }
    if received < len {
        return Err(incomplete("you did not provide the number of bytes specified by the Content-Length header"));
    }
    if keeps_frame {
        sink.write(b"\r\n0\r\n\r\n").await.map_err(failed)?;
    }
    sink.finish().await.map_err(failed)
}

/// Takes the bytes of a body and computes its digests.
struct Sink {
    md5: Md5,
    checksum: crc_fast::Digest,
    place: Place,
}

/// Where the bytes of a body go.
enum Place {
    Memory(BytesMut),
    /// To a file, which is made for the first byte.
    NewFile(Arc<Directory>),
    File(File, BodyFile),
}

impl Sink {
    fn new(len: u64, directory: Option<&Arc<Directory>>) -> Self {
        let capacity = usize::try_from(len.min(LARGEST_BUFFER)).unwrap_or_default();
        let memory = || Place::Memory(BytesMut::with_capacity(capacity));
        Self {
            md5: Md5::new(),
            checksum: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme),
            place: directory.map_or_else(memory, |directory| Place::NewFile(directory.clone())),
        }
    }

    async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.md5.update(piece);
        self.checksum.update(piece);
        if let Place::NewFile(directory) = &self.place
            && !piece.is_empty()
        {
            let body = directory.new_body();
            self.place = Place::File(File::create_new(body.path()).await?, body);
        }
        match &mut self.place {
            // Copied, so that a small body does not keep the buffer alive that it was sliced from.
            Place::Memory(bytes) => bytes.extend_from_slice(piece),
            Place::NewFile(_) => {}
            Place::File(file, _) => file.write_all(piece).await?,
        }
        Ok(())
    }

    /// Returns the content. A file is on the disk by then.
    async fn finish(self) -> io::Result<Received> {
        let content = match self.place {
            Place::Memory(bytes) => bytes.freeze().into(),
            Place::NewFile(_) => Content::default(),
            Place::File(mut file, body) => {
                file.flush().await?;
                file.sync_data().await?;
                Content::in_files([(Arc::new(body), 0, self.checksum.get_amount())])
            }
        };
        let checksum = Checksum(self.checksum.finalize());
        Ok(Received { content, md5: self.md5.finalize().into(), checksum })
    }
}

/// Computes the digests of a content.
pub(super) async fn hash(content: Content, piece: usize) -> io::Result<Received> {
    let (mut md5, mut checksum) = (Md5::new(), crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme));
    let mut reader = content.clone().reader(piece);
    while let Some(piece) = reader.next().await? {
        md5.update(&piece);
        checksum.update(&piece);
    }
    Ok(Received { content, md5: md5.finalize().into(), checksum: Checksum(checksum.finalize()) })
}
