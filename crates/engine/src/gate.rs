//! A gate in front of one service: pauses it when its credentials, its bucket or the link to it are broken, lets one
//! request at a time try it, and opens when one succeeds. Nothing is given up meanwhile.

use std::sync::Arc;
use std::time::Duration;

use migration_core::error::{AccessHistory, Blocked, ErrorClass, ServiceError, Side, SideFault, denial, is_outage};
use migration_core::ports::{Clock, Operation};
use migration_core::retry::Backoff;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::Interruption;
use crate::heartbeat::Activity;
use crate::windows::Windows;

/// How long a paused side is left alone between two tries.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// Tries of a request whose error may pass, besides those that the adapter makes itself.
const QUICK_RETRIES: u32 = 2;
/// The waits between them.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(10) };

/// A request, as far as its gate has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// What is asked of a bucket. None of a queue or a table, whose errors say themselves whether they are the side's.
    pub operation: Option<Operation>,
    /// Bucket, queue or table: what a fault of the side is reported with.
    pub resource: &'a str,
    /// The object's key; none of a request about the whole resource.
    pub key: Option<&'a str>,
    /// Bytes of an object that go with the request or its answer, where they are known before.
    pub bytes: u64,
}

impl<'a> Access<'a> {
    /// A request about an object.
    pub fn object(operation: Operation, bucket: &'a str, key: &'a str) -> Self {
        Self { operation: Some(operation), resource: bucket, key: Some(key), bytes: 0 }
    }

    /// A request about a bucket itself.
    pub fn whole(operation: Operation, bucket: &'a str) -> Self {
        Self { operation: Some(operation), resource: bucket, key: None, bytes: 0 }
    }

    /// A request to a queue or a table.
    pub fn service(resource: &'a str) -> Self {
        Self { operation: None, resource, key: None, bytes: 0 }
    }

    /// The same with so many bytes of an object.
    #[must_use]
    pub fn carrying(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }
}

/// A gate in front of one service.
pub struct Gate {
    side: Side,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
    activity: Arc<Activity>,
    state: Mutex<State>,
    probe: tokio::sync::Mutex<()>,
    windows: Windows,
}

struct State {
    blocked: Option<Blocked>,
    access: AccessHistory,
    last_denied: String,
    failures: u32,
    last_failed: String,
    last_success: Instant,
}

impl Gate {
    /// An open gate.
    pub fn new(side: Side, stop: CancellationToken, clock: Arc<dyn Clock>, activity: Arc<Activity>) -> Self {
        let state = State {
            blocked: None,
            access: AccessHistory::default(),
            last_denied: String::new(),
            failures: 0,
            last_failed: String::new(),
            last_success: Instant::now(),
        };
        Self {
            side,
            stop,
            clock,
            activity,
            state: Mutex::new(state),
            probe: tokio::sync::Mutex::default(),
            windows: Windows::default(),
        }
    }

    /// Whether the side is paused.
    pub fn is_blocked(&self) -> bool {
        self.state().blocked.is_some()
    }

    /// Sends a request when the gate is open, or as the one that tries whether it can be opened. Errors that may pass
    /// are tried again a few times; a fault of the whole side keeps the request here until it is mended or the process
    /// ends; what comes back is about the object.
    pub async fn pass<T, F>(&self, access: Access<'_>, request: impl FnMut() -> F + Send) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        self.pass_if(access, |_| true, request).await
    }

    /// The same for a request whose answer may be that of something in front of the service: only what `proves` holds of
    /// is a success of the service.
    pub async fn pass_if<T, F>(
        &self,
        access: Access<'_>,
        proves: fn(&T) -> bool,
        mut request: impl FnMut() -> F + Send,
    ) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        let mut retries = 0;
        loop {
            let error = match self.once_if(access, proves, request()).await {
                Err(Interruption::Service(error)) => error,
                other => return other,
            };
            match error.class {
                ErrorClass::Side(_) => {}
                _ if self.is_blocked() && error.is_retryable() => {}
                _ if error.is_retryable() && retries < QUICK_RETRIES => {
                    self.back_off(retries).await?;
                    retries += 1;
                }
                _ => return Err(error.into()),
            }
        }
    }

    /// The same for a request that can't be sent twice: whatever is wrong comes back, a fault of the whole side too,
    /// which then holds up the next request.
    pub async fn once<T>(
        &self,
        access: Access<'_>,
        request: impl Future<Output = Result<T, ServiceError>> + Send,
    ) -> Result<T, Interruption> {
        self.once_if(access, |_| true, request).await
    }

    async fn once_if<T>(
        &self,
        access: Access<'_>,
        proves: fn(&T) -> bool,
        request: impl Future<Output = Result<T, ServiceError>> + Send,
    ) -> Result<T, Interruption> {
        let _probe = self.enter().await?;
        let place = self.windows.enter(access.resource, self.clock.as_ref()).await;
        match request.await {
            Ok(value) if !proves(&value) => Ok(value),
            Ok(value) => {
                place.succeeded();
                self.succeeded();
                Ok(value)
            }
            Err(error) => {
                if error.class == ErrorClass::Throttled {
                    place.throttled(self.clock.now());
                }
                debug!(side = %self.side, ?access, %error, "a request failed");
                Err(self.failed(error, access).into())
            }
        }
    }

    /// An error of this side that showed elsewhere, such as in a body that was being read.
    pub fn failed(&self, mut error: ServiceError, access: Access<'_>) -> ServiceError {
        error.class = self.judge(&error, access);
        if let ErrorClass::Side(fault) = error.class {
            self.block(access.resource, fault, &error);
        }
        error
    }

    /// Waits before the next try; `retries` counts from 0.
    pub async fn back_off(&self, retries: u32) -> Result<(), Interruption> {
        self.sleep(BACKOFF.wait(retries, self.clock.random())).await
    }

    /// Waits until the gate is open, or until it is this caller's turn to try it.
    async fn enter(&self) -> Result<Option<tokio::sync::MutexGuard<'_, ()>>, Interruption> {
        if !self.is_blocked() {
            return Ok(None);
        }
        let turn = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Interruption::Stopped),
            turn = self.probe.lock() => turn,
        };
        if !self.is_blocked() {
            return Ok(None);
        }
        self.sleep(PROBE_EVERY).await?;
        Ok(Some(turn))
    }

    async fn sleep(&self, wait: Duration) -> Result<(), Interruption> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Interruption::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    fn succeeded(&self) {
        let mut state = self.state();
        state.access = AccessHistory { ever_allowed: true, denied_in_a_row: 0 };
        state.last_denied.clear();
        state.failures = 0;
        state.last_failed.clear();
        state.last_success = Instant::now();
        if let Some(blocked) = state.blocked.take() {
            drop(state);
            info!(side = %self.side, resource = blocked.resource, "the side answers again");
            self.activity.unblocked(self.side);
        }
    }

    /// The class of an error in the light of what this side answered before.
    fn judge(&self, error: &ServiceError, access: Access<'_>) -> ErrorClass {
        let mut state = self.state();
        match error.class {
            ErrorClass::AccessDenied => {
                if state.access.denied_in_a_row == 0 || state.last_denied != access.key.unwrap_or_default() {
                    state.access.denied_in_a_row += 1;
                    access.key.unwrap_or_default().clone_into(&mut state.last_denied);
                }
                denial(state.access)
            }
            ErrorClass::Transient | ErrorClass::NoAnswer => {
                if error.class == ErrorClass::NoAnswer
                    || state.failures == 0
                    || state.last_failed != access.key.unwrap_or_default()
                {
                    state.failures += 1;
                    access.key.unwrap_or_default().clone_into(&mut state.last_failed);
                }
                let silence = u64::try_from(state.last_success.elapsed().as_millis()).unwrap_or(u64::MAX);
                if is_outage(state.failures, silence) { ErrorClass::Side(SideFault::Unreachable) } else { error.class }
            }
            // The service answered about the object: link, credentials and bucket are in order.
            ErrorClass::NoSuchKey | ErrorClass::PreconditionFailed | ErrorClass::NoSuchUpload => {
                drop(state);
                self.succeeded();
                error.class
            }
            // Until it is known better: a wrong secret.
            ErrorClass::SignatureMismatch => ErrorClass::Side(SideFault::CredentialsInvalid),
            class => class,
        }
    }

    fn block(&self, resource: &str, fault: SideFault, error: &ServiceError) {
        let mut state = self.state();
        let since = state.blocked.as_ref().map_or_else(|| self.clock.now(), |before| before.since);
        let blocked =
            Blocked { side: self.side, resource: resource.to_owned(), fault, message: error.to_string(), since };
        let first = state.blocked.replace(blocked.clone()).is_none();
        drop(state);
        if first {
            warn!(side = %self.side, resource, ?fault, %error, "the side is paused");
        }
        self.activity.blocked(blocked);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves plain values behind, never half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
