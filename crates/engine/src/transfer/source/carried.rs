//! Reads the attributes to preserve with the object, and its tags if it has some.

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::fidelity::{Carried, preserved_attributes};
use migration_core::operation::RequestInfo;
use migration_core::outcome::NotPreserved;
use migration_core::ports::{ObjectHead, ObjectStore, Operation, Tags};
use tracing::debug;

use super::SourceObject;
use crate::Services;
use crate::transfer::error::TransferError;
use crate::transfer::loss::accept_loss;

impl<P: Services> SourceObject<'_, P> {
    /// Returns the attributes to preserve, from the response to a GET. Tags are requested only if the object has some.
    pub(in crate::transfer) async fn preserved_attributes(&self, head: &ObjectHead) -> Result<Carried, TransferError> {
        self.attributes_with(head, false).await
    }

    /// Like [`preserved_attributes`](Self::preserved_attributes), from a HEAD. Many services do not report tags there,
    /// so tags are always requested.
    pub(in crate::transfer) async fn attributes_of_head(&self, head: &ObjectHead) -> Result<Carried, TransferError> {
        self.attributes_with(head, true).await
    }

    /// Returns the attributes to preserve. `is_quiet_of_tags` means that a HEAD without tags proves nothing. Tags that
    /// cannot be read are dropped, because the bytes can still be copied.
    async fn attributes_with(&self, head: &ObjectHead, is_quiet_of_tags: bool) -> Result<Carried, TransferError> {
        let config = &self.process.config;
        let taken = preserved_attributes(head, config.transfer.preserve);
        let on_loss = config.transfer.preserve.on_loss;
        accept_loss(on_loss, &taken.unmet, || "they cannot be sent as they were read from the source".to_owned())?;
        let mut carried = Carried {
            attributes: taken.attributes,
            tags: Tags::new(),
            own_class: config.write.storage_class.is_none(),
            losses: taken.losses,
        };
        if taken.tags || (is_quiet_of_tags && config.transfer.preserve.tags) {
            match self.read_tags(head.version_id.as_deref()).await? {
                Ok(tags) => carried.tags = tags,
                Err(error) => {
                    carried.losses.lost_tags = 1;
                    let rights = self.process.ports.source.capabilities().tag_reading_rights;
                    let lost = NotPreserved { lost_tags: 1, ..NotPreserved::default() };
                    accept_loss(on_loss, &lost, || format!("{error}; allow {rights} at the source"))?;
                    debug!(key = self.key, %error, "failed to read tags; copying object without them");
                }
            }
        }
        Ok(carried)
    }

    /// Reads the object's tags, or returns why the service denies them. A denial is not reported as a failure of the
    /// side, whose objects can be read.
    async fn read_tags(&self, version: Option<&str>) -> Result<Result<Tags, ServiceError>, TransferError> {
        let store = &self.process.ports.source;
        let read = || async {
            match store.tags(self.bucket, self.key, version).await {
                Err(error) if matches!(error.class, ErrorClass::AccessDenied | ErrorClass::Refused) => Ok(Err(error)),
                other => other.map(Ok),
            }
        };
        Ok(self.process.source(RequestInfo::object(Operation::GetTags, self.bucket, self.key), read).await?)
    }
}
