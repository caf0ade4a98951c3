//! One process's part in dividing the limits: what it knows of the records, and what it writes next.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::fair::fair;
use super::{DEAD, RENEW_EVERY};
use crate::pace::{LEASE, Moment, Validity};
use crate::ports::{Item, Write};
use crate::records::{PoolRecord, Portions, RecordError, ShareRecord, pool_key, share_process};

/// Most records of dead processes returned to the pool at once; a transaction has at most 100 writes.
const MOST_DEAD: usize = 50;
/// Interval between looks while the process has no share of a limit that it needs: this long for each record that a look
/// reads, within the bounds below.
const LOOK_PER_RECORD: Duration = Duration::from_millis(40);
const LOOK_LEAST: Duration = Duration::from_millis(1_500);
/// Time before the next try after another writer was first, and after a request without an answer.
const AFTER_LOST: Duration = Duration::from_millis(100);
const AFTER_UNKNOWN: Duration = Duration::from_secs(1);

/// What a look at the records showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pool: Option<PoolRecord>,
    shares: BTreeMap<String, ShareRecord>,
    /// Revision of a pool that can't be read.
    spoiled: Option<u64>,
    /// Records that can't be read hold parts that nobody knows.
    unreadable: Vec<RecordError>,
}

impl Look {
    /// Reads the items of a job's shares.
    pub fn of(job: &str, items: &[Item]) -> Self {
        let mut look = Self::default();
        for item in items {
            if let Err(error) = look.add(job, item) {
                look.unreadable.push(error);
            }
        }
        look
    }

    fn add(&mut self, job: &str, item: &Item) -> Result<(), RecordError> {
        if item.key == pool_key(job) {
            self.spoiled = item.attributes.get("revision").and_then(Value::as_u64);
            self.pool = Some(item.read()?);
            self.spoiled = None;
            return Ok(());
        }
        let unknown = || RecordError { key: item.key.clone(), member: None, reason: "unknown kind of record".into() };
        let process = share_process(&item.key.sort).ok_or_else(unknown)?;
        self.shares.insert(process.to_owned(), item.read()?);
        Ok(())
    }

    /// Lists the records that can't be read.
    pub fn unreadable(&self) -> &[RecordError] {
        &self.unreadable
    }

    fn is_whole(&self) -> bool {
        self.unreadable.is_empty()
    }

    /// Returns true if the pool can be written: it was read, or is not there.
    fn shows_pool(&self) -> bool {
        self.pool.is_some() || self.is_whole()
    }

    fn held(&self) -> Portions {
        self.shares.values().fold(Portions::default(), |sum, record| sum.plus(record.share))
    }
}

/// Writes that a process sends next, and what they mean for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The writes; all or none.
    pub writes: Vec<Write>,
    /// The record that the process will have; `None` if it leaves.
    record: Option<ShareRecord>,
}

/// What became of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was written.
    Written,
    /// Another writer was first.
    Lost,
    /// No answer tells.
    Unknown,
}

/// What is known of the process's own record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// A write of it is under way or has no answer: the records have to be looked at.
    Unknown,
    Absent,
    Held(ShareRecord),
}

/// A process that has, or wants, a share of the limits of its job.
#[derive(Clone, Debug)]
pub struct Holder {
    job: String,
    name: String,
    /// Number of records that the process has had before: none is written again under the same key, or another process
    /// might take it for one that it saw long ago.
    generation: u32,
    own: Own,
    usable: Portions,
    validity: Validity,
    /// Records of other processes: revision, and since when it was seen.
    seen: BTreeMap<String, (u64, Duration)>,
    /// Revision of the pool at the last look and the one before.
    pool: [Option<u64>; 2],
    /// Revision of the pool while nothing else can't be read, and since when it was seen.
    spoiled: Option<(u64, Duration)>,
    /// Plans in a row that were not written, as far as is known.
    failures: u32,
}

impl Holder {
    /// Creates a process without a share. `name` must be unique among all processes of the job that ever were.
    pub fn new(job: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            job: job.into(),
            name: name.into(),
            generation: 0,
            own: Own::Absent,
            usable: Portions::default(),
            validity: Validity::Leased(Moment::default()),
            seen: BTreeMap::new(),
            pool: [None; 2],
            spoiled: None,
            failures: 0,
        }
    }

    /// Returns what the process may take now, and how long.
    pub fn usable(&self) -> (Portions, Validity) {
        (self.usable, self.validity)
    }

    /// Returns true if the process may have a record.
    pub fn has_record(&self) -> bool {
        self.own != Own::Absent
    }

    /// Notes what the records showed. `now` is when the answer had arrived.
    pub fn look(&mut self, now: Duration, look: &Look) {
        let own = self.process();
        self.seen.retain(|process, _| look.shares.contains_key(process));
        for (process, record) in look.shares.iter().filter(|(process, _)| **process != own) {
            let seen = self.seen.entry(process.clone()).or_insert((record.revision, now));
            if seen.0 != record.revision {
                *seen = (record.revision, now);
            }
        }
        self.pool = [self.pool[1], look.pool.as_ref().map(|pool| pool.revision)];
        let spoiled = look.spoiled.filter(|_| look.unreadable.len() == 1);
        self.spoiled = spoiled.map(|revision| match self.spoiled {
            Some(before) if before.0 == revision => before,
            _ => (revision, now),
        });
        match look.shares.get(&own) {
            Some(record) => {
                self.own = Own::Held(*record);
                self.usable = self.usable.min(record.share);
            }
            None if self.own == Own::Absent => {}
            None => self.lose(),
        }
    }

    /// Returns what to write. `look` is what [`Holder::look`] was given just before; without it, an answer being
    /// missing, the share is renewed as it is. `need` is what the process could use; if that is nothing, it leaves.
    /// Returns `None` if there is nothing to write, or it is not known what.
    pub fn plan(&mut self, now: Moment, look: Option<&Look>, need: Portions) -> Option<Plan> {
        let own = match self.own {
            Own::Unknown => return None,
            _ if need.is_none() && look.is_none() => return None,
            Own::Absent if need.is_none() || look.is_none() => return None,
            Own::Absent => ShareRecord { revision: 0, share: Portions::default(), need },
            Own::Held(record) => record,
        };
        let mended = look.and_then(|look| self.mended(now.monotonic, look));
        let look = mended.as_ref().or(look);
        // A lease that is about to end is renewed by a write that only this process competes for.
        let is_late = matches!(self.validity, Validity::Leased(from) if now.since(from) > LEASE / 4 * 3);
        let plan = match look {
            Some(look)
                if look.shows_pool() && !(is_late && own.revision > 0 && self.failures > 0 && !need.is_none()) =>
            {
                self.shift(now, look, own, need)
            }
            _ => {
                let record = ShareRecord { revision: own.revision + 1, need, ..own };
                Plan { writes: vec![record.write(&self.job, &self.process(), now.wall)], record: Some(record) }
            }
        };
        // Until the outcome is known, the lower one of both shares is used.
        self.usable = self.usable.min(plan.record.map(|record| record.share).unwrap_or_default());
        self.own = Own::Unknown;
        Some(plan)
    }

    /// Notes what became of a plan that was sent at `sent` or later.
    pub fn ended(&mut self, plan: &Plan, sent: Moment, outcome: Outcome) {
        self.failures = if outcome == Outcome::Written { 0 } else { self.failures + 1 };
        match (outcome, plan.record) {
            (Outcome::Written, Some(record)) => {
                self.own = Own::Held(record);
                self.usable = record.share;
                self.validity = Validity::Leased(sent);
            }
            (Outcome::Written, None) => self.lose(),
            _ => {}
        }
    }

    /// Returns the time until the next look and plan. `random` is from 0 to 1.
    pub fn wait(&self, now: Duration, outcome: Option<Outcome>, need: Portions, random: f64) -> Duration {
        let starves = need.with(self.usable, |need, usable| u32::from(need > 0 && usable == 0));
        let records = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
        let wait = match outcome {
            Some(Outcome::Lost) => AFTER_LOST * (1 << self.failures.min(4)),
            Some(Outcome::Unknown) => AFTER_UNKNOWN,
            None if matches!(self.own, Own::Unknown) => AFTER_UNKNOWN,
            _ if !starves.is_none() => LOOK_PER_RECORD.saturating_mul(records).clamp(LOOK_LEAST, RENEW_EVERY),
            _ => RENEW_EVERY,
        };
        let wait = wait.mul_f64(0.9 + random * 0.2);
        // The share of a dead process is returned as soon as that is safe.
        let deaths = self.seen.values().map(|(_, since)| (*since + DEAD).saturating_sub(now));
        deaths.filter(|left| !left.is_zero()).fold(wait, Duration::min)
    }

    /// Key of the process's record in the ledger.
    fn process(&self) -> String {
        format!("{}.{}", self.name, self.generation)
    }

    /// Returns the look with an empty pool in the place of one that has been unreadable for so long that no transaction on
    /// it can be half visible: everything that no process holds is free.
    fn mended(&self, now: Duration, look: &Look) -> Option<Look> {
        let (revision, _) = self.spoiled.filter(|(_, since)| now.saturating_sub(*since) >= DEAD)?;
        let pool = Some(PoolRecord { revision, free: Portions::default() });
        Some(Look { pool, spoiled: None, unreadable: Vec::new(), shares: look.shares.clone() })
    }

    fn lose(&mut self) {
        self.own = Own::Absent;
        self.usable = Portions::default();
        self.generation += 1;
    }

    /// Renews the share and moves parts between it and the pool, or leaves.
    fn shift(&self, now: Moment, look: &Look, own: ShareRecord, need: Portions) -> Plan {
        let process = self.process();
        let others = || look.shares.iter().filter(|(other, _)| **other != process);
        let is_dead = |other: &String| {
            self.seen.get(other).is_some_and(|(_, since)| now.monotonic.saturating_sub(*since) >= DEAD)
        };
        let dead: Vec<_> = others().filter(|(other, _)| is_dead(other)).take(MOST_DEAD).collect();
        let alive: Vec<ShareRecord> =
            others().filter(|(other, _)| !is_dead(other)).map(|(_, record)| *record).collect();
        let returned = dead.iter().fold(Portions::default(), |sum, (_, record)| sum.plus(record.share));
        let free = self.free(look).plus(returned);
        let share = if need.is_none() { Portions::default() } else { wanted(&alive, own.share, need, free) };
        let mut writes: Vec<Write> = dead.iter().map(|(other, record)| record.delete(&self.job, other)).collect();
        let left = free.plus(own.share).minus(share);
        // With each move of parts, and only then: who sees the pool unchanged sees no half of a move.
        let moves = !dead.is_empty() || share != own.share;
        if moves || look.pool.is_none_or(|pool| pool.free != left) {
            let revision = look.pool.map_or(0, |pool| pool.revision) + 1;
            writes.push(PoolRecord { revision, free: left }.write(&self.job, now.wall));
        }
        if need.is_none() {
            writes.push(own.delete(&self.job, &process));
            return Plan { writes, record: None };
        }
        let record = ShareRecord { revision: own.revision + 1, share, need };
        writes.push(record.write(&self.job, &process, now.wall));
        Plan { writes, record: Some(record) }
    }

    /// Returns the parts that no process holds. Parts that are in no record, since one expired or was removed, are among
    /// them if the pool was the same at the look before: then no transaction that moved them can have been half visible.
    fn free(&self, look: &Look) -> Portions {
        let rest = Portions::WHOLE.minus(look.held());
        match look.pool {
            None if look.is_whole() => rest,
            None => Portions::default(),
            Some(_) if look.is_whole() && self.pool[0] == self.pool[1] => rest,
            Some(pool) => pool.free,
        }
    }
}

/// Returns the share that the process should have next: its fair one, as far as the pool allows. What is more than that
/// is given up only if others lack it.
fn wanted(alive: &[ShareRecord], share: Portions, need: Portions, free: Portions) -> Portions {
    let one = |of: fn(&Portions) -> u32| {
        let (mine, free) = (of(&share), of(&free));
        let mut needs: Vec<u32> = alive.iter().map(|record| of(&record.need)).collect();
        needs.push(of(&need));
        let shares = fair(&needs);
        let target = shares.last().copied().unwrap_or_default();
        let lacks = |(record, fair): (&ShareRecord, &u32)| {
            u64::from(of(&record.need).min(*fair).saturating_sub(of(&record.share)))
        };
        let lacking: u64 = alive.iter().zip(&shares).map(lacks).sum();
        if mine >= target {
            if lacking > u64::from(free) { target } else { mine }
        } else {
            mine + (target - mine).min(free)
        }
    };
    Portions { bytes: one(|of| of.bytes), requests: one(|of| of.requests) }
}

#[cfg(test)]
mod tests;
