//! A store that also has a work list, which no service holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use md5::{Digest, Md5};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::ignore::{IgnoreError, IgnoreList};
use migration_core::manifest::{BucketSide, ManifestLocation};
use migration_core::outcome::FailureClass;
use migration_core::ports::{
    ByteStream, Capabilities, CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest, GetRequest,
    GetResponse, HeadRequest, Ledger, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, Operation, PartsPage,
    PutPart, PutRequest, PutTags, Span, Tags, UploadRef, Written,
};
use migration_core::records::{FailureRecord, RunRecord, failure_partition};
use migration_ledger::{Pager, Readable};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// Bucket of the work list. No service has it: a colon is no character of a bucket's name.
const BUCKET: &str = "s3migrate:retry";
/// Key of the work list.
const KEY: &str = "failures.csv";
/// Beginning of the list's ETag, by which a run over it is known.
const ETAG: &str = "s3migrate-retry-";
/// Failures read at once.
const PAGE: u32 = 200;

/// The failed objects that are copied again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selection {
    /// The run in which they failed.
    pub run: String,
    /// Patterns of BUCKET/KEY at the source, of which one must match; empty for all.
    pub keys: Vec<String>,
    /// Classes of failures; empty for all.
    pub classes: Vec<FailureClass>,
}

/// Returns where a run finds the work list of a retry.
pub fn location() -> ManifestLocation {
    ManifestLocation { side: BucketSide::Source, bucket: BUCKET.to_owned(), key: KEY.to_owned() }
}

/// Returns true if a run is a retry: its list is one of ours, or it has not read its list yet and the job itself has
/// none.
pub fn is_retry(run: &RunRecord, job_has_list: bool) -> bool {
    let is_ours = run.list.as_ref().map_or(!job_has_list, |list| list.as_str().starts_with(ETAG));
    run.listed_by_manifest && is_ours
}

/// Reads the failures of a run that are selected, as rows of CSV.
struct Rows<L> {
    ledger: L,
    job: String,
    run: RunRecord,
    keys: Option<IgnoreList>,
    classes: Vec<FailureClass>,
}

/// Rows of a page of failures.
#[derive(Clone, Debug, Default)]
struct Page {
    /// Index of their pair in the run's pairs.
    pair: usize,
    csv: Bytes,
    objects: u64,
    unreadable: u64,
}

/// A list of failed objects that is read from the ledger each time, and not held. The failures of a run that has ended
/// don't change.
pub struct WorkList<L> {
    rows: Arc<Rows<L>>,
    size: u64,
    etag: ETag,
    /// Number of objects in the list.
    pub objects: u64,
    /// Number of failures that can't be read, and are not in it.
    pub unreadable: u64,
    /// The source buckets of its objects.
    pub buckets: BTreeSet<String>,
}

impl<L: Ledger> WorkList<L> {
    /// Reads the list once, for its size and digest.
    pub async fn open(ledger: L, job: &str, run: RunRecord, selection: &Selection) -> Result<Self, WorkListError> {
        let keys = (!selection.keys.is_empty()).then(|| IgnoreList::new(&selection.keys)).transpose()?;
        let rows = Arc::new(Rows { ledger, job: job.to_owned(), run, keys, classes: selection.classes.clone() });
        let (mut size, mut digest, mut objects, mut unreadable) = (0, Md5::new(), 0, 0);
        let mut buckets = BTreeSet::new();
        let mut pages = std::pin::pin!(rows.clone().pages());
        while let Some(page) = pages.try_next().await? {
            size += page.csv.len() as u64;
            digest.update(&page.csv);
            objects += page.objects;
            unreadable += page.unreadable;
            let bucket = rows.run.pairs.get(page.pair).filter(|_| page.objects > 0);
            buckets.extend(bucket.map(|pair| pair.source_bucket.clone()));
        }
        let etag = ETag::new(&format!("{ETAG}{}", hex::encode(digest.finalize())));
        Ok(Self { rows, size, etag, objects, unreadable, buckets })
    }

    fn head(&self) -> ObjectHead {
        ObjectHead { size: self.size, etag: Some(self.etag.clone()), ..ObjectHead::default() }
    }

    fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        if request.if_match.is_some_and(|etag| *etag != self.etag) {
            let message = "the work list is another one";
            let operation = Operation::GetObject.as_str();
            return Err(ServiceError::new(ErrorClass::PreconditionFailed, operation, "PreconditionFailed", message));
        }
        let (offset, len) = match request.span {
            Span::Whole | Span::Part(_) => (0, self.size),
            Span::Range { offset, len } => (offset, len.min(self.size.saturating_sub(offset))),
        };
        Ok(GetResponse { head: self.head(), len, body: cut(self.rows.clone().pages(), offset, len) })
    }
}

/// Returns `len` bytes of the pages from `offset` on. Ends with the last of them.
fn cut(pages: impl Stream<Item = Result<Page, ServiceError>> + Send + 'static, offset: u64, len: u64) -> ByteStream {
    let place = (Box::pin(pages), offset, len);
    let cut = stream::try_unfold(place, |(mut pages, mut skip, mut left)| async move {
        while left > 0 {
            let Some(Page { mut csv, .. }) = pages.try_next().await? else { break };
            let skipped = csv.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
            skip -= skipped as u64;
            let mut piece = csv.split_off(skipped);
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= piece.len() as u64;
            if !piece.is_empty() {
                return Ok(Some((piece, (pages, skip, left))));
            }
        }
        Ok(None)
    });
    cut.boxed()
}

impl<L: Ledger> Rows<L> {
    /// Reads the failures of all pairs, in order of their keys.
    fn pages(self: Arc<Self>) -> impl Stream<Item = Result<Page, ServiceError>> + Send + 'static {
        stream::try_unfold((self, 0_usize, None::<Pager>), |(rows, mut number, mut pager)| async move {
            loop {
                let Some(pair) = rows.run.pairs.get(number) else { return Ok(None) };
                let partition = failure_partition(&rows.job, &rows.run.run, u32::try_from(number).unwrap_or(u32::MAX));
                let open = pager.get_or_insert_with(|| Pager::new(partition, "", PAGE));
                if let Some(items) = open.next_page(&rows.ledger).await? {
                    let page = Page { pair: number, ..rows.page(&pair.source_bucket, &Readable::of(&items)) };
                    return Ok(Some((page, (rows, number, pager))));
                }
                (number, pager) = (number + 1, None);
            }
        })
    }

    fn page(&self, bucket: &str, failures: &Readable<FailureRecord>) -> Page {
        let mut page = Page { unreadable: failures.unreadable.count, ..Page::default() };
        let mut csv = String::new();
        for failure in failures.records.iter().filter(|failure| self.selects(bucket, failure)) {
            page.objects += 1;
            csv.extend([bucket, ","]);
            csv.extend(utf8_percent_encode(&failure.key, NON_ALPHANUMERIC));
            csv.push('\n');
        }
        Page { csv: csv.into(), ..page }
    }

    fn selects(&self, bucket: &str, failure: &FailureRecord) -> bool {
        self.run.counts(failure)
            && (self.classes.is_empty() || self.classes.contains(&failure.class))
            && self.keys.as_ref().is_none_or(|keys| keys.ignores(bucket, &failure.key))
    }
}

/// Why a list can't be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkListError {
    /// A pattern is invalid.
    #[error(transparent)]
    Pattern(#[from] IgnoreError),
    /// The ledger can't be read.
    #[error("failed to read failures: {0}")]
    Ledger(#[from] ServiceError),
}

/// A store that also has a work list, if there is one. All else is the store's.
pub struct WithWorkList<S, L> {
    store: S,
    list: Option<Arc<WorkList<L>>>,
}

impl<S: Clone, L> Clone for WithWorkList<S, L> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), list: self.list.clone() }
    }
}

impl<S, L> WithWorkList<S, L> {
    /// Creates a store without a list.
    pub fn without(store: S) -> Self {
        Self { store, list: None }
    }

    /// Adds a list, at [`location`].
    #[must_use]
    pub fn with_list(self, list: WorkList<L>) -> Self {
        Self { list: Some(Arc::new(list)), ..self }
    }

    fn list_at(&self, bucket: &str, key: &str) -> Option<&WorkList<L>> {
        self.list.as_deref().filter(|_| (bucket, key) == (BUCKET, KEY))
    }
}

impl<S: ObjectStore, L: Ledger> ObjectStore for WithWorkList<S, L> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn abort_command(&self, upload: UploadRef<'_>) -> String {
        self.store.abort_command(upload)
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.store.list(request).await
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.store.list_versions(request).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        match self.list_at(request.bucket, request.key) {
            Some(list) => list.get(request),
            None => self.store.get(request).await,
        }
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        match self.list_at(request.bucket, request.key) {
            Some(list) => Ok(Some(list.head())),
            None => self.store.head(request).await,
        }
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        self.store.tags(bucket, key, version_id).await
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        self.store.put_tags(request).await
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        self.store.put(request).await
    }

    async fn copy(&self, request: CopyRequest<'_>) -> Result<Written, ServiceError> {
        self.store.copy(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
        self.store.delete(request).await
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        self.store.create_upload(request).await
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        self.store.put_part(request).await
    }

    async fn copy_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        self.store.copy_part(request).await
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        self.store.list_parts(upload, after).await
    }

    async fn complete_upload(&self, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        self.store.complete_upload(request).await
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        self.store.abort_upload(upload).await
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        self.store.list_uploads(bucket, key).await
    }
}

#[cfg(test)]
mod tests;
