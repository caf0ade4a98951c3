//! Reads of objects and tags.

use bytes::Bytes;
use futures::{StreamExt, stream};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{ByteStream, GetRequest, ObjectHead, PutTags, Span, Tags};

use super::checks::{check_readable, check_tags, error, refused};
use super::object::StoredObject;
use super::state::Bucket;
use super::traffic::Ticket;
use crate::Operation;

impl Bucket {
    pub(super) fn find(
        &self,
        operation: Operation,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<&StoredObject, ServiceError> {
        let missing = |code, message| error(operation, ErrorClass::NoSuchKey, code, message);
        let versions = self.objects.get(key);
        let Some(id) = version_id else {
            let current = versions.and_then(|versions| versions.current());
            return current.ok_or_else(|| missing("NoSuchKey", "the specified key does not exist"));
        };
        let version = versions.and_then(|versions| versions.find(id));
        let version = version.ok_or_else(|| missing("NoSuchVersion", "the specified version does not exist"))?;
        version.object.as_ref().ok_or_else(|| missing("MethodNotAllowed", "the specified version is a delete marker"))
    }

    /// Returns an object's metadata and the requested bytes.
    pub(super) fn get(&self, request: GetRequest<'_>) -> Result<(ObjectHead, Bytes), ServiceError> {
        const GET: Operation = Operation::GetObject;
        let object = self.find(GET, request.key, request.version_id)?;
        check_readable(GET, object, request.if_match)?;
        let mut head = object.head();
        let content = match request.span {
            Span::Whole => {
                head.checksum = object.checksum;
                object.content.clone()
            }
            Span::Range { offset, len } => slice(&object.content, offset, len)
                .ok_or_else(|| refused(GET, "InvalidRange", "the requested range is not satisfiable"))?,
            Span::Part(0) => {
                return Err(refused(GET, "InvalidArgument", "part number must be between 1 and 10000, inclusive"));
            }
            Span::Part(number) => {
                head.parts = u32::try_from(object.parts.len()).ok().filter(|parts| *parts > 0);
                part(object, number)
                    .ok_or_else(|| refused(GET, "InvalidPartNumber", "the requested partnumber is not satisfiable"))?
            }
        };
        Ok((head, content))
    }

    pub(super) fn tags(&self, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        self.find(Operation::GetTags, key, version_id).map(|object| object.tags.clone())
    }

    /// Replaces the tags of an object; its time of modification stays.
    pub(super) fn put_tags(&mut self, request: PutTags<'_>) -> Result<(), ServiceError> {
        const PUT: Operation = Operation::PutTags;
        check_tags(PUT, request.tags)?;
        self.find(PUT, request.key, request.version_id)?;
        let versions = self.objects.get_mut(request.key);
        let object = versions.and_then(|versions| match request.version_id {
            Some(id) => versions.find_mut(id),
            None => versions.current_mut(),
        });
        if let Some(object) = object {
            object.tags.clone_from(request.tags);
        }
        Ok(())
    }
}

/// Returns at most `count` bytes from `first`; `None` if `first` is beyond the content.
fn slice(content: &Bytes, first: u64, count: u64) -> Option<Bytes> {
    let size = content.len() as u64;
    if first >= size || count == 0 {
        return None;
    }
    let end = first.saturating_add(count).min(size);
    Some(content.slice(usize::try_from(first).ok()?..usize::try_from(end).ok()?))
}

/// Returns a part as uploaded. An object without parts is its own part 1.
fn part(object: &StoredObject, number: u32) -> Option<Bytes> {
    if object.parts.is_empty() {
        return (number == 1).then(|| object.content.clone());
    }
    let before = usize::try_from(number).ok()?.checked_sub(1)?;
    let len = *object.parts.get(before)?;
    let offset: u64 = object.parts.iter().take(before).sum();
    // A part may be empty; a range may not.
    Some(slice(&object.content, offset, len).unwrap_or_default())
}

/// Returns the bytes in pieces. The request counts as running until they are read.
pub(super) fn body(content: Bytes, chunk: usize, ticket: Ticket) -> ByteStream {
    let pieces = stream::unfold((content, ticket), move |(mut rest, ticket)| async move {
        let piece = rest.split_to(chunk.max(1).min(rest.len()));
        (!piece.is_empty()).then_some((Ok(piece), (rest, ticket)))
    });
    pieces.boxed()
}
