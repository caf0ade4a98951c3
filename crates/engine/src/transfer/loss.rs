//! What can't be taken along with an object: the job counts it, or lets the object fail.

use migration_core::config::OnLoss;
use migration_core::fidelity::{Carried, reduce};
use migration_core::outcome::{Failure, FailureClass, NotPreserved};
use tracing::info;

use super::Transfer;
use super::error::TransferError;
use crate::Services;

/// Says whether the job can do with a loss.
pub(super) fn accept_loss(
    on_loss: OnLoss,
    lost: &NotPreserved,
    why: impl FnOnce() -> String,
) -> Result<(), TransferError> {
    if lost.is_none() || on_loss == OnLoss::Count {
        return Ok(());
    }
    let message = format!(
        "failed to take along {}: {}; or set transfer.preserve.onLoss: Count to move the bytes without",
        lost.kinds(),
        why()
    );
    Err(TransferError::Failed(Failure::new(FailureClass::NotPreserved, message)))
}

impl<P: Services> Transfer<'_, P> {
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
        info!(key = self.source.key, %error, what = lost.kinds(), "left behind");
        accept_loss(self.process.config.transfer.preserve.on_loss, &lost, || error.to_string())
    }
}
