//! Computes the MD5 of many streams at once. A block of a stream depends on the one before, so each stream has one
//! lane, and the lanes advance together by slices of equal length.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use md5_many::{Md5Many, Md5State};

use super::scalar::{BLOCK, Md5};

/// Lanes of the widest kernel: three interleaved groups of the 16 that a 512-bit register has.
const MOST: usize = 48;

/// The part of a batch that belongs to one stream.
#[derive(Debug)]
pub(super) struct Job {
    pub id: u64,
    pub md5: Md5,
    /// Bytes to hash, in order.
    pub input: VecDeque<Bytes>,
    /// Bytes of `input` already hashed into `md5`.
    pub hashed: usize,
}

/// The kernels of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    engine: Md5Many,
    /// 32-bit words of a register.
    width: usize,
}

impl Lanes {
    /// Detects the kernels of this machine. Returns `None` if it can only hash one stream after the other.
    pub(super) fn detect() -> Option<Self> {
        let engine = Md5Many::new();
        let width = engine.lanes();
        (width >= 4 && width * 3 <= MOST).then_some(Self { engine, width })
    }

    /// Returns the number of streams that fill the lanes well enough not to wait for more.
    pub(super) fn width(self) -> usize {
        self.width
    }

    /// Returns the minimum number of streams for which lanes are faster than hashing separately. Measured: a kernel
    /// takes the same time however many of its lanes are in use, which is 6 times the speed of one stream with 8 lanes,
    /// and 1.5 times with 4.
    fn fewest(self) -> usize {
        if self.width >= 8 { 2 } else { 3 }
    }

    /// Returns how many of the ready streams to take into a batch: whole groups, and the remainder if it fills at least
    /// half a group, since it is faster in the next batch otherwise. Three groups at most: there are no wider kernels.
    pub(super) fn take(self, ready: usize) -> usize {
        let over = ready % self.width;
        let whole = ready - over;
        let taken = if whole == 0 || over * 2 >= self.width { ready } else { whole };
        taken.min(self.width * 3)
    }

    /// Hashes until less than half of the jobs have input left: those are faster in a new batch.
    pub(super) fn hash(self, jobs: &mut [Job]) {
        let begun = jobs.len();
        loop {
            let mut live: Vec<&mut Job> = jobs.iter_mut().filter_map(Job::aligned).collect();
            if live.is_empty() || live.len() * 2 < begun {
                return;
            }
            if live.len() >= self.fewest() {
                self.round(&mut live);
            } else if begun < self.fewest() {
                live.into_iter().for_each(Job::alone);
            } else {
                return;
            }
        }
    }

    /// Advances all jobs by the longest slice that each has at its head. Only batches of exactly one, two or three
    /// whole groups get the fast kernels (a group with gaps is far slower than a full one), so gaps are filled with the
    /// last stream's bytes, whose result is discarded.
    fn round(self, live: &mut [&mut Job]) {
        let heads = live.iter().map(|job| job.head().len());
        let slice = heads.min().unwrap_or_default() / BLOCK * BLOCK;
        let lanes = live.len().next_multiple_of(self.width).min(MOST);
        let mut states = [Md5State::new(); MOST];
        let mut inputs = [&[] as &[u8]; MOST];
        for ((state, input), job) in states.iter_mut().zip(&mut inputs).zip(live.iter()) {
            (*state, *input) = (job.md5.0, &job.head()[..slice]);
        }
        let last = inputs[live.len() - 1];
        inputs[live.len()..lanes].fill(last);
        self.engine.update_many(&mut states[..lanes], &inputs[..lanes]);
        for (job, state) in live.iter_mut().zip(states) {
            job.md5.0 = state;
            job.advance(slice);
        }
    }
}

impl Job {
    fn head(&self) -> &[u8] {
        self.input.front().map_or(&[], |chunk| chunk)
    }

    fn advance(&mut self, bytes: usize) {
        self.hashed += bytes;
        if let Some(head) = self.input.front_mut() {
            head.advance(bytes);
            if head.is_empty() {
                self.input.pop_front();
            }
        }
    }

    /// Hashes separately until the head starts at a block and holds at least one. Returns `None` if the input ends
    /// before.
    fn aligned(&mut self) -> Option<&mut Self> {
        while !self.input.is_empty() {
            let begun = self.md5.begun();
            let len = self.head().len();
            if begun == 0 && len >= BLOCK {
                return Some(self);
            }
            self.take(len.min(BLOCK - begun));
        }
        None
    }

    /// Hashes all input separately.
    fn alone(&mut self) {
        while !self.input.is_empty() {
            self.take(self.head().len());
        }
    }

    fn take(&mut self, bytes: usize) {
        let Self { md5, input, .. } = self;
        if let Some(head) = input.front() {
            md5.update(&head[..bytes]);
        }
        self.advance(bytes);
    }
}
