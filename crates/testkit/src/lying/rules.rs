//! Which lies are told to which requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use migration_core::etag::ETag;
use migration_core::ports::{ListPage, ObjectHead, Operation};
use tokio::time::Instant;

use super::lie::{Asked, Lie};
use super::parts::StoredParts;
use super::tags::ShownTags;
use crate::lock;

/// Which requests a lie is told to.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    operations: Option<&'static [Operation]>,
    keys: Keys,
    times: Times,
}

/// Which keys.
#[derive(Clone, Copy, Debug)]
enum Keys {
    All,
    Where(&'static str, Match),
    If(fn(&str) -> bool),
}

#[derive(Clone, Copy, Debug)]
enum Match {
    Is,
    StartsWith,
    Contains,
}

/// How often.
#[derive(Clone, Copy, Debug)]
enum Times {
    Always,
    First(u64),
    Every(u64),
    For(Duration),
}

impl Scope {
    /// Every request that the lie can be told to, for ever.
    pub const fn always() -> Self {
        Self { operations: None, keys: Keys::All, times: Times::Always }
    }

    /// These operations only.
    #[must_use]
    pub const fn on(self, operations: &'static [Operation]) -> Self {
        Self { operations: Some(operations), ..self }
    }

    /// This key only. Listings are about no single key: only scopes of all keys meet them.
    #[must_use]
    pub fn key(self, key: &'static str) -> Self {
        Self { keys: Keys::Where(key, Match::Is), ..self }
    }

    /// Keys that start with this.
    #[must_use]
    pub fn under(self, prefix: &'static str) -> Self {
        Self { keys: Keys::Where(prefix, Match::StartsWith), ..self }
    }

    /// Keys that contain this.
    #[must_use]
    pub fn containing(self, text: &'static str) -> Self {
        Self { keys: Keys::Where(text, Match::Contains), ..self }
    }

    /// Keys that this is true of.
    #[must_use]
    pub fn keys(self, holds: fn(&str) -> bool) -> Self {
        Self { keys: Keys::If(holds), ..self }
    }

    /// The first so many of these requests.
    #[must_use]
    pub const fn first(self, count: u64) -> Self {
        Self { times: Times::First(count), ..self }
    }

    /// Every n-th of these requests; 0 counts as 1.
    #[must_use]
    pub const fn every(self, nth: u64) -> Self {
        Self { times: Times::Every(if nth == 0 { 1 } else { nth }), ..self }
    }

    /// Requests within so much of tokio's time from when the lie is switched on.
    #[must_use]
    pub const fn lasting(self, time: Duration) -> Self {
        Self { times: Times::For(time), ..self }
    }

    fn covers(&self, operation: Operation, key: &str) -> bool {
        let listing = matches!(operation, Operation::ListObjects | Operation::ListVersions);
        let operations = self.operations.is_none_or(|all| all.contains(&operation));
        operations && (matches!(self.keys, Keys::All) || (!listing && self.is_about(key)))
    }

    /// Whether it has this key.
    pub fn is_about(&self, key: &str) -> bool {
        match self.keys {
            Keys::All => true,
            Keys::Where(text, Match::Is) => key == text,
            Keys::Where(text, Match::StartsWith) => key.starts_with(text),
            Keys::Where(text, Match::Contains) => key.contains(text),
            Keys::If(holds) => holds(key),
        }
    }
}

/// Names a lie that is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LieId(u64);

/// The switches of a lying service, and what it remembers; clones are the same switches.
#[derive(Clone, Debug, Default)]
pub struct Lies {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    last: u64,
    told: BTreeMap<u64, u64>,
    memory: Memory,
}

/// What a lying service remembers.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The first content of each bucket and key that was read.
    pub(super) contents: BTreeMap<(String, String), (ObjectHead, Bytes)>,
    /// The first answer to each HEAD.
    pub(super) heads: BTreeMap<String, Option<ObjectHead>>,
    /// The first answer to each listing.
    pub(super) pages: BTreeMap<String, ListPage>,
    /// ETags as they were shown.
    pub(super) tags: ShownTags,
    /// Parts that are stored otherwise than was told.
    pub(super) parts: StoredParts,
}

#[derive(Debug)]
struct Rule {
    id: u64,
    lie: Lie,
    scope: Scope,
    since: Instant,
    met: u64,
}

impl Rule {
    /// Whether it is told to this request, which it concerns.
    fn meets(&mut self) -> bool {
        self.met += 1;
        match self.scope.times {
            Times::Always => true,
            Times::First(count) => self.met <= count,
            Times::Every(nth) => self.met.is_multiple_of(nth),
            Times::For(time) => self.since.elapsed() < time,
        }
    }
}

impl Lies {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Switches a lie on.
    pub fn tell(&self, lie: Lie, scope: Scope) -> LieId {
        let mut state = lock(&self.state);
        state.last += 1;
        let id = state.last;
        state.rules.push(Rule { id, lie, scope, since: Instant::now(), met: 0 });
        LieId(id)
    }

    /// Switches one off.
    pub fn stop(&self, id: LieId) {
        lock(&self.state).rules.retain(|rule| rule.id != id.0);
    }

    /// Switches all off. ETags that were shown are understood further on.
    pub fn clear(&self) {
        lock(&self.state).rules.clear();
    }

    /// How often lies were told so far; zero after a test means that it tested nothing.
    pub fn told(&self) -> u64 {
        lock(&self.state).told.values().sum()
    }

    /// How often this one was told so far.
    pub fn times(&self, id: LieId) -> u64 {
        lock(&self.state).told.get(&id.0).copied().unwrap_or_default()
    }

    /// The lies that a request is told.
    pub(super) fn draw(&self, operation: Operation, key: &str, asked: Asked) -> Drawn {
        let mut state = lock(&self.state);
        let State { rules, told, .. } = &mut *state;
        let mut drawn = Vec::new();
        for rule in rules.iter_mut() {
            let concerns = rule.lie.concerns(operation, asked) && rule.scope.covers(operation, key);
            if concerns && rule.meets() {
                *told.entry(rule.id).or_default() += 1;
                drawn.push(rule.lie);
            }
        }
        Drawn(drawn)
    }

    /// The ETag that this one was shown for; itself, where it is none that was shown otherwise than it is.
    pub fn real(&self, tag: &ETag) -> ETag {
        self.memory(|memory| memory.tags.real(tag))
    }

    /// What the service remembers.
    pub(super) fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut lock(&self.state).memory)
    }

    /// A tag of a request as the service inside knows it.
    pub(super) fn understood(&self, tag: &ETag, drawn: &Drawn) -> ETag {
        self.memory(|memory| memory.tags.understood(tag, drawn.has_etags()))
    }
}

/// The lies that one request is told.
#[derive(Clone, Debug)]
pub(super) struct Drawn(Vec<Lie>);

impl Drawn {
    pub(super) fn has(&self, lie: Lie) -> bool {
        self.0.contains(&lie)
    }

    pub(super) fn find<T>(&self, of: impl FnMut(&Lie) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(of)
    }

    /// Whether ETags look otherwise.
    pub(super) fn has_etags(&self) -> bool {
        self.0.iter().any(|lie| matches!(lie, Lie::ETags(_)))
    }

    pub(super) fn each(&self) -> impl Iterator<Item = Lie> {
        self.0.iter().copied()
    }
}
