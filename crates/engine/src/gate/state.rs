//! State of a gate: current pauses, and past successes, denials and failures.

use std::collections::BTreeMap;

use migration_core::error::{
    AccessHistory, Blocked, Denial, ErrorClass, ServiceError, ServiceFault, Subject, Testimony, denial, is_outage,
    is_settled,
};
use migration_core::ports::Operation;
use tokio::time::{Duration, Instant};

use migration_core::operation::RequestInfo;

/// The requests that a pause holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All requests to the side.
    Service,
    /// Requests of one operation, for which a permission is missing.
    Operation(Operation),
    /// Requests to one bucket, which is throttled as a whole.
    Bucket(String),
}

impl Scope {
    /// Returns true if the pause holds a request. The success of such a request ends the pause.
    fn holds(&self, access: &RequestInfo<'_>) -> bool {
        match self {
            Self::Service => true,
            Self::Operation(operation) => access.operation == Some(*operation),
            Self::Bucket(bucket) => access.resource == bucket,
        }
    }
}

/// A current pause.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    pub(super) scope: Scope,
    pub(super) blocked: Blocked,
    pub(super) since: Instant,
}

#[derive(Debug)]
struct Of {
    history: AccessHistory,
    last_denied: Option<Instant>,
}

/// State of a gate.
#[derive(Debug)]
pub(super) struct GateState {
    pub(super) pauses: Vec<Pause>,
    operations: BTreeMap<Operation, Of>,
    failures: u32,
    last_failed: String,
    last_success: Instant,
}

impl GateState {
    pub(super) fn new() -> Self {
        Self {
            pauses: Vec::new(),
            operations: BTreeMap::new(),
            failures: 0,
            last_failed: String::new(),
            last_success: Instant::now(),
        }
    }

    /// Returns true if a request has to wait for its turn to try. If `lets_go`, a missing permission holds no request.
    pub(super) fn is_held(&self, access: &RequestInfo<'_>, lets_go: bool) -> bool {
        self.pauses.iter().any(|pause| {
            let comes_back = lets_go && matches!(pause.scope, Scope::Operation(_));
            pause.scope.holds(access) && !comes_back
        })
    }

    /// Records that a request succeeded, or was answered in a way that proves link, credentials and bucket. Returns the
    /// pauses that this ends.
    pub(super) fn succeeded(&mut self, access: &RequestInfo<'_>, allowed: bool) -> Vec<Pause> {
        self.failures = 0;
        self.last_failed.clear();
        self.last_success = Instant::now();
        if let Some(operation) = access.operation.filter(|_| allowed) {
            self.of(operation).history.allow(access.key);
        }
        let opens = |pause: &Pause| match pause.scope {
            Scope::Operation(_) => allowed && pause.scope.holds(access),
            Scope::Service | Scope::Bucket(_) => pause.scope.holds(access),
        };
        let (over, left) = std::mem::take(&mut self.pauses).into_iter().partition(opens);
        self.pauses = left;
        over
    }

    /// Returns the last object that an operation was allowed for.
    pub(super) fn last_allowed(&self, operation: Operation) -> Option<String> {
        self.operations.get(&operation)?.history.last_allowed().map(str::to_owned)
    }

    /// Records a denial and classifies it.
    pub(super) fn denied(
        &mut self,
        class: ErrorClass,
        operation: Operation,
        key: Option<&str>,
        testimony: Testimony,
    ) -> (ErrorClass, Scope) {
        let of = self.of(operation);
        let subject = key.map_or(Subject::Bucket, |_| Subject::Object);
        if let Some(key) = key.filter(|_| class == ErrorClass::AccessDenied) {
            let before = of.history.denied_in_a_row();
            of.history.deny(key);
            if of.history.denied_in_a_row() > before {
                of.last_denied = Some(Instant::now());
            }
        }
        let (ever_allowed, denied_in_a_row) = (of.history.ever_allowed(), of.history.denied_in_a_row());
        let class = denial(Denial { class, operation, subject, ever_allowed, denied_in_a_row, testimony });
        let is_right = class == ErrorClass::Service(ServiceFault::AccessDenied);
        (class, if is_right { Scope::Operation(operation) } else { Scope::Service })
    }

    /// Records a transient failure and classifies it. `fault` is the fault to report for an outage.
    pub(super) fn failed(&mut self, error: &ServiceError, access: &RequestInfo<'_>, fault: ServiceFault) -> ErrorClass {
        let object = access.key.unwrap_or_default();
        if error.class != ErrorClass::Transient || self.failures == 0 || self.last_failed != object {
            self.failures += 1;
            object.clone_into(&mut self.last_failed);
        }
        let silence = u64::try_from(self.last_success.elapsed().as_millis()).unwrap_or(u64::MAX);
        if is_outage(self.failures, silence) { ErrorClass::Service(fault) } else { error.class }
    }

    /// Returns how long a permission has been missing, if one is.
    pub(super) fn right_missing(&self) -> Option<Duration> {
        let missing = self.pauses.iter().filter(|pause| matches!(pause.scope, Scope::Operation(_)));
        missing.map(|pause| pause.since.elapsed()).max()
    }

    /// Returns true if the denials so far concern single objects; see [`is_settled`].
    pub(super) fn is_settled(&self) -> bool {
        self.operations.values().all(|of| {
            let since = of.last_denied.map_or(Duration::MAX, |at| at.elapsed());
            is_settled(&of.history, u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        })
    }

    fn of(&mut self, operation: Operation) -> &mut Of {
        self.operations.entry(operation).or_insert_with(|| Of { history: AccessHistory::default(), last_denied: None })
    }
}
