//! Judges errors: what an error says of the object, an operation, a bucket or the whole side.

use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError, ServiceFault, Testimony};
use migration_core::operation::RequestInfo;
use migration_core::ports::Operation;
use tokio::time::Instant;

use super::state::Scope;
use super::{Gate, Witness};

/// Time for which the result of a check request is reused.
const TESTIMONY_HOLDS: Duration = Duration::from_secs(1);

/// Subject of a check request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Bucket(String),
    Object(Operation, String),
}

impl Gate {
    /// Reclassifies an error by the side's earlier answers, and pauses the side if the fault is the side's.
    pub(super) async fn judged(
        &self,
        mut error: ServiceError,
        access: &RequestInfo<'_>,
        witness: &impl Witness,
    ) -> ServiceError {
        let (class, scope) = self.judge(&error, access, witness).await;
        error.class = class;
        if let ErrorClass::Service(fault) = class {
            self.pause(scope, access.resource, fault, &error);
        }
        error
    }

    async fn judge(
        &self,
        error: &ServiceError,
        access: &RequestInfo<'_>,
        witness: &impl Witness,
    ) -> (ErrorClass, Scope) {
        let class = match (error.class, access.operation) {
            (ErrorClass::AccessDenied | ErrorClass::SignatureMismatch, Some(operation)) => {
                let testimony = self.hear(error.class, operation, access, witness).await;
                return self.state().denied(error.class, operation, access.key, testimony);
            }
            (ErrorClass::Throttled, Some(_)) => {
                if self.is_throttled_as_a_whole(access, witness).await {
                    return (ErrorClass::Service(ServiceFault::Throttled), Scope::Bucket(access.resource.to_owned()));
                }
                error.class
            }
            (ErrorClass::Throttled, None) => self.state().failed(error, access, ServiceFault::Throttled),
            (ErrorClass::Transient | ErrorClass::NoAnswer, _) => {
                self.state().failed(error, access, ServiceFault::Unreachable)
            }
            // The service answered about the object: link, credentials and bucket work.
            (ErrorClass::NoSuchKey | ErrorClass::PreconditionFailed | ErrorClass::NoSuchUpload, _) => {
                self.succeeded(access, false);
                error.class
            }
            (class, _) => class,
        };
        (class, Scope::Service)
    }

    /// Sends a check request after an object was denied: to an object allowed before, or else to the bucket.
    async fn hear(
        &self,
        class: ErrorClass,
        operation: Operation,
        access: &RequestInfo<'_>,
        witness: &impl Witness,
    ) -> Testimony {
        if access.key.is_none() {
            return Testimony::None;
        }
        // Only an answer with a body says that a signature is wrong; a HEAD has none.
        let before = self.state().last_allowed(operation).filter(|_| class == ErrorClass::AccessDenied);
        if let Some(key) = before.filter(|key| Some(key.as_str()) != access.key) {
            let question = Question::Object(operation, key.clone());
            let asked = witness.object(operation, access.resource, &key);
            if let Some(testimony) = self.ask(access, question, true, asked).await {
                return testimony;
            }
        }
        let question = Question::Bucket(access.resource.to_owned());
        self.ask(access, question, false, witness.bucket(access.resource)).await.unwrap_or(Testimony::None)
    }

    /// Sends a check request, unless the same one was answered just now. Returns `None` if there is nothing to request.
    async fn ask(
        &self,
        access: &RequestInfo<'_>,
        question: Question,
        worked_before: bool,
        asked: impl Future<Output = Option<Result<(), ServiceError>>>,
    ) -> Option<Testimony> {
        let mut heard = self.heard.lock().await;
        if let Some((same, at, testimony)) = &*heard
            && *same == question
            && at.elapsed() < TESTIMONY_HOLDS
        {
            return Some(*testimony);
        }
        let class = asked.await?.err().map(|error| error.class);
        if class.is_none() {
            // The service works, and does not throttle the bucket.
            self.succeeded(&access.without_key(), false);
        }
        let testimony = Testimony::of(class, worked_before);
        *heard = Some((question, Instant::now(), testimony));
        Some(testimony)
    }

    /// Returns true if the bucket is throttled as a whole: for long enough, and for requests without an object too.
    async fn is_throttled_as_a_whole(&self, access: &RequestInfo<'_>, witness: &impl Witness) -> bool {
        if !self.is_throttled_long(access) {
            return false;
        }
        let question = Question::Bucket(access.resource.to_owned());
        self.ask(access, question, false, witness.bucket(access.resource)).await == Some(Testimony::None)
    }
}
