//! Which calls break, and how.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use migration_core::error::ErrorClass;
use tokio::sync::Notify;

use crate::lock;
use crate::operation::Operation;

/// How a call breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and has no effect.
    Fail(ErrorClass),
    /// It has its effect and its answer is lost.
    FailAfter(ErrorClass),
    /// A body that is read ends after so many bytes with a transient error. For a call without such a body, the answer
    /// is lost with a transient error.
    Truncate(u64),
    /// It takes so much longer, in tokio's time, and is then done.
    Delay(Duration),
    /// The process dies before the call has an effect: neither it nor any later call comes back.
    Crash,
    /// The process dies when the call had its effect.
    CrashAfter,
}

/// One call through a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The how manieth call over all ports, from 1; counting goes on over [`FaultPlan::restart`].
    pub number: u64,
    /// What is called.
    pub operation: Operation,
    /// What it is about: bucket and key, receipt or ledger key.
    pub subject: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.number, self.operation, self.subject)
    }
}

/// Counts the calls of all ports that share it, and breaks those that rules were made for. Clones are the same plan.
#[derive(Clone, Default)]
pub struct FaultPlan {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    log: Vec<Call>,
    rules: Vec<Rule>,
    incarnation: u64,
    crashed: bool,
    injected: u64,
}

struct Rule {
    applies: Box<dyn FnMut(&Call) -> bool + Send>,
    fault: Fault,
    times: u32,
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
    /// A plan without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Breaks the call with this number, counted from 1 over all ports.
    pub fn at_call(&self, number: u64, fault: Fault) {
        self.when(move |call| call.number == number, fault, 1);
    }

    /// Breaks the `nth` (from 1) call of this operation from now on.
    pub fn at(&self, operation: Operation, nth: u32, fault: Fault) {
        let mut seen = 0;
        let applies = move |call: &Call| {
            seen += u32::from(call.operation == operation);
            call.operation == operation && seen == nth
        };
        self.when(applies, fault, 1);
    }

    /// Breaks the first `times` calls that this applies to. Every call is shown to every rule that is left, in the
    /// order in which they were made, until one breaks it.
    pub fn when(&self, applies: impl FnMut(&Call) -> bool + Send + 'static, fault: Fault, times: u32) {
        lock(&self.state).rules.push(Rule { applies: Box::new(applies), fault, times });
    }

    /// Takes all rules away.
    pub fn clear(&self) {
        lock(&self.state).rules.clear();
    }

    /// Calls so far, broken ones included; those of dead processes are not counted.
    pub fn calls(&self) -> u64 {
        lock(&self.state).log.len() as u64
    }

    /// Faults so far; zero after a test means that it tested nothing.
    pub fn injected(&self) -> u64 {
        lock(&self.state).injected
    }

    /// The calls so far, in order.
    pub fn log(&self) -> Vec<Call> {
        lock(&self.state).log.clone()
    }

    /// Calls of one operation so far.
    pub fn count(&self, operation: Operation) -> usize {
        lock(&self.state).log.iter().filter(|call| call.operation == operation).count()
    }

    /// Whether the process has died.
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

    /// Begins the next process: only wrappers made from now on work. The rules that are left go on.
    pub fn restart(&self) {
        let mut state = lock(&self.state);
        state.incarnation += 1;
        state.crashed = false;
    }

    /// Kills the process now, as a fault does.
    pub fn crash(&self) {
        lock(&self.state).crashed = true;
        self.changed.notify_waiters();
    }

    pub(super) fn incarnation(&self) -> u64 {
        lock(&self.state).incarnation
    }

    pub(super) fn is_alive(&self, incarnation: u64) -> bool {
        let state = lock(&self.state);
        state.incarnation == incarnation && !state.crashed
    }

    /// Counts a call and says how it breaks.
    pub(super) fn enter(&self, operation: Operation, subject: &str) -> Option<Fault> {
        let mut state = lock(&self.state);
        let number = state.log.len() as u64 + 1;
        let call = Call { number, operation, subject: subject.to_owned() };
        let mut fault = None;
        for rule in &mut state.rules {
            if rule.times > 0 && (rule.applies)(&call) {
                rule.times -= 1;
                fault = Some(rule.fault);
                break;
            }
        }
        state.rules.retain(|rule| rule.times > 0);
        state.injected += u64::from(fault.is_some());
        state.log.push(call);
        fault
    }
}
