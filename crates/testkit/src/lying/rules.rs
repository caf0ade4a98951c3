//! Rules that select the requests of a lie.

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

/// Requests that a lie applies to.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    operations: Option<&'static [Operation]>,
    keys: Keys,
    times: Times,
}

/// Keys of a scope.
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

/// Frequency of a scope.
#[derive(Clone, Copy, Debug)]
enum Times {
    Always,
    First(u64),
    Every(u64),
    For(Duration),
}

impl Scope {
    /// Applies to every eligible request, for ever.
    pub const fn always() -> Self {
        Self { operations: None, keys: Keys::All, times: Times::Always }
    }

    /// Restricts the scope to these operations.
    #[must_use]
    pub const fn on(self, operations: &'static [Operation]) -> Self {
        Self { operations: Some(operations), ..self }
    }

    /// Restricts the scope to one key. Listings have no single key and match only scopes of all keys.
    #[must_use]
    pub fn key(self, key: &'static str) -> Self {
        Self { keys: Keys::Where(key, Match::Is), ..self }
    }

    /// Restricts the scope to keys with this prefix.
    #[must_use]
    pub fn under(self, prefix: &'static str) -> Self {
        Self { keys: Keys::Where(prefix, Match::StartsWith), ..self }
    }

    /// Restricts the scope to keys that contain this text.
    #[must_use]
    pub fn containing(self, text: &'static str) -> Self {
        Self { keys: Keys::Where(text, Match::Contains), ..self }
    }

    /// Restricts the scope to keys for which `holds` returns true.
    #[must_use]
    pub fn keys(self, holds: fn(&str) -> bool) -> Self {
        Self { keys: Keys::If(holds), ..self }
    }

    /// Applies to the first `count` matching requests.
    #[must_use]
    pub const fn first(self, count: u64) -> Self {
        Self { times: Times::First(count), ..self }
    }

    /// Applies to every n-th matching request; 0 counts as 1.
    #[must_use]
    pub const fn every(self, nth: u64) -> Self {
        Self { times: Times::Every(if nth == 0 { 1 } else { nth }), ..self }
    }

    /// Applies to requests within this time after the lie is switched on, in tokio's time.
    #[must_use]
    pub const fn lasting(self, time: Duration) -> Self {
        Self { times: Times::For(time), ..self }
    }

    fn covers(&self, operation: Operation, key: &str) -> bool {
        let listing = matches!(operation, Operation::ListObjects | Operation::ListVersions);
        let operations = self.operations.is_none_or(|all| all.contains(&operation));
        operations && (matches!(self.keys, Keys::All) || (!listing && self.is_about(key)))
    }

    /// Returns true if the scope includes this key.
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

/// Identifies a lie that is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LieId(u64);

/// Switches of a lying service, and its memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lies {
    state: Arc<Mutex<RuleState>>,
}

#[derive(Debug, Default)]
struct RuleState {
    rules: Vec<Rule>,
    last: u64,
    told: BTreeMap<u64, u64>,
    memory: Memory,
}

/// Memory of a lying service.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// First content read of each bucket and key.
    pub(super) contents: BTreeMap<(String, String), (ObjectHead, Bytes)>,
    /// First response to each HEAD.
    pub(super) heads: BTreeMap<String, Option<ObjectHead>>,
    /// First response to each listing.
    pub(super) pages: BTreeMap<String, ListPage>,
    /// ETags that were rewritten.
    pub(super) tags: ShownTags,
    /// Parts stored differently from their report.
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
    /// Counts a matching request; returns true if the lie is told to it.
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
    /// Creates switches without any lie.
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

    /// Switches a lie off.
    pub fn stop(&self, id: LieId) {
        lock(&self.state).rules.retain(|rule| rule.id != id.0);
    }

    /// Switches all lies off. Rewritten ETags are still accepted.
    pub fn clear(&self) {
        lock(&self.state).rules.clear();
    }

    /// Returns how often lies were told. A test that ends with zero has tested nothing.
    pub fn told(&self) -> u64 {
        lock(&self.state).told.values().sum()
    }

    /// Returns how often one lie was told.
    pub fn times(&self, id: LieId) -> u64 {
        lock(&self.state).told.get(&id.0).copied().unwrap_or_default()
    }

    /// Selects the lies for a request and counts them.
    pub(super) fn draw(&self, operation: Operation, key: &str, asked: Asked) -> Drawn {
        let mut state = lock(&self.state);
        let RuleState { rules, told, .. } = &mut *state;
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

    /// Returns the original of a rewritten ETag; any other ETag unchanged.
    pub fn real(&self, tag: &ETag) -> ETag {
        self.memory(|memory| memory.tags.real(tag))
    }

    /// Runs a closure on the memory.
    pub(super) fn memory<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut lock(&self.state).memory)
    }

    /// Translates an ETag of a request to the one that the wrapped service knows.
    pub(super) fn understood(&self, tag: &ETag, drawn: &Drawn) -> ETag {
        self.memory(|memory| memory.tags.understood(tag, drawn.has_etags()))
    }
}

/// Lies selected for one request.
#[derive(Clone, Debug)]
pub(super) struct Drawn(Vec<Lie>);

impl Drawn {
    pub(super) fn has(&self, lie: Lie) -> bool {
        self.0.contains(&lie)
    }

    pub(super) fn find<T>(&self, of: impl FnMut(&Lie) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(of)
    }

    /// Returns true if ETags are rewritten.
    pub(super) fn has_etags(&self) -> bool {
        self.0.iter().any(|lie| matches!(lie, Lie::ETags(_)))
    }

    pub(super) fn each(&self) -> impl Iterator<Item = Lie> {
        self.0.iter().copied()
    }
}
