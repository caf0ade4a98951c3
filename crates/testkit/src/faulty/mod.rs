//! Ports that break when they are told to.

mod plan;
mod services;
mod store;

pub use plan::{Call, Fault, FaultPlan};

use std::future::Future;

use migration_core::error::{ErrorClass, ServiceError};

use crate::operation::Operation;

/// A port whose calls are counted and broken by a [`FaultPlan`]. One that was made before [`FaultPlan::restart`]
/// belongs to a process that is dead: its calls never come back and have no effect.
#[derive(Clone, Debug)]
pub struct Faulty<T> {
    inner: T,
    plan: FaultPlan,
    incarnation: u64,
}

impl<T> Faulty<T> {
    /// Wraps a port for the process that runs now.
    pub fn new(inner: T, plan: &FaultPlan) -> Self {
        Self { inner, plan: plan.clone(), incarnation: plan.incarnation() }
    }

    /// The port inside, past all faults.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// Makes one call as the plan says.
    async fn call<R, E, F>(&self, operation: Operation, subject: &str, request: impl FnOnce() -> F) -> Result<R, E>
    where
        E: From<ServiceError>,
        F: Future<Output = Result<R, E>>,
    {
        self.call_cut(operation, subject, request).await.map(|(answer, _)| answer)
    }

    /// The same, and beside the answer the number of bytes that its body is to be cut to.
    async fn call_cut<R, E, F>(
        &self,
        operation: Operation,
        subject: &str,
        request: impl FnOnce() -> F,
    ) -> Result<(R, Option<u64>), E>
    where
        E: From<ServiceError>,
        F: Future<Output = Result<R, E>>,
    {
        self.alive().await;
        match self.plan.enter(operation, subject) {
            None => request().await.map(|answer| (answer, None)),
            Some(Fault::Fail(class)) => Err(injected(operation, class).into()),
            Some(Fault::FailAfter(class)) => {
                request().await?;
                Err(injected(operation, class).into())
            }
            Some(Fault::Truncate(_)) if operation != Operation::GetObject => {
                request().await?;
                Err(injected(operation, ErrorClass::Transient).into())
            }
            Some(Fault::Truncate(bytes)) => request().await.map(|answer| (answer, Some(bytes))),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                self.alive().await;
                request().await.map(|answer| (answer, None))
            }
            Some(Fault::Crash) => self.die().await,
            Some(Fault::CrashAfter) => {
                // Whether the service did it is never known to who dies here.
                let _ = request().await;
                self.die().await
            }
        }
    }

    /// Never comes back where the process is dead.
    async fn alive(&self) {
        if !self.plan.is_alive(self.incarnation) {
            std::future::pending::<()>().await;
        }
    }

    async fn die<R>(&self) -> R {
        self.plan.crash();
        std::future::pending().await
    }
}

fn injected(operation: Operation, class: ErrorClass) -> ServiceError {
    ServiceError::new(class, operation.as_str(), "InjectedFault", "broken by the test")
}

#[cfg(test)]
mod tests;
