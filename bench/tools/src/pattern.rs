//! The bytes of computed objects: a block that repeats, so that any part of them is a slice of one buffer, and a digest
//! of many parts is computed once.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use md5::{Digest as _, Md5};

/// Bytes after which the content repeats.
const PERIOD: usize = 64 << 10;
/// Most bytes of one frame of a body.
const FRAME: usize = 256 << 10;
/// Size up to which an object is put at once, and of its parts beyond, as the AWS command line does.
const PART: u64 = 8 << 20;
/// Most parts of an object in S3.
const MOST_PARTS: u64 = 10_000;

static BYTES: LazyLock<Bytes> = LazyLock::new(|| {
    // Marsaglia's xorshift64: bytes that do not compress, the same in every process.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = Vec::with_capacity(PERIOD);
    while block.len() < PERIOD {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend_from_slice(&state.to_le_bytes());
    }
    block.iter().copied().cycle().take(FRAME + PERIOD).collect::<Vec<u8>>().into()
});

static DIGESTS: LazyLock<Mutex<HashMap<u64, [u8; 16]>>> = LazyLock::new(Mutex::default);

/// Returns up to `most` bytes of the content from an offset, without a copy; fewer if they don't fit in one frame.
fn slice(offset: u64, most: u64) -> Bytes {
    let start = phase(offset);
    let len = usize::try_from(most).map_or(FRAME, |most| most.min(FRAME));
    BYTES.slice(start..start + len)
}

fn phase(offset: u64) -> usize {
    usize::try_from(offset % PERIOD as u64).unwrap_or_default()
}

/// Returns true if these bytes are the content's at an offset.
pub fn matches(offset: u64, mut bytes: &[u8]) -> bool {
    let mut at = phase(offset);
    while !bytes.is_empty() {
        let len = bytes.len().min(BYTES.len() - at);
        let (now, later) = bytes.split_at(len);
        if now != &BYTES[at..at + len] {
            return false;
        }
        (at, bytes) = ((at + len) % PERIOD, later);
    }
    true
}

/// Returns the MD5 of the first bytes of the content. Each length is computed once.
pub fn digest(len: u64) -> [u8; 16] {
    let known = || DIGESTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = known().get(&len) {
        return *digest;
    }
    let (mut md5, mut at) = (Md5::new(), 0);
    while at < len {
        let bytes = slice(at, len - at);
        md5.update(&bytes);
        at += bytes.len() as u64;
    }
    let digest = md5.finalize().into();
    known().insert(len, digest);
    digest
}

/// Returns the ETag of an upload by the digests of its parts.
pub fn multipart_etag<'a>(digests: impl IntoIterator<Item = &'a [u8; 16]>) -> Arc<str> {
    let (mut md5, mut parts) = (Md5::new(), 0_usize);
    for digest in digests {
        md5.update(digest);
        parts += 1;
    }
    format!("{}-{parts}", hex::encode(md5.finalize())).into()
}

/// Returns the size of the parts that an object of this size was written in; `None` if it was put at once.
pub fn part_size(size: u64) -> Option<u64> {
    let fits = |part: &u64| size.div_ceil(*part) <= MOST_PARTS;
    (size > PART).then(|| std::iter::successors(Some(PART), |part| part.checked_mul(2)).find(fits)).flatten()
}

/// Returns the ETag of a computed object.
pub fn etag(size: u64) -> Arc<str> {
    let Some(part) = part_size(size) else { return hex::encode(digest(size)).into() };
    let (whole, last) = (size / part, size % part);
    let parts = (0..whole).map(|_| part).chain((last > 0).then_some(last));
    multipart_etag(&parts.map(digest).collect::<Vec<_>>())
}

/// A body of so many bytes of the content.
#[derive(Debug)]
pub struct Content {
    at: u64,
    left: u64,
}

impl Content {
    /// The content from an offset on.
    pub fn new(at: u64, len: u64) -> Self {
        Self { at, left: len }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let bytes = slice(self.at, self.left);
        self.at += bytes.len() as u64;
        self.left -= bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn content(at: u64, len: u64) -> Bytes {
        Content::new(at, len).collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn any_range_is_a_part_of_the_whole() {
        let whole = content(0, 1_000_000).await;
        assert_eq!(whole.len(), 1_000_000);
        for range in [0..1, 65_535..65_537, 65_536..365_536, 123_457..523_457, 7..7] {
            let at = range.start as u64;
            assert_eq!(content(at, range.len() as u64).await, whole.slice(range.clone()), "{range:?}");
            assert!(matches(at, &whole[range.clone()]), "{range:?}");
        }
        let mut other = whole.to_vec();
        other[999_999] ^= 1;
        assert!(!matches(0, &other));
        assert!(!matches(1, &whole));
    }

    #[tokio::test]
    async fn digests_are_those_of_the_bytes() {
        for len in [0, 1, 10_240, 1 << 20] {
            let expected: [u8; 16] = Md5::digest(content(0, len).await).into();
            assert_eq!(digest(len), expected);
            assert_eq!(digest(len), expected, "the second time");
        }
    }

    #[test]
    fn large_objects_have_the_etag_of_their_parts() {
        assert_eq!(&*etag(10), hex::encode(digest(10)));
        let (part, last) = (digest(8 << 20), digest(5));
        assert_eq!(etag((16 << 20) + 5), multipart_etag(&[part, part, last]));
        assert!(etag((16 << 20) + 5).ends_with("-3"));
        assert_eq!(part_size(8 << 20), None);
        assert_eq!(part_size(80 << 30), Some(16 << 20));
    }
}
