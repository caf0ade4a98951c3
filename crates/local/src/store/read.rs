//! Reads of objects and tags.

use futures::{StreamExt, stream};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{ByteStream, GetRequest, ObjectHead, Operation, PutTags, Span, Tags};

use super::checks::{check_readable, check_tags, error, refused};
use super::content::{Content, Reader};
use super::object::StoredObject;
use super::receive::disk_error;
use super::state::Bucket;
use super::traffic::Ticket;

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
    pub(super) fn get(&self, request: GetRequest<'_>) -> Result<(ObjectHead, Content), ServiceError> {
        const GET: Operation = Operation::GetObject;
        let object = self.find(GET, request.key, request.version_id)?;
        check_readable(GET, object, request.if_match)?;
        let mut head = object.head();
        let content = match request.span {
            Span::Whole => {
                head.checksum = object.checksum;
                object.content.clone()
            }
            Span::Range { offset, len } => {
                if offset >= object.size() || len == 0 {
                    return Err(refused(GET, "InvalidRange", "the requested range is not satisfiable"));
                }
                object.content.slice(offset, len)
            }
            Span::Part(0) => {
                return Err(refused(GET, "InvalidArgument", "part number must be between 1 and 10000, inclusive"));
            }
            Span::Part(number) => {
                head.parts = u32::try_from(object.parts.len()).ok().filter(|parts| *parts > 0);
                let (offset, len) = object
                    .part(number)
                    .ok_or_else(|| refused(GET, "InvalidPartNumber", "the requested partnumber is not satisfiable"))?;
                object.content.slice(offset, len)
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
        self.change_object(request.key, request.version_id, |object| object.tags.clone_from(request.tags));
        Ok(())
    }
}

/// Returns the bytes in pieces. The request counts as running until they are read.
pub(super) fn body(operation: Operation, content: Content, piece: usize, ticket: Ticket) -> ByteStream {
    let state: Option<(Reader, Ticket)> = Some((content.reader(piece), ticket));
    let pieces = stream::unfold(state, move |state| async move {
        let (mut reader, ticket) = state?;
        match reader.next().await {
            Ok(piece) => piece.map(|piece| (Ok(piece), Some((reader, ticket)))),
            Err(io) => Some((Err(disk_error(operation, "read body", &io)), None)),
        }
    });
    pieces.boxed()
}
