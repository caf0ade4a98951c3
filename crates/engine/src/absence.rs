//! Reads object metadata, and takes an object for absent only if the service itself says so.
//!
//! The answer to a HEAD has no body: a 404 may come from the service, or from a proxy whose backend is down. A key that
//! a HEAD does not find is therefore requested by a GET of one byte, whose answer carries S3's error code. The result
//! holds for this key at this moment and is never cached.
//!
//! | HEAD | GET of one byte | object |
//! |---|---|---|
//! | 200 | not asked | is there |
//! | 404 | no such key or version | is absent |
//! | 404 | 200, 206 | is there: what is in front of the service does not know HEAD |
//! | 404 | no such range (it is empty), archived | is there, and the HEAD is asked again |
//! | 404 | anything else | nobody knows |

use migration_core::concurrency::RequestKind;
use migration_core::error::{ErrorClass, Rejected, ServiceError};
use migration_core::mutants::{Mutant, is_active};
use migration_core::operation::RequestInfo;
use migration_core::ports::{GetRequest, HeadRequest, ObjectHead, ObjectStore, Operation, Span};
use tokio::time::Instant;

use crate::gate::Store;
use crate::{Interruption, Process, Services};

impl<P: Services> Process<P> {
    /// Returns the source object's metadata, or `None` if the service says that it is absent. An absent object costs
    /// one more GET.
    pub(crate) async fn look_at_source(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, Interruption> {
        let access = RequestInfo::object(Operation::HeadObject, request.bucket, request.key);
        Box::pin(self.source(access, || proven(self, RequestKind::SourceHead, &self.ports.source, request))).await
    }

    /// Returns the destination object's metadata, or `None` if the service says that it is absent. An absent object
    /// costs one more GET.
    pub(crate) async fn look_at_destination(
        &self,
        request: HeadRequest<'_>,
    ) -> Result<Option<ObjectHead>, Interruption> {
        let access = RequestInfo::object(Operation::HeadObject, request.bucket, request.key);
        Box::pin(
            self.destination(access, || proven(self, RequestKind::DestinationHead, &self.ports.destination, request)),
        )
        .await
    }

    /// Returns true if a HEAD finds the source object. False is unproven: [`Process::source_has`] tells.
    pub(crate) async fn is_seen_at_source(&self, request: HeadRequest<'_>) -> Result<bool, Interruption> {
        let access = RequestInfo::object(Operation::HeadObject, request.bucket, request.key);
        let store = &self.ports.source;
        let found = self.gates.source.pass_if(access, &Store(store), Option::is_some, || store.head(request)).await;
        match found {
            Err(Interruption::Service(error)) if error.class == ErrorClass::NoSuchKey => Ok(false),
            found => Ok(found?.is_some()),
        }
    }

    /// Returns whether the source has the object, by one GET of one byte: false only if the service says that it is
    /// absent.
    pub(crate) async fn source_has(&self, bucket: &str, key: &str) -> Result<bool, Interruption> {
        if is_active(Mutant::NotFoundIsAbsence) {
            return self.is_seen_at_source(HeadRequest::new(bucket, key)).await;
        }
        let access = RequestInfo::object(Operation::GetObject, bucket, key);
        let request = byte_of(HeadRequest::new(bucket, key));
        match self.source(access, || self.ports.source.get(request)).await {
            Ok(_) => Ok(true),
            Err(Interruption::Service(error)) if error.class == ErrorClass::NoSuchKey => Ok(false),
            Err(Interruption::Service(error)) if is_there(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Returns true if the source says that the object is absent, by one GET of one byte that no gate holds: for a request
    /// whose turn at the destination it is.
    pub(crate) async fn is_absent_now(&self, bucket: &str, key: &str) -> bool {
        let answer = self.ports.source.get(byte_of(HeadRequest::new(bucket, key))).await;
        matches!(answer, Err(error) if error.class == ErrorClass::NoSuchKey)
    }

    /// Returns the destination object's metadata by a HEAD alone. `None` is unproven, which suffices if the following
    /// write has the condition `If-None-Match: *`.
    pub(crate) async fn guess_destination(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, Interruption> {
        let access = RequestInfo::object(Operation::HeadObject, request.bucket, request.key);
        let store = &self.ports.destination;
        let guess = || head(self, RequestKind::DestinationHead, store, request);
        self.gates.destination.pass_if(access, &Store(store), Option::is_some, guess).await
    }
}

/// Sends a HEAD, and records its latency.
async fn head<P: Services, S: ObjectStore>(
    process: &Process<P>,
    kind: RequestKind,
    store: &S,
    request: HeadRequest<'_>,
) -> Result<Option<ObjectHead>, ServiceError> {
    let began = Instant::now();
    let answer = store.head(request).await;
    process.object_limit.answered(kind, began, &answer);
    answer
}

/// Sends a HEAD, and confirms by a GET that an object is absent.
async fn proven<P: Services, S: ObjectStore>(
    process: &Process<P>,
    kind: RequestKind,
    store: &S,
    request: HeadRequest<'_>,
) -> Result<Option<ObjectHead>, ServiceError> {
    let found = match head(process, kind, store, request).await {
        Err(error) if error.class == ErrorClass::NoSuchKey => return Ok(None),
        found => found?,
    };
    if found.is_some() || is_active(Mutant::NotFoundIsAbsence) {
        return Ok(found);
    }
    let unanswered = || {
        let message = "HEAD did not find the object, but GET did";
        ServiceError::new(ErrorClass::NoAnswer, Operation::HeadObject.as_str(), "Http404", message)
    };
    match store.get(byte_of(request)).await {
        // A range comes without the checksum of the whole object.
        Ok(_) if request.checksum => Err(unanswered()),
        Ok(answer) => Ok(Some(answer.head)),
        Err(error) if error.class == ErrorClass::NoSuchKey => Ok(None),
        Err(error) if is_there(&error) => Err(unanswered()),
        Err(error) => Err(error),
    }
}

/// Returns the request for the first byte of an object.
fn byte_of(HeadRequest { bucket, key, version_id, .. }: HeadRequest<'_>) -> GetRequest<'_> {
    GetRequest { bucket, key, span: Span::Range { offset: 0, len: 1 }, if_match: None, version_id }
}

/// Returns true if the error of a GET of one byte says that the object is there, and archived or empty.
fn is_there(error: &ServiceError) -> bool {
    error.class == ErrorClass::Archived || error.rejects(&Rejected::Range)
}
