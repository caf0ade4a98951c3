//! Random histories of a job, and the checks of each.
//!
//! A history is a list of [`Step`]s made from a seed: foreign writers at both sides, jobsenders, workers, all possible
//! behaviour of queue and network, and deaths. It is played on in-memory services with a paused clock, so that hours
//! take milliseconds. Services may [lie](lies). A [`Reference`] records when the source had which content; [`checks`]
//! compares it with what the destination showed, what was acknowledged and what was counted.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod chance;
mod checks;
mod judge;
pub mod lies;
mod play;
mod reference;
mod step;

use std::fmt;
use std::time::Duration;

pub use chance::Chance;
pub use checks::Violation;
pub use lies::{Excuses, Habit, Liar};
use play::Play;
pub use reference::Reference;
pub use step::{Setup, Step, generate};

/// Maximum time of a history, by the paused clock, before it counts as endless.
const LONGEST: Duration = Duration::from_hours(72);

/// A history: its services and its steps.
#[derive(Clone, Debug)]
pub struct History {
    /// Seed of all random numbers; with 0, requests have no latency.
    pub seed: u64,
    pub setup: Setup,
    pub steps: Vec<Step>,
}

/// Figures of histories, for the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub calls: u64,
    pub injected: u64,
    pub writes: u64,
    pub runs: u64,
    pub failed: u64,
    /// Requests that were answered with a lie.
    pub lies: u64,
    /// Histories with such requests.
    pub lied: u64,
    /// Histories in which an object failed though nothing was refused for good: faults used up its tries.
    pub given_up: u64,
}

impl Figures {
    pub fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.injected += other.injected;
        self.writes += other.writes;
        self.runs += other.runs;
        self.failed += other.failed;
        self.lies += other.lies;
        self.lied += other.lied;
        self.given_up += other.given_up;
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.setup)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "    {step:?},"))
    }
}

impl History {
    /// Creates the history of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let setup = Setup::random(&mut chance);
        let steps = generate(&mut chance);
        Self { seed, setup, steps }
    }

    /// Creates the history of a seed with services that lie.
    pub fn lying(seed: u64) -> Self {
        let mut history = Self::of(seed);
        lies::add(&mut Chance::new(!seed), &mut history.setup, &mut history.steps);
        history
    }

    /// Creates the history of a seed with a queue that loses everything, once or twice.
    pub fn forgetting(seed: u64) -> Self {
        let mut history = Self::of(seed);
        let mut chance = Chance::new(!seed);
        for _ in 0..=chance.below(2) {
            let place = chance.below(history.steps.len() as u64 + 1);
            history.steps.insert(usize::try_from(place).unwrap(), Step::Forget);
        }
        history
    }

    /// Returns the permanent lie of a service, for the report; empty if there is none.
    pub fn habit(&self) -> String {
        self.setup.habit.map(|habit| format!("{:?} {:?}", habit.liar, habit.lie)).unwrap_or_default()
    }

    /// Plays the history in its own runtime.
    pub fn run(&self) -> Result<Figures, Violation> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                let play = Play::new(self);
                let calls = play.calls();
                let played = tokio::time::timeout(LONGEST, play.run()).await;
                let played = played.unwrap_or_else(|_| Err(Violation::new("ends", "the history does not end")));
                if played.is_err() && std::env::var_os("MODEL_CALLS").is_some() {
                    calls.log().iter().for_each(|call| println!("{call} {:?}", call.process));
                }
                played
            })
        }));
        played.unwrap_or_else(|_| Err(Violation::new("panics", "the engine panicked")))
    }

    /// Returns the history without the steps that are not needed for a violation of the same kind.
    pub fn shrink(&self, violation: &Violation) -> Self {
        let mut best = self.clone();
        let mut size = best.steps.len();
        while size > 0 {
            let mut at = 0;
            while at < best.steps.len() {
                let mut fewer = best.clone();
                fewer.steps.drain(at..(at + size).min(best.steps.len()));
                match fewer.run() {
                    Err(found) if found.check == violation.check => best = fewer,
                    _ => at += size,
                }
            }
            size /= 2;
        }
        best
    }
}
