//! Copies an object by one GET and one PUT. The body is held in memory between them, so that a damaged body never
//! becomes visible at the destination.

use migration_core::etag::ETag;
use migration_core::fidelity::Carried;
use migration_core::integrity::{self, Proof};
use migration_core::outcome::{Delivery, Fingerprint};
use migration_core::part::PartLayout;
use migration_core::ports::{Ability, Checksum, WriteCondition};

use super::Transfer;
use super::attempt::Moved;
use super::destination::Landed;
use super::error::TransferError;
use super::probe::Sent;
use super::source::{Fetched, SourceSnapshot};
use crate::Services;

impl<P: Services> Transfer<'_, P> {
    /// Copies the object.
    pub(super) async fn single_put(
        &self,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
    ) -> Result<Moved, TransferError> {
        let Self { process, source, destination, .. } = self;
        let fetched = source.hold_whole(snapshot).await?;
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
        source.look_after_weak_read(snapshot.etag.as_ref(), snapshot.size).await?;
        let mut carried = source.preserved_attributes(&fetched.head).await?;
        let conditions = Ability::found_out_by(snapshot.size == 0, fetched.head.etag.is_some());
        let probing = process.probing(destination.bucket, conditions).await?;
        let put = self.put_verified(&fetched, &mut carried, condition).await;
        let landed = match (put, &probing) {
            (Ok(landed), None) => landed,
            (Ok(landed), Some(_)) => {
                let sent = Sent { fetched: &fetched, carried: &carried };
                Box::pin(self.find_out(sent, condition, landed)).await?
            }
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) => {
                // The next object repeats the test. If this write fails, its worker waits until the right to test
                // expires.
                let _ = process.probed(destination.bucket, &[], 0).await;
                return Err(error);
            }
        };
        drop(probing);
        let losses = carried.losses;
        let Landed { written, guarded } = landed;
        process.runtime.moved(destination.name(), snapshot.size);
        let version_id = fetched.head.version_id.or_else(|| snapshot.version_id.clone());
        drop(fetched.memory);
        let source = Fingerprint { etag: fetched.head.etag, checksum: Some(Checksum(fetched.digests.crc64)) };
        let destination = Fingerprint { etag: None, checksum: written.checksum };
        let delivery =
            Delivery { bytes: snapshot.size, version_id, losses, source, destination, ..Delivery::default() };
        Ok(Moved { delivery, etag: written.etag, guarded })
    }

    /// Writes the object, without attributes that the destination rejects, and verifies it.
    async fn put_verified(
        &self,
        fetched: &Fetched,
        carried: &mut Carried,
        condition: &WriteCondition,
    ) -> Result<Landed, TransferError> {
        let Self { source, destination, records, .. } = self;
        let landed = loop {
            match destination.put(fetched, carried, condition).await {
                Ok(landed) => break landed,
                Err(error) => self.leave_behind(carried, error)?,
            }
        };
        // Content-MD5 was sent: even if the response proves nothing, the service has rejected other bytes.
        if integrity::written(&landed.written, &fetched.digests.md5, Checksum(fetched.digests.crc64)) == Proof::Other
            && !destination.stands_as_sent(fetched, &landed.written).await?
        {
            let etag = fetched.head.etag.clone().unwrap_or_else(|| ETag::new(""));
            let size = fetched.head.size;
            let content = source.content(etag, fetched.head.version_id.clone());
            records.record_damage(&content, PartLayout { size, part_size: size.max(1) }).await?;
            return Err(TransferError::Damaged(format!(
                "the destination has ETag {} and the source's bytes have MD5 {}",
                landed.written.etag.as_str(),
                ETag::of_content(&fetched.digests.md5).as_str()
            )));
        }
        Ok(landed)
    }
}
