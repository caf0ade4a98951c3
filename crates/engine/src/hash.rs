//! The hashing stage: MD5 and CRC-64/NVME of bytes as they pass through.
//!
//! MD5 is most of the processor time of a transfer, and one stream of it can't be made faster: each block needs the one
//! before. But a worker has many parts in flight, so the MD5s of all of them are computed together in SIMD lanes, by one
//! thread of the process. CRC-64 costs next to nothing and is computed where the bytes arrive.
//!
//! Chunks are shared and not copied. Bytes that wait to be hashed are bounded: [`STREAM_LIMIT`] a stream and
//! [`TOTAL_LIMIT`] altogether, above which [`HashStream::update`] waits. So the stage adds at most [`TOTAL_LIMIT`] to what
//! the parts hold anyway (a chunk's buffer lives until its last byte is hashed).
//!
//! Where lanes are not to be had (feature `lanes` off, no such instructions, no thread), each stream is hashed by itself
//! by its own task, with the same result. That is so too if the thread should die: streams go on where it left them.
//!
//! | module | what |
//! |---|---|
//! | [`crc64`] | CRC-64/NVME: combining, and as S3 writes it |
//! | `scalar` | MD5 of one stream |
//! | `lanes` | MD5 of many streams at once |
//! | `queue` | what waits for the lanes, and when hashing it is worth it |
//! | `stage` | the thread |

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

/// Bytes of all streams that may wait to be hashed.
pub const TOTAL_LIMIT: usize = 8 << 20;
/// Bytes of one stream that may wait to be hashed.
pub const STREAM_LIMIT: usize = 1 << 20;

/// What a content is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Its MD5: the ETag of a part, or of an object put in one request.
    pub md5: Md5Digest,
    /// Its CRC-64/NVME.
    pub crc64: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// The digests of bytes that are held. For small bodies: it takes the calling thread about 1.3 ms a MiB.
pub fn digest(bytes: &[u8]) -> Digests {
    Digests { md5: scalar::md5(bytes), crc64: crc64::of(bytes), len: bytes.len() as u64 }
}

/// How many bytes may wait to be hashed.
#[cfg(feature = "lanes")]
#[derive(Clone, Copy, Debug)]
struct Limits {
    total: usize,
    stream: usize,
}

#[cfg(feature = "lanes")]
impl Limits {
    /// The most bytes that are queued at once: a stream must be able to queue some while others of it are hashed.
    fn piece(self) -> usize {
        (self.stream / 4).min(self.total).max(1)
    }
}

/// The hashing stage of a process. Cheap to clone; all clones share one thread, which ends with the last of them and of
/// their streams. Needs no tokio runtime.
#[derive(Clone, Debug)]
pub struct Hashing {
    #[cfg(feature = "lanes")]
    stage: Option<Arc<stage::Stage>>,
}

/// The digests of one content as it passes through. Dropping it frees all that it has queued.
#[derive(Debug)]
pub struct HashStream {
    crc64: Crc64,
    len: u64,
    /// Pieces that have not gone to the MD5 yet.
    pending: VecDeque<Bytes>,
    md5: Path,
}

/// Where a stream's MD5 is computed.
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
    /// A stage, with its thread where this machine has lanes.
    #[cfg(feature = "lanes")]
    pub fn new() -> Self {
        let limits = Limits { total: TOTAL_LIMIT, stream: STREAM_LIMIT };
        let stage = lanes::Lanes::detect().and_then(|lanes| {
            let started = stage::Stage::start(limits, lanes);
            started
                .inspect_err(
                    |error| tracing::warn!(%error, "failed to start hashing thread; parts are hashed one by one"),
                )
                .ok()
        });
        Self { stage }
    }

    /// A stage, with its thread where this machine has lanes.
    #[cfg(not(feature = "lanes"))]
    pub fn new() -> Self {
        Self {}
    }

    /// A stage without a thread: each stream is hashed by its own task. For tests whose clock stands still while all
    /// tasks wait.
    #[cfg(feature = "lanes")]
    pub fn inline() -> Self {
        Self { stage: None }
    }

    /// A stage without a thread: each stream is hashed by its own task.
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

    /// Bytes that wait to be hashed, [`TOTAL_LIMIT`] at most; zero when nothing moves.
    #[cfg(feature = "lanes")]
    pub fn queued_bytes(&self) -> u64 {
        self.stage.as_ref().map_or(0, |stage| stage.queued() as u64)
    }

    /// Bytes that wait to be hashed, [`TOTAL_LIMIT`] at most; zero when nothing moves.
    #[cfg(not(feature = "lanes"))]
    pub fn queued_bytes(&self) -> u64 {
        0
    }
}

impl HashStream {
    fn new(md5: Path) -> Self {
        Self { crc64: Crc64::new(), len: 0, pending: VecDeque::new(), md5 }
    }

    /// Takes the next bytes of the content. They count from the call on, even if the future is never polled: it only
    /// waits until the stage has room for them. The chunk is shared, not copied; it may have any length.
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

    /// Ends the content and waits until all of it is hashed.
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
    /// The most bytes to hash or to queue at once.
    fn piece(&self) -> usize {
        match self {
            Self::Inline(_) => usize::MAX,
            #[cfg(feature = "lanes")]
            Self::Staged(stream) => stream.piece(),
        }
    }

    /// All of the piece is taken, or none if the future is dropped before it is done.
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
