//! Where to cut what is left of a range of keys, so that two can list it.
//!
//! Nobody can ask a service for its last key or for the number of its keys. What can be asked is the first key after a
//! text. A [`CutSearch`] asks a few such questions: first how far the keys go, then it cuts halfway there. Halfway is
//! meant in the order of texts, not in numbers of keys: where keys crowd in one place one part gets nearly all of them,
//! and is cut again.

/// Most questions of one search.
const MOST_PROBES: u32 = 24;

/// The last printable character of ASCII. Keys hardly go beyond it, so that texts are halved below it as long as there
/// is room.
const LAST_ASCII: u32 = 0x7e;

/// A text between two keys in byte order, of printable characters, as short as can be and about halfway by the first
/// characters that differ; none where there is no such text. Without an upper bound, after `after`.
pub fn midpoint(after: &str, until: Option<&str>) -> Option<String> {
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
    if let Some(c) = between(a, b) {
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
    Some(format!("{head}{a}{}", midpoint(&low[a.len_utf8()..], None)?))
}

/// A character about halfway between two; none stands for what is before all, or after all.
fn between(a: Option<char>, b: Option<char>) -> Option<char> {
    let low = a.map_or(0x1f, u32::from).max(0x1f);
    let mut high = b.map_or(0x11_0000, u32::from);
    if low < LAST_ASCII {
        high = high.min(LAST_ASCII + 1);
    }
    let middle = (low + 1 < high).then(|| low + (high - low) / 2)?;
    // Surrogates are no characters.
    let fits = |c: &char| (low + 1..high).contains(&u32::from(*c));
    char::from_u32(middle).or_else(|| ['\u{d7ff}', '\u{e000}'].into_iter().find(fits))
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
    /// Cut here: there are keys behind it.
    Cut(Cut),
    /// There is nothing to cut.
    Nothing,
}

/// Where to cut, and what was learnt on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The cut.
    pub at: String,
    /// There are keys after this text, which is at the cut or behind it.
    pub beyond: String,
    /// There were no keys between this text and the end of the range.
    pub top: Option<String>,
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
    probe: Probe,
    missed: bool,
    probes: u32,
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
    /// A search in what is left of a range after `low`. There are no keys after `high`; all keys begin with `prefix`
    /// bytes of `low`; there is a key after `beyond`, where one is known.
    pub fn new(low: &str, high: Option<&str>, prefix: usize, beyond: Option<&str>) -> Self {
        let shared = high.map_or(0, |high| shared_len(low, high)).max(prefix);
        let beyond = beyond.filter(|beyond| *beyond > low).map(str::to_owned);
        Self {
            differs: beyond.as_deref().map_or(low.len(), |beyond| shared_len(low, beyond)),
            low: low.to_owned(),
            high: high.map(str::to_owned),
            shared,
            beyond,
            probe: Probe::None,
            missed: false,
            probes: 0,
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
                return self.end();
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
        let at = format!("{head}{}", midpoint(low, high)?);
        self.is_open(&at).then_some(at)
    }

    fn is_open(&self, at: &str) -> bool {
        self.high.as_deref().is_none_or(|high| at < high)
    }

    fn end(&mut self) -> CutStep {
        let Some(beyond) = self.beyond.take() else { return CutStep::Nothing };
        let at = midpoint(&self.low, Some(&beyond)).unwrap_or_else(|| beyond.clone());
        CutStep::Cut(Cut { at, beyond, top: self.high.take() })
    }
}

#[cfg(test)]
mod tests;
