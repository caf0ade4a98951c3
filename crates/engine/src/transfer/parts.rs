//! The parts of an upload: each is one ranged GET and one `UploadPart`, many at once, verified one by one.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use migration_core::etag::ETag;
use migration_core::part::PartLayout;
use migration_core::ports::{Ledger, ObjectStore, PutPart, Queue, UploadRef};
use migration_core::records::SourceIdentity;

use super::fetch::Fetched;
use super::upload::Upload;
use super::{Halt, Transfer, halt_of};
use crate::gate::Access;

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    /// Sends the parts that are not there yet and gives their verified ETags. When one fails, or the process ends, no
    /// new ones are begun and those in flight are waited for: their bytes are not sent again by who comes next.
    pub(super) async fn send_missing(
        &self,
        upload: &mut Upload,
        source: &SourceIdentity,
    ) -> Result<BTreeMap<u32, ETag>, Halt> {
        let layout = upload.layout;
        let mut first = upload.first.take();
        let upload = &*upload;
        let mut missing = (1..=layout.count()).filter(|number| !upload.there.contains_key(number));
        let at_once = self.process.config.transfer.parts_per_file as usize;
        let mut in_flight = FuturesUnordered::new();
        let mut sent = BTreeMap::new();
        let mut halt = None;
        loop {
            while halt.is_none() && in_flight.len() < at_once {
                if self.process.stop.is_cancelled() {
                    halt = Some(Halt::Stopped);
                    break;
                }
                let Some(number) = missing.next() else { break };
                let held = if number == 1 { first.take() } else { None };
                in_flight.push(self.send_part(upload, number, held, source));
            }
            match in_flight.next().await {
                None => break,
                Some(Ok((number, etag))) => {
                    sent.insert(number, etag);
                }
                Some(Err(error)) => {
                    halt.get_or_insert(error);
                }
            }
        }
        halt.map_or(Ok(sent), Err)
    }

    async fn send_part(
        &self,
        upload: &Upload,
        number: u32,
        held: Option<Fetched>,
        source: &SourceIdentity,
    ) -> Result<(u32, ETag), Halt> {
        let fetched = match held {
            Some(fetched) => fetched,
            None => self.fetch_part(&upload.layout, number, source).await?,
        };
        let (bucket, key) = (self.pair.destination_bucket.as_str(), self.destination_key.as_str());
        let len = fetched.bytes.len() as u64;
        let target = UploadRef { bucket, key, upload_id: &upload.id };
        let part = PutPart { upload: target, number, body: fetched.bytes, md5: fetched.md5 };
        let store = &self.process.ports.destination;
        let written = self
            .process
            .destination(Access::object(bucket, key), || store.put_part(part.clone()))
            .await
            .map_err(|error| halt_of(error, || Halt::DestinationChanged(None)))?;
        let content = ETag::of_content(&fetched.md5);
        if written.etag_is_md5 && written.etag != content {
            return Err(Halt::Damaged(format!(
                "part {number} has ETag {} at the destination and its bytes have MD5 {}",
                written.etag.as_str(),
                content.as_str()
            )));
        }
        drop(fetched.memory);
        self.progress.touch();
        self.process.activity.moved(len);
        Ok((number, written.etag))
    }

    /// Reads one part of the source content that the upload carries.
    pub(super) async fn fetch_part(
        &self,
        layout: &PartLayout,
        number: u32,
        source: &SourceIdentity,
    ) -> Result<Fetched, Halt> {
        let part = layout.part(number).ok_or(Halt::SourceChanged)?;
        let fetched = self
            .fetch(Some((part.offset, part.len)), part.len, Some(&source.etag), source.version_id.as_deref())
            .await?;
        if fetched.head.size == layout.size { Ok(fetched) } else { Err(Halt::SourceChanged) }
    }
}
