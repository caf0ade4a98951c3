//! A listing as a stream of objects: pages are asked for one ahead, and their order is checked.

use std::collections::VecDeque;
use std::sync::Arc;

use migration_core::compare::ListedObject;
use migration_core::error::{ServiceError, Side};
use migration_core::planted::{Defect, is_planted};
use migration_core::ports::{Ledger, ListPage, ListRequest, ObjectStore, Queue};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::SendError;
use crate::gate::Access;
use crate::{Interruption, Process};

/// A listing under way. At most three pages are in memory: the one at hand, one waiting, one arriving.
pub(super) struct Listing {
    bucket: String,
    pages: mpsc::Receiver<Result<ListPage, Interruption>>,
    page: VecDeque<ListedObject>,
    last: Option<String>,
    reader: JoinHandle<()>,
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Listing {
    /// Begins to list a bucket's keys under a prefix.
    pub(super) fn open<S: ObjectStore, Q: Queue, L: Ledger>(
        process: &Arc<Process<S, Q, L>>,
        side: Side,
        bucket: &str,
        prefix: &str,
    ) -> Self {
        let (send, pages) = mpsc::channel(1);
        let reader = tokio::spawn({
            let (process, bucket, prefix) = (process.clone(), bucket.to_owned(), prefix.to_owned());
            async move { read_pages(&process, side, &bucket, &prefix, send).await }
        });
        Self { bucket: bucket.to_owned(), pages, page: VecDeque::new(), last: None, reader }
    }

    /// The next object without taking it; none at the end.
    pub(super) async fn peek(&mut self) -> Result<Option<&ListedObject>, SendError> {
        while self.page.is_empty() {
            match self.pages.recv().await {
                None => return Ok(None),
                Some(page) => self.page = self.in_order(page?)?.into(),
            }
        }
        Ok(self.page.front())
    }

    /// Takes the object that was peeked at.
    pub(super) fn take(&mut self) -> Option<ListedObject> {
        self.page.pop_front()
    }

    fn in_order(&mut self, page: ListPage) -> Result<Vec<ListedObject>, SendError> {
        for object in &page.objects {
            if let Some(before) = self.last.take()
                && before.as_bytes() >= object.key.as_bytes()
            {
                let after = object.key.clone();
                return Err(SendError::OutOfOrder { bucket: self.bucket.clone(), before, after });
            }
            self.last = Some(object.key.clone());
        }
        Ok(page.objects)
    }
}

/// Reads pages until the end, an error, or until nobody wants them any more.
async fn read_pages<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    side: Side,
    bucket: &str,
    prefix: &str,
    send: mpsc::Sender<Result<ListPage, Interruption>>,
) {
    let mut continuation: Option<String> = None;
    loop {
        let request = ListRequest { bucket, prefix, start_after: None, continuation: continuation.as_deref() };
        let access = Access::whole(bucket);
        let page = if side == Side::Source {
            process.source(access, || list_source(process, request)).await
        } else {
            process.destination(access, || process.ports.destination.list(request)).await
        };
        let page = page
            .or_else(|error| if is_planted(Defect::ListingErrorAsEnd) { Ok(ListPage::default()) } else { Err(error) });
        let next = page.as_ref().ok().and_then(|page| page.continuation.clone());
        if send.send(page).await.is_err() || next.is_none() {
            return;
        }
        continuation = next;
    }
}

/// One page of the source: with versions where runs compare them.
async fn list_source<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    request: ListRequest<'_>,
) -> Result<ListPage, ServiceError> {
    if process.config.versioning.compare_version_id {
        process.ports.source.list_versions(request).await
    } else {
        process.ports.source.list(request).await
    }
}
