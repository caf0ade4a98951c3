//! Finds the number of objects at once from which on more of them only wait for each other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::FilesPerWorker;

/// Least time between two changes of the limit. Shorter rounds would follow the noise of schedulers.
const SHORTEST_ROUND: Duration = Duration::from_millis(100);
/// Time after which latencies are measured anew with fewer objects, since routes and services change.
const BASES_HOLD: Duration = Duration::from_secs(30);
/// Share of the objects that may queue before the limit grows no further: latencies a quarter longer than necessary.
const FEW_QUEUE: f64 = 1.0 / 5.0;
/// Share of the objects in a queue from which on the limit falls: latencies half as long again as necessary.
const MANY_QUEUE: f64 = 1.0 / 3.0;
/// Samples of a kind that one round keeps.
const MOST_SAMPLES: usize = 1_024;
/// Share of a round's samples that are faster than the one that counts. The slower ones include those of new
/// connections, of which a growing limit needs many.
const QUARTILE: usize = 4;

/// Requests whose latency is measured. Without a queue, those of one kind take equally long, whatever their object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// GET at the source, until the headers of its answer.
    SourceGet,
    /// HEAD at the source.
    SourceHead,
    /// HEAD at the destination.
    DestinationHead,
    /// PUT of at most 16 KiB at the destination.
    DestinationPut16K,
    /// PUT of at most 128 KiB at the destination.
    DestinationPut128K,
    /// PUT of at most 1 MiB at the destination.
    DestinationPut1M,
}

impl RequestKind {
    /// Returns the kind of a PUT of this many bytes. `None` if its duration says more about the size than about the
    /// service.
    pub fn of_put(bytes: u64) -> Option<Self> {
        match bytes.div_ceil(1 << 10) {
            0..=16 => Some(Self::DestinationPut16K),
            17..=128 => Some(Self::DestinationPut128K),
            129..=1_024 => Some(Self::DestinationPut1M),
            _ => None,
        }
    }
}

/// An object that a worker has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedObject {
    /// When it was begun, as time since the worker's start.
    pub began: Duration,
    /// Number of objects in transfer when it was finished, itself included.
    pub in_flight: u32,
    /// False if memory was short or a service throttled: more objects at once would make it worse.
    pub may_grow: bool,
}

/// An adaptive limit on the objects in transfer: raised while latencies stay what they are without a queue, lowered
/// when they show one. Works in rounds of as many objects as the limit.
///
/// Every kind of request has its own base, the lowest latency of a round lately. An object takes the sum of its
/// requests, so the sums of all latencies and of all bases are compared: a slower answer of a near side does not matter
/// beside a far one. Of `limit` objects, `limit · (1 − bases ÷ latencies)` are in a queue.
///
/// | round | objects in a queue | limit |
/// |---|---|---|
/// | less than half of the limit was in use, memory was short, or a service throttled | up to a third | stays |
/// | the limit was in use, and none queued before | up to a fifth | doubles |
/// | the limit was in use | up to a fifth | grows by log₂ of itself |
/// | any | more than a fifth, up to a third | stays |
/// | any | more than a third | falls to the number that does not queue, at least to half |
///
/// Every 30 s the limit is halved for one round, which sets the bases anew: those measured in a queue would let it grow
/// without end.
///
/// Source: L. Brakmo, L. Peterson, "TCP Vegas: end to end congestion avoidance on a global internet" (1995); the rounds
/// at half the limit are BBR's `ProbeRTT` (draft-ietf-ccwg-bbr).
#[derive(Clone, Debug)]
pub struct Knee {
    least: u32,
    most: u32,
    limit: u32,
    /// True until objects queue for the first time.
    doubles: bool,
    bases: BTreeMap<RequestKind, Duration>,
    /// When the bases were set anew.
    based: Duration,
    /// The limit before it was halved for one round.
    before: Option<u32>,
    round: Round,
}

#[derive(Clone, Debug)]
struct Round {
    began: Duration,
    samples: BTreeMap<RequestKind, Vec<Duration>>,
    finished: u32,
    /// Sum of the objects in flight over all finished ones.
    in_flight: u64,
    may_grow: bool,
}

/// Latencies of a round: how many there are of each kind, and the one that counts.
type Latencies = BTreeMap<RequestKind, (usize, Duration)>;

impl Round {
    fn new(began: Duration) -> Self {
        Self { began, samples: BTreeMap::new(), finished: 0, in_flight: 0, may_grow: true }
    }

    /// Returns true if at least half of the limit was in use.
    fn was_busy(&self, limit: u32) -> bool {
        self.in_flight * 2 >= u64::from(limit) * u64::from(self.finished)
    }

    fn latencies(&mut self) -> Latencies {
        let quartile = |samples: &mut Vec<Duration>| {
            let place = samples.len() / QUARTILE;
            (samples.len(), *samples.select_nth_unstable(place).1)
        };
        self.samples.iter_mut().map(|(kind, samples)| (*kind, quartile(samples))).collect()
    }
}

impl Knee {
    /// Creates a limit at its start.
    pub fn new(files: FilesPerWorker) -> Self {
        Self {
            least: files.least(),
            most: files.most(),
            limit: files.least(),
            doubles: true,
            bases: BTreeMap::new(),
            based: Duration::ZERO,
            before: None,
            round: Round::new(Duration::ZERO),
        }
    }

    /// Returns the number of objects that may be in transfer.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Records the latency of a request. Times are since the worker's start. Ignores a request that began before the
    /// limit last changed.
    pub fn answered(&mut self, kind: RequestKind, began: Duration, latency: Duration) {
        if self.is_fixed() || began < self.round.began {
            return;
        }
        let samples = self.round.samples.entry(kind).or_default();
        if samples.len() < MOST_SAMPLES {
            samples.push(latency);
        }
    }

    /// Records an object that was finished `now`, as time since the worker's start, and returns the limit from now on.
    /// Objects that began before the limit last changed don't count.
    pub fn finished(&mut self, object: FinishedObject, now: Duration) -> u32 {
        if self.is_fixed() || object.began < self.round.began {
            return self.limit;
        }
        self.round.finished += 1;
        self.round.in_flight += u64::from(object.in_flight);
        self.round.may_grow &= object.may_grow;
        if self.round.finished >= self.limit && now.saturating_sub(self.round.began) >= SHORTEST_ROUND {
            self.end_round(now);
        }
        self.limit
    }

    /// Returns true if the bound leaves nothing to find.
    fn is_fixed(&self) -> bool {
        self.least == self.most
    }

    fn end_round(&mut self, now: Duration) {
        let mut round = std::mem::replace(&mut self.round, Round::new(now));
        let latencies = round.latencies();
        if let Some(before) = self.before.take() {
            self.limit = before;
            self.base_anew(now);
            self.lower_bases(&latencies);
            return;
        }
        self.lower_bases(&latencies);
        if let Some(queueing) = self.queueing(&latencies) {
            let grows = round.may_grow && round.was_busy(self.limit);
            self.doubles &= round.may_grow && queueing <= FEW_QUEUE;
            self.limit = next_limit(self.limit, queueing, grows.then_some(self.doubles)).clamp(self.least, self.most);
        }
        if now.saturating_sub(self.based) < BASES_HOLD {
            return;
        }
        if self.limit == self.least {
            self.base_anew(now);
            self.doubles = true;
        } else {
            self.before = Some(self.limit);
            self.limit = (self.limit / 2).max(self.least);
        }
    }

    fn base_anew(&mut self, now: Duration) {
        self.bases.clear();
        self.based = now;
    }

    fn lower_bases(&mut self, latencies: &Latencies) {
        for (kind, (_, latency)) in latencies {
            let base = self.bases.entry(*kind).or_insert(*latency);
            *base = (*base).min(*latency);
        }
    }

    /// Returns the share of the objects that were in a queue, from 0 to 1. `None` if nothing was measured.
    #[allow(clippy::cast_precision_loss, reason = "at most a thousand")]
    fn queueing(&self, latencies: &Latencies) -> Option<f64> {
        let sum = |of: &dyn Fn(&RequestKind, Duration) -> Duration| -> f64 {
            latencies.iter().map(|(kind, (number, latency))| of(kind, *latency).as_secs_f64() * *number as f64).sum()
        };
        let taken = sum(&|_, latency| latency);
        let least = sum(&|kind, latency| self.bases.get(kind).copied().unwrap_or(latency));
        (taken > 0.0).then(|| 1.0 - least / taken)
    }
}

/// Returns the limit after a round, by the table at [`Knee`], without its bounds. `grows` is `None` if the limit must
/// not grow, else whether it doubles.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the limit")]
fn next_limit(limit: u32, queueing: f64, grows: Option<bool>) -> u32 {
    match grows {
        _ if queueing > MANY_QUEUE => (f64::from(limit) * (1.0 - queueing)).round().max(f64::from(limit / 2)) as u32,
        Some(true) if queueing <= FEW_QUEUE => limit.saturating_mul(2),
        Some(false) if queueing <= FEW_QUEUE => limit.saturating_add(limit.max(2).ilog2()),
        _ => limit,
    }
}

#[cfg(test)]
mod tests;
