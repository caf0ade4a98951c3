//! What is killed and when: drawn from a seed.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Kills of each program.
const KILLS_OF_EACH: usize = 10;
/// Time from one kill to the next, in milliseconds.
const GAP: Range<u64> = 3_000..13_000;
/// The kills before which the node may be drained.
pub const DRAIN_WITHIN: Range<usize> = 10..20;

/// A program that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// A worker.
    Worker,
    /// The jobsender.
    Jobsender,
    /// The operator.
    Operator,
}

/// A number for each program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Each {
    /// Workers.
    pub worker: usize,
    /// Jobsenders.
    pub jobsender: usize,
    /// Operators.
    pub operator: usize,
}

/// How a program is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Its process gets SIGKILL; its pod stays.
    Process,
    /// Its pod is deleted with a grace period of 0.
    AtOnce,
    /// Its pod is deleted with its own grace period.
    WithGrace,
}

/// A kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Time since the kill before it.
    pub after: Duration,
    /// Program to kill.
    pub victim: Victim,
    /// How it is killed.
    pub way: Way,
    /// Selects one of several, modulo their number.
    pub choice: usize,
}

/// The kills of a run, and a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Kills, in order.
    pub kills: Vec<Kill>,
    /// Index of the kill before which the node is drained.
    pub drain_before: usize,
}

impl Schedule {
    /// Draws a schedule; the same seed gives the same one.
    pub fn drawn(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let each = [Victim::Worker, Victim::Jobsender, Victim::Operator];
        let mut victims: Vec<Victim> = each.into_iter().cycle().take(each.len() * KILLS_OF_EACH).collect();
        victims.shuffle(&mut chance);
        let kills = victims.into_iter().map(|victim| Kill {
            after: Duration::from_millis(chance.random_range(GAP)),
            victim,
            way: [Way::Process, Way::AtOnce, Way::WithGrace][chance.random_range(0..3)],
            choice: chance.random_range(0..1_000),
        });
        Self { kills: kills.collect(), drain_before: chance.random_range(DRAIN_WITHIN) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_kills_of_each_program() {
        let schedule = Schedule::drawn(7);
        assert_eq!(schedule, Schedule::drawn(7));
        assert_ne!(schedule, Schedule::drawn(8));
        assert_eq!(schedule.kills.len(), 30);
        for victim in [Victim::Worker, Victim::Jobsender, Victim::Operator] {
            assert_eq!(schedule.kills.iter().filter(|kill| kill.victim == victim).count(), KILLS_OF_EACH);
        }
        assert!(DRAIN_WITHIN.contains(&schedule.drain_before));
    }
}
