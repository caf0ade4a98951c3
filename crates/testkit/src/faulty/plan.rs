//! Plans of which calls fail, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use migration_core::error::ErrorClass;
use migration_core::ports::Clock;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Operation;
use crate::clock::TestClock;
use crate::lock;

/// Fault of a call.
///
/// | fault | GET | streamed part | held body | other calls |
/// |---|---|---|---|---|
/// | `Truncate` | the body fails | the response is lost | the response is lost | the response is lost |
/// | `TruncateRequest` | no effect, fails | the body fails | no effect, fails | no effect, fails |
/// | `Stall` | the body pauses | the body pauses | as `Delay` | as `Delay` |
/// | `CrashDuring` | dies in the body | dies in the body | as `Crash` | as `Crash` |
/// | `Corrupt` | a bit flips | a bit flips | a bit flips | the response is lost |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fails without an effect.
    Fail(ErrorClass),
    /// Takes effect, but the response is lost.
    FailAfter(ErrorClass),
    /// Ends a body that is read after so many bytes, with a transient error. For a call without such a body, the
    /// response is lost with a transient error.
    Truncate(u64),
    /// Delivers only so many bytes of a body that is sent; nothing is stored and the call fails with a transient error.
    TruncateRequest(u64),
    /// Pauses a body that is read or sent, after so many bytes and for so long in tokio's time.
    Stall(u64, Duration),
    /// Flips one bit in transit. A held body then contradicts its MD5, and a streamed one its checksum if it has one:
    /// both are rejected with a transient error. A streamed body without a checksum is stored as it arrives.
    Corrupt,
    /// Delays the call, in tokio's time.
    Delay(Duration),
    /// Kills the process before the call takes effect: neither it nor any later call returns.
    Crash,
    /// Kills the process after so many bytes of a body were read or sent.
    CrashDuring(u64),
    /// Kills the process after the call took effect.
    CrashAfter,
}

/// Action of another client in the middle of a call.
pub(super) type Action = Box<dyn FnOnce() + Send>;

/// Plan for one call.
#[derive(Default)]
pub(super) struct Entered {
    pub(super) fault: Option<Fault>,
    /// Actions by the number of bytes of the body after which they run.
    pub(super) actions: Vec<(u64, Action)>,
}

/// One of several processes that share a plan and can be killed individually.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(u64);

/// Owner of a wrapper: a separate process, or the process that runs until the next restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) incarnation: u64,
    pub(super) process: Option<ProcessId>,
}

/// One call through a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number of the call over all ports, from 1; continues across [`FaultPlan::restart`].
    pub number: u64,
    /// Operation called.
    pub operation: Operation,
    /// Subject of the call: bucket and key, receipt, or ledger key.
    pub subject: String,
    /// Process that calls; `None` unless it is a separate one.
    pub process: Option<ProcessId>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.number, self.operation, self.subject)
    }
}

/// Counts the calls of all ports that share the plan and injects faults by rules. Clones are the same plan.
#[derive(Clone, Default)]
pub struct FaultPlan {
    state: Arc<Mutex<PlanState>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct PlanState {
    log: Vec<Call>,
    rules: Vec<Rule>,
    during: Vec<During>,
    incarnation: u64,
    crashed: bool,
    processes: u64,
    killed: BTreeSet<ProcessId>,
    frozen: BTreeMap<ProcessId, Instant>,
    latency: Option<(Duration, TestClock)>,
    injected: u64,
}

struct Rule {
    applies: Box<dyn FnMut(&Call) -> bool + Send>,
    fault: Fault,
    times: u32,
}

struct During {
    applies: Box<dyn FnMut(&Call) -> bool + Send>,
    after: u64,
    action: Action,
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        f.debug_struct("FaultPlan")
            .field("calls", &state.log.len())
            .field("rules", &state.rules.len())
            .field("crashed", &state.crashed)
            .finish_non_exhaustive()
    }
}

impl FaultPlan {
    /// Creates a plan without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Injects a fault into the call with this number, counted from 1 over all ports.
    pub fn at_call(&self, number: u64, fault: Fault) {
        self.when(move |call| call.number == number, fault, 1);
    }

    /// Injects a fault into the `nth` call of an operation, counted from 1 starting now.
    pub fn at(&self, operation: Operation, nth: u32, fault: Fault) {
        let mut seen = 0;
        let applies = move |call: &Call| {
            seen += u32::from(call.operation == operation);
            call.operation == operation && seen == nth
        };
        self.when(applies, fault, 1);
    }

    /// Injects a fault into the first `times` calls that match. Each call is checked against the rules in the order of
    /// their creation, until one matches.
    pub fn when(&self, applies: impl FnMut(&Call) -> bool + Send + 'static, fault: Fault, times: u32) {
        lock(&self.state).rules.push(Rule { applies: Box::new(applies), fault, times });
    }

    /// Runs an action in the middle of the first matching call with a body: after `after_bytes` were read or sent, or
    /// at the end of a shorter body. With a held body it runs before the call takes effect. Actions that ran count in
    /// [`FaultPlan::injected`].
    pub fn during_body(
        &self,
        applies: impl FnMut(&Call) -> bool + Send + 'static,
        after_bytes: u64,
        action: impl FnOnce() + Send + 'static,
    ) {
        let during = During { applies: Box::new(applies), after: after_bytes, action: Box::new(action) };
        lock(&self.state).during.push(during);
    }

    /// Removes all rules and actions.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        state.rules.clear();
        state.during.clear();
    }

    /// Returns the number of calls so far, faulty ones included, those of dead processes excluded.
    pub fn calls(&self) -> u64 {
        lock(&self.state).log.len() as u64
    }

    /// Returns the number of faults injected so far. A test that ends with zero has tested nothing.
    pub fn injected(&self) -> u64 {
        lock(&self.state).injected
    }

    /// Returns the calls so far, in order.
    pub fn log(&self) -> Vec<Call> {
        lock(&self.state).log.clone()
    }

    /// Returns the number of calls of an operation so far.
    pub fn count(&self, operation: Operation) -> usize {
        lock(&self.state).log.iter().filter(|call| call.operation == operation).count()
    }

    /// Returns true if the process has died.
    pub fn is_crashed(&self) -> bool {
        lock(&self.state).crashed
    }

    /// Waits until the process has died.
    pub async fn crashed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_crashed() {
                return;
            }
            changed.await;
        }
    }

    /// Starts the next process: only wrappers created from now on work. Remaining rules stay in force.
    pub fn restart(&self) {
        let mut state = lock(&self.state);
        state.incarnation += 1;
        state.crashed = false;
    }

    /// Kills the process now.
    pub fn crash(&self) {
        lock(&self.state).crashed = true;
        self.changed.notify_waiters();
    }

    /// Creates a separate process: a crash in one of its calls kills no other.
    pub fn process(&self) -> ProcessId {
        let mut state = lock(&self.state);
        state.processes += 1;
        ProcessId(state.processes)
    }

    /// Kills one separate process now.
    pub fn kill(&self, process: ProcessId) {
        lock(&self.state).killed.insert(process);
        self.changed.notify_waiters();
    }

    /// Returns true if the separate process was killed.
    pub fn is_killed(&self, process: ProcessId) -> bool {
        lock(&self.state).killed.contains(&process)
    }

    /// Waits until the separate process was killed.
    pub async fn killed(&self, process: ProcessId) {
        loop {
            let changed = self.changed.notified();
            if self.is_killed(process) {
                return;
            }
            changed.await;
        }
    }

    /// Suspends a process for so long: its calls, and responses to it, wait until then.
    pub fn freeze(&self, process: ProcessId, time: Duration) {
        lock(&self.state).frozen.insert(process, Instant::now() + time);
    }

    /// Delays every call before and after its effect by a random time of up to `longest`, in tokio's time. `chance`
    /// supplies the random numbers.
    pub fn latency(&self, longest: Duration, chance: TestClock) {
        lock(&self.state).latency = Some((longest, chance));
    }

    /// Returns the time until which a process is frozen.
    pub(super) fn frozen(&self, process: ProcessId) -> Option<Instant> {
        lock(&self.state).frozen.get(&process).copied().filter(|until| *until > Instant::now())
    }

    /// Returns a random latency for one direction of a call.
    pub(super) fn way(&self) -> Option<Duration> {
        lock(&self.state).latency.as_ref().map(|(longest, chance)| longest.mul_f64(chance.random()))
    }

    pub(super) fn incarnation(&self) -> u64 {
        lock(&self.state).incarnation
    }

    pub(super) fn is_alive(&self, life: Life) -> bool {
        let state = lock(&self.state);
        let killed = life.process.is_some_and(|process| state.killed.contains(&process));
        state.incarnation == life.incarnation && !state.crashed && !killed
    }

    /// Kills the process that a fatal fault applies to.
    pub(super) fn end(&self, life: Life) {
        match life.process {
            Some(process) => self.kill(process),
            None => self.crash(),
        }
    }

    /// Counts an action that ran.
    pub(super) fn acted(&self) {
        lock(&self.state).injected += 1;
    }

    /// Counts a call and returns the plan for it.
    pub(super) fn enter(&self, operation: Operation, subject: &str, process: Option<ProcessId>) -> Entered {
        let mut state = lock(&self.state);
        let number = state.log.len() as u64 + 1;
        let call = Call { number, operation, subject: subject.to_owned(), process };
        let mut entered = Entered::default();
        for rule in &mut state.rules {
            if rule.times > 0 && (rule.applies)(&call) {
                rule.times -= 1;
                entered.fault = Some(rule.fault);
                break;
            }
        }
        state.rules.retain(|rule| rule.times > 0);
        if matches!(operation, Operation::GetObject | Operation::PutObject | Operation::PutPart) {
            let due = state.during.extract_if(.., |during| (during.applies)(&call));
            entered.actions = due.map(|during| (during.after, during.action)).collect();
        }
        state.injected += u64::from(entered.fault.is_some());
        state.log.push(call);
        entered
    }
}
