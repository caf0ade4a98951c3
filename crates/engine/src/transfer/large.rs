//! An object that is moved in parts, resumed from what the destination has.

use std::collections::BTreeMap;

use migration_core::etag::{ETag, Md5Digest};
use migration_core::ports::{Ledger, ObjectStore, Queue, UploadRef, WriteCondition};
use migration_core::records::SourceIdentity;
use migration_core::resume::complete_parts;
use tracing::info;

use super::upload::Upload;
use super::{Halt, Transfer, Wanted, halt_of};
use crate::gate::Access;
use crate::uploads::abort;

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    /// Moves the object and gives its bytes.
    pub(super) async fn large(&self, wanted: &Wanted, condition: &WriteCondition) -> Result<u64, Halt> {
        let etag = match &wanted.etag {
            Some(etag) => etag.clone(),
            // The listing had none: without one, parts of two contents could be mixed.
            None => self.look_at_source().await?.and_then(|head| head.etag).ok_or(Halt::SourceChanged)?,
        };
        let mut upload = self.open(wanted, &etag).await?;
        let source = SourceIdentity {
            bucket: self.pair.source_bucket.clone(),
            key: self.key.to_owned(),
            etag,
            version_id: wanted.version_id.clone(),
        };
        let sent = self.send_missing(&mut upload, &source).await?;
        self.complete(&upload, &sent, condition).await?;
        self.forget(upload.revision).await?;
        info!(key = self.key, bytes = wanted.size, sent = sent.len(), parts = upload.layout.count(), "completed");
        Ok(wanted.size)
    }

    /// Completes from the destination's own list of parts, which is the single point of truth, and checks the ETag of
    /// what came of it.
    async fn complete(
        &self,
        upload: &Upload,
        sent: &BTreeMap<u32, ETag>,
        condition: &WriteCondition,
    ) -> Result<(), Halt> {
        let (bucket, key) = (self.pair.destination_bucket.as_str(), self.destination_key.as_str());
        let target = UploadRef { bucket, key, upload_id: &upload.id };
        let listed = self.list_parts(&upload.id).await?;
        let parts = match complete_parts(&upload.layout, &listed, sent) {
            Ok(parts) => parts,
            Err(number) => {
                abort(self.process, target).await?;
                return Err(Halt::Damaged(format!("the destination's list of parts is wrong at part {number}")));
            }
        };
        let expected = expected_etag(&parts);
        let store = &self.process.ports.destination;
        let written = self
            .process
            .destination(Access::object(bucket, key), || store.complete_upload(target, &parts, condition))
            .await;
        let written = match written.map_err(|error| halt_of(error, || Halt::DestinationChanged(expected.clone()))) {
            Ok(written) => written,
            // An answer may have been lost: what is there tells.
            Err(Halt::UploadGone) => return Err(Halt::DestinationChanged(expected)),
            Err(halt) => return Err(halt),
        };
        match expected {
            Some(expected) if written.etag_is_md5 && written.etag != expected => Err(Halt::Damaged(format!(
                "the destination has ETag {} and its parts give {}",
                written.etag.as_str(),
                expected.as_str()
            ))),
            _ => Ok(()),
        }
    }
}

/// The ETag of the whole object, where those of all parts are their MD5s.
fn expected_etag(parts: &[(u32, ETag)]) -> Option<ETag> {
    let digests: Option<Vec<Md5Digest>> = parts.iter().map(|(_, etag)| etag.md5()).collect();
    Some(ETag::of_parts(&digests?))
}
