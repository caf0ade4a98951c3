//! An object that is moved whole: one GET, one PUT, held in memory between them, so that a bad body never becomes
//! visible at the destination.

use migration_core::etag::ETag;
use migration_core::ports::{Ledger, ObjectStore, PutRequest, Queue, WriteCondition};

use super::{Halt, Transfer, Wanted, halt_of};
use crate::gate::Access;

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    /// Moves the object and gives its bytes.
    pub(super) async fn small(&self, wanted: &Wanted, condition: &WriteCondition) -> Result<u64, Halt> {
        let fetched = self.fetch(None, wanted.size, wanted.etag.as_ref(), wanted.version_id.as_deref()).await?;
        let tags = self.tags(&fetched.head).await?;
        let content = ETag::of_content(&fetched.md5);
        let bucket = &self.pair.destination_bucket;
        let request = PutRequest {
            bucket,
            key: &self.destination_key,
            body: fetched.bytes,
            md5: fetched.md5,
            attributes: &fetched.head.attributes,
            tags: &tags,
            condition,
        };
        let store = &self.process.ports.destination;
        let written = self
            .process
            .destination(Access::object(bucket, &self.destination_key), || store.put(request.clone()))
            .await
            .map_err(|error| halt_of(error, || Halt::DestinationChanged(Some(content.clone()))))?;
        if written.etag_is_md5 && written.etag != content {
            return Err(Halt::Damaged(format!(
                "the destination has ETag {} and the source's bytes have MD5 {}",
                written.etag.as_str(),
                content.as_str()
            )));
        }
        drop(fetched.memory);
        self.process.activity.moved(wanted.size);
        Ok(wanted.size)
    }
}
