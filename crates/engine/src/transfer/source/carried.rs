//! What travels with the object: its attributes, and its tags where it has some.

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::fidelity::{Carried, preserved_attributes};
use migration_core::operation::RequestInfo;
use migration_core::outcome::NotPreserved;
use migration_core::ports::{ObjectHead, ObjectStore, Operation, Tags};
use tracing::info;

use super::SourceObject;
use crate::Services;
use crate::transfer::error::TransferError;
use crate::transfer::loss::accept_loss;

impl<P: Services> SourceObject<'_, P> {
    /// What travels with the object that a GET answered with; its tags are asked for only where it has some.
    pub(in crate::transfer) async fn preserved_attributes(&self, head: &ObjectHead) -> Result<Carried, TransferError> {
        self.attributes_with(head, false).await
    }

    /// The same by what a HEAD shows. Many services say nothing of tags there, so they are asked for whatever it shows.
    pub(in crate::transfer) async fn attributes_of_head(&self, head: &ObjectHead) -> Result<Carried, TransferError> {
        self.attributes_with(head, true).await
    }

    /// The same; `is_quiet_of_tags` says that a head which shows no tags proves nothing. Tags that the source does not give
    /// are left behind: its bytes can be moved all the same.
    async fn attributes_with(&self, head: &ObjectHead, is_quiet_of_tags: bool) -> Result<Carried, TransferError> {
        let config = &self.process.config;
        let taken = preserved_attributes(head, config.transfer.preserve);
        let on_loss = config.transfer.preserve.on_loss;
        accept_loss(on_loss, &taken.unmet, || "they can't be sent as they came from the source".to_owned())?;
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
                    info!(key = self.key, %error, "its tags are left behind");
                }
            }
        }
        Ok(carried)
    }

    /// The object's tags, or why the service does not give them. A denial is an answer here: it says nothing of the side,
    /// whose objects can be read.
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
