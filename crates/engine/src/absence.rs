//! Looks at objects that take nothing for absent but what the service itself says is.
//!
//! The answer to a HEAD has no body: a 404 may be the service's, or that of a proxy whose service is away. So a key that
//! a HEAD does not find is asked for by itself, by a GET of one byte, whose answer has S3's own words. That holds for
//! this key at this moment, and is never remembered.
//!
//! | HEAD | GET of one byte | the object |
//! |---|---|---|
//! | 200 | not asked | is there |
//! | 404 | `NoSuchKey`, `NoSuchVersion` | is absent |
//! | 404 | 200, 206 | is there: what is in front of the service does not know HEAD |
//! | 404 | `InvalidRange` (it is empty), `InvalidObjectState` (archived) | is there, and the HEAD is asked again |
//! | 404 | anything else | nobody knows |

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::mutants::{Mutant, is_active};
use migration_core::operation::RequestInfo;
use migration_core::ports::{GetRequest, HeadRequest, Ledger, ObjectHead, ObjectStore, Operation, Span};

use crate::gate::Store;
use crate::{Interruption, Process, Services};

/// The code of a service that has no byte of the range: the object is there, and empty.
const INVALID_RANGE: &str = "InvalidRange";

impl<P: Services> Process<P> {
    /// What the source has; none where its service says so. Costs one GET more for what is not there.
    pub(crate) async fn look_at_source(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, Interruption> {
        let access = RequestInfo::object(Operation::HeadObject, request.bucket, request.key);
        Box::pin(self.source(access, || proven(&self.ports.source, request))).await
    }

    /// What the destination has; none where its service says so. Costs one GET more for what is not there.
    pub(crate) async fn look_at_destination(
        &self,
        request: HeadRequest<'_>,
    ) -> Result<Option<ObjectHead>, Interruption> {
        let access = RequestInfo::object(Operation::HeadObject, request.bucket, request.key);
        Box::pin(self.destination(access, || proven(&self.ports.destination, request))).await
    }

    /// What the destination has by a HEAD alone: that there is nothing is no more than a guess, which is enough where the
    /// write that follows asks for it (`If-None-Match: *`).
    pub(crate) async fn guess_destination(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, Interruption> {
        let access = RequestInfo::object(Operation::HeadObject, request.bucket, request.key);
        self.destination_gate
            .pass_if(access, &Store(&self.ports.destination), Option::is_some, || self.ports.destination.head(request))
            .await
    }
}

/// A HEAD, confirmed where it finds nothing.
async fn proven<S: ObjectStore>(store: &S, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
    let HeadRequest { bucket, key, version_id, .. } = request;
    let found = match store.head(request).await {
        Err(error) if error.class == ErrorClass::NoSuchKey => return Ok(None),
        found => found?,
    };
    if found.is_some() || is_active(Mutant::NotFoundIsAbsence) {
        return Ok(found);
    }
    let byte = GetRequest { bucket, key, span: Span::Range { offset: 0, len: 1 }, if_match: None, version_id };
    let unanswered = || {
        let message = "the service found nothing by HEAD, and has the object by GET";
        ServiceError::new(ErrorClass::NoAnswer, Operation::HeadObject.as_str(), "Http404", message)
    };
    match store.get(byte).await {
        // A range comes without the checksum of the whole.
        Ok(_) if request.checksum => Err(unanswered()),
        Ok(answer) => Ok(Some(answer.head)),
        Err(error) if error.class == ErrorClass::NoSuchKey => Ok(None),
        Err(error) if error.class == ErrorClass::Archived || error.code == INVALID_RANGE => Err(unanswered()),
        Err(error) => Err(error),
    }
}
