//! What a gate remembers of its side: what is paused and what was allowed, denied and answered.

use std::collections::BTreeMap;

use migration_core::error::{
    AccessHistory, Blocked, Denial, ErrorClass, ServiceError, SideFault, Subject, Testimony, denial, is_outage,
    is_settled,
};
use migration_core::ports::Operation;
use tokio::time::{Duration, Instant};

use migration_core::operation::RequestInfo;

/// Which requests a pause holds up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of the side.
    Side,
    /// Those of one operation, for which a right is missing.
    Operation(Operation),
    /// Those to one bucket, which is throttled as a whole.
    Bucket(String),
}

impl Scope {
    /// Whether a request is held up; a success of one that is opens it.
    fn holds(&self, access: &RequestInfo<'_>) -> bool {
        match self {
            Self::Side => true,
            Self::Operation(operation) => access.operation == Some(*operation),
            Self::Bucket(bucket) => access.resource == bucket,
        }
    }
}

/// A pause.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    pub(super) scope: Scope,
    pub(super) blocked: Blocked,
    /// When it began.
    pub(super) since: Instant,
}

#[derive(Debug)]
struct Of {
    history: AccessHistory,
    last_denied: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    pub(super) pauses: Vec<Pause>,
    operations: BTreeMap<Operation, Of>,
    failures: u32,
    last_failed: String,
    last_success: Instant,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            pauses: Vec::new(),
            operations: BTreeMap::new(),
            failures: 0,
            last_failed: String::new(),
            last_success: Instant::now(),
        }
    }

    /// Whether a request has to wait for its turn to try. Where denied objects are let go, a missing right holds none.
    pub(super) fn is_held(&self, access: &RequestInfo<'_>, lets_go: bool) -> bool {
        self.pauses.iter().any(|pause| {
            let comes_back = lets_go && matches!(pause.scope, Scope::Operation(_));
            pause.scope.holds(access) && !comes_back
        })
    }

    /// Remembers that a request succeeded, or was answered in a way that proves link, credentials and bucket. Gives the
    /// pauses that are over by that.
    pub(super) fn succeeded(&mut self, access: &RequestInfo<'_>, allowed: bool) -> Vec<Pause> {
        self.failures = 0;
        self.last_failed.clear();
        self.last_success = Instant::now();
        if let Some(operation) = access.operation.filter(|_| allowed) {
            self.of(operation).history.allow(access.key);
        }
        let opens = |pause: &Pause| match pause.scope {
            Scope::Operation(_) => allowed && pause.scope.holds(access),
            Scope::Side | Scope::Bucket(_) => pause.scope.holds(access),
        };
        let (over, left) = std::mem::take(&mut self.pauses).into_iter().partition(opens);
        self.pauses = left;
        over
    }

    /// The object for which an operation worked last.
    pub(super) fn last_allowed(&self, operation: Operation) -> Option<String> {
        self.operations.get(&operation)?.history.last_allowed().map(str::to_owned)
    }

    /// Remembers a denial, and gives what it means.
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
        let is_right = class == ErrorClass::Side(SideFault::AccessDenied);
        (class, if is_right { Scope::Operation(operation) } else { Scope::Side })
    }

    /// Remembers a failure that may pass, and gives what it means. `fault` is what an outage of that kind is called.
    pub(super) fn failed(&mut self, error: &ServiceError, access: &RequestInfo<'_>, fault: SideFault) -> ErrorClass {
        let object = access.key.unwrap_or_default();
        if error.class != ErrorClass::Transient || self.failures == 0 || self.last_failed != object {
            self.failures += 1;
            object.clone_into(&mut self.last_failed);
        }
        let silence = u64::try_from(self.last_success.elapsed().as_millis()).unwrap_or(u64::MAX);
        if is_outage(self.failures, silence) { ErrorClass::Side(fault) } else { error.class }
    }

    /// For how long a right has been missing, if one is.
    pub(super) fn right_missing(&self) -> Option<Duration> {
        let missing = self.pauses.iter().filter(|pause| matches!(pause.scope, Scope::Operation(_)));
        missing.map(|pause| pause.since.elapsed()).max()
    }

    /// Whether denials so far are the objects' own; [`is_settled`].
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
