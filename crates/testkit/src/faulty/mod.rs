//! Ports with injected faults.

mod body;
mod plan;
mod services;
mod store;

use plan::Life;
pub use plan::{Call, Fault, FaultPlan, ProcessId};

use std::future::Future;

use migration_core::error::{ErrorClass, ServiceError};

use crate::Operation;

/// A port whose calls are counted and disturbed by a [`FaultPlan`]. If it was created before [`FaultPlan::restart`], it
/// belongs to a dead process: its calls never return and have no effect.
#[derive(Clone, Debug)]
pub struct Faulty<T> {
    inner: T,
    plan: FaultPlan,
    life: Life,
}

impl<T> Faulty<T> {
    /// Wraps a port for the current process.
    pub fn new(inner: T, plan: &FaultPlan) -> Self {
        let life = Life { incarnation: plan.incarnation(), process: None };
        Self { inner, plan: plan.clone(), life }
    }

    /// Wraps a port for a separate process, which can be killed alone.
    pub fn of(inner: T, plan: &FaultPlan, process: ProcessId) -> Self {
        let life = Life { incarnation: plan.incarnation(), process: Some(process) };
        Self { inner, plan: plan.clone(), life }
    }

    /// Returns the wrapped port, which has no faults.
    pub fn inner(&self) -> &T {
        &self.inner
    }

    /// Makes a call without a body as planned.
    async fn call<R, E, F>(&self, operation: Operation, subject: &str, request: impl FnOnce() -> F) -> Result<R, E>
    where
        E: From<ServiceError>,
        F: Future<Output = Result<R, E>>,
    {
        self.alive().await;
        let fault = self.plan.enter(operation, subject, self.life.process).fault;
        self.broken(operation, fault, request).await
    }

    /// Makes a call with a fault other than those of bodies.
    async fn broken<R, E, F>(
        &self,
        operation: Operation,
        fault: Option<Fault>,
        request: impl FnOnce() -> F,
    ) -> Result<R, E>
    where
        E: From<ServiceError>,
        F: Future<Output = Result<R, E>>,
    {
        match fault {
            None => {
                self.on_its_way().await;
                let answer = request().await;
                self.on_its_way().await;
                answer
            }
            Some(Fault::Fail(class)) => Err(injected(operation, class).into()),
            Some(Fault::TruncateRequest(_)) => Err(injected(operation, ErrorClass::Transient).into()),
            Some(Fault::FailAfter(class)) => {
                request().await?;
                Err(injected(operation, class).into())
            }
            Some(Fault::Truncate(_) | Fault::Corrupt) => {
                request().await?;
                Err(injected(operation, ErrorClass::Transient).into())
            }
            Some(Fault::Delay(time) | Fault::Stall(_, time)) => {
                tokio::time::sleep(time).await;
                self.alive().await;
                request().await
            }
            Some(Fault::Crash | Fault::CrashDuring(_)) => self.die().await,
            Some(Fault::CrashAfter) => {
                // The process dies without learning the result.
                let _ = request().await;
                self.die().await
            }
        }
    }

    /// Sleeps for the latency of a request or response.
    async fn on_its_way(&self) {
        if let Some(time) = self.plan.way() {
            tokio::time::sleep(time).await;
            self.alive().await;
        }
    }

    /// Never returns if the process is dead; waits while it is frozen.
    async fn alive(&self) {
        while let Some(until) = self.life.process.and_then(|process| self.plan.frozen(process)) {
            tokio::time::sleep_until(until).await;
        }
        if !self.plan.is_alive(self.life) {
            std::future::pending::<()>().await;
        }
    }

    async fn die<R>(&self) -> R {
        self.plan.end(self.life);
        std::future::pending().await
    }
}

fn injected(operation: Operation, class: ErrorClass) -> ServiceError {
    ServiceError::new(class, operation.as_str(), "InjectedFault", "broken by the test")
}

#[cfg(test)]
mod tests;
