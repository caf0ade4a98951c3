//! An object that is moved whole: one GET, one PUT, held in memory between them, so that a bad body never becomes
//! visible at the destination.

use migration_core::etag::ETag;
use migration_core::fidelity::Carried;
use migration_core::integrity::{self, Proof};
use migration_core::outcome::{Delivery, Fingerprint};
use migration_core::part::PartLayout;
use migration_core::ports::{Checksum, Ledger, ObjectStore, Operation, PutRequest, WriteCondition};
use migration_core::records::Ability;

use super::attempt::Moved;
use super::conditional::Landed;
use super::fetch::Fetched;
use super::probe::Sent;
use super::{SourceSnapshot, Transfer, TransferError};
use crate::Services;

impl<P: Services> Transfer<'_, P> {
    /// Moves the object.
    pub(super) async fn small(
        &self,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
    ) -> Result<Moved, TransferError> {
        let fetched = self.hold_whole(snapshot).await?;
        if fetched.head.size != snapshot.size {
            return Err(TransferError::SourceChanged);
        }
        if let Some(said) = fetched.head.checksum
            && said != Checksum(fetched.digests.crc64)
        {
            return Err(TransferError::Damaged(
                "the source's checksum is not that of the bytes that arrived".to_owned(),
            ));
        }
        self.look_after_weak_read(snapshot.etag.as_ref(), snapshot.size).await?;
        let mut carried = self.preserved_attributes(&fetched.head).await?;
        let bucket = &self.pair.destination_bucket;
        let probing = self.process.probing(bucket, Ability::found_out_by(snapshot.size == 0)).await?;
        let put = self.put_verified(&fetched, &mut carried, condition).await;
        let landed = match (put, &probing) {
            (Ok(landed), None) => landed,
            (Ok(landed), Some(_)) => {
                let sent = Sent { fetched: &fetched, carried: &carried };
                Box::pin(self.find_out(sent, condition, landed)).await?
            }
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) => {
                // The next object finds out; where this can't be said, its worker waits until the right expires.
                let _ = self.process.probed(bucket, &[], 0).await;
                return Err(error);
            }
        };
        drop(probing);
        let losses = carried.losses;
        let Landed { written, guarded } = landed;
        self.process.activity.moved(snapshot.size);
        let version_id = fetched.head.version_id.or_else(|| snapshot.version_id.clone());
        drop(fetched.memory);
        let source = Fingerprint { etag: fetched.head.etag, checksum: Some(Checksum(fetched.digests.crc64)) };
        let destination = Fingerprint { etag: None, checksum: written.checksum };
        let delivery =
            Delivery { bytes: snapshot.size, version_id, losses, source, destination, ..Delivery::default() };
        Ok(Moved { delivery, etag: written.etag, guarded })
    }

    /// Writes the object, without what the destination refuses to take along.
    async fn put_verified(
        &self,
        fetched: &Fetched,
        carried: &mut Carried,
        condition: &WriteCondition,
    ) -> Result<Landed, TransferError> {
        let landed = loop {
            match self.put(fetched, carried, condition).await {
                Ok(landed) => break landed,
                Err(error) => self.leave_behind(carried, error)?,
            }
        };
        // Content-MD5 went with it: without any proof of its own the service has still refused other bytes.
        if integrity::written(&landed.written, &fetched.digests.md5, Checksum(fetched.digests.crc64)) == Proof::Other
            && !self.stands_as_sent(fetched, &landed.written).await?
        {
            let etag = fetched.head.etag.clone().unwrap_or_else(|| ETag::new(""));
            let size = fetched.head.size;
            let source = self.content(etag, fetched.head.version_id.clone());
            self.record_damage(&source, PartLayout { size, part_size: size.max(1) }).await?;
            return Err(TransferError::Damaged(format!(
                "the destination has ETag {} and the source's bytes have MD5 {}",
                landed.written.etag.as_str(),
                ETag::of_content(&fetched.digests.md5).as_str()
            )));
        }
        Ok(landed)
    }

    async fn put(
        &self,
        fetched: &Fetched,
        carried: &Carried,
        condition: &WriteCondition,
    ) -> Result<Landed, TransferError> {
        let meant = ETag::of_content(&fetched.digests.md5);
        let store = &self.process.ports.destination;
        self.write(Operation::PutObject, condition, Some(&meant), |condition| async move {
            store.put(self.put_request(fetched, carried, &condition)).await
        })
        .await
    }

    /// The request that writes the object whole.
    pub(super) fn put_request<'b>(
        &'b self,
        fetched: &Fetched,
        carried: &'b Carried,
        condition: &'b WriteCondition,
    ) -> PutRequest<'b> {
        PutRequest {
            bucket: &self.pair.destination_bucket,
            key: &self.destination_key,
            body: fetched.bytes.clone(),
            md5: fetched.digests.md5,
            attributes: &carried.attributes,
            tags: &carried.tags,
            condition,
        }
    }
}
