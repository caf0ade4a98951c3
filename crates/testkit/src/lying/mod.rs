//! A service that lies: any [`ObjectStore`] with answers that S3 does not document, as services that speak like it and
//! proxies and caches in front of them give.
//!
//! Each [`Lie`] is a switch of [`Lies`], with a [`Scope`] that says for which operations, keys and how often. Without
//! any, the service inside answers as it is.
//!
//! Two answers mean different things, and adapters must tell them apart:
//!
//! - `head` gives none for a bodyless 404. That is no proof of absence: a proxy whose service is away answers the same.
//! - [`ErrorClass::NoSuchKey`] of a request whose answer has a body is S3's own document (`NoSuchKey`,
//!   `NoSuchVersion`): proof of absence. A 404 in other words is [`ErrorClass::NoAnswer`]: the service did not answer.
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

/// A day, in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// A service that lies as its switches say.
#[derive(Clone, Debug)]
pub struct Lying<T> {
    inner: T,
    lies: Lies,
}

impl<T> Lying<T> {
    /// Lets a service lie.
    pub fn new(inner: T, lies: &Lies) -> Self {
        Self { inner, lies: lies.clone() }
    }

    /// The service inside, which does not lie.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// The switches.
    pub fn lies(&self) -> &Lies {
        &self.lies
    }
}

impl<T: ObjectStore> Lying<T> {
    fn draw(&self, operation: Operation, key: &str, asked: Asked) -> Drawn {
        self.lies.draw(operation, key, asked)
    }

    /// What is said of an object.
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

    /// What is said of something written.
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
    /// The error that a request gets in place of its effect.
    fn before(&self, operation: Operation) -> Result<(), ServiceError> {
        let error = self.find(|lie| match lie {
            Lie::Absent => Some(page(operation, "404 page not found")),
            Lie::Page => Some(page(operation, "<html><body><h1>502 Bad Gateway</h1></body></html>")),
            Lie::Refuse(refusal) => Some(refusal.of(operation)),
            _ => None,
        });
        error.map_or(Ok(()), Err)
    }

    /// The answer, or the error in its place that a request gets after its effect.
    fn after<R>(&self, operation: Operation, answer: R) -> Result<R, ServiceError> {
        let error = self.find(|lie| match lie {
            Lie::RefuseAfter(refusal) => Some(refusal.of(operation)),
            _ => None,
        });
        error.map_or(Ok(answer), Err)
    }
}

/// An answer that is not the service's.
fn page(operation: Operation, words: &str) -> ServiceError {
    ServiceError::new(ErrorClass::NoAnswer, operation.as_str(), "UnexpectedAnswer", words)
}

/// All of a body.
async fn collect(mut body: ByteStream) -> Result<Bytes, ServiceError> {
    let mut all = BytesMut::new();
    while let Some(piece) = body.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all.freeze())
}

/// A body of these bytes.
fn body_of(bytes: Bytes) -> ByteStream {
    let pieces = (!bytes.is_empty()).then_some(Ok(bytes));
    stream::iter(pieces).boxed()
}

#[cfg(test)]
mod tests;
