//! Where to cut what is left of a range of keys, so that two can list it.
//!
//! Nobody can ask a service for its last key or for the number of its keys. What can be asked is the first key after a
//! text. A [`CutSearch`] asks a few such questions, until it knows about how far the keys go, and cuts that into equal
//! parts. Equal is meant in the order of texts, not in numbers of keys: where keys crowd in one place one part gets
//! nearly all of them, and is cut again.

use std::ops::RangeInclusive;

/// Most questions of one search.
const MOST_PROBES: u32 = 24;
/// Questions about how far the keys go, after the first that was answered with a key.
const REFINEMENTS: u32 = 3;

/// Printable characters of ASCII. Keys are mostly made of these, so that texts are halved among them as long as there
/// is room.
const PRINTABLE: RangeInclusive<u32> = 0x20..=0x7e;
/// How much more often a character comes that was seen in keys than one that was not.
const SEEN: u32 = 32;

/// The characters that keys were seen to be made of. Between `9` and `a` there are 39 others, and of hexadecimal keys
/// not one: what is halved without knowing that has all keys on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alphabet(u128);

impl Alphabet {
    /// Sees a key.
    pub fn see(&mut self, key: &str) {
        for byte in key.bytes().filter(u8::is_ascii) {
            self.0 |= 1 << byte;
        }
    }

    fn weight(self, c: u32) -> u32 {
        if self.0 >> c & 1 == 1 { SEEN } else { 1 }
    }

    /// A text between two keys in byte order, of printable characters, as short as can be, and about halfway by the
    /// first characters that differ; none where there is no such text. Without an upper bound, after `after`.
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
        // Nothing fits between the two characters: below the first one, then.
        let a = a?;
        Some(format!("{head}{a}{}", self.midpoint(&low[a.len_utf8()..], None)?))
    }

    /// A character about halfway between two; none stands for what is before all, or after all.
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
        // Surrogates are no characters.
        let middle = (low < high).then(|| low + (high - low) / 2)?;
        let fits = |c: &char| (low..high).contains(&u32::from(*c));
        char::from_u32(middle).or_else(|| ['\u{d7ff}', '\u{e000}'].into_iter().find(fits))
    }

    /// Texts that cut what is between two others into about so many equal parts.
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

/// Bytes of the whole characters that two texts begin with alike.
pub fn shared_len(a: &str, b: &str) -> usize {
    let mut len = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    while !a.is_char_boundary(len) || !b.is_char_boundary(len) {
        len -= 1;
    }
    len
}

/// The first text behind all that begin with `head`; none where there is no such text.
fn behind(head: &str) -> Option<String> {
    let last = head.chars().next_back()?;
    let next = (u32::from(last) + 1..=0x10_ffff).find_map(char::from_u32)?;
    Some(format!("{}{next}", &head[..head.len() - last.len_utf8()]))
}

/// About how many pages are left of a range, at the pace of the last one, which went from `before` to `now`. Infinite
/// where nothing can be said.
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

/// What to do next in a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutStep {
    /// Find the first key after this text.
    Probe(String),
    /// Cut here.
    Cut(Cut),
    /// There is nothing to cut.
    Nothing,
}

/// Where to cut, and what was learnt on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The cuts, in order. There are keys behind the first one.
    pub at: Vec<String>,
    /// There are keys after this text, which is at the last cut or behind it; none where that is not known.
    pub beyond: Option<String>,
    /// There were no keys between this text and the end of the range.
    pub top: Option<String>,
}

/// What is left of a range, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Rest<'a> {
    /// The last key that was listed.
    pub low: &'a str,
    /// There are no keys after this.
    pub high: Option<&'a str>,
    /// All keys begin with so many bytes of `low`.
    pub prefix: usize,
    /// There is a key after this.
    pub beyond: Option<&'a str>,
}

/// A search for the place to cut at.
#[derive(Clone, Debug)]
pub struct CutSearch {
    /// The keys up to here are listed already.
    low: String,
    /// There are no keys after this.
    high: Option<String>,
    /// All keys that are left begin with so many bytes of `low`.
    shared: usize,
    /// Some key that is left begins with no more than so many bytes of `low`, as far as is known.
    differs: usize,
    /// There are keys after this text.
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
    /// Behind all that begin with so many bytes of `low`.
    Behind(String, usize),
}

impl CutSearch {
    /// A search for cuts into so many parts.
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

    /// The first step.
    pub fn begin(&mut self) -> CutStep {
        self.propose()
    }

    /// The step after a probe; `found` is the first key after its text, where there is one before the range's end.
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

    /// Where a long text is shared, halving character by character takes long: so every miss is followed by a leap.
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

    /// The text behind all keys that share half of what is not yet known to be shared.
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
            // Known to be behind all keys.
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

    /// The text behind which there are no keys, where it says more than that all keys begin alike.
    fn bound(&self) -> Option<&str> {
        self.high.as_deref().filter(|high| high.starts_with(&self.low[..self.shared]))
    }

    /// There are keys behind `beyond`, and none behind `high`: both come nearer to the last one.
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
