//! Finds the keys at which the unlisted rest of a key range is split, so that several listings share it.
//!
//! No S3 service reports its last key or the number of its keys, but it returns the first key after a given string
//! (`start-after`). A [`CutSearch`] sends a few such probes until it knows roughly how far the keys extend, then splits
//! that interval into equal parts. The parts are equal in string order, not in numbers of keys: if most keys share a
//! narrow interval, one part gets nearly all of them and is split again.

use std::ops::RangeInclusive;

/// Maximum number of probes of one search.
const MOST_PROBES: u32 = 24;
/// Maximum number of probes that refine the upper end, after the first probe that found a key.
const REFINEMENTS: u32 = 3;

/// Printable ASCII characters. Most keys consist of these, so midpoints use them wherever possible.
const PRINTABLE: RangeInclusive<u32> = 0x20..=0x7e;
/// Weight of a character seen in keys, relative to one that was not.
const SEEN: u32 = 32;

/// The set of characters seen in keys. Midpoints are computed over it: 39 characters lie between `9` and `a`, none of
/// which occurs in hexadecimal keys, so an unweighted midpoint would leave all keys on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alphabet(u128);

impl Alphabet {
    /// Adds the characters of a key.
    pub fn see(&mut self, key: &str) {
        for byte in key.bytes().filter(u8::is_ascii) {
            self.0 |= 1 << byte;
        }
    }

    fn weight(self, c: u32) -> u32 {
        if self.0 >> c & 1 == 1 { SEEN } else { 1 }
    }

    /// Returns a string strictly between two keys in byte order: printable, as short as possible, and about halfway by
    /// the first character that differs. Returns `None` if no such string exists. Without `until` there is no upper
    /// bound.
    pub fn midpoint(self, after: &str, until: Option<&str>) -> Option<String> {
        let shared = until.map_or(0, |until| shared_len(after, until));
        let (head, low) = after.split_at(shared);
        let a = low.chars().next();
        let b = match until {
            Some(until) => Some(until[shared..].chars().next()?),
            None => None,
        };
        if a.zip(b).is_some_and(|(a, b)| a > b) {
            return None;
        }
        if let Some(c) = self.between(a, b) {
            return Some(format!("{head}{c}"));
        }
        if let (Some(until), Some(b)) = (until, b)
            && until.len() > shared + b.len_utf8()
            && b >= ' '
        {
            return Some(format!("{head}{b}"));
        }
        // No character lies between the two: extend the lower one instead.
        let a = a?;
        Some(format!("{head}{a}{}", self.midpoint(&low[a.len_utf8()..], None)?))
    }

    /// Returns a character about halfway between two others. `None` stands for the open end on that side.
    fn between(self, a: Option<char>, b: Option<char>) -> Option<char> {
        let low = a.map_or(0, |a| u32::from(a) + 1).max(*PRINTABLE.start());
        let high = b.map_or(0x11_0000, u32::from);
        let printable = low..high.min(PRINTABLE.end() + 1);
        let half = printable.clone().map(|c| self.weight(c)).sum::<u32>() / 2;
        let mut sum = 0;
        let middle = printable.into_iter().find(|c| {
            sum += self.weight(*c);
            sum > half
        });
        if middle.is_some() {
            return middle.and_then(char::from_u32);
        }
        // Surrogates are not characters.
        let middle = (low < high).then(|| low + (high - low) / 2)?;
        let fits = |c: &char| (low..high).contains(&u32::from(*c));
        char::from_u32(middle).or_else(|| ['\u{d7ff}', '\u{e000}'].into_iter().find(fits))
    }

    /// Returns the split points that divide an interval into about `parts` equal parts.
    fn spread(self, low: &str, high: &str, parts: usize) -> Vec<String> {
        if parts < 2 {
            return Vec::new();
        }
        let Some(middle) = self.midpoint(low, Some(high)) else { return Vec::new() };
        let mut cuts = self.spread(low, &middle, parts / 2);
        cuts.push(middle.clone());
        cuts.extend(self.spread(&middle, high, parts.div_ceil(2)));
        cuts
    }
}

/// Returns the length in bytes of the common prefix, in whole characters.
pub fn shared_len(a: &str, b: &str) -> usize {
    let mut len = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    while !a.is_char_boundary(len) || !b.is_char_boundary(len) {
        len -= 1;
    }
    len
}

/// Returns the first string after all that start with `head`, or `None` if there is none.
fn behind(head: &str) -> Option<String> {
    let last = head.chars().next_back()?;
    let next = (u32::from(last) + 1..=0x10_ffff).find_map(char::from_u32)?;
    Some(format!("{}{next}", &head[..head.len() - last.len_utf8()]))
}

/// Estimates the remaining pages of a range from its last page, which went from `before` to `now`. Returns infinity if
/// no estimate is possible.
pub fn pages_left(before: &str, now: &str, last: Option<&str>) -> f64 {
    let Some(last) = last else { return f64::INFINITY };
    let shared = before.bytes().zip(last.bytes()).take_while(|(x, y)| x == y).count();
    let place = |text: &str| {
        let digits = text.bytes().skip(shared).chain(std::iter::repeat(0)).take(8);
        digits.fold(0.0, |sum, byte| sum * 256.0 + f64::from(byte))
    };
    let (gone, left) = (place(now) - place(before), place(last) - place(now));
    if gone > 0.0 { left / gone } else { f64::INFINITY }
}

/// The next step of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutStep {
    /// Request the first key after this string.
    Probe(String),
    /// Split the range at these points.
    Cut(Cut),
    /// There is nothing to split.
    Nothing,
}

/// The split points, and bounds learned by the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Split points, in order. At least one key follows the first.
    pub at: Vec<String>,
    /// A string, at or after the last split point, that is known to have keys after it. `None` if unknown.
    pub beyond: Option<String>,
    /// A string known to have no keys between it and the end of the range.
    pub top: Option<String>,
}

/// The unlisted rest of a range, and the known bounds of its keys.
#[derive(Clone, Copy, Debug)]
pub struct Rest<'a> {
    /// The last key listed.
    pub low: &'a str,
    /// No key lies after this.
    pub high: Option<&'a str>,
    /// Length in bytes of the prefix of `low` that all keys share.
    pub prefix: usize,
    /// At least one key lies after this.
    pub beyond: Option<&'a str>,
}

/// A search for split points.
#[derive(Clone, Debug)]
pub struct CutSearch {
    /// All keys up to and including this one are listed.
    low: String,
    /// No key lies after this.
    high: Option<String>,
    /// Length in bytes of the prefix of `low` that all remaining keys share.
    shared: usize,
    /// Upper bound of that length: some remaining key is known or assumed to differ from `low` at this byte.
    differs: usize,
    /// At least one key lies after this.
    beyond: Option<String>,
    parts: usize,
    alphabet: Alphabet,
    probe: Probe,
    missed: bool,
    probes: u32,
    refinements: u32,
}

#[derive(Clone, Debug)]
enum Probe {
    None,
    /// Halfway to `high`.
    Halfway(String),
    /// After all keys that start with this many bytes of `low`.
    Behind(String, usize),
}

impl CutSearch {
    /// Creates a search for split points that divide the rest into `parts` parts.
    pub fn new(rest: &Rest<'_>, alphabet: Alphabet, parts: usize) -> Self {
        let Rest { low, high, prefix, beyond } = *rest;
        let shared = high.map_or(0, |high| shared_len(low, high)).max(prefix);
        let beyond = beyond.filter(|beyond| *beyond > low).map(str::to_owned);
        Self {
            differs: beyond.as_deref().map_or(low.len(), |beyond| shared_len(low, beyond)),
            low: low.to_owned(),
            high: high.map(str::to_owned),
            shared,
            beyond,
            parts,
            alphabet,
            probe: Probe::None,
            missed: false,
            probes: 0,
            refinements: 0,
        }
    }

    /// Returns the first step.
    pub fn begin(&mut self) -> CutStep {
        self.propose()
    }

    /// Returns the step after a probe. `found` is the first key after the probed string, if it lies within the range.
    pub fn answered(&mut self, found: Option<&str>) -> CutStep {
        let probe = std::mem::replace(&mut self.probe, Probe::None);
        self.missed = found.is_none();
        match (probe, found) {
            (Probe::None, _) => return CutStep::Nothing,
            (Probe::Halfway(at), Some(_)) => {
                self.beyond = self.beyond.take().max(Some(at));
                return if self.refinements == 0 && self.bound().is_some() { self.end() } else { self.refine() };
            }
            (Probe::Halfway(at), None) if self.refinements > 0 => {
                self.high = Some(at);
                return self.refine();
            }
            (Probe::Halfway(at), None) => {
                self.shared = self.shared.max(shared_len(&self.low, &at));
                self.high = Some(at);
            }
            (Probe::Behind(at, _), Some(key)) => {
                self.differs = shared_len(&self.low, key);
                self.beyond = self.beyond.take().max(Some(at));
            }
            (Probe::Behind(at, len), None) => {
                self.shared = len;
                self.high = Some(at);
            }
        }
        self.propose()
    }

    /// Halving a long common prefix character by character is slow, so each miss is followed by a leap.
    fn propose(&mut self) -> CutStep {
        self.probes += 1;
        if self.probes > MOST_PROBES {
            return self.end();
        }
        if self.missed
            && let Some((at, len)) = self.leap()
        {
            self.probe = Probe::Behind(at.clone(), len);
            return CutStep::Probe(at);
        }
        match self.halfway() {
            Some(at) if self.beyond.as_ref().is_none_or(|beyond| at > *beyond) => {
                self.probe = Probe::Halfway(at.clone());
                CutStep::Probe(at)
            }
            _ => self.end(),
        }
    }

    /// Returns the string after all keys that share half of the undecided part of the prefix.
    fn leap(&mut self) -> Option<(String, usize)> {
        while self.differs > self.shared {
            let mut len = self.shared + (self.differs - self.shared) / 2 + 1;
            while !self.low.is_char_boundary(len) {
                len += 1;
            }
            let at = behind(&self.low[..len])?;
            if self.is_open(&at) {
                return Some((at, len));
            }
            // Known to lie after all keys.
            self.shared = len;
        }
        None
    }

    fn halfway(&self) -> Option<String> {
        let (head, low) = self.low.split_at(self.shared);
        let high = self.high.as_deref().and_then(|high| high.strip_prefix(head));
        let at = format!("{head}{}", self.alphabet.midpoint(low, high)?);
        self.is_open(&at).then_some(at)
    }

    fn is_open(&self, at: &str) -> bool {
        self.high.as_deref().is_none_or(|high| at < high)
    }

    /// Returns the upper bound, unless it only states that all keys share a prefix.
    fn bound(&self) -> Option<&str> {
        self.high.as_deref().filter(|high| high.starts_with(&self.low[..self.shared]))
    }

    /// Halves the interval between `beyond`, which has keys after it, and `high`, which has none.
    fn refine(&mut self) -> CutStep {
        let Some(beyond) = self.beyond.as_deref() else { return self.end() };
        let at = self.alphabet.midpoint(beyond, self.high.as_deref());
        self.refinements += 1;
        match at.filter(|_| self.refinements <= REFINEMENTS) {
            Some(at) => {
                self.probe = Probe::Halfway(at.clone());
                CutStep::Probe(at)
            }
            None => self.end(),
        }
    }

    fn end(&mut self) -> CutStep {
        let Some(beyond) = self.beyond.take() else { return CutStep::Nothing };
        let spread = |to: &str| self.alphabet.spread(&self.low, to, self.parts);
        let even = self.bound().map(&spread).filter(|at| at.first().is_some_and(|first| *first <= beyond));
        let mut at = even.unwrap_or_else(|| spread(&beyond));
        if at.is_empty() {
            at.push(beyond.clone());
        }
        let beyond = Some(beyond).filter(|beyond| at.last() <= Some(beyond));
        CutStep::Cut(Cut { at, beyond, top: self.high.take() })
    }
}

#[cfg(test)]
mod tests;
