//! Handles attributes of an object that cannot be preserved: counts them, or fails the object, as the job is
//! configured.

use migration_core::config::OnLoss;
use migration_core::fidelity::{Carried, reduce};
use migration_core::outcome::{Failure, FailureClass, NotPreserved};
use tracing::debug;

use super::Transfer;
use super::error::TransferError;
use crate::Services;

/// Fails if the job does not accept this loss.
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
    /// Drops the attributes that the destination rejected. Fails if the error is of another kind, or if the job wants
    /// such objects to fail.
    pub(super) fn leave_behind(&self, carried: &mut Carried, failed: TransferError) -> Result<(), TransferError> {
        let TransferError::Service(error) = &failed else { return Err(failed) };
        let before = carried.losses;
        if !reduce(carried, error) {
            return Err(failed);
        }
        let mut lost = carried.losses;
        lost.subtract(&before);
        debug!(key = self.source.key, %error, what = lost.kinds(), "left behind");
        accept_loss(self.process.config.transfer.preserve.on_loss, &lost, || error.to_string())
    }
}
