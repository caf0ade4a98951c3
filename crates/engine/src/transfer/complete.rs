//! Completion: from the destination's own list of parts, which is the single point of truth, and checked from several
//! sides before and after.

use std::collections::BTreeMap;

use migration_core::etag::{ETag, Md5Digest};
use migration_core::outcome::{Delivery, Fingerprint};
use migration_core::ports::{
    Checksum, CompleteUpload, CompletedPart, Ledger, ObjectStore, Operation, Queue, WriteCondition, Written,
};
use migration_core::records::SourceIdentity;
use migration_core::resume::complete_parts;
use migration_core::verify;

use super::conditional::Landed;
use super::passes::Moved;
use super::upload::Upload;
use super::{Halt, Transfer};
use crate::hash::crc64;
use crate::uploads::{self, abort};

/// An object that was completed.
#[derive(Clone, Debug)]
pub(super) struct Completed {
    /// Its ETag.
    pub(super) etag: ETag,
    /// The checksum of the bytes of all parts, where it is known.
    sent: Option<Checksum>,
    /// The checksum that the destination says.
    said: Option<Checksum>,
    /// Whether the service is known to keep the condition that was asked for.
    guarded: bool,
}

impl Completed {
    /// What came of an object that was moved so.
    pub(super) fn moved(self, source: SourceIdentity, upload: &Upload) -> Moved {
        let delivery = Delivery {
            bytes: upload.layout.size,
            version_id: source.version_id,
            losses: upload.losses,
            source: Fingerprint { etag: Some(source.etag), checksum: self.sent },
            destination: Fingerprint { etag: None, checksum: self.said },
            ..Delivery::default()
        };
        Moved { delivery, etag: self.etag, guarded: self.guarded }
    }
}

/// What the whole object is to have.
#[derive(Clone, Debug)]
struct Expected {
    /// Where the ETags of all parts are their MD5s.
    etag: Option<ETag>,
    /// Where all parts have checksums.
    checksum: Option<Checksum>,
}

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    /// Completes an upload. `sent` are the parts that this process verified; others were
    /// verified by whoever sent them.
    pub(super) async fn complete(
        &self,
        upload: &Upload,
        source: &SourceIdentity,
        sent: &BTreeMap<u32, ETag>,
        condition: &WriteCondition,
    ) -> Result<Completed, Halt> {
        let target = self.upload_ref(&upload.id);
        let listed = self.list_parts(&upload.id, None).await?;
        let parts = match complete_parts(&upload.layout, &listed, sent) {
            Ok(parts) => parts,
            Err(number) => {
                abort(self.process, target).await?;
                return Err(Halt::Damaged(format!("the destination's list of parts is wrong at part {number}")));
            }
        };
        let expected = Expected { etag: expected_etag(&parts), checksum: expected_checksum(upload, &parts) };
        self.look_after_weak_read(Some(&source.etag), upload.layout.size).await?;
        self.compare_with_source(upload, source, &expected).await?;
        if let Some(record) = &upload.contested {
            uploads::abort_unrecorded(self.process, record, &upload.id).await?;
        }
        let store = &self.process.ports.destination;
        let written = self
            .write(Operation::CompleteUpload, condition, expected.etag.as_ref(), |condition| {
                let parts = &parts;
                async move { store.complete_upload(CompleteUpload { upload: target, parts, condition: &condition }).await }
            })
            .await;
        let Landed { written, guarded } = match written {
            Ok(landed) => landed,
            // An answer may have been lost, or another worker was faster: what is there tells.
            Err(Halt::UploadGone) => return Err(Halt::DestinationChanged(expected.etag)),
            Err(halt) => return Err(halt),
        };
        check_written(&written, &expected)?;
        self.check_visible(upload, &written).await?;
        Ok(Completed { etag: written.etag, sent: expected.checksum, said: written.checksum, guarded })
    }

    /// Compares the checksum of the parts, as the destination has them, with the one that the source's service keeps of
    /// the whole object, before anything becomes visible.
    async fn compare_with_source(
        &self,
        upload: &Upload,
        source: &SourceIdentity,
        expected: &Expected,
    ) -> Result<(), Halt> {
        let (true, Some(ours)) = (self.process.config.transfer.compare_checksums, expected.checksum) else {
            return Ok(());
        };
        let Some(head) = self.look_at_source(true).await? else { return Ok(()) };
        match head.checksum {
            Some(theirs) if head.etag.as_ref() == Some(&source.etag) && theirs != ours => {
                abort(self.process, self.upload_ref(&upload.id)).await?;
                Err(Halt::Damaged("the checksum of the parts is not the one that the source keeps".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Looks at what became visible: its size is the source's, or somebody else has written meanwhile.
    async fn check_visible(&self, upload: &Upload, written: &Written) -> Result<(), Halt> {
        let found = self.look_at_destination().await?;
        let Some(found) = found.filter(|found| found.etag.as_ref() == Some(&written.etag)) else {
            return Err(Halt::DestinationChanged(None));
        };
        self.written.shows(&found);
        if found.size == upload.layout.size {
            return Ok(());
        }
        Err(Halt::Damaged(format!("the destination has {} bytes of {}", found.size, upload.layout.size)))
    }
}

fn check_written(written: &Written, expected: &Expected) -> Result<(), Halt> {
    if let Some(etag) = &expected.etag
        && verify::contradicts_parts(written, etag)
    {
        return Err(Halt::Damaged(format!(
            "the destination has ETag {} and its parts give {}",
            written.etag.as_str(),
            etag.as_str()
        )));
    }
    match (written.checksum, expected.checksum) {
        (Some(said), Some(ours)) if said != ours => {
            Err(Halt::Damaged("the destination's checksum is not that of its parts".to_owned()))
        }
        _ => Ok(()),
    }
}

/// The ETag of the whole object, where those of all parts are their MD5s.
fn expected_etag(parts: &[CompletedPart]) -> Option<ETag> {
    let digests: Option<Vec<Md5Digest>> = parts.iter().map(|part| part.etag.md5()).collect();
    Some(ETag::of_parts(&digests?))
}

/// The checksum of the whole object, where all parts have theirs.
fn expected_checksum(upload: &Upload, parts: &[CompletedPart]) -> Option<Checksum> {
    let mut whole = crc64::of(b"");
    for part in parts {
        let len = upload.layout.part(part.number)?.len;
        whole = crc64::combine(whole, part.checksum?.0, len);
    }
    Some(Checksum(whole))
}
