//! Opens the multipart upload of an object: continues the recorded one if ledger and destination agree, else creates a
//! new one.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use migration_core::mutants::{Mutant, is_active};
use migration_core::object::SourceIdentity;
use migration_core::part::PartLayout;
use migration_core::records::UploadRecord;
use migration_core::resume::{self, UploadDecision};
use tracing::debug;

use super::Transfer;
use super::error::TransferError;
use super::source::{Opened, SourceSnapshot};
use super::verified::Verified;
use crate::Services;

/// Interval between checks for an upload that another worker has announced.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// An open upload of this job.
pub(super) struct Upload<'t, P: Services> {
    /// The transfer it belongs to.
    pub transfer: &'t Transfer<'t, P>,
    /// Source content of the upload.
    pub source: SourceIdentity,
    /// The service's upload ID.
    pub id: String,
    /// Part layout of the upload.
    pub layout: PartLayout,
    /// The upload's record in the ledger.
    pub record: UploadRecord,
    /// True if unrecorded uploads may be open beside this one.
    pub contested: bool,
    /// True if nothing was recorded of the object before this upload.
    pub is_first: bool,
    /// Numbers of parts that are at the destination and verified.
    pub there: BTreeSet<u32>,
    /// Verified parts known to this worker.
    pub verified: Verified,
    /// True if the service copies the parts.
    pub server_side: bool,
}

/// An open upload, and the body of its first part if it was opened to create the upload.
pub(super) type Begun<'t, P> = (Upload<'t, P>, Option<Opened>);

impl<'t, P: Services> Upload<'t, P> {
    /// Returns an open upload for this content: the recorded one, or a new one.
    pub(super) async fn open(
        transfer: &'t Transfer<'t, P>,
        snapshot: &SourceSnapshot,
        source: &SourceIdentity,
    ) -> Result<Begun<'t, P>, TransferError> {
        transfer.records.set_open(true);
        if is_active(Mutant::ForeignUploadAdopted)
            && let Some(upload) = Self::adopt_any(transfer, snapshot, source).await?
        {
            return Ok((upload, None));
        }
        loop {
            let record = transfer.records.read().await?;
            let longest = transfer.destination.longest_part(snapshot.size);
            let decision =
                record.as_ref().map(|record| (record, resume::decide(record, source, snapshot.size, longest)));
            if let Some((record, UploadDecision::Adopt(layout))) = &decision
                && let Some(upload) = Self::adopt(transfer, record, *layout).await?
            {
                return Ok((upload, None));
            }
            if let Some((record, UploadDecision::Replace | UploadDecision::Adopt(_))) = &decision
                && let Some(upload_id) = &record.upload_id
            {
                transfer.destination.abort(upload_id).await?;
            }
            if let Some((record, UploadDecision::Unfinished)) = &decision
                && record.wait_until > transfer.process.runtime.clock.now()
            {
                // If two workers create uploads at the same time and one is killed, its upload remains open.
                transfer.process.pause(WAIT_FOR_OTHERS).await?;
                continue;
            }
            if let Some(begun) = Self::begin(transfer, source, snapshot, record.as_ref()).await? {
                return Ok(begun);
            }
        }
    }

    /// Continues a recorded upload. Returns `None` if its parts do not match the record.
    async fn adopt(
        transfer: &'t Transfer<'t, P>,
        record: &UploadRecord,
        layout: PartLayout,
    ) -> Result<Option<Self>, TransferError> {
        let Some(id) = &record.upload_id else { return Ok(None) };
        let listed = match transfer.destination.list_parts(id, None).await {
            Ok(listed) => listed,
            Err(TransferError::UploadGone) => {
                transfer.records.announce_again(record).await?;
                return Err(TransferError::UploadGone);
            }
            Err(error) => return Err(error),
        };
        let verified = Verified::of(transfer, record, 1..=layout.count());
        let Some(there) = transfer.records.prove(record, &layout, &listed, &verified).await? else { return Ok(None) };
        let bytes = there.iter().filter_map(|number| layout.part(*number)).map(|part| part.len).sum();
        transfer.process.runtime.found(transfer.destination.name(), bytes);
        let key = transfer.source.key;
        debug!(key, parts = there.len(), listed = listed.len(), of = layout.count(), "continuing multipart upload");
        Ok(Some(Self {
            transfer,
            source: record.source.clone(),
            id: id.clone(),
            layout,
            record: record.clone(),
            // The worker that created it was killed, or is still running: either may have left another upload.
            contested: true,
            is_first: false,
            there,
            verified,
            server_side: false,
        }))
    }

    /// Implements the mutant that continues any open upload.
    async fn adopt_any(
        transfer: &'t Transfer<'t, P>,
        snapshot: &SourceSnapshot,
        source: &SourceIdentity,
    ) -> Result<Option<Self>, TransferError> {
        let Some(open) = transfer.destination.list_uploads().await?.into_iter().next() else { return Ok(None) };
        let part_size = transfer.process.config.transfer.part_size;
        let Ok(layout) = PartLayout::new(snapshot.size, part_size) else { return Ok(None) };
        let listed = transfer.destination.list_parts(&open.upload_id, None).await?;
        let there = listed.into_iter().map(|part| part.number).collect();
        let announced = transfer.records.announcement(source, layout, None);
        let record = UploadRecord { revision: 0, upload_id: Some(open.upload_id.clone()), ..announced };
        let verified = Verified::of(transfer, &record, 1..=layout.count());
        let (source, id) = (source.clone(), open.upload_id);
        let [contested, is_first, server_side] = [false; 3];
        Ok(Some(Self { transfer, source, id, layout, record, contested, is_first, there, verified, server_side }))
    }

    /// Returns the numbers whose parts are missing at the destination.
    pub(super) fn missing(&self, numbers: RangeInclusive<u32>) -> impl Iterator<Item = u32> {
        numbers.filter(|number| !self.there.contains(number))
    }
}
