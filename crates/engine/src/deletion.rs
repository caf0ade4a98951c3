//! Deletes objects of the destination that the source does not have.
//!
//! While the destination is paused, a deletion may wait for hours. What the source said before is then proven again, right
//! before the request is sent.

use std::time::Duration;

use migration_core::error::Rejected;
use migration_core::etag::ETag;
use migration_core::operation::RequestInfo;
use migration_core::ports::{DeleteRequest, ObjectStore, Operation};
use tokio::time::Instant;

use crate::gate::Store;
use crate::{Interruption, Process, Services, no_absence};

/// Age up to which a proof holds. A request that the gate does not hold is sent within milliseconds.
const FRESH: Duration = Duration::from_secs(3);

/// A proof that the source has no such object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absence<'a> {
    /// Source bucket.
    pub(crate) bucket: &'a str,
    /// Source key.
    pub(crate) key: &'a str,
    /// When the source said so.
    pub(crate) proven: Instant,
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// The object is deleted.
    Deleted,
    /// The proof was old, and the source did not confirm it. An earlier try may have deleted the object.
    Unproven,
}

impl<P: Services> Process<P> {
    /// Deletes an object of the destination if it still has this ETag and the source still has none. On services without
    /// conditional deletes, the look that the caller took just before has to do.
    pub(crate) async fn delete_unchanged(
        &self,
        absence: Absence<'_>,
        bucket: &str,
        key: &str,
        etag: Option<&ETag>,
    ) -> Result<Deletion, Interruption> {
        let request = DeleteRequest { bucket, key, if_match: etag };
        match self.delete(absence, request).await {
            Err(Interruption::Service(error)) if error.rejects(&Rejected::Condition) => {
                self.delete(absence, DeleteRequest { if_match: None, ..request }).await
            }
            result => result,
        }
    }

    async fn delete(&self, absence: Absence<'_>, request: DeleteRequest<'_>) -> Result<Deletion, Interruption> {
        let access = RequestInfo::object(Operation::DeleteObject, request.bucket, request.key);
        let store = &self.ports.destination;
        // Runs when the gate lets the request pass.
        let send = || async move {
            if absence.proven.elapsed() > FRESH && !self.is_absent_now(absence.bucket, absence.key).await {
                return Ok(Deletion::Unproven);
            }
            store.delete(request).await.map(|()| Deletion::Deleted)
        };
        let is_sent = |deletion: &Deletion| *deletion == Deletion::Deleted;
        let deletion = self.gates.destination.pass_if(access, &Store(store), is_sent, send).await;
        deletion.map_err(|error| no_absence(access, error))
    }
}
