//! Creates multipart uploads.
//!
//! Every upload is announced in the ledger before it is created, and recorded after it. Whatever crashes in between, an
//! upload of this job can be told from those of other clients, and no upload is bound to the wrong source.

use std::collections::BTreeSet;

use migration_core::error::ErrorClass;
use migration_core::fidelity::Carried;
use migration_core::mutants::{Mutant, is_active};
use migration_core::object::SourceIdentity;
use migration_core::outcome::{Failure, FailureClass};
use migration_core::part::{PartLayout, PartSize};
use migration_core::ports::{Ability, Span, Support};
use migration_core::records::UploadRecord;

use super::Transfer;
use super::error::TransferError;
use super::source::{Opened, SourceSnapshot};
use super::upload::{Begun, Upload};
use super::verified::Verified;
use crate::Services;
use crate::WriteOutcome;

/// An upload created at the destination.
struct Created {
    id: String,
    /// Number of requests sent.
    tries: u32,
}

impl<'t, P: Services> Upload<'t, P> {
    /// Announces, creates and records an upload, replacing the record in the ledger. Returns `None` if another worker
    /// was first.
    pub(super) async fn begin(
        transfer: &'t Transfer<'t, P>,
        source: &SourceIdentity,
        snapshot: &SourceSnapshot,
        stands: Option<&UploadRecord>,
    ) -> Result<Option<Begun<'t, P>>, TransferError> {
        let (records, destination) = (&transfer.records, &transfer.destination);
        let revision = stands.map_or(0, |record| record.revision);
        let unfinished = stands.filter(|record| record.is_announcement());
        let (layout, first) = first_part(transfer, source, snapshot).await?;
        let mut carried = transfer.source.preserved_attributes(&first.head).await?;
        let known = destination.support(Ability::Checksums).await?;
        let mut record = UploadRecord {
            checksum: known != Support::No,
            losses: carried.losses,
            ..records.announcement(source, layout, stands)
        };
        if !is_active(Mutant::NoIntent) && records.write(&record, revision).await? == WriteOutcome::Lost {
            return Ok(None);
        }
        let announced = record.clone();
        let created = match create(transfer, &mut record, &mut carried, known).await {
            Ok(created) => created,
            Err(error) => {
                // Ends the announcement, so that other workers do not wait for it. If this write fails, they wait until
                // it expires.
                let written = announced.revision;
                let over = UploadRecord { revision: written + 1, wait_until: 0, ..announced };
                let _ = records.write(&over, written).await;
                return Err(error);
            }
        };
        transfer.written.with(&carried);
        let before = unfinished.or((created.tries > 1).then_some(&announced));
        record.upload_id = Some(created.id.clone());
        record.revision = 1 + if is_active(Mutant::NoIntent) { revision } else { announced.revision };
        if !records.bind(&created.id, &record, before).await? {
            return Ok(None);
        }
        let verified = Verified::of(transfer, &record, 1..=layout.count());
        let (source, id, there) = (source.clone(), created.id, BTreeSet::new());
        let (contested, is_first) = (record.contested, stands.is_none());
        let upload =
            Self { transfer, source, id, layout, record, contested, is_first, there, verified, server_side: false };
        Ok(Some((upload, Some(first))))
    }
}

/// Returns the part layout of the object and the body of its first part, whose response also gives the object's
/// attributes. If the part size is automatic, the layout of the source is used if it is known, and if memory has room
/// for its parts in case the service requires parts to be held in memory.
async fn first_part<P: Services>(
    transfer: &Transfer<'_, P>,
    content: &SourceIdentity,
    snapshot: &SourceSnapshot,
) -> Result<(PartLayout, Opened), TransferError> {
    let (settings, source) = (&transfer.process.config.transfer, &transfer.source);
    let version = content.version_id.as_deref();
    if settings.part_size == PartSize::Auto && content.etag.parts().is_some() {
        let opened = source.open_body(source.want(Some(&content.etag), version, Span::Part(1))).await;
        match opened {
            Ok(opened) if opened.head.size != snapshot.size => return Err(TransferError::SourceChanged),
            Ok(opened) => {
                let parts = opened.head.parts.unwrap_or_default();
                let longest = transfer.destination.longest_part(snapshot.size);
                if let Some(layout) = PartLayout::of_source(snapshot.size, opened.len, parts)
                    && layout.longest() <= longest
                {
                    return Ok((layout, opened));
                }
            }
            // The service does not support reading by part number.
            Err(TransferError::Service(error)) if error.class == ErrorClass::Refused => {}
            Err(error) => return Err(error),
        }
    }
    let layout = PartLayout::new(snapshot.size, settings.part_size)
        .map_err(|e| TransferError::Failed(Failure::new(FailureClass::Refused, e.to_string())))?;
    let len = layout.part(1).map_or(snapshot.size, |part| part.len);
    let span = Span::Range { offset: 0, len };
    let opened = source.open_body(source.want(Some(&content.etag), version, span)).await?;
    let same = opened.head.size == snapshot.size && opened.len == len;
    if same { Ok((layout, opened)) } else { Err(TransferError::SourceChanged) }
}

/// Creates the upload with a checksum algorithm, unless the service is known to reject it, and with the attributes that
/// the service accepts.
async fn create<P: Services>(
    transfer: &Transfer<'_, P>,
    record: &mut UploadRecord,
    carried: &mut Carried,
    known: Support,
) -> Result<Created, TransferError> {
    let destination = &transfer.destination;
    let mut tries = 0;
    loop {
        let error = match destination.create_upload(record.checksum, carried, &mut tries).await {
            Ok(id) => return Ok(Created { id, tries }),
            Err(error) => error,
        };
        let refused = matches!(&error, TransferError::Service(error) if error.class == ErrorClass::Refused);
        match transfer.leave_behind(carried, error) {
            Ok(()) => record.losses = carried.losses,
            Err(TransferError::Service(_)) if refused && record.checksum && known == Support::Unknown => {
                // The checksum is confirmed as the cause once parts succeed without it.
                record.checksum = false;
                transfer.process.suspect(destination.bucket, Ability::Checksums);
            }
            Err(error) => return Err(error),
        }
    }
}
