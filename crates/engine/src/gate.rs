//! Pauses a service that is broken, as a whole or for one operation or bucket. While paused, one request at a time
//! tries the service, and its success ends the pause. Held requests are not given up meanwhile.
//!
//! For S3 the gate is the only layer of quick retries, so that the limiter sees every answer. The clients of queue and
//! ledger retry by themselves; the gate only waits for lasting faults.

mod judge;
mod state;
mod witness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use migration_core::error::{
    Blocked, ErrorClass, Service, ServiceError, ServiceFault, Testimony, is_throttled_as_a_whole,
};
use migration_core::operation::RequestInfo;
use migration_core::ports::Clock;
use migration_core::retry::Backoff;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::concurrency::AdaptiveLimiter;
use crate::heartbeat::Activity;
use crate::stop::sleep_or_stop;
use crate::telemetry::Telemetry;
use crate::{Interruption, Runtime};
use judge::Question;
use state::{GateState, Pause, Scope};

pub use witness::Witness;
pub(crate) use witness::{Nobody, Store};

/// Interval between tries while paused.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(5);
/// Quick retries of a request to S3 after a transient error.
const QUICK_RETRIES: u32 = 4;
/// Waits between quick retries.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(500), cap: Duration::from_secs(10) };

/// Guards the requests to one service.
pub struct Gate {
    side: Service,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
    activity: Arc<Activity>,
    telemetry: Arc<Telemetry>,
    state: Mutex<GateState>,
    probe: tokio::sync::Mutex<()>,
    limiter: AdaptiveLimiter,
    /// The last check request and its result. One task sends it, the others wait for the result.
    heard: tokio::sync::Mutex<Option<(Question, Instant, Testimony)>>,
    lets_go: AtomicBool,
}

impl Gate {
    /// Creates a gate without pauses.
    pub(crate) fn new(side: Service, runtime: &Runtime) -> Self {
        Self {
            side,
            stop: runtime.stop.clone(),
            clock: runtime.clock.clone(),
            activity: runtime.activity.clone(),
            telemetry: runtime.telemetry.clone(),
            state: Mutex::new(GateState::new()),
            probe: tokio::sync::Mutex::default(),
            limiter: AdaptiveLimiter::default(),
            heard: tokio::sync::Mutex::default(),
            lets_go: AtomicBool::new(false),
        }
    }

    /// Returns true if anything of the side is paused: work that waits for it is not stuck.
    pub fn is_waiting(&self) -> bool {
        !self.state().pauses.is_empty()
    }

    /// Returns true if the whole side is paused.
    pub fn is_blocked(&self) -> bool {
        self.state().pauses.iter().any(|pause| pause.scope == Scope::Service)
    }

    /// Returns the number of throttled answers so far.
    pub fn throttled(&self) -> u64 {
        self.limiter.throttled()
    }

    /// Returns the buckets whose requests in flight are bounded, with the bounds.
    pub(crate) fn request_limits(&self) -> Vec<(String, f64)> {
        self.limiter.limits()
    }

    /// From now on, fails requests for which a permission is missing instead of holding them. For callers that have
    /// other objects to try when [`Gate::right_missing`] is set.
    pub fn let_go(&self) {
        self.lets_go.store(true, Ordering::Relaxed);
    }

    /// Returns how long an operation has been paused because a permission is missing, if one is.
    pub fn right_missing(&self) -> Option<Duration> {
        self.state().right_missing()
    }

    /// Returns true if the denials so far are attributed, to single objects or to the side.
    pub fn is_settled(&self) -> bool {
        self.state().is_settled()
    }

    /// Sends a request once the gate is open, or when it is this request's turn to try. Transient errors are retried a
    /// few times. A fault of the whole side holds the request until the side works again or the process stops. An error
    /// that is returned concerns the object.
    pub async fn pass<T, F>(
        &self,
        access: RequestInfo<'_>,
        witness: &impl Witness,
        request: impl FnMut() -> F + Send,
    ) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        self.pass_if(access, witness, |_| true, request).await
    }

    /// Like [`Gate::pass`], for a request that a proxy may have answered: only an answer for which `proves` returns
    /// true counts as a success of the service.
    pub async fn pass_if<T, F>(
        &self,
        access: RequestInfo<'_>,
        witness: &impl Witness,
        proves: fn(&T) -> bool,
        mut request: impl FnMut() -> F + Send,
    ) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        let began = Instant::now();
        let mut retries = 0;
        loop {
            let error = match self.once_if(access, witness, proves, request()).await {
                Err(Interruption::Service(error)) => error,
                other => return other,
            };
            let backs_off = match error.class {
                ErrorClass::Service(ServiceFault::AccessDenied) if self.lets_go_of(&access) => return Err(error.into()),
                ErrorClass::Service(_) => false,
                _ if !error.is_retryable() => return Err(error.into()),
                _ if self.is_held(&access) => false,
                _ if retries < self.quick_retries() => true,
                ErrorClass::Throttled if !self.others_succeed(&access, began) => true,
                _ => return Err(error.into()),
            };
            self.telemetry.repeats(self.side, error.class);
            if backs_off {
                self.back_off(retries).await?;
                retries += 1;
            }
        }
    }

    /// Like [`Gate::pass`], for a request that cannot be repeated: every error is returned. A fault of the whole side
    /// then holds the next request.
    pub async fn once<T>(
        &self,
        access: RequestInfo<'_>,
        witness: &impl Witness,
        request: impl Future<Output = Result<T, ServiceError>> + Send,
    ) -> Result<T, Interruption> {
        self.once_if(access, witness, |_| true, request).await
    }

    async fn once_if<T>(
        &self,
        access: RequestInfo<'_>,
        witness: &impl Witness,
        proves: fn(&T) -> bool,
        request: impl Future<Output = Result<T, ServiceError>> + Send,
    ) -> Result<T, Interruption> {
        let turn = self.acquire(&access).await?;
        // A request that tries a paused service does not wait for the requests in flight.
        let place = tokio::select! {
            biased;
            place = self.limiter.acquire(&access, self.clock.as_ref(), turn.is_some()) => place,
            () = self.stop.cancelled() => return Err(Interruption::Stopped),
        };
        let error = match request.await {
            Ok(value) if !proves(&value) => return Ok(value),
            Ok(value) => {
                place.succeeded();
                self.succeeded(&access, true);
                return Ok(value);
            }
            Err(error) => error,
        };
        if error.class == ErrorClass::Stopped {
            return Err(Interruption::Stopped);
        }
        debug!(side = %self.side, ?access, %error, "request failed");
        if error.class == ErrorClass::Throttled {
            place.throttled(self.clock.now());
        }
        drop(place);
        // Boxed: errors are rare, and would make the future of every request larger.
        Err(self.named(Box::pin(self.judged(error, &access, witness)).await).into())
    }

    /// Returns the error with the side, if the other one has the same operations.
    fn named(&self, error: ServiceError) -> ServiceError {
        if matches!(self.side, Service::Source | Service::Destination) { error.at(self.side) } else { error }
    }

    /// Classifies an error of this side that occurred elsewhere, such as while a body was read.
    pub fn failed(&self, mut error: ServiceError, access: RequestInfo<'_>) -> ServiceError {
        if matches!(error.class, ErrorClass::Transient | ErrorClass::NoAnswer) {
            error.class = self.state().failed(&error, &access, ServiceFault::Unreachable);
        }
        if let ErrorClass::Service(fault) = error.class {
            self.pause(Scope::Service, access.resource, fault, &error);
        }
        self.named(error)
    }

    /// Waits before the next try; `retries` counts from 0.
    pub async fn back_off(&self, retries: u32) -> Result<(), Interruption> {
        sleep_or_stop(&self.stop, BACKOFF.wait(retries, self.clock.random())).await
    }

    fn quick_retries(&self) -> u32 {
        match self.side {
            Service::Source | Service::Destination => QUICK_RETRIES,
            // Their clients have retried already.
            Service::Queue | Service::Ledger => 0,
        }
    }

    fn is_held(&self, access: &RequestInfo<'_>) -> bool {
        self.state().is_held(access, self.lets_go.load(Ordering::Relaxed))
    }

    fn lets_go_of(&self, access: &RequestInfo<'_>) -> bool {
        self.lets_go.load(Ordering::Relaxed) && !self.is_held(access)
    }

    /// Returns true if the bucket answers other requests while this one is throttled. Queues and tables are not
    /// throttled for single objects, so this is false for them.
    fn others_succeed(&self, access: &RequestInfo<'_>, began: Instant) -> bool {
        access.operation.is_some()
            && (self.limiter.succeeded_since(access.resource, began) || self.is_throttled_long(access))
    }

    fn is_throttled_long(&self, access: &RequestInfo<'_>) -> bool {
        let (in_a_row, since) = self.limiter.throttled_in_a_row(access.resource);
        is_throttled_as_a_whole(in_a_row, u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Waits until the gate is open, or until it is this caller's turn to try.
    async fn acquire(&self, access: &RequestInfo<'_>) -> Result<Option<tokio::sync::MutexGuard<'_, ()>>, Interruption> {
        if !self.is_held(access) {
            return Ok(None);
        }
        let turn = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(Interruption::Stopped),
            turn = self.probe.lock() => turn,
        };
        if !self.is_held(access) {
            return Ok(None);
        }
        sleep_or_stop(&self.stop, PROBE_EVERY).await?;
        Ok(Some(turn))
    }

    fn succeeded(&self, access: &RequestInfo<'_>, allowed: bool) {
        let mut state = self.state();
        let over = state.succeeded(access, allowed);
        if over.is_empty() {
            return;
        }
        let left = state.pauses.last().map(|pause| pause.blocked.clone());
        drop(state);
        for pause in over {
            info!(side = %self.side, resource = pause.blocked.resource, scope = ?pause.scope, "the side works again");
        }
        match left {
            Some(blocked) => self.activity.blocked(blocked),
            None => self.activity.unblocked(self.side),
        }
    }

    fn pause(&self, scope: Scope, resource: &str, fault: ServiceFault, error: &ServiceError) {
        let mut state = self.state();
        let before = state.pauses.iter().position(|pause| pause.scope == scope);
        let since = before.and_then(|at| state.pauses.get(at)).map(|pause| (pause.blocked.since, pause.since));
        let (since, began) = since.unwrap_or_else(|| (self.clock.now(), Instant::now()));
        let blocked =
            Blocked { side: self.side, resource: resource.to_owned(), fault, message: error.to_string(), since };
        let pause = Pause { scope, blocked: blocked.clone(), since: began };
        if let Some(same) = before.and_then(|at| state.pauses.get_mut(at)) {
            *same = pause;
        } else {
            warn!(side = %self.side, resource, ?fault, scope = ?pause.scope, %error, "the side is paused");
            state.pauses.push(pause);
        }
        drop(state);
        self.activity.blocked(blocked);
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        // A panic elsewhere leaves the values consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
