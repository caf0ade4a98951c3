//! Deviations of services and proxies from S3's documentation, produced by a proxy in front of a plain service.
//!
//! If a quirk changes requests, the service behind must not check signatures.

mod apply;
mod tags;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::HeaderMap;

use super::classify::Request;

pub use apply::Drawn;

/// A quirk: the requests it applies to, and the change.
#[derive(Clone, Copy, Debug)]
pub struct Quirk {
    /// Prefix of the names of the side's proxies.
    pub side: &'static str,
    /// Operations by their names in S3's reference; empty for all.
    pub operations: &'static [&'static str],
    /// Keys it applies to.
    pub keys: Keys,
    /// How often it applies.
    pub times: Times,
    /// The change.
    pub act: Act,
}

/// Keys that a quirk applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Any key, and requests without a key.
    All,
    /// This key.
    Only(&'static str),
    /// Keys with this prefix.
    Under(&'static str),
    /// Keys that contain this text.
    With(&'static str),
}

/// How often a quirk applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Until it is removed.
    Always,
    /// To the first requests.
    First(u64),
    /// For this long after it is set.
    For(Duration),
}

/// Change made by a quirk.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Responds in place of the service; the request is not forwarded.
    Answer(Canned),
    /// Replaces the response after the service has executed the request.
    AnswerAfter(Canned),
    /// Responds in place of the service to requests with this header.
    Refuse(&'static str, Canned),
    /// Removes headers from the request.
    StripRequest(&'static [&'static str]),
    /// Removes headers from the response.
    Strip(&'static [&'static str]),
    /// Changes a header of the response, if present.
    Change(&'static str, fn(&str) -> String),
    /// Adds a header to the response.
    Add(&'static str, &'static str),
    /// Rewrites all ETags in responses, and accepts only the rewritten form.
    ETags(Spelling),
    /// Closes the connection after so many bytes of the response's body.
    Cut(u64),
    /// Decompresses a gzip body and removes its length, unless the request accepts `gzip` or `identity`.
    Unpack,
}

/// A response that the service did not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canned {
    /// HTTP status.
    pub status: u16,
    /// Content type; empty for none.
    pub content_type: &'static str,
    /// Content of the body.
    pub body: &'static str,
}

/// A rewriting of ETags and its inverse; the text is without quotes.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    /// From the service's form to the form in responses.
    pub told: fn(&str) -> String,
    /// The inverse.
    pub meant: fn(&str) -> String,
}

/// A quirk that is set, with its state.
#[derive(Debug)]
struct Set {
    quirk: Quirk,
    since: Instant,
    met: u64,
}

/// Quirks of all proxies of one case. Clones share them.
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

    /// Removes all quirks.
    pub fn clear(&self) {
        self.with(|state| state.set.clear());
    }

    /// Returns how often a quirk has been applied.
    pub fn met(&self) -> u64 {
        self.with(|state| state.met)
    }

    /// Selects the changes of a request.
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
