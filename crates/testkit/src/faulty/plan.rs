//! Which calls break, and how.

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

/// How a call breaks.
///
/// | fault | GET | streamed part | held body | other calls |
/// |---|---|---|---|---|
/// | `Truncate` | the body breaks | the answer is lost | the answer is lost | the answer is lost |
/// | `TruncateRequest` | no effect, fails | the body breaks | no effect, fails | no effect, fails |
/// | `Stall` | the body stands still | the body stands still | as `Delay` | as `Delay` |
/// | `CrashDuring` | dies in the body | dies in the body | as `Crash` | as `Crash` |
/// | `Corrupt` | a bit flips | a bit flips | a bit flips | the answer is lost |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and has no effect.
    Fail(ErrorClass),
    /// It has its effect and its answer is lost.
    FailAfter(ErrorClass),
    /// A body that is read ends after so many bytes with a transient error. For a call without such a body, the answer
    /// is lost with a transient error.
    Truncate(u64),
    /// The service gets only so many bytes of a body that is sent, and stores nothing; the call fails with a transient
    /// error.
    TruncateRequest(u64),
    /// A body that is read or sent stands still after so many bytes, for so long in tokio's time.
    Stall(u64, Duration),
    /// One bit of the bytes is another when they arrive. A held body then is not what its MD5 says, and a streamed one
    /// not what its checksum says, where it has one: it is refused with a transient error. A streamed one without a
    /// checksum is stored as it arrived.
    Corrupt,
    /// It takes so much longer, in tokio's time, and is then done.
    Delay(Duration),
    /// The process dies before the call has an effect: neither it nor any later call comes back.
    Crash,
    /// The process dies when so many bytes of a body were read or sent.
    CrashDuring(u64),
    /// The process dies when the call had its effect.
    CrashAfter,
}

/// What somebody else does in the middle of a call.
pub(super) type Action = Box<dyn FnOnce() + Send>;

/// What the plan says of a call.
#[derive(Default)]
pub(super) struct Entered {
    /// How it breaks.
    pub(super) fault: Option<Fault>,
    /// What happens after how many bytes of its body.
    pub(super) actions: Vec<(u64, Action)>,
}

/// One of several processes that share a plan, and that can be killed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(u64);

/// Whose wrapper it is: a process of its own, or the one that lives until the next restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) incarnation: u64,
    pub(super) process: Option<ProcessId>,
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
    /// Who calls, where that is a process of its own.
    pub process: Option<ProcessId>,
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

    /// Lets somebody else act in the middle of the first call with a body that this applies to, when `after_bytes` of
    /// the body were read or sent, or at its end, where it is shorter. For a body that is held, that is before the
    /// call has an effect. Each action counts among [`FaultPlan::injected`] when it was done.
    pub fn during_body(
        &self,
        applies: impl FnMut(&Call) -> bool + Send + 'static,
        after_bytes: u64,
        action: impl FnOnce() + Send + 'static,
    ) {
        let during = During { applies: Box::new(applies), after: after_bytes, action: Box::new(action) };
        lock(&self.state).during.push(during);
    }

    /// Takes all rules and actions away.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        state.rules.clear();
        state.during.clear();
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

    /// A process of its own: a crash at one of its calls kills it and no other.
    pub fn process(&self) -> ProcessId {
        let mut state = lock(&self.state);
        state.processes += 1;
        ProcessId(state.processes)
    }

    /// Kills one process now, as a fault at one of its calls does.
    pub fn kill(&self, process: ProcessId) {
        lock(&self.state).killed.insert(process);
        self.changed.notify_waiters();
    }

    /// Whether this process was killed.
    pub fn is_killed(&self, process: ProcessId) -> bool {
        lock(&self.state).killed.contains(&process)
    }

    /// Waits until this process was killed.
    pub async fn killed(&self, process: ProcessId) {
        loop {
            let changed = self.changed.notified();
            if self.is_killed(process) {
                return;
            }
            changed.await;
        }
    }

    /// Stops one process for so long, as a machine that is suspended: calls that it makes meanwhile, and answers that
    /// come meanwhile, wait until then.
    pub fn freeze(&self, process: ProcessId, time: Duration) {
        lock(&self.state).frozen.insert(process, Instant::now() + time);
    }

    /// Lets every call take a random time of up to `longest`, before and after its effect, in tokio's time; `chance`
    /// gives the share.
    pub fn latency(&self, longest: Duration, chance: TestClock) {
        lock(&self.state).latency = Some((longest, chance));
    }

    /// Until when a process is frozen.
    pub(super) fn frozen(&self, process: ProcessId) -> Option<Instant> {
        lock(&self.state).frozen.get(&process).copied().filter(|until| *until > Instant::now())
    }

    /// How long one way of a call takes.
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

    /// Ends the life that a fatal fault was for.
    pub(super) fn end(&self, life: Life) {
        match life.process {
            Some(process) => self.kill(process),
            None => self.crash(),
        }
    }

    /// Counts an action that was done.
    pub(super) fn acted(&self) {
        lock(&self.state).injected += 1;
    }

    /// Counts a call and says how it breaks.
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
