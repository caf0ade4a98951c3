//! Completion of uploads.

use crc_fast::{CrcAlgorithm, checksum_combine};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{Checksum, CompleteUpload, CompletedPart, Operation, Written};

use super::checks::{check_condition, error, refused};
use super::object::StoredObject;
use super::settings::{Checksums, StoreSettings};
use super::state::Bucket;
use super::upload::{Part, Upload};

const COMPLETE: Operation = Operation::CompleteUpload;

impl Upload {
    /// Returns the parts of the object, or the error for an invalid list.
    /// Source: errors of `CompleteMultipartUpload` in the S3 API reference.
    fn chosen(&self, wanted: &[CompletedPart], settings: &StoreSettings) -> Result<Vec<&Part>, ServiceError> {
        if wanted.is_empty() {
            return Err(refused(COMPLETE, "MalformedXML", "you must specify at least one part"));
        }
        if wanted.is_sorted_by(|a, b| a.number < b.number) {
            self.check_checksums(wanted, settings)?;
        } else {
            return Err(refused(COMPLETE, "InvalidPartOrder", "the list of parts was not in ascending order"));
        }
        let chosen = wanted.iter().map(|part| self.named(part)).collect::<Result<Vec<_>, _>>()?;
        let last = chosen.len() - 1;
        if chosen.iter().take(last).any(|part| part.received.content.len() < settings.minimum_part) {
            let message = "your proposed upload is smaller than the minimum allowed object size";
            return Err(refused(COMPLETE, "EntityTooSmall", message));
        }
        Ok(chosen)
    }

    /// Checks that either every part is listed with its checksum or none is.
    fn check_checksums(&self, wanted: &[CompletedPart], settings: &StoreSettings) -> Result<(), ServiceError> {
        if settings.checksums == Checksums::Ignored {
            return Ok(());
        }
        let odd = wanted.iter().find(|part| part.checksum.is_some() != self.checksum);
        odd.map_or(Ok(()), |part| {
            let message = if self.checksum {
                format!(
                    "the complete request must include the checksum for each part: missing for part {}",
                    part.number
                )
            } else {
                "the upload was created without a checksum, and the complete request names one".to_owned()
            };
            Err(refused(COMPLETE, "InvalidRequest", &message))
        })
    }

    /// Returns a part by number, ETag and checksum. A mismatch is transient: the part was replaced since it was listed,
    /// and the list can be read again.
    fn named(&self, wanted: &CompletedPart) -> Result<&Part, ServiceError> {
        let found = self.parts.get(&wanted.number).filter(|part| part.etag == wanted.etag);
        found.filter(|part| !self.checksum || part.checksum == wanted.checksum).ok_or_else(|| {
            let message = "one or more of the specified parts could not be found";
            error(COMPLETE, ErrorClass::Transient, "InvalidPart", message)
        })
    }
}

impl Bucket {
    pub(super) fn complete(
        &mut self,
        request: CompleteUpload<'_>,
        settings: &StoreSettings,
        now: i64,
    ) -> Result<Written, ServiceError> {
        let upload = request.upload;
        let found = self.upload(COMPLETE, upload)?;
        let chosen = found.chosen(request.parts, settings)?;
        let parts = chosen.iter().map(|part| &part.received);
        let object = StoredObject::of_parts(parts, &found.attributes, &found.tags, now);
        let checksum = found.checksum.then(|| combined(&chosen));
        check_condition(COMPLETE, request.condition, self.current(upload.key), settings.conditional_writes)?;
        self.remove_upload(upload.upload_id);
        Ok(self.store(upload.key, object.with_checksum(checksum)).written())
    }
}

/// Returns the CRC-64/NVME of all parts together.
fn combined(parts: &[&Part]) -> Checksum {
    let algorithm = CrcAlgorithm::Crc64Nvme;
    let nothing = crc_fast::checksum(algorithm, b"");
    Checksum(
        parts
            .iter()
            .map(|part| &part.received)
            .fold(nothing, |whole, part| checksum_combine(algorithm, whole, part.checksum.0, part.content.len())),
    )
}
