//! Deletes objects of the destination.

use migration_core::error::Rejected;
use migration_core::etag::ETag;
use migration_core::operation::RequestInfo;
use migration_core::ports::{DeleteRequest, ObjectStore, Operation};

use crate::{Interruption, Process, Services};

impl<P: Services> Process<P> {
    /// Deletes an object of the destination if it still has this ETag. On services without conditional deletes, the look
    /// that the caller took just before has to do.
    pub(crate) async fn delete_unchanged(
        &self,
        bucket: &str,
        key: &str,
        etag: Option<&ETag>,
    ) -> Result<(), Interruption> {
        let access = RequestInfo::object(Operation::DeleteObject, bucket, key);
        let store = &self.ports.destination;
        let request = DeleteRequest { bucket, key, if_match: etag };
        match self.destination(access, || store.delete(request)).await {
            Err(Interruption::Service(error)) if error.rejects(&Rejected::Condition) => {
                let request = DeleteRequest { if_match: None, ..request };
                self.destination(access, || store.delete(request)).await
            }
            result => result,
        }
    }
}
