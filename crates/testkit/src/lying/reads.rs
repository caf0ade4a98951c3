//! Lies about reads.

use bytes::{Bytes, BytesMut};
use migration_core::error::ServiceError;
use migration_core::ports::{GetRequest, GetResponse, ListPage, ListRequest, ObjectHead, ObjectStore, Span};

use super::lie::{ETagStyle, Lie};
use super::rules::Drawn;
use super::{Lying, body_of, collect};
use migration_core::ports::Operation;

/// Continuation of a one-page listing that repeats for ever.
const AGAIN: &str = "again";

impl<T: ObjectStore> Lying<T> {
    /// Executes a GET and applies the lies about its content.
    pub(super) async fn read(&self, request: GetRequest<'_>, drawn: &Drawn) -> Result<GetResponse, ServiceError> {
        if drawn.has(Lie::Stale) {
            let (head, content) = self.first_content(request).await?;
            let bytes = cut(&content, request.span, &head);
            return Ok(GetResponse { head, len: bytes.len() as u64, body: body_of(bytes) });
        }
        let first = if drawn.has(Lie::Mixed) { Some(self.first_content(request).await?) } else { None };
        let span = span_of(request.span, drawn);
        let answer = match self.inner.get(GetRequest { span, ..request }).await {
            // There is no later range at the end of an object.
            Err(_) if span != request.span => {
                self.inner.get(GetRequest { span: earlier(request.span), ..request }).await?
            }
            answer => answer?,
        };
        let GetResponse { head, len, mut body } = answer;
        if let Some((before, content)) = first.filter(|(before, _)| before.etag != head.etag) {
            body = body_of(mixed(&cut(&content, request.span, &before), &collect(body).await?));
        }
        if let Some(bytes) = drawn.find(|lie| if let Lie::BodyShort(bytes) = lie { Some(*bytes) } else { None }) {
            let all = collect(body).await?;
            body = body_of(all.slice(..all.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX))));
        }
        if let Some(bytes) = drawn.find(|lie| if let Lie::BodyLong(bytes) = lie { Some(*bytes) } else { None }) {
            let mut all = BytesMut::from(&collect(body).await?[..]);
            all.extend((0..bytes).map(|_| b'+'));
            body = body_of(all.freeze());
        }
        Ok(GetResponse { head, len, body })
    }

    /// Returns the first content read of a key.
    async fn first_content(&self, request: GetRequest<'_>) -> Result<(ObjectHead, Bytes), ServiceError> {
        let name = (request.bucket.to_owned(), request.key.to_owned());
        if let Some(first) = self.lies.memory(|memory| memory.contents.get(&name).cloned()) {
            return Ok(first);
        }
        let whole = GetRequest { span: Span::Whole, if_match: None, ..request };
        let GetResponse { head, body, .. } = self.inner.get(whole).await?;
        let content = collect(body).await?;
        Ok(self.lies.memory(|memory| memory.contents.entry(name).or_insert((head, content)).clone()))
    }

    /// Returns the first response to a HEAD.
    pub(super) fn first_head(&self, request: &str, head: Option<ObjectHead>) -> Option<ObjectHead> {
        self.lies.memory(|memory| memory.heads.entry(request.to_owned()).or_insert(head).clone())
    }

    /// Lists a page and applies the lies of listings.
    pub(super) async fn page(
        &self,
        operation: Operation,
        request: ListRequest<'_>,
        drawn: &Drawn,
    ) -> Result<ListPage, ServiceError> {
        let again = drawn.has(Lie::Loop);
        let continuation = request.continuation.filter(|token| !again && *token != AGAIN);
        let asked = ListRequest { continuation, ..request };
        let mut page = if operation == Operation::ListVersions {
            self.inner.list_versions(asked).await?
        } else {
            self.inner.list(asked).await?
        };
        if drawn.has(Lie::Stale) {
            let name = format!("{operation} {request:?}");
            page = self.lies.memory(|memory| memory.pages.entry(name).or_insert(page).clone());
        }
        if again {
            page.continuation.get_or_insert_with(|| AGAIN.to_owned());
        }
        for lie in drawn.each() {
            self.change_page(&mut page, lie);
        }
        Ok(page)
    }

    fn change_page(&self, page: &mut ListPage, lie: Lie) {
        match lie {
            Lie::Unordered => page.objects.reverse(),
            Lie::Duplicated => page.objects = page.objects.iter().flat_map(|o| [o.clone(), o.clone()]).collect(),
            Lie::Cut => {
                page.objects.truncate(page.objects.len() / 2);
                page.continuation = None;
            }
            Lie::ETags(ETagStyle::Missing) => page.objects.iter_mut().for_each(|object| object.etag = None),
            Lie::ETags(style) => {
                for object in &mut page.objects {
                    object.etag = object.etag.take().map(|tag| self.shown(style, &object.key, &tag));
                }
            }
            Lie::Modified(modified) => {
                for object in &mut page.objects {
                    object.modified = modified.instead_of(object.modified);
                }
            }
            _ => {}
        }
    }
}

/// Returns the span that is actually read.
fn span_of(span: Span, drawn: &Drawn) -> Span {
    match span {
        _ if drawn.has(Lie::RangeIgnored) => Span::Whole,
        Span::Range { offset, len } if drawn.has(Lie::RangeShifted) => Span::Range { offset: offset + 1, len },
        other => other,
    }
}

/// Returns a range that starts a byte earlier, if there is one.
fn earlier(span: Span) -> Span {
    match span {
        Span::Range { offset, len } => Span::Range { offset: offset.saturating_sub(1), len },
        other => other,
    }
}

/// Returns the bytes of a span of a content; empty if it lies outside.
fn cut(content: &Bytes, span: Span, head: &ObjectHead) -> Bytes {
    match span {
        Span::Range { offset, len } => {
            let size = head.size.min(content.len() as u64);
            let end = offset.saturating_add(len).min(size);
            let range = usize::try_from(offset.min(end)).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
            content.slice(range)
        }
        Span::Whole | Span::Part(_) => content.clone(),
    }
}

/// Joins the first half of the older content, as far as it reaches, and the rest of the newer one.
fn mixed(old: &Bytes, new: &Bytes) -> Bytes {
    let half = (new.len() / 2).min(old.len());
    [&old[..half], &new[half..]].concat().into()
}
