//! A service that lies: wraps any [`ObjectStore`] and returns responses that contradict S3's documentation, as
//! S3-compatible services and the proxies and caches in front of them do.
//!
//! Each [`Lie`] is switched on in [`Lies`] with a [`Scope`] of operations, keys and frequency. Otherwise the wrapped
//! service responds unchanged.
//!
//! Two responses that adapters must tell apart:
//!
//! - `head` returns `None` for a 404 without a body. That does not prove absence: a proxy whose service is down
//!   responds alike.
//! - [`ErrorClass::NoSuchKey`], from a response with a body, comes from S3 itself (`NoSuchKey`, `NoSuchVersion`) and
//!   proves absence. Any other 404 is [`ErrorClass::NoAnswer`]: the service did not answer.
//!
//! [`ObjectStore`]: migration_core::ports::ObjectStore
//! [`ErrorClass::NoSuchKey`]: migration_core::error::ErrorClass::NoSuchKey
//! [`ErrorClass::NoAnswer`]: migration_core::error::ErrorClass::NoAnswer

mod lie;
mod parts;
mod reads;
mod rules;
mod store;
mod tags;
mod writes;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{ByteStream, ObjectHead, ObjectStore, Written};

use lie::Asked;
pub use lie::{Carried, ETagStyle, Header, Lie, Modified, Named, Refusal, Told};
use rules::Drawn;
pub use rules::{LieId, Lies, Scope};

use migration_core::ports::Operation;

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// A service that lies as its switches say.
#[derive(Clone, Debug)]
pub struct Lying<T> {
    inner: T,
    lies: Lies,
}

impl<T> Lying<T> {
    /// Wraps a service.
    pub fn new(inner: T, lies: &Lies) -> Self {
        Self { inner, lies: lies.clone() }
    }

    /// Returns the wrapped service, which does not lie.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// Returns the switches.
    pub fn lies(&self) -> &Lies {
        &self.lies
    }
}

impl<T: ObjectStore> Lying<T> {
    fn draw(&self, operation: Operation, key: &str, asked: Asked) -> Drawn {
        self.lies.draw(operation, key, asked)
    }

    /// Applies lies to the metadata of an object.
    fn describe(&self, key: &str, head: &mut ObjectHead, drawn: &Drawn) {
        for lie in drawn.each() {
            match lie {
                Lie::ETags(ETagStyle::Missing) => head.etag = None,
                Lie::ETags(style) => head.etag = head.etag.take().map(|tag| self.shown(style, key, &tag)),
                Lie::WrongChecksum => head.checksum.iter_mut().for_each(|checksum| checksum.0 ^= 1),
                Lie::Modified(modified) => head.modified = modified.instead_of(head.modified),
                _ => {}
            }
        }
    }

    /// Applies lies to the result of a write.
    fn written(&self, key: &str, mut written: Written, drawn: &Drawn) -> Written {
        for lie in drawn.each() {
            match lie {
                Lie::ETags(style) => written.etag = self.shown(style, key, &written.etag),
                Lie::WrongChecksum => written.checksum.iter_mut().for_each(|checksum| checksum.0 ^= 1),
                _ => {}
            }
        }
        written
    }

    fn shown(&self, style: ETagStyle, key: &str, tag: &migration_core::etag::ETag) -> migration_core::etag::ETag {
        self.lies.memory(|memory| memory.tags.shown(style, key, tag))
    }
}

impl Modified {
    fn instead_of(self, modified: i64) -> i64 {
        match self {
            Self::Missing => 0,
            Self::Late => modified + DAY_MS,
            Self::Early => modified - DAY_MS,
        }
    }
}

impl Drawn {
    /// Returns the error of a request that is not executed.
    fn before(&self, operation: Operation) -> Result<(), ServiceError> {
        let error = self.find(|lie| match lie {
            Lie::Absent => Some(page(operation, "404 page not found")),
            Lie::Page => Some(page(operation, "<html><body><h1>502 Bad Gateway</h1></body></html>")),
            Lie::Refuse(refusal) => Some(refusal.of(operation)),
            _ => None,
        });
        error.map_or(Ok(()), Err)
    }

    /// Returns the response to an executed request, or an error in its place.
    fn after<R>(&self, operation: Operation, answer: R) -> Result<R, ServiceError> {
        let error = self.find(|lie| match lie {
            Lie::RefuseAfter(refusal) => Some(refusal.of(operation)),
            _ => None,
        });
        error.map_or(Ok(answer), Err)
    }
}

/// Error for a response that is not the service's own.
fn page(operation: Operation, words: &str) -> ServiceError {
    ServiceError::new(ErrorClass::NoAnswer, operation.as_str(), "UnexpectedAnswer", words)
}

/// Reads a whole body.
async fn collect(mut body: ByteStream) -> Result<Bytes, ServiceError> {
    let mut all = BytesMut::new();
    while let Some(piece) = body.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all.freeze())
}

/// Returns a body of these bytes.
fn body_of(bytes: Bytes) -> ByteStream {
    let pieces = (!bytes.is_empty()).then_some(Ok(bytes));
    stream::iter(pieces).boxed()
}

#[cfg(test)]
mod tests;
