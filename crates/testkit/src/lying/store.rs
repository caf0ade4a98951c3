//! [`ObjectStore`] implementation.

use migration_core::error::ServiceError;
use migration_core::object::ListedPart;
use migration_core::ports::{
    Capabilities, CompleteUpload, CopyPart, CopyRequest, CopySource, CreateUpload, DeleteRequest, GetRequest,
    GetResponse, HeadRequest, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, Operation, PartsPage,
    PutPart, PutRequest, PutTags, Span, Tags, UploadRef, WriteCondition, Written,
};

use super::Lying;
use super::lie::{Asked, Lie, Named};
use super::rules::Drawn;
use super::writes::{OwnedUpload, after, asked, carried, condition, later};

impl<T: ObjectStore + Clone> Lying<T> {
    async fn listed(&self, operation: Operation, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let drawn = self.draw(operation, request.prefix, Asked::default());
        drawn.before(operation)?;
        let page = self.page(operation, request, &drawn).await?;
        drawn.after(operation, page)
    }

    async fn delete_as(&self, request: DeleteRequest<'_>, drawn: &Drawn) -> Result<(), ServiceError> {
        let condition = condition(self, Operation::DeleteObject, &delete_condition(&request), drawn)?;
        let (bucket, key, inner) = (request.bucket.to_owned(), request.key.to_owned(), self.inner.clone());
        let work = async move {
            let if_match = if let WriteCondition::Matches(tag) = &condition { Some(tag) } else { None };
            inner.delete(DeleteRequest { bucket: &bucket, key: &key, if_match }).await
        };
        match later(drawn) {
            Some(time) => {
                after(time, work);
                Ok(())
            }
            None => self.end_as(drawn, work).await,
        }
    }

    async fn abort_as(&self, upload: UploadRef<'_>, drawn: &Drawn) -> Result<(), ServiceError> {
        let (inner, owned) = (self.inner.clone(), OwnedUpload::of(upload));
        let work = async move { inner.abort_upload(owned.borrowed()).await };
        match later(drawn) {
            Some(time) => {
                after(time, work);
                Ok(())
            }
            None => self.end_as(drawn, work).await,
        }
    }

    fn change_parts(&self, upload: UploadRef<'_>, page: &mut PartsPage, drawn: &Drawn) {
        self.lies.memory(|memory| page.parts.iter_mut().for_each(|p| memory.parts.listed(upload.upload_id, p)));
        for lie in drawn.each() {
            match lie {
                Lie::PartsHidden => page.parts.retain(|part| part.number % 2 == 1),
                Lie::PartsForeign if page.next.is_none() => page.parts.extend(foreign(&page.parts)),
                Lie::ETags(style) => {
                    for part in &mut page.parts {
                        part.etag = self.shown(style, upload.key, &part.etag);
                    }
                }
                Lie::WrongChecksum => {
                    page.parts.iter_mut().filter_map(|part| part.checksum.as_mut()).for_each(|c| c.0 ^= 1);
                }
                _ => {}
            }
        }
    }
}

/// Returns an invented part that follows these.
fn foreign(parts: &[ListedPart]) -> Option<ListedPart> {
    let (first, last) = (parts.first()?, parts.last()?);
    Some(ListedPart { number: last.number + 1, size: first.size, ..first.clone() })
}

fn delete_condition(request: &DeleteRequest<'_>) -> WriteCondition {
    request.if_match.map_or(WriteCondition::Any, |tag| WriteCondition::Matches(tag.clone()))
}

impl<T: ObjectStore + Clone> ObjectStore for Lying<T> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn clock_offset(&self) -> Option<i64> {
        self.inner.clock_offset()
    }

    fn abort_command(&self, upload: UploadRef<'_>) -> String {
        self.inner.abort_command(upload)
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.listed(Operation::ListObjects, request).await
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.listed(Operation::ListVersions, request).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        const GET: Operation = Operation::GetObject;
        let span = request.span != Span::Whole;
        let asked = Asked { if_match: request.if_match.is_some(), span, ..Asked::default() };
        let drawn = self.draw(GET, request.key, asked);
        drawn.before(GET)?;
        let ignored = drawn.find(|lie| if let Lie::IfMatchIgnored(named) = lie { Some(*named) } else { None });
        let understood = request.if_match.map(|tag| self.lies.understood(tag, &drawn));
        let if_match = understood.as_ref().filter(|_| ignored.is_none());
        let mut answer = self.read(GetRequest { if_match, ..request }, &drawn).await?;
        self.describe(request.key, &mut answer.head, &drawn);
        if ignored == Some(Named::Wanted) {
            answer.head.etag = request.if_match.cloned();
        }
        drawn.after(GET, answer)
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        const HEAD: Operation = Operation::HeadObject;
        let drawn = self.draw(HEAD, request.key, Asked::default());
        if drawn.has(Lie::Absent) {
            return Ok(None);
        }
        drawn.before(HEAD)?;
        let mut head = self.inner.head(request).await?;
        if drawn.has(Lie::Stale) {
            head = self.first_head(&format!("{request:?}"), head);
        }
        if let Some(head) = &mut head {
            self.describe(request.key, head, &drawn);
        }
        drawn.after(HEAD, head)
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        const TAGS: Operation = Operation::GetTags;
        let drawn = self.draw(TAGS, key, Asked::default());
        drawn.before(TAGS)?;
        let tags = self.inner.tags(bucket, key, version_id).await?;
        drawn.after(TAGS, tags)
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        const TAGS: Operation = Operation::PutTags;
        let drawn = self.draw(TAGS, request.key, Asked::default());
        drawn.before(TAGS)?;
        self.inner.put_tags(request).await?;
        drawn.after(TAGS, ())
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        const PUT: Operation = Operation::PutObject;
        let key = request.key;
        let drawn = self.draw(PUT, key, asked(request.condition));
        drawn.before(PUT)?;
        let condition = condition(self, PUT, request.condition, &drawn)?;
        let (attributes, tags) = carried(request.attributes, request.tags, &drawn);
        let request = PutRequest { attributes: &attributes, tags: &tags, condition: &condition, ..request };
        let written = self.put_as(request, &drawn).await?;
        drawn.after(PUT, self.written(key, written, &drawn))
    }

    async fn copy(&self, request: CopyRequest<'_>) -> Result<Written, ServiceError> {
        const COPY: Operation = Operation::CopyObject;
        let drawn = self.draw(COPY, request.key, asked(request.condition));
        drawn.before(COPY)?;
        let condition = condition(self, COPY, request.condition, &drawn)?;
        let no_tags = Tags::new();
        let (attributes, _) = carried(request.attributes, &no_tags, &drawn);
        let if_match = self.lies.understood(request.source.if_match, &drawn);
        let source = CopySource { if_match: &if_match, ..request.source };
        let asked = CopyRequest { source, attributes: &attributes, condition: &condition, ..request };
        let written = self.inner.copy(asked).await?;
        drawn.after(COPY, self.written(request.key, written, &drawn))
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
        const DELETE: Operation = Operation::DeleteObject;
        let drawn = self.draw(DELETE, request.key, asked(&delete_condition(&request)));
        drawn.before(DELETE)?;
        self.delete_as(request, &drawn).await?;
        drawn.after(DELETE, ())
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        const CREATE: Operation = Operation::CreateUpload;
        let drawn = self.draw(CREATE, request.key, Asked::default());
        drawn.before(CREATE)?;
        let (attributes, tags) = carried(request.attributes, request.tags, &drawn);
        let id = self.inner.create_upload(CreateUpload { attributes: &attributes, tags: &tags, ..request }).await?;
        drawn.after(CREATE, id)
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        const PART: Operation = Operation::PutPart;
        let key = request.upload.key;
        let drawn = self.draw(PART, key, Asked::default());
        drawn.before(PART)?;
        let written = self.put_part_as(request, &drawn).await?;
        drawn.after(PART, self.written(key, written, &drawn))
    }

    async fn copy_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        const COPY: Operation = Operation::CopyPart;
        let drawn = self.draw(COPY, request.upload.key, Asked::default());
        drawn.before(COPY)?;
        let if_match = self.lies.understood(request.source.if_match, &drawn);
        let source = CopySource { if_match: &if_match, ..request.source };
        let written = self.inner.copy_part(CopyPart { source, ..request }).await?;
        drawn.after(COPY, self.written(request.upload.key, written, &drawn))
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        const LIST: Operation = Operation::ListParts;
        let drawn = self.draw(LIST, upload.key, Asked::default());
        drawn.before(LIST)?;
        let mut page = self.inner.list_parts(upload, after).await?;
        self.change_parts(upload, &mut page, &drawn);
        drawn.after(LIST, page)
    }

    async fn complete_upload(&self, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        const COMPLETE: Operation = Operation::CompleteUpload;
        let key = request.upload.key;
        let drawn = self.draw(COMPLETE, key, asked(request.condition));
        drawn.before(COMPLETE)?;
        let condition = condition(self, COMPLETE, request.condition, &drawn)?;
        let written = self.complete_as(CompleteUpload { condition: &condition, ..request }, &drawn).await?;
        drawn.after(COMPLETE, self.written(key, written, &drawn))
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        const ABORT: Operation = Operation::AbortUpload;
        let drawn = self.draw(ABORT, upload.key, Asked::default());
        drawn.before(ABORT)?;
        self.abort_as(upload, &drawn).await?;
        drawn.after(ABORT, ())
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        const LIST: Operation = Operation::ListUploads;
        let drawn = self.draw(LIST, key, Asked::default());
        drawn.before(LIST)?;
        let uploads = self.inner.list_uploads(bucket, key).await?;
        drawn.after(LIST, uploads)
    }
}
