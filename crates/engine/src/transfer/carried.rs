//! What travels with an object: read at the source, and left behind where the destination does not take it.

use migration_core::config::OnLoss;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::fidelity::{Carried, preserved_attributes, reduce};
use migration_core::operation::RequestInfo;
use migration_core::outcome::{Failure, FailureClass, NotPreserved};
use migration_core::ports::{Ledger, ObjectHead, ObjectStore, Operation, Tags};
use tracing::info;

use super::{Transfer, TransferError};
use crate::Services;

impl<P: Services> Transfer<'_, P> {
    /// What travels with the object that a GET answered with; its tags are asked for only where it has some.
    pub(super) async fn preserved_attributes(&self, head: &ObjectHead) -> Result<Carried, TransferError> {
        self.attributes_with(head, false).await
    }

    /// The same by what a HEAD shows. Many services say nothing of tags there, so they are asked for whatever it shows.
    pub(super) async fn attributes_of_head(&self, head: &ObjectHead) -> Result<Carried, TransferError> {
        self.attributes_with(head, true).await
    }

    /// The same; `is_quiet_of_tags` says that a head which shows no tags proves nothing. Tags that the source does not give
    /// are left behind: its bytes can be moved all the same.
    async fn attributes_with(&self, head: &ObjectHead, is_quiet_of_tags: bool) -> Result<Carried, TransferError> {
        let config = &self.process.config;
        let taken = preserved_attributes(head, config.transfer.preserve);
        self.accept_loss(&taken.unmet, || "they can't be sent as they came from the source".to_owned())?;
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
                    let why = "allow s3:GetObjectTagging and s3:GetObjectVersionTagging at the source";
                    self.accept_loss(&NotPreserved { lost_tags: 1, ..NotPreserved::default() }, || {
                        format!("{error}; {why}")
                    })?;
                    info!(key = self.key, %error, "its tags are left behind");
                }
            }
        }
        Ok(carried)
    }

    /// The object's tags, or why the service does not give them. A denial is an answer here: it says nothing of the side,
    /// whose objects can be read.
    async fn read_tags(&self, version: Option<&str>) -> Result<Result<Tags, ServiceError>, TransferError> {
        let bucket = &self.pair.source_bucket;
        let store = &self.process.ports.source;
        let read = || async {
            match store.tags(bucket, self.key, version).await {
                Err(error) if matches!(error.class, ErrorClass::AccessDenied | ErrorClass::Refused) => Ok(Err(error)),
                other => other.map(Ok),
            }
        };
        Ok(self.process.source(RequestInfo::object(Operation::GetTags, bucket, self.key), read).await?)
    }

    /// Leaves behind what the destination said that it does not take. An error where it said nothing of the kind, or where
    /// the job wants such objects to fail.
    pub(super) fn leave_behind(&self, carried: &mut Carried, failed: TransferError) -> Result<(), TransferError> {
        let TransferError::Service(error) = &failed else { return Err(failed) };
        let before = carried.losses;
        if !reduce(carried, error) {
            return Err(failed);
        }
        let mut lost = carried.losses;
        lost.subtract(&before);
        info!(key = self.key, %error, what = lost.kinds(), "left behind");
        self.accept_loss(&lost, || error.to_string())
    }

    /// Says whether the job can do with a loss.
    pub(super) fn accept_loss(&self, lost: &NotPreserved, why: impl FnOnce() -> String) -> Result<(), TransferError> {
        if lost.is_none() || self.process.config.transfer.preserve.on_loss == OnLoss::Count {
            return Ok(());
        }
        let message = format!(
            "failed to take along {}: {}; or set transfer.preserve.onLoss: Count to move the bytes without",
            lost.kinds(),
            why()
        );
        Err(TransferError::Failed(Failure::new(FailureClass::NotPreserved, message)))
    }
}
