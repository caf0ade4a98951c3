//! Copies an object by one GET and one PUT. The body is held in memory between them, so that a damaged body never
//! becomes visible at the destination.

use migration_core::error::Rejected;
use migration_core::etag::{ETag, Md5Digest};
use migration_core::fidelity::Carried;
use migration_core::integrity::{self, Proof};
use migration_core::outcome::{Delivery, Fingerprint};
use migration_core::part::PartLayout;
use migration_core::ports::{Ability, Checksum, ObjectStore as _, Support, WriteCondition, Written};
use migration_core::reading::named_md5;
use tracing::debug;

use super::Transfer;
use super::attempt::Moved;
use super::destination::{Landed, ReadBack};
use super::error::TransferError;
use super::source::{Fetched, Md5From, SourceSnapshot};
use crate::{Interruption, Services};

/// Most bytes from which on the MD5 of an object is taken from its ETag: it costs little to compute for less. A 64th of
/// the longest object that is moved whole, if that is less.
const NAMED_FROM: u64 = 128 << 10;

/// An object in memory, with the attributes to write.
pub(super) struct Whole {
    pub(super) fetched: Fetched,
    pub(super) carried: Carried,
}

impl<P: Services> Transfer<'_, P> {
    /// Copies the object.
    pub(super) async fn single_put(
        &self,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
    ) -> Result<Moved, TransferError> {
        let Self { process, source, destination, .. } = self;
        let fetched = source.hold_whole(snapshot, self.md5_from(snapshot.size).await?).await?;
        let mut whole = self.with_attributes(fetched, snapshot).await?;
        source.look_after_weak_read(snapshot.etag.as_ref(), snapshot.size).await?;
        let conditions = Ability::found_out_by(snapshot.size == 0, whole.fetched.head.etag.is_some());
        let mut probing = process.probing(destination.bucket, conditions).await?;
        let mut put = self.first_put(&mut whole, condition).await;
        if whole.fetched.is_named && put.as_ref().is_err_and(rejects_md5) {
            if let Some(right) = probing.take() {
                // The next object tests the conditions: reading again can wait for memory that those hold who wait for
                // the test.
                process.probed(destination.bucket, &[], 0).await?;
                drop(right);
            }
            let computed = Box::pin(source.computed(whole.fetched, snapshot)).await?;
            whole = self.with_attributes(computed, snapshot).await?;
            put = Box::pin(self.put_verified(&mut whole, condition)).await;
        }
        let landed = match (put, &probing) {
            (Ok(landed), None) => landed,
            (Ok(landed), Some(_)) => {
                let landed = Box::pin(self.find_out(&whole, condition, landed)).await?;
                Box::pin(self.verify_tested(&whole.fetched, &landed.written)).await?;
                landed
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
        if whole.fetched.is_named {
            process.saw_named_md5(source.bucket);
        }
        process.runtime.moved(destination.name(), snapshot.size);
        Ok(moved(whole, snapshot, landed))
    }

    /// Returns a fetched object with the attributes to write, if it is the one of the snapshot.
    async fn with_attributes(&self, fetched: Fetched, snapshot: &SourceSnapshot) -> Result<Whole, TransferError> {
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
        let carried = self.source.preserved_attributes(&fetched.head).await?;
        Ok(Whole { fetched, carried })
    }

    /// Writes the object, once a bucket after a test of Content-MD5, or by it.
    async fn first_put(&self, whole: &mut Whole, condition: &WriteCondition) -> Result<Landed, TransferError> {
        if !self.may_ask_for_md5(whole, condition).await? {
            return self.put_verified(whole, condition).await;
        }
        self.suspect(&whole.fetched).await?;
        let put = async {
            let landed = match self.ask_for_md5(whole, condition).await? {
                Asked::Rejected => return self.put_verified(whole, condition).await,
                Asked::Accepted(landed) => landed,
                Asked::Unclear => self.put_verified(whole, condition).await?,
            };
            self.verify_tested(&whole.fetched, &landed.written).await?;
            Ok(landed)
        };
        // An object that another worker wrote meanwhile may have been spoilt by the test, whatever its ETag.
        Box::pin(put).await.map_err(|error| match error {
            TransferError::DestinationChanged(_) => TransferError::DestinationChanged(None),
            error => error,
        })
    }

    /// Writes the object, without attributes that the destination rejects, and verifies it.
    async fn put_verified(&self, whole: &mut Whole, condition: &WriteCondition) -> Result<Landed, TransferError> {
        let Whole { fetched, carried } = whole;
        let landed = loop {
            match self.destination.put(fetched, carried, condition).await {
                Ok(landed) => break landed,
                Err(error) if fetched.is_named && rejects_md5(&error) => return Err(error),
                Err(error) => self.leave_behind(carried, error)?,
            }
        };
        self.prove_named(fetched, &landed).await?;
        // Content-MD5 was sent: even if the response proves nothing, the service has rejected other bytes.
        self.verify(fetched, &landed.written).await?;
        Ok(landed)
    }

    /// Fails if the answer to a PUT shows other bytes than those that were sent. Damage is recorded before.
    async fn verify(&self, fetched: &Fetched, written: &Written) -> Result<(), TransferError> {
        let digests = &fetched.digests;
        if integrity::written(written, &digests.md5, Checksum(digests.crc64)) == Proof::Other
            && self.destination.read_back(fetched, written).await? != ReadBack::Same
        {
            return Err(self.damaged(fetched, &written.etag, &digests.md5).await?);
        }
        Ok(())
    }

    /// Fails if the object is not there as it was sent, after tests wrote to it. Their answers prove nothing: a service
    /// that ignores conditions has stored it again, and one that rejects a request may have removed what was there
    /// before (`LocalStack` does so for a wrong Content-MD5, and shows the object as before).
    async fn verify_tested(&self, fetched: &Fetched, written: &Written) -> Result<(), TransferError> {
        match self.destination.read_back(fetched, written).await? {
            ReadBack::Same => Ok(()),
            ReadBack::Other => Err(self.damaged(fetched, &written.etag, &fetched.digests.md5).await?),
            ReadBack::Replaced => Err(TransferError::DestinationChanged(None)),
            ReadBack::Unreadable => self.verify(fetched, written).await,
        }
    }

    /// Computes a named MD5 if neither the answer proves it nor the adapter knows that the service rejects other bytes
    /// and gives no MD5s: whether it rejects them may have changed since it was found out, and what is known of a name
    /// may not hold for what is behind it.
    async fn prove_named(&self, fetched: &Fetched, landed: &Landed) -> Result<(), TransferError> {
        let Self { process, source, destination, .. } = self;
        let named = fetched.digests.md5;
        let Written { etag, etag_is_md5, .. } = &landed.written;
        let is_proven = etag.md5() == Some(named) || (!etag_is_md5 && process.is_sure_of(Ability::ChecksMd5));
        if !fetched.is_named || is_proven {
            return Ok(());
        }
        let computed = process.hashing.digest(&fetched.bytes).await.md5;
        if computed == named {
            return Ok(());
        }
        process.saw_other_md5(source.bucket);
        destination.learn(Ability::ChecksMd5, Support::No).await?;
        Err(self.damaged(fetched, &landed.written.etag, &computed).await?)
    }

    /// Records that the object at the destination is not what its source's ETag says. Returns the error.
    async fn damaged(&self, fetched: &Fetched, there: &ETag, md5: &Md5Digest) -> Result<TransferError, TransferError> {
        self.record_damage(fetched).await?;
        Ok(TransferError::Damaged(format!(
            "the destination has ETag {} and the source's bytes have MD5 {}",
            there.as_str(),
            ETag::of_content(md5).as_str()
        )))
    }

    /// Records that the object may be damaged, before a test of the service, until this transfer or the next one of the
    /// object has verified what it wrote: a worker can die in between, and nothing else would show the damage.
    pub(super) async fn suspect(&self, fetched: &Fetched) -> Result<(), TransferError> {
        self.record_damage(fetched).await?;
        self.records.set_open(true);
        Ok(())
    }

    async fn record_damage(&self, fetched: &Fetched) -> Result<(), TransferError> {
        let etag = fetched.head.etag.clone().unwrap_or_else(|| ETag::new(""));
        let size = fetched.head.size;
        let content = self.source.content(etag, fetched.head.version_id.clone());
        self.records.record_damage(&content, PartLayout { size, part_size: size.max(1) }).await
    }

    /// Returns where the MD5 of an object of this size comes from: its ETag, if those of the source were MD5s lately, and
    /// the destination rejects a PUT with another MD5 than that of the body. The destination then proves both.
    async fn md5_from(&self, size: u64) -> Result<Md5From, TransferError> {
        let Self { process, source, destination, .. } = self;
        let is_worth_it = self.is_long(size) && process.names_md5s(source.bucket);
        // An answer without an MD5 proves nothing where the check was only seen.
        let can_prove =
            process.is_sure_of(Ability::ChecksMd5) || !process.ports.destination.capabilities().has_opaque_etags;
        if is_worth_it && can_prove && destination.support(Ability::ChecksMd5).await? == Support::Yes {
            return Ok(Md5From::ETag);
        }
        Ok(Md5From::Bytes)
    }

    fn is_long(&self, size: u64) -> bool {
        size >= NAMED_FROM.min(self.process.config.transfer.multipart_threshold.bytes() / 64)
    }

    /// Returns true once a bucket, if this object can show whether the destination rejects a wrong Content-MD5: its own is
    /// known, and no object is there whose bytes could be lost, nor may be written meanwhile.
    async fn may_ask_for_md5(&self, whole: &Whole, condition: &WriteCondition) -> Result<bool, TransferError> {
        let (destination, fetched) = (&self.destination, &whole.fetched);
        let is_example = *condition == WriteCondition::Absent
            && !fetched.is_named
            && self.is_long(fetched.head.size)
            && named_md5(&fetched.head) == Some(fetched.digests.md5);
        Ok(is_example
            && destination.support(Ability::PutIfNoneMatch).await? == Support::Yes
            && self.process.may_ask_for_md5(destination.bucket).await?)
    }

    /// Sends the object with a wrong Content-MD5, and records whether the destination rejects it. If not, the object is
    /// written.
    async fn ask_for_md5(&self, whole: &Whole, condition: &WriteCondition) -> Result<Asked, TransferError> {
        let (destination, Whole { fetched, carried }) = (&self.destination, whole);
        match destination.put_with_wrong_md5(fetched, carried, condition).await {
            Ok(written) => {
                destination.learn(Ability::ChecksMd5, Support::No).await?;
                Ok(Asked::Accepted(Landed { written, guarded: true }))
            }
            Err(Interruption::Service(error)) if error.rejects(&Rejected::Digest) => {
                destination.learn(Ability::ChecksMd5, Support::Yes).await?;
                Ok(Asked::Rejected)
            }
            Err(error) => {
                debug!(bucket = destination.bucket, %error, "failed to find out if a wrong Content-MD5 is rejected");
                Ok(Asked::Unclear)
            }
        }
    }
}

/// Answer to a wrong Content-MD5.
enum Asked {
    /// The service rejects it.
    Rejected,
    /// The service ignores it, and the object is written.
    Accepted(Landed),
    /// The object may have been written, or may still be.
    Unclear,
}

/// Returns the result of a transfer, and frees its memory.
fn moved(whole: Whole, snapshot: &SourceSnapshot, Landed { written, guarded }: Landed) -> Moved {
    let Whole { fetched: Fetched { head, digests, memory, .. }, carried: Carried { losses, .. } } = whole;
    drop(memory);
    let version_id = head.version_id.or_else(|| snapshot.version_id.clone());
    let source = Fingerprint { etag: head.etag, checksum: Some(Checksum(digests.crc64)) };
    let destination = Fingerprint { etag: None, checksum: written.checksum };
    let delivery = Delivery { bytes: snapshot.size, version_id, losses, source, destination, ..Delivery::default() };
    Moved { delivery, etag: written.etag, guarded }
}

/// Returns true if the destination rejected the bytes for not having the MD5 that came with them.
fn rejects_md5(error: &TransferError) -> bool {
    matches!(error, TransferError::Service(error) if error.rejects(&Rejected::Digest))
}
