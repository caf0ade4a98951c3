//! Queues bytes for the lanes and decides when to hash them. Has no threads and no clock: the time is an argument.
//!
//! The lanes cost the same for any number of streams, so bytes wait a moment for other streams. They do not wait if
//!
//! | condition | reason |
//! |---|---|
//! | as many streams as there are lanes have bytes | the lanes are full |
//! | all streams have bytes | no other stream can join, so a single stream never waits |
//! | a stream has filled half of its limit, or all of them half of the total | their callers would soon have to wait |
//! | the first of them arrived [`PATIENCE`] ago | bounds the added latency of a digest |

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use migration_core::etag::Md5Digest;
use tokio::sync::{Semaphore, oneshot};

use super::HashLimits;
use super::lanes::{Job, Lanes};
use super::scalar::Md5;

/// Maximum time that bytes wait for other streams.
pub(super) const PATIENCE: Duration = Duration::from_millis(1);
/// Bytes of a stream in one batch: enough to make the hand-over cheap, and few enough that streams arriving meanwhile
/// do not wait long (48 streams are 3 MiB, less than a millisecond).
const STEP: usize = 64 << 10;

/// The streams that have had bytes and are not finished.
#[derive(Debug)]
pub(super) struct Queue {
    limits: HashLimits,
    lanes: Lanes,
    streams: HashMap<u64, Stream>,
    /// Streams that have bytes and are not being hashed, in the order in which they are served.
    ready: VecDeque<u64>,
    /// Bytes of all streams, queued or being hashed.
    queued: usize,
    /// Bytes that do not wait for other streams any more.
    due: usize,
    /// When the first of the other bytes arrived.
    since: Option<Instant>,
}

#[derive(Debug)]
struct Stream {
    md5: Md5,
    chunks: VecDeque<Bytes>,
    queued: usize,
    room: Arc<Semaphore>,
    /// A batch holds some of its bytes.
    at_work: bool,
    /// The stream was dropped, but a batch holds some of its bytes.
    cancelled: bool,
    finish: Option<oneshot::Sender<Md5Digest>>,
}

/// The next step of the hashing thread.
#[derive(Debug)]
pub(super) enum Next {
    /// Hash this batch and return it to [`Queue::settle`].
    Batch(Vec<Job>),
    /// Wait for bytes, at most until this time if one is given.
    Wait(Option<Instant>),
}

/// Resources to release after a change. Collected while the queue is locked and released after that, since releasing
/// wakes tasks and frees memory.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Bytes removed from the queue.
    pub freed: usize,
    room: Vec<(Arc<Semaphore>, usize)>,
    digests: Vec<(oneshot::Sender<Md5Digest>, Md5)>,
    chunks: Vec<VecDeque<Bytes>>,
}

/// State of a stream that has all its bytes.
#[derive(Debug)]
pub(super) enum Finish {
    /// All of it is hashed.
    Done(Md5),
    /// Receives the digest.
    Later(oneshot::Receiver<Md5Digest>),
}

impl Queue {
    pub(super) fn new(limits: HashLimits, lanes: Lanes) -> Self {
        let (streams, ready) = (HashMap::new(), VecDeque::new());
        Self { limits, lanes, streams, ready, queued: 0, due: 0, since: None }
    }

    /// Returns the bytes that are queued or being hashed.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Adds the next bytes of a stream, at least one. Returns true if the hashing thread should be woken.
    pub(super) fn push(&mut self, id: u64, room: &Arc<Semaphore>, chunk: Bytes, now: Instant) -> bool {
        let stream = self.streams.entry(id).or_insert_with(|| Stream::new(room.clone()));
        if stream.chunks.is_empty() && !stream.at_work {
            self.ready.push_back(id);
        }
        let before = stream.queued;
        stream.queued += chunk.len();
        self.queued += chunk.len();
        stream.chunks.push_back(chunk);
        let half = self.limits.stream / 2;
        if (before < half && stream.queued >= half) || self.queued >= self.limits.total / 2 {
            self.due = self.queued;
        }
        let first = self.since.is_none();
        self.since.get_or_insert(now);
        first || self.is_worth_it()
    }

    /// Returns the next step of the hashing thread.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.ready.is_empty() {
            return Next::Wait(None);
        }
        if !self.is_worth_it() {
            let until = *self.since.get_or_insert(now) + PATIENCE;
            if now < until {
                return Next::Wait(Some(until));
            }
            self.due = self.queued;
        }
        // The streams not taken are first in the next batch, and their wait begins anew.
        self.since = None;
        let taken = self.lanes.take(self.ready.len());
        let ids: Vec<u64> = self.ready.drain(..taken).collect();
        Next::Batch(ids.into_iter().filter_map(|id| Some(self.streams.get_mut(&id)?.job(id))).collect())
    }

    fn is_worth_it(&self) -> bool {
        self.due > 0 || self.ready.len() >= self.lanes.width().min(self.streams.len())
    }

    /// Takes back a hashed batch.
    pub(super) fn settle(&mut self, jobs: Vec<Job>) -> Settled {
        let mut settled = Settled::default();
        for job in jobs {
            let Some(stream) = self.streams.get_mut(&job.id) else { continue };
            stream.at_work = false;
            stream.md5 = job.md5;
            stream.queued -= job.hashed;
            settled.freed += job.hashed;
            settled.room.push((stream.room.clone(), job.hashed));
            settled.chunks.push(drop_front(&mut stream.chunks, job.hashed));
            settled.chunks.push(job.input);
            if stream.cancelled {
                settled.freed += stream.queued;
                settled.chunks.extend(self.streams.remove(&job.id).map(|stream| stream.chunks));
            } else if !stream.chunks.is_empty() {
                self.ready.push_back(job.id);
            } else if let Some(finish) = stream.finish.take() {
                settled.digests.push((finish, stream.md5));
                self.streams.remove(&job.id);
            }
        }
        self.free(settled.freed);
        settled
    }

    fn free(&mut self, bytes: usize) {
        self.queued -= bytes;
        self.due = self.due.saturating_sub(bytes).min(self.queued);
        if self.queued == 0 {
            self.since = None;
        }
    }

    /// Ends a stream. It is removed once the digest is known.
    pub(super) fn finish(&mut self, id: u64) -> Finish {
        match self.streams.get_mut(&id) {
            Some(stream) if stream.queued > 0 => {
                let (sender, receiver) = oneshot::channel();
                stream.finish = Some(sender);
                Finish::Later(receiver)
            }
            _ => Finish::Done(self.streams.remove(&id).map(|stream| stream.md5).unwrap_or_default()),
        }
    }

    /// Discards a stream.
    pub(super) fn cancel(&mut self, id: u64) -> Settled {
        match self.streams.get_mut(&id) {
            Some(stream) if stream.at_work => {
                stream.cancelled = true;
                Settled::default()
            }
            _ => {
                let (_, chunks) = self.take_out(id);
                let freed = chunks.iter().map(Bytes::len).sum();
                Settled { freed, chunks: vec![chunks], ..Settled::default() }
            }
        }
    }

    /// Removes a stream in its current state, with its MD5 so far and the bytes not yet hashed. For use when the
    /// hashing thread is gone.
    pub(super) fn take_out(&mut self, id: u64) -> (Md5, VecDeque<Bytes>) {
        let Some(stream) = self.streams.remove(&id) else { return Default::default() };
        self.ready.retain(|ready| *ready != id);
        self.free(stream.queued);
        (stream.md5, stream.chunks)
    }

    /// Wakes all waiting tasks when the hashing thread is gone, so that they hash by themselves.
    pub(super) fn give_up(&mut self) {
        self.ready.clear();
        for stream in self.streams.values_mut() {
            stream.at_work = false;
            stream.finish = None;
            stream.room.close();
        }
    }
}

impl Stream {
    fn new(room: Arc<Semaphore>) -> Self {
        let (md5, chunks) = (Md5::default(), VecDeque::new());
        Self { md5, chunks, queued: 0, room, at_work: false, cancelled: false, finish: None }
    }

    /// Returns the next bytes to hash. They stay queued until they are hashed.
    fn job(&mut self, id: u64) -> Job {
        self.at_work = true;
        let mut room = STEP;
        let mut input = VecDeque::new();
        for chunk in &self.chunks {
            if room == 0 {
                break;
            }
            input.push_back(chunk.slice(..chunk.len().min(room)));
            room = room.saturating_sub(chunk.len());
        }
        Job { id, md5: self.md5, input, hashed: 0 }
    }
}

impl Settled {
    /// Wakes the waiting tasks.
    pub(super) fn announce(mut self) {
        drop(mem::take(&mut self.chunks));
        for (room, bytes) in self.room {
            room.add_permits(bytes);
        }
        for (digest, md5) in self.digests {
            // The receiver is gone if the stream was dropped meanwhile.
            let _ = digest.send(md5.value());
        }
    }
}

/// Removes this many bytes from the front, and returns the chunks that are used up.
fn drop_front(chunks: &mut VecDeque<Bytes>, mut bytes: usize) -> VecDeque<Bytes> {
    let mut used = VecDeque::new();
    while let Some(head) = chunks.front_mut() {
        if head.len() > bytes {
            head.advance(bytes);
            break;
        }
        bytes -= head.len();
        used.extend(chunks.pop_front());
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HashLimits = HashLimits { total: 1 << 20, stream: 1 << 14 };

    struct World {
        queue: Queue,
        lanes: Lanes,
        now: Instant,
    }

    impl World {
        /// Returns `None` if the machine has no lanes.
        fn new() -> Option<Self> {
            let lanes = Lanes::detect()?;
            Some(Self { queue: Queue::new(LIMITS, lanes), lanes, now: Instant::now() })
        }

        fn push(&mut self, id: usize, bytes: usize) -> bool {
            let room = Arc::new(Semaphore::new(0));
            self.queue.push(id as u64, &room, Bytes::from(vec![7; bytes]), self.now)
        }

        /// Hashes the next batch and returns its number of streams.
        fn batch(&mut self) -> Option<usize> {
            let Next::Batch(mut jobs) = self.queue.next(self.now) else { return None };
            let streams = jobs.len();
            self.lanes.hash(&mut jobs);
            self.queue.settle(jobs).announce();
            Some(streams)
        }

        /// Creates streams that have nothing queued.
        fn idle(&mut self, streams: usize) {
            for id in 0..streams {
                self.push(id, 1);
                assert_eq!(self.batch(), Some(1));
            }
        }
    }

    #[test]
    fn a_lone_stream_never_waits() {
        let Some(mut world) = World::new() else { return };
        for _ in 0..3 {
            assert!(world.push(1, 100));
            assert_eq!(world.batch(), Some(1));
            assert_eq!(world.queue.queued(), 0);
        }
    }

    #[test]
    fn bytes_wait_for_company_until_the_lanes_are_full() {
        let Some(mut world) = World::new() else { return };
        let width = world.lanes.width();
        for id in 0..=width {
            world.push(id, 100);
        }
        while world.batch().is_some() {}
        world.now += PATIENCE;
        while world.batch().is_some() {}
        assert_eq!(world.queue.queued(), 0);
        assert!(world.push(0, 100), "the thread has to check the time");
        for id in 1..width - 1 {
            assert!(!world.push(id, 100));
            assert_eq!(world.batch(), None);
        }
        assert!(world.push(width - 1, 100));
        assert_eq!(world.batch(), Some(width));
    }

    #[test]
    fn bytes_wait_for_company_no_longer_than_that() {
        let Some(mut world) = World::new() else { return };
        world.idle(1);
        world.push(1, 0x1000);
        let first = world.now;
        assert!(matches!(world.queue.next(world.now), Next::Wait(Some(until)) if until == first + PATIENCE));
        world.now += PATIENCE;
        assert_eq!(world.batch(), Some(1));
        assert!(matches!(world.queue.next(world.now), Next::Wait(None)));
    }

    #[test]
    fn a_stream_that_soon_must_wait_is_hashed() {
        let Some(mut world) = World::new() else { return };
        world.idle(1);
        world.push(1, LIMITS.stream / 2 - 1);
        assert_eq!(world.batch(), None);
        assert!(world.push(1, 1));
        assert_eq!(world.batch(), Some(1));
        assert_eq!(world.queue.queued(), 0);
    }

    #[test]
    fn batches_have_whole_groups_or_half_a_group_more() {
        let Some(lanes) = Lanes::detect() else { return };
        let width = lanes.width();
        for (ready, taken) in [
            (1, 1),
            (width - 1, width - 1),
            (width, width),
            (width + 1, width),
            (width + width / 2, width + width / 2),
            (width * 3, width * 3),
            (width * 5, width * 3),
        ] {
            assert_eq!(lanes.take(ready), taken, "{ready}");
        }
    }
}
