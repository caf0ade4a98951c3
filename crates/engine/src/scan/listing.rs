//! Lists a range at one side as a stream of objects. Reads one page ahead, and checks the order of keys.

use std::collections::VecDeque;
use std::sync::Arc;

use migration_core::compare::{MergeStep, merge_step};
use migration_core::error::{Service, ServiceError};
use migration_core::mutants::{Mutant, is_active};
use migration_core::object::ListedObject;
use migration_core::operation::RequestInfo;
use migration_core::pair::MAX_KEY_BYTES;
use migration_core::ports::{ListPage, ListRequest, ObjectStore, Operation};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::ScanError;
use super::range::OpenRange;
use crate::log_context::inherit;
use crate::{Interruption, Process, Services};

/// A listing of a range. Holds at most two pages in memory: the current one, and one waiting or arriving.
pub(super) struct Listing {
    bucket: String,
    pages: mpsc::Receiver<Result<Page, ScanError>>,
    page: VecDeque<ListedObject>,
    ended: bool,
    reader: JoinHandle<()>,
}

/// The part of a page that is in the range.
struct Page {
    objects: VecDeque<ListedObject>,
    /// True if no keys of the range follow.
    last: bool,
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Listing {
    /// Begins to list one side of a range.
    pub(super) fn open<P: Services>(process: &Arc<Process<P>>, side: Service, range: &Arc<OpenRange>) -> Self {
        let (send, pages) = mpsc::channel(1);
        let reader = Reader::new(process.clone(), side, range.clone());
        let bucket = reader.bucket.clone();
        let reader = tokio::spawn(inherit(reader.read(send)));
        Self { bucket, pages, page: VecDeque::new(), ended: false, reader }
    }

    /// Reads pages until the current one has an object or the listing ends.
    async fn fill(&mut self) -> Result<(), ScanError> {
        while self.page.is_empty() && !self.ended {
            // A reader that ended without a last page says nothing about the remaining keys.
            let page = self.pages.recv().await.ok_or_else(|| ScanError::CutShort { bucket: self.bucket.clone() })??;
            self.page = page.objects;
            self.ended = page.last;
        }
        Ok(())
    }

    /// Returns the next object, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<ListedObject>, ScanError> {
        self.fill().await?;
        Ok(self.page.pop_front())
    }

    /// Returns the next object if its key is before `key`, or in any case if `key` is `None`. Later objects stay.
    pub(super) async fn before(&mut self, key: Option<&str>) -> Result<Option<ListedObject>, ScanError> {
        self.fill().await?;
        let first = self.page.front().map(|object| object.key.as_str());
        Ok(if first.is_some() && merge_step(key, first) == MergeStep::Destination {
            self.page.pop_front()
        } else {
            None
        })
    }

    /// Returns the object with this key. Earlier objects are skipped, later ones stay.
    pub(super) async fn find(&mut self, key: &str) -> Result<Option<ListedObject>, ScanError> {
        loop {
            self.fill().await?;
            match merge_step(Some(key), self.page.front().map(|object| object.key.as_str())) {
                MergeStep::Destination => {
                    self.page.pop_front();
                }
                MergeStep::Both => return Ok(self.page.pop_front()),
                MergeStep::Source | MergeStep::End => return Ok(None),
            }
        }
    }
}

/// Reads the pages of a range at one side.
struct Reader<P: Services> {
    process: Arc<Process<P>>,
    side: Service,
    range: Arc<OpenRange>,
    bucket: String,
    prefix: String,
    /// The range begins after this key.
    after: Option<String>,
    continuation: Option<String>,
    order: Order,
}

impl<P: Services> Reader<P> {
    fn new(process: Arc<Process<P>>, side: Service, range: Arc<OpenRange>) -> Self {
        let (pair, begin) = (&range.pair, range.begin.as_deref());
        let (bucket, prefix, after) = if side == Service::Source {
            (&pair.source_bucket, pair.source_prefix.clone(), begin.map(str::to_owned))
        } else {
            (&pair.destination_bucket, pair.destination_range(), begin.and_then(|begin| pair.map_bound(begin)))
        };
        let bucket = bucket.clone();
        let last = after.as_deref().map(|after| shortened(after).to_owned());
        let order = Order { side, bucket: bucket.clone(), last };
        Self { process, side, range, bucket, prefix, after, continuation: None, order }
    }

    /// Reads pages until the end of the range, an error, or until the listing is dropped.
    async fn read(mut self, send: mpsc::Sender<Result<Page, ScanError>>) {
        loop {
            // Requests a page only when there is a place for it.
            let Ok(place) = send.reserve().await else { return };
            let page = self.page().await;
            let is_last = page.as_ref().map_or(true, |page| page.last);
            place.send(page);
            if is_last {
                return;
            }
        }
    }

    async fn page(&mut self) -> Result<Page, ScanError> {
        let request = ListRequest {
            bucket: &self.bucket,
            prefix: &self.prefix,
            start_after: self.after.as_deref().map(shortened),
            continuation: self.continuation.as_deref(),
            max_keys: None,
        };
        let access = RequestInfo::whole(listing(&self.process, self.side), &self.bucket);
        let page = if self.side == Service::Source {
            self.process.source(access, || list_source(&self.process, request)).await
        } else {
            self.process.destination(access, || self.process.ports.destination.list(request)).await
        };
        let ListPage { mut objects, continuation } = page.or_else(as_end)?;
        self.order.check(&objects)?;
        if let Some(after) = &self.after {
            objects.drain(..objects.partition_point(|object| object.key <= *after));
        }
        let more = continuation.is_some();
        let goes_on = match self.side {
            Service::Source => self.range.listed(&mut objects, more),
            _ => more && !self.is_past(objects.last()),
        };
        self.continuation = continuation;
        Ok(Page { objects: objects.into(), last: !goes_on })
    }

    /// Returns true if an object of the destination is at the end of the range, or beyond it.
    fn is_past(&self, object: Option<&ListedObject>) -> bool {
        let until = self.range.until().and_then(|until| self.range.pair.map_bound(&until));
        object.zip(until).is_some_and(|(object, until)| object.key >= until)
    }
}

fn as_end(error: Interruption) -> Result<ListPage, Interruption> {
    if is_active(Mutant::ListingErrorAsEnd) { Ok(ListPage::default()) } else { Err(error) }
}

/// Shortens a bound to the maximum length of a key, since services need not accept longer ones. The result is not after
/// the bound.
fn shortened(bound: &str) -> &str {
    &bound[..bound.floor_char_boundary(MAX_KEY_BYTES)]
}

/// Checks that keys come in the order of their bytes.
struct Order {
    side: Service,
    bucket: String,
    last: Option<String>,
}

impl Order {
    fn check(&mut self, objects: &[ListedObject]) -> Result<(), ScanError> {
        let mut last = self.last.as_deref();
        for object in objects {
            if let Some(before) = last.filter(|before| *before >= object.key.as_str()) {
                let (side, bucket) = (self.side, self.bucket.clone());
                let (before, after) = (before.to_owned(), object.key.clone());
                return Err(ScanError::OutOfOrder { side, bucket, before, after });
            }
            last = Some(&object.key);
        }
        self.last = last.map(str::to_owned);
        Ok(())
    }
}

/// Returns the first source key of a range's pair after a text.
pub(super) async fn first_after<P: Services>(
    process: &Process<P>,
    range: &OpenRange,
    text: &str,
) -> Result<Option<String>, ScanError> {
    let (bucket, prefix) = (&range.pair.source_bucket, &range.pair.source_prefix);
    // A page of versions may contain one that shows no object: a whole page then takes fewer requests.
    let max_keys = (!process.config.versioning.compare_version_id).then_some(1);
    let mut order = Order { side: Service::Source, bucket: bucket.clone(), last: Some(text.to_owned()) };
    let mut continuation: Option<String> = None;
    loop {
        let continued = continuation.as_deref();
        let request = ListRequest { bucket, prefix, start_after: Some(text), continuation: continued, max_keys };
        let page = process
            .source(RequestInfo::whole(listing(process, Service::Source), bucket), || list_source(process, request))
            .await?;
        order.check(&page.objects)?;
        let first = page.objects.into_iter().next();
        continuation = page.continuation;
        if first.is_some() || continuation.is_none() {
            return Ok(first.map(|object| object.key));
        }
    }
}

/// Returns the operation that lists this side.
fn listing<P: Services>(process: &Process<P>, side: Service) -> Operation {
    let versions = side == Service::Source && process.config.versioning.compare_version_id;
    if versions { Operation::ListVersions } else { Operation::ListObjects }
}

/// Lists one page of the source, with versions if runs compare them.
async fn list_source<P: Services>(process: &Process<P>, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
    if process.config.versioning.compare_version_id {
        process.ports.source.list_versions(request).await
    } else {
        process.ports.source.list(request).await
    }
}
