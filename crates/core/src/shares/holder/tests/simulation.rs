//! Many processes with clocks of their own, whose requests are late, lost or without an answer, that freeze, die and
//! come: together they never take more than the limit allows.

#![allow(clippy::cast_precision_loss, reason = "milliseconds and bytes of a few minutes")]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::pace::{Pace, Taken, piece};

/// The limit, in bytes per second.
const LIMIT: f64 = 1e6;
/// Length of a step, in milliseconds.
const STEP: u64 = 20;
/// Time after which a process does not wait for an answer any more, in milliseconds.
const TIMEOUT: u64 = 1_500;
/// Time with disturbances, in milliseconds.
const DISTURBED: u64 = 120_000;
/// Time in which the limit is used again, in milliseconds: 30 s after the last death, and a whole window.
const RECOVERY: u64 = 40_000;

/// A request, with the times of what happens to it in milliseconds.
struct Request {
    plan: Option<Plan>,
    sent: Moment,
    begun: u64,
    reaches: u64,
    answers: u64,
    answer: Option<Answer>,
}

#[derive(Clone)]
enum Answer {
    Look(Look),
    Write(Outcome),
}

struct Process {
    holder: Holder,
    pace: Pace,
    /// Speed of its clocks, and how far that of its wall is off, in milliseconds.
    speed: f64,
    wall: i64,
    request: Option<Request>,
    due: u64,
    frozen: u64,
    cut: u64,
    need: Portions,
}

struct World {
    table: Table,
    processes: Vec<Process>,
    /// Requests that nobody waits for any more, and that may still reach the table.
    stray: Vec<Request>,
    seed: u64,
    /// Bytes that all took, in each step of the last 10 s.
    taken: VecDeque<f64>,
    now: u64,
    changed: u64,
    /// Whether requests are late, lost or without an answer.
    is_calm: bool,
}

impl World {
    fn new(seed: u64, first: u64) -> Self {
        let mut world = Self {
            table: Table::default(),
            processes: Vec::new(),
            stray: Vec::new(),
            seed,
            taken: VecDeque::new(),
            now: 0,
            changed: 0,
            is_calm: false,
        };
        (0..first).for_each(|_| world.join());
        world
    }

    /// Returns a number from 0 to below `below`.
    fn chance(&mut self, below: u64) -> u64 {
        // splitmix64 by S. Vigna.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn share(&mut self) -> f64 {
        self.chance(1_000) as f64 / 1_000.0
    }

    fn join(&mut self) {
        let name = format!("p{}", self.processes.len());
        let speed = 0.995 + self.share() / 100.0;
        let wall = i64::try_from(self.chance(7_200_000)).unwrap_or_default() - 3_600_000;
        self.processes.push(Process {
            holder: Holder::new(JOB, name),
            pace: Pace::of_bytes(),
            speed,
            wall,
            request: None,
            due: self.now,
            frozen: 0,
            cut: 0,
            need: bytes(WHOLE),
        });
    }

    fn moment(&self, process: usize) -> Moment {
        let Process { speed, wall, .. } = &self.processes[process];
        let monotonic = Duration::from_secs_f64(self.now as f64 / 1_000.0 * speed);
        Moment { monotonic, wall: i64::try_from(monotonic.as_millis()).unwrap_or_default() + wall }
    }

    /// Carries out the requests that reach the table now.
    fn arrive(&mut self) {
        if self.now > self.changed + 60 {
            self.table.settle();
        }
        let mut seed = self.seed;
        let requests = self.processes.iter_mut().filter_map(|process| process.request.as_mut());
        for request in requests.chain(&mut self.stray) {
            if request.answer.is_some() || request.reaches > self.now {
                continue;
            }
            request.answer = Some(match &request.plan {
                None => Answer::Look(self.table.look_halfway(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    seed >> 63 == 0
                })),
                Some(plan) if self.table.apply(&plan.writes) => {
                    self.changed = self.now;
                    Answer::Write(Outcome::Written)
                }
                Some(_) => Answer::Write(Outcome::Lost),
            });
        }
        self.seed = seed;
        self.stray.retain(|request| request.answer.is_none());
    }

    /// Returns a delay in milliseconds: mostly below a number, at times up to a hundred times as long.
    fn delay(&mut self, usual: u64) -> u64 {
        let most = if !self.is_calm && self.chance(20) == 0 { usual * 100 } else { usual };
        self.chance(most)
    }

    fn send(&mut self, process: usize, plan: Option<Plan>, sent: Moment) {
        let is_cut = self.processes[process].cut > self.now;
        let reaches = if is_cut { u64::MAX } else { self.now + self.delay(30) };
        let answers =
            if !self.is_calm && self.chance(30) == 0 { u64::MAX } else { reaches.saturating_add(self.delay(30)) };
        let request = Request { plan, sent, begun: self.now, reaches, answers, answer: None };
        self.processes[process].request = Some(request);
    }

    /// Begins a round of a process when it is due, or goes on when there is an answer or none is waited for any more.
    fn advance(&mut self, process: usize) {
        let now = self.moment(process);
        let Some(request) = self.processes[process].request.take() else {
            if self.processes[process].due <= self.now {
                self.send(process, None, now);
            }
            return;
        };
        let answer = request.answer.clone().filter(|_| request.answers <= self.now);
        if answer.is_none() && self.now < request.begun + TIMEOUT {
            self.processes[process].request = Some(request);
            return;
        }
        let need = self.processes[process].need;
        let holder = &mut self.processes[process].holder;
        let (plan, outcome) = match (&request.plan, answer) {
            (None, Some(Answer::Look(look))) => {
                holder.look(now.monotonic, &look);
                (holder.plan(now, Some(&look), need), None)
            }
            (None, _) => (holder.plan(now, None, need), None),
            (Some(plan), answer) => {
                let outcome = if let Some(Answer::Write(outcome)) = answer { outcome } else { Outcome::Unknown };
                holder.ended(plan, request.sent, outcome);
                (None, Some(outcome))
            }
        };
        if request.answer.is_none() {
            self.stray.push(request);
        }
        self.set_rate(process, now);
        if plan.is_some() {
            return self.send(process, plan, now);
        }
        let random = self.share();
        let wait = self.processes[process].holder.wait(now.monotonic, outcome, need, random);
        self.processes[process].due = self.now + u64::try_from(wait.as_millis()).unwrap_or_default();
    }

    fn set_rate(&mut self, process: usize, now: Moment) {
        let Process { holder, pace, .. } = &mut self.processes[process];
        let (usable, validity) = holder.usable();
        pace.set(now, LIMIT * f64::from(usable.bytes) / f64::from(WHOLE), validity);
    }

    /// Takes as much as the process may, and returns it.
    fn take(&mut self, process: usize) -> f64 {
        let now = self.moment(process);
        let pace = &mut self.processes[process].pace;
        let mut taken = 0.0;
        loop {
            let amount = piece(pace.rate(now), 3, 1 << 30) as f64;
            if pace.take(now, amount) != Taken::Now {
                return taken;
            }
            taken += amount;
        }
    }

    fn step(&mut self) -> Result<(), TestCaseError> {
        self.arrive();
        let mut taken = 0.0;
        for process in 0..self.processes.len() {
            if self.processes[process].frozen <= self.now {
                self.advance(process);
                taken += self.take(process);
            }
        }
        let sum = self.table.sum();
        prop_assert!(sum == Portions::WHOLE || sum.is_none(), "{sum:?} parts in the ledger");
        self.taken.push_back(taken);
        if self.taken.len() as u64 > 10_000 / STEP {
            self.taken.pop_front();
        }
        prop_assert!(self.window() <= LIMIT * 10.0 * 1.05, "{} bytes in 10 s at {} ms", self.window(), self.now);
        self.now += STEP;
        Ok(())
    }

    fn window(&self) -> f64 {
        self.taken.iter().sum()
    }

    /// Does something to a process about every two seconds.
    fn disturb(&mut self) {
        if self.chance(2_000 / STEP) > 0 {
            return;
        }
        let process = usize::try_from(self.chance(self.processes.len() as u64)).unwrap_or_default();
        let until = self.now + 1_000 + self.chance(20_000);
        let need = [0, WHOLE / 8, WHOLE, WHOLE][usize::try_from(self.chance(4)).unwrap_or_default()];
        let kind = self.chance(6);
        let count = self.processes.len();
        let process = &mut self.processes[process];
        match kind {
            0 if count < 12 => self.join(),
            1 => process.frozen = process.frozen.max(until),
            2 => process.frozen = u64::MAX,
            3 => process.cut = until,
            4 => process.need = bytes(need),
            _ => process.wall += 5_000_000,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn together_they_take_no_more_than_the_limit_and_soon_all_of_it(seed in any::<u64>(), first in 1_u64..6) {
        let mut world = World::new(seed, first);
        while world.now < DISTURBED {
            world.disturb();
            world.step()?;
        }
        for process in &mut world.processes {
            process.frozen = if process.frozen == u64::MAX { u64::MAX } else { 0 };
            (process.cut, process.need) = (0, bytes(WHOLE));
        }
        world.join();
        world.is_calm = true;
        while world.now < DISTURBED + RECOVERY {
            world.step()?;
        }
        prop_assert!(world.window() >= LIMIT * 10.0 * 0.95, "only {} bytes in 10 s", world.window());
    }
}
