//! An object that is moved whole: one GET, one PUT, held in memory between them, so that a bad body never becomes
//! visible at the destination.

use migration_core::etag::ETag;
use migration_core::fidelity::Carried;
use migration_core::outcome::{Delivery, Fingerprint};
use migration_core::ports::{
    Checksum, Ledger, ObjectStore, Operation, PutRequest, Queue, Span, WriteCondition, Written,
};
use migration_core::verify::{self, Proof};

use super::fetch::Fetched;
use super::{Halt, Transfer, Wanted};

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    /// Moves the object; gives what came of it and its ETag at the destination.
    pub(super) async fn small(&self, wanted: &Wanted, condition: &WriteCondition) -> Result<(Delivery, ETag), Halt> {
        let fetched = self.hold(self.want(wanted, Span::Whole), wanted.size).await?;
        if fetched.head.size != wanted.size {
            return Err(Halt::SourceChanged);
        }
        if let Some(said) = fetched.head.checksum
            && said != Checksum(fetched.digests.crc64)
        {
            return Err(Halt::Damaged("the source's checksum is not that of the bytes that arrived".to_owned()));
        }
        self.look_after_weak_read(wanted.etag.as_ref(), wanted.size).await?;
        let mut carried = self.luggage(&fetched.head).await?;
        let written = loop {
            match self.put(&fetched, &carried, condition).await {
                Ok(written) => break written,
                Err(halt) => self.leave_behind(&mut carried, halt)?,
            }
        };
        let losses = carried.losses;
        // Content-MD5 went with it: without any proof of its own the service has still refused other bytes.
        if verify::written(&written, &fetched.digests.md5, Checksum(fetched.digests.crc64)) == Proof::Other
            && !self.stands_as_sent(&fetched, &written).await?
        {
            return Err(Halt::Damaged(format!(
                "the destination has ETag {} and the source's bytes have MD5 {}",
                written.etag.as_str(),
                ETag::of_content(&fetched.digests.md5).as_str()
            )));
        }
        self.process.activity.moved(wanted.size);
        let version_id = fetched.head.version_id.or_else(|| wanted.version_id.clone());
        drop(fetched.memory);
        let source = Fingerprint { etag: fetched.head.etag, checksum: Some(Checksum(fetched.digests.crc64)) };
        let destination = Fingerprint { etag: None, checksum: written.checksum };
        let delivery = Delivery { bytes: wanted.size, version_id, losses, source, destination, ..Delivery::default() };
        Ok((delivery, written.etag))
    }

    async fn put(&self, fetched: &Fetched, carried: &Carried, condition: &WriteCondition) -> Result<Written, Halt> {
        let meant = ETag::of_content(&fetched.digests.md5);
        let store = &self.process.ports.destination;
        self.write(Operation::PutObject, condition, Some(&meant), |condition| async move {
            store
                .put(PutRequest {
                    bucket: &self.pair.destination_bucket,
                    key: &self.destination_key,
                    body: fetched.bytes.clone(),
                    md5: fetched.digests.md5,
                    attributes: &carried.attributes,
                    tags: &carried.tags,
                    condition: &condition,
                })
                .await
        })
        .await
    }
}
