//! The hashing stage: MD5 and CRC-64/NVME of bytes in transfer.
//!
//! MD5 takes most of the processor time of a transfer, and a single stream cannot be made faster: each block depends on
//! the one before. A worker has many parts in flight, so one thread of the process computes all their MD5s together in
//! SIMD lanes. CRC-64 costs almost nothing and is computed where the bytes arrive.
//!
//! Chunks are shared and not copied. The bytes waiting to be hashed are bounded by [`STREAM_LIMIT`] for a stream and
//! [`TOTAL_LIMIT`] for all; [`HashStream::update`] waits beyond that. The stage therefore adds at most [`TOTAL_LIMIT`]
//! to the memory that the parts hold anyway (a chunk's buffer lives until its last byte is hashed).
//!
//! Without lanes (feature `lanes` off, no such instructions, no thread), each task hashes its own stream, with the same
//! result. If the thread dies, the streams continue in the same way from where it stopped.
//!
//! | module | purpose |
//! |---|---|
//! | [`crc64`] | CRC-64/NVME: computing, combining, and the encoding of S3 |
//! | `scalar` | MD5 of one stream |
//! | `lanes` | MD5 of many streams at once |
//! | `queue` | bytes waiting for the lanes, and when to hash them |
//! | `stage` | the hashing thread |

pub mod crc64;
#[cfg(feature = "lanes")]
mod lanes;
#[cfg(feature = "lanes")]
mod queue;
mod scalar;
#[cfg(feature = "lanes")]
mod stage;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
#[cfg(feature = "lanes")]
use std::sync::Arc;

use bytes::Bytes;
use migration_core::etag::Md5Digest;

use self::crc64::Crc64;
use self::scalar::Md5;

/// Maximum number of bytes of all streams that may wait to be hashed.
pub const TOTAL_LIMIT: usize = 8 << 20;
/// Maximum number of bytes of one stream that may wait to be hashed.
pub const STREAM_LIMIT: usize = 1 << 20;

/// Length of a body in memory from which passing it to the lanes costs less than it saves.
const STAGED_FROM: usize = 128 << 10;

/// Digests and length of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// MD5: the ETag of a part, or of an object put in one request.
    pub md5: Md5Digest,
    /// CRC-64/NVME.
    pub crc64: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Computes the digests of bytes in memory. For small bodies: takes the calling thread about 1.3 ms per MiB.
pub fn digest(bytes: &[u8]) -> Digests {
    Digests { md5: scalar::md5(bytes), crc64: crc64::of(bytes), len: bytes.len() as u64 }
}

/// Bounds of the bytes that may wait to be hashed.
#[cfg(feature = "lanes")]
#[derive(Clone, Copy, Debug)]
struct HashLimits {
    total: usize,
    stream: usize,
}

#[cfg(feature = "lanes")]
impl HashLimits {
    /// Returns the maximum number of bytes queued at once, small enough that a stream can queue some while others are
    /// hashed.
    fn piece(self) -> usize {
        (self.stream / 4).min(self.total).max(1)
    }
}

/// The hashing stage of a process. Cheap to clone: all clones share one thread, which ends with the last of them and of
/// their streams. Needs no tokio runtime.
#[derive(Clone, Debug)]
pub struct Hashing {
    #[cfg(feature = "lanes")]
    stage: Option<Arc<stage::Stage>>,
}

/// Computes the digests of one content. Dropping it releases everything it has queued.
#[derive(Debug)]
pub struct HashStream {
    crc64: Crc64,
    len: u64,
    /// Pieces not yet passed to the MD5.
    pending: VecDeque<Bytes>,
    md5: Path,
}

/// How a stream's MD5 is computed.
#[derive(Debug)]
enum Path {
    Inline(Md5),
    #[cfg(feature = "lanes")]
    Staged(stage::Stream),
}

impl Default for Hashing {
    fn default() -> Self {
        Self::new()
    }
}

impl Hashing {
    /// Creates a stage, with a thread if this machine has lanes.
    #[cfg(feature = "lanes")]
    pub fn new() -> Self {
        let limits = HashLimits { total: TOTAL_LIMIT, stream: STREAM_LIMIT };
        let stage = lanes::Lanes::detect().and_then(|lanes| {
            let started = stage::Stage::start(limits, lanes);
            started
                .inspect_err(
                    |error| tracing::warn!(%error, "failed to start hashing thread; each part is hashed separately"),
                )
                .ok()
        });
        Self { stage }
    }

    /// Creates a stage, with a thread if this machine has lanes.
    #[cfg(not(feature = "lanes"))]
    pub fn new() -> Self {
        Self {}
    }

    /// Creates a stage without a thread: each task hashes its own stream. For tests whose clock stands still while all
    /// tasks wait.
    #[cfg(feature = "lanes")]
    pub fn inline() -> Self {
        Self { stage: None }
    }

    /// Creates a stage without a thread: each task hashes its own stream.
    #[cfg(not(feature = "lanes"))]
    pub fn inline() -> Self {
        Self {}
    }

    /// Begins a content.
    #[cfg(feature = "lanes")]
    pub fn stream(&self) -> HashStream {
        HashStream::new(match &self.stage {
            Some(stage) if !stage.is_gone() => Path::Staged(stage.stream()),
            _ => Path::Inline(Md5::default()),
        })
    }

    /// Begins a content.
    #[cfg(not(feature = "lanes"))]
    pub fn stream(&self) -> HashStream {
        HashStream::new(Path::Inline(Md5::default()))
    }

    /// Computes the digests of a body in memory: in lanes, with what else is in transfer, if it is large enough.
    pub async fn digest(&self, body: &Bytes) -> Digests {
        if body.len() < STAGED_FROM {
            return digest(body);
        }
        let mut stream = self.stream();
        stream.update(body.clone()).await;
        stream.finish().await
    }

    /// Returns the bytes waiting to be hashed, at most [`TOTAL_LIMIT`]. Zero when nothing is in transfer.
    #[cfg(feature = "lanes")]
    pub fn queued_bytes(&self) -> u64 {
        self.stage.as_ref().map_or(0, |stage| stage.queued() as u64)
    }

    /// Returns the bytes waiting to be hashed, at most [`TOTAL_LIMIT`]. Zero when nothing is in transfer.
    #[cfg(not(feature = "lanes"))]
    pub fn queued_bytes(&self) -> u64 {
        0
    }
}

impl HashStream {
    fn new(md5: Path) -> Self {
        Self { crc64: Crc64::new(), len: 0, pending: VecDeque::new(), md5 }
    }

    /// Adds the next bytes of the content. They count from the call on, even if the future is never polled: it only
    /// waits until the stage has room for them. The chunk is shared, not copied, and may have any length.
    pub fn update(&mut self, mut chunk: Bytes) -> impl Future<Output = ()> + Send {
        self.crc64.update(&chunk);
        self.len += chunk.len() as u64;
        let piece = self.md5.piece();
        while chunk.len() > piece {
            self.pending.push_back(chunk.split_to(piece));
        }
        if !chunk.is_empty() {
            self.pending.push_back(chunk);
        }
        self.flush()
    }

    /// Ends the content, waits until all of it is hashed, and returns its digests.
    pub async fn finish(mut self) -> Digests {
        self.flush().await;
        Digests { md5: self.md5.finish().await, crc64: self.crc64.value(), len: self.len }
    }

    async fn flush(&mut self) {
        while let Some(piece) = self.pending.front() {
            self.md5.update(piece).await;
            self.pending.pop_front();
        }
    }
}

impl Path {
    /// Returns the maximum number of bytes to hash or queue at once.
    fn piece(&self) -> usize {
        match self {
            Self::Inline(_) => usize::MAX,
            #[cfg(feature = "lanes")]
            Self::Staged(stream) => stream.piece(),
        }
    }

    /// Adds a whole piece, or nothing if the future is dropped before it completes.
    async fn update(&mut self, piece: &Bytes) {
        match self {
            Self::Inline(md5) => md5.update(piece),
            #[cfg(feature = "lanes")]
            Self::Staged(stream) => {
                if let Err(stage::Gone) = stream.push(piece).await {
                    let mut md5 = stream.take_back();
                    md5.update(piece);
                    *self = Self::Inline(md5);
                }
            }
        }
    }

    async fn finish(self) -> Md5Digest {
        match self {
            Self::Inline(md5) => md5.value(),
            #[cfg(feature = "lanes")]
            Self::Staged(stream) => match stream.finish().await {
                Ok(digest) => digest,
                Err(stage::Gone) => stream.take_back().value(),
            },
        }
    }
}
