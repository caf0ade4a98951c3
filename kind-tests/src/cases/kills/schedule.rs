//! What is killed and when: drawn from a seed.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Kills of each program, 30 in all. Fewest of the jobsender: Kubernetes waits twice as long after each.
const KILLS: [(Victim, usize); 3] = [(Victim::Worker, 12), (Victim::Jobsender, 7), (Victim::Operator, 11)];
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
    /// Kills, in order. One whose program does not run comes last.
    pub kills: Vec<Kill>,
    /// Times before each kill.
    pub gaps: Vec<Duration>,
    /// Index of the kill before which the node is drained.
    pub drain_before: usize,
}

impl Schedule {
    /// Draws a schedule; the same seed gives the same one.
    pub fn drawn(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut victims: Vec<Victim> =
            KILLS.into_iter().flat_map(|(victim, number)| std::iter::repeat_n(victim, number)).collect();
        victims.shuffle(&mut chance);
        let kills = victims.into_iter().map(|victim| Kill {
            victim,
            way: [Way::Process, Way::AtOnce, Way::WithGrace][chance.random_range(0..3)],
            choice: chance.random_range(0..1_000),
        });
        let kills: Vec<Kill> = kills.collect();
        let gaps = kills.iter().map(|_| Duration::from_millis(chance.random_range(GAP))).collect();
        Self { kills, gaps, drain_before: chance.random_range(DRAIN_WITHIN) }
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
        for (victim, number) in KILLS {
            assert_eq!(schedule.kills.iter().filter(|kill| kill.victim == victim).count(), number);
        }
        assert!(DRAIN_WITHIN.contains(&schedule.drain_before));
    }
}
