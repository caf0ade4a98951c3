//! Asks for permission right before a request that may write leaves.

use std::fmt;
use std::sync::Arc;

use aws_sdk_sqs::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_sqs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sqs::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use migration_aws::error::Classified;
use migration_core::error::{ErrorClass, ServiceError};

/// How the names of operations begin that only read. Any other one may write: receiving hides messages from others.
const READS: [&str; 4] = ["Get", "List", "Describe", "Query"];

/// Whether queues and tables, their messages and their records may be written. It is asked right before each attempt
/// of a request that may write, whatever was waited for: credentials, or the time between two attempts. The default
/// allows everything.
#[derive(Clone, Default)]
pub struct Guard(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Guard {
    /// Creates a guard that allows a write if `may_write` returns true.
    pub fn new(may_write: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(may_write)))
    }

    /// Fails with a transient error if the operation may not be sent. An operation without a name may write.
    fn check(&self, operation: Option<&str>) -> Result<(), ServiceError> {
        let is_read = operation.is_some_and(|name| READS.iter().any(|verb| name.starts_with(verb)));
        match &self.0 {
            Some(may_write) if !is_read && !may_write() => {
                let text = "this process may not write any more";
                let operation = format!("send {}", operation.unwrap_or("request"));
                Err(ServiceError::new(ErrorClass::Transient, &operation, "NotSent", text))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.0.is_some()).finish()
    }
}

impl Intercept for Guard {
    fn name(&self) -> &'static str {
        "Guard"
    }

    // The last step before the request is handed to the connection. The SDK doesn't repeat what an interceptor refuses.
    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Ok(self.check(config.load::<Metadata>().map(Metadata::name)).map_err(Classified)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_known_to_read_is_not_sent_without_permission() {
        let closed = Guard::new(|| false);
        for operation in ["GetItem", "GetQueueUrl", "Query", "DescribeTable", "ListQueueTags"] {
            assert!(closed.check(Some(operation)).is_ok(), "{operation}");
        }
        for operation in ["CreateTable", "PutItem", "ReceiveMessage", "SomethingNew"] {
            let error = closed.check(Some(operation)).unwrap_err();
            assert_eq!((error.class, error.code.as_str()), (ErrorClass::Transient, "NotSent"), "{error}");
            assert!(
                Guard::new(|| true).check(Some(operation)).is_ok() && Guard::default().check(Some(operation)).is_ok()
            );
        }
        assert!(closed.check(None).is_err());
    }
}
