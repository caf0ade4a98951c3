//! Hashes and counts a body while it is streamed from source to destination, without holding it in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, stream};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::ByteStream;

use super::progress::LastProgress;
use crate::hash::{Digests, HashStream};

/// The state of a streamed body.
pub(super) struct HashingBody(Arc<Mutex<BodyState>>);

enum BodyState {
    /// Some bytes have not been read yet.
    Passing,
    /// All bytes have been read.
    Passed(Box<HashStream>),
    /// The source broke.
    Broken(ServiceError),
}

/// The result of a streamed body.
pub(super) enum Passed {
    /// All bytes were read.
    Whole(Digests),
    /// Reading from the source failed.
    Broken(ServiceError),
    /// The reader stopped before the end.
    Unfinished,
}

/// The rest of a body.
struct Rest {
    body: ByteStream,
    len: u64,
    left: u64,
    hash: Option<Box<HashStream>>,
    progress: LastProgress,
    state: Arc<Mutex<BodyState>>,
}

/// Wraps a body of `len` bytes (at least 1) to hash it. Fewer or more bytes are a transient error.
pub(super) fn hashing_body(
    body: ByteStream,
    len: u64,
    hash: HashStream,
    progress: LastProgress,
) -> (ByteStream, HashingBody) {
    let state = Arc::new(Mutex::new(BodyState::Passing));
    let rest = Rest { body, len, left: len, hash: Some(Box::new(hash)), progress, state: state.clone() };
    let passing = stream::unfold(rest, |mut rest| async move { rest.next().await.map(|chunk| (chunk, rest)) });
    (passing.boxed(), HashingBody(state))
}

impl HashingBody {
    /// Returns what an error of the one who reads the body says of it. If the source broke, a missing or transient answer
    /// is only a consequence, which its gate must not count as an outage: it becomes [`ErrorClass::Stopped`].
    pub(super) fn reader_error(&self, error: ServiceError) -> ServiceError {
        let is_broken = matches!(*lock(&self.0), BodyState::Broken(_));
        let is_consequence = is_broken && matches!(error.class, ErrorClass::Transient | ErrorClass::NoAnswer);
        if is_consequence { ServiceError { class: ErrorClass::Stopped, ..error } } else { error }
    }

    /// Returns the result, after the last read.
    pub(super) async fn finish(self) -> Passed {
        let state = std::mem::replace(&mut *lock(&self.0), BodyState::Passing);
        match state {
            BodyState::Passed(hash) => Passed::Whole(hash.finish().await),
            BodyState::Broken(error) => Passed::Broken(error),
            BodyState::Passing => Passed::Unfinished,
        }
    }
}

impl Rest {
    async fn next(&mut self) -> Option<Result<Bytes, ServiceError>> {
        // Ended, by its last byte or by an error.
        self.hash.as_ref()?;
        match self.body.next().await {
            Some(Ok(chunk)) if chunk.len() as u64 <= self.left => Some(Ok(self.pass(chunk).await)),
            Some(Ok(_)) => Some(Err(self.break_off(unexpected(self.len, "more than those arrived")))),
            Some(Err(error)) => Some(Err(self.break_off(error))),
            None => {
                let arrived = self.len - self.left;
                Some(Err(self.break_off(unexpected(self.len, &format!("{arrived} arrived")))))
            }
        }
    }

    async fn pass(&mut self, chunk: Bytes) -> Bytes {
        if let Some(hash) = &mut self.hash {
            hash.update(chunk.clone()).await;
        }
        self.left -= chunk.len() as u64;
        self.progress.touch();
        // Set with the last byte, because a sender of a known number of bytes need not read the end of the stream.
        if self.left == 0
            && let Some(hash) = self.hash.take()
        {
            *lock(&self.state) = BodyState::Passed(hash);
        }
        chunk
    }

    fn break_off(&mut self, error: ServiceError) -> ServiceError {
        self.hash = None;
        *lock(&self.state) = BodyState::Broken(error.clone());
        error
    }
}

fn lock(state: &Mutex<BodyState>) -> MutexGuard<'_, BodyState> {
    // A panic of another holder cannot leave a partial state.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected(len: u64, what: &str) -> ServiceError {
    let message = format!("{len} bytes were asked for and {what}");
    ServiceError::new(ErrorClass::Transient, "read object body", "IncompleteBody", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{Hashing, digest};

    async fn passed(chunks: &[&'static str], len: u64) -> (Vec<u8>, Passed) {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from(*chunk))).collect();
        let (mut body, tap) =
            hashing_body(stream::iter(chunks).boxed(), len, Hashing::inline().stream(), LastProgress::default());
        let mut seen = Vec::new();
        while let Some(Ok(chunk)) = body.next().await {
            seen.extend_from_slice(&chunk);
        }
        drop(body);
        (seen, tap.finish().await)
    }

    #[tokio::test]
    async fn what_passes_is_what_came() {
        let (seen, what) = passed(&["ab", "", "cde"], 5).await;
        assert_eq!(seen, b"abcde");
        assert!(matches!(what, Passed::Whole(digests) if digests.md5 == digest(b"abcde").md5));
    }

    #[tokio::test]
    async fn a_body_of_another_length_breaks() {
        for (chunks, len, expected) in [(&["ab"][..], 3, "3 bytes were asked for and 2 arrived"), (&["abc"], 2, "more")]
        {
            let (_, what) = passed(chunks, len).await;
            assert!(matches!(what, Passed::Broken(error) if error.message.contains(expected)));
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_at_the_source_is_no_fault_of_its_reader() {
        use ErrorClass::{NoAnswer, Stopped, Throttled, Transient};
        for (len, class, expected) in [
            (3, Transient, Stopped),
            (3, NoAnswer, Stopped),
            (3, Throttled, Throttled),
            (2, Transient, Transient),
            (2, NoAnswer, NoAnswer),
        ] {
            let chunks = stream::iter([Ok(Bytes::from("ab"))]).boxed();
            let (body, tap) = hashing_body(chunks, len, Hashing::inline().stream(), LastProgress::default());
            let error = ServiceError::new(class, "upload part", "BodyBroken", "");
            assert_eq!(tap.reader_error(error.clone()).class, class, "nothing has broken yet");
            body.collect::<Vec<_>>().await;
            assert_eq!(tap.reader_error(error).class, expected, "{len} bytes, {class:?}");
        }
    }

    #[tokio::test]
    async fn the_end_is_known_without_asking_for_it() {
        let chunks = stream::iter([Ok(Bytes::from("ab"))]).chain(stream::pending());
        let (mut body, tap) = hashing_body(chunks.boxed(), 2, Hashing::inline().stream(), LastProgress::default());
        body.next().await.unwrap().unwrap();
        assert!(matches!(tap.finish().await, Passed::Whole(_)));
    }

    #[tokio::test]
    async fn a_body_that_nobody_reads_to_its_end_is_unfinished() {
        let chunks = stream::iter([Ok(Bytes::from("ab")), Ok(Bytes::from("c"))]);
        let (mut body, tap) = hashing_body(chunks.boxed(), 3, Hashing::inline().stream(), LastProgress::default());
        body.next().await.unwrap().unwrap();
        drop(body);
        assert!(matches!(tap.finish().await, Passed::Unfinished));
    }
}
