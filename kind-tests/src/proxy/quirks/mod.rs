//! What services and proxies do otherwise than S3 documents, as a proxy in front of a plain service does it.
//!
//! The service behind must not check signatures where a quirk changes a request.

mod apply;
mod tags;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::HeaderMap;

use super::classify::Request;

pub use apply::Drawn;

/// One quirk: which requests it meets, and what it does to them.
#[derive(Clone, Copy, Debug)]
pub struct Quirk {
    /// The side, as the names of its proxies begin.
    pub side: &'static str,
    /// Operations by their names in S3's reference; all where there are none.
    pub operations: &'static [&'static str],
    /// Which keys.
    pub keys: Keys,
    /// How often.
    pub times: Times,
    /// What is done.
    pub act: Act,
}

/// Which keys a quirk meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Any, and requests on buckets.
    All,
    /// This one.
    Only(&'static str),
    /// Those that start so.
    Under(&'static str),
    /// Those with this in them.
    With(&'static str),
}

/// How often a quirk meets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Until it is taken away.
    Always,
    /// The first so many.
    First(u64),
    /// For so long from when it is set.
    For(Duration),
}

/// What a quirk does.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Answers in place of the service, which hears nothing.
    Answer(Canned),
    /// Answers in place of the service, which has done what was asked.
    AnswerAfter(Canned),
    /// Answers requests with this header, in place of the service.
    Refuse(&'static str, Canned),
    /// Takes headers from the request.
    StripRequest(&'static [&'static str]),
    /// Takes headers from the answer.
    Strip(&'static [&'static str]),
    /// Changes a header of the answer, where it has it.
    Change(&'static str, fn(&str) -> String),
    /// Adds a header to the answer.
    Add(&'static str, &'static str),
    /// Spells all ETags otherwise, and understands them so only.
    ETags(Spelling),
    /// Ends the connection after so many bytes of the answer's body.
    Cut(u64),
    /// Unpacks a gzip body, unless the request accepts `gzip` or `identity`; then it has no length either.
    Unpack,
}

/// An answer that was not made by the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canned {
    /// Its status.
    pub status: u16,
    /// Its content type; none where it is empty.
    pub content_type: &'static str,
    /// Its body.
    pub body: &'static str,
}

/// A spelling of ETags, there and back; the text is without quotes.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    /// As the service says it, to as it is told.
    pub told: fn(&str) -> String,
    /// Back.
    pub meant: fn(&str) -> String,
}

/// Whether a quirk is to be applied.
#[derive(Debug)]
struct Set {
    quirk: Quirk,
    since: Instant,
    met: u64,
}

/// The quirks of all proxies of one case; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Quirks {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    set: Vec<Set>,
    met: u64,
}

impl Quirks {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets a quirk.
    pub fn set(&self, quirk: Quirk) {
        self.with(|state| state.set.push(Set { quirk, since: Instant::now(), met: 0 }));
    }

    /// Takes all away.
    pub fn clear(&self) {
        self.with(|state| state.set.clear());
    }

    /// How often one was applied so far.
    pub fn met(&self) -> u64 {
        self.with(|state| state.met)
    }

    /// What is done to a request.
    fn drawn(&self, side: &str, request: &Request, headers: &HeaderMap) -> Vec<Act> {
        self.with(|state| {
            let mut acts = Vec::new();
            for set in &mut state.set {
                let asks = match set.quirk.act {
                    Act::Refuse(header, _) => headers.contains_key(header),
                    Act::StripRequest(names) => names.iter().any(|name| headers.contains_key(*name)),
                    _ => true,
                };
                if asks && set.quirk.covers(side, request) && set.meets() {
                    state.met += 1;
                    acts.push(set.quirk.act);
                }
            }
            acts
        })
    }
}

impl Set {
    fn meets(&mut self) -> bool {
        self.met += 1;
        match self.quirk.times {
            Times::Always => true,
            Times::First(count) => self.met <= count,
            Times::For(time) => self.since.elapsed() < time,
        }
    }
}

impl Quirk {
    fn covers(&self, side: &str, request: &Request) -> bool {
        let operation = self.operations.is_empty() || self.operations.contains(&request.operation.as_str());
        let key = match self.keys {
            Keys::All => true,
            Keys::Only(key) => request.key == key,
            Keys::Under(prefix) => request.key.starts_with(prefix),
            Keys::With(text) => request.key.contains(text),
        };
        side.split(' ').next() == Some(self.side) && operation && key
    }
}

#[cfg(test)]
mod tests;
