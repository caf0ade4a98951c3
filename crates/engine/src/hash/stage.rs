//! The thread that hashes all streams in lanes, and the handles to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{io, thread};

use bytes::Bytes;
use migration_core::etag::Md5Digest;
use tokio::sync::Semaphore;
use tracing::warn;

use super::HashLimits;
use super::lanes::{Job, Lanes};
use super::queue::{Finish, Next, Queue, Settled};
use super::scalar::Md5;

/// Handle to the thread, which ends when the last one is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    shared: Arc<Shared>,
    next_id: AtomicU64,
}

/// Handle of one stream. Dropping it releases its queued bytes.
#[derive(Debug)]
pub(super) struct Stream {
    stage: Arc<Stage>,
    id: u64,
    /// Free bytes of this stream's limit.
    room: Arc<Semaphore>,
}

/// The thread's side of the stage.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    lanes: Lanes,
}

#[derive(Debug)]
struct Shared {
    limits: HashLimits,
    state: Mutex<StageState>,
    /// Signals that there may be work for the thread.
    news: Condvar,
    /// Free bytes of the total limit. Closed when the thread is gone.
    room: Semaphore,
}

#[derive(Debug)]
struct StageState {
    queue: Queue,
    /// The thread is waiting for `news`.
    asleep: bool,
    /// All handles are gone.
    closed: bool,
}

/// The thread is gone: the caller has to hash by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl Shared {
    /// A poisoned lock is usable: a panic of the lanes cannot interrupt a change made under it.
    fn lock(&self) -> MutexGuard<'_, StageState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, settled: Settled) {
        let freed = settled.freed;
        settled.announce();
        self.room.add_permits(freed);
    }
}

impl Stage {
    /// Creates a stage without starting its thread.
    pub(super) fn new(limits: HashLimits, lanes: Lanes) -> (Arc<Self>, Worker) {
        let state = StageState { queue: Queue::new(limits, lanes), asleep: false, closed: false };
        let room = Semaphore::new(limits.total);
        let shared = Arc::new(Shared { limits, state: Mutex::new(state), news: Condvar::new(), room });
        let worker = Worker { shared: shared.clone(), lanes };
        (Arc::new(Self { shared, next_id: AtomicU64::new(0) }), worker)
    }

    /// Creates a stage and starts its thread.
    pub(super) fn start(limits: HashLimits, lanes: Lanes) -> io::Result<Arc<Self>> {
        let (stage, mut worker) = Self::new(limits, lanes);
        thread::Builder::new().name("md5-lanes".into()).spawn(move || while worker.step() {})?;
        Ok(stage)
    }

    /// Returns true if the thread is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.shared.room.is_closed()
    }

    /// Returns the bytes that are queued or being hashed.
    pub(super) fn queued(&self) -> usize {
        self.shared.lock().queue.queued()
    }

    pub(super) fn stream(self: &Arc<Self>) -> Stream {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let room = Arc::new(Semaphore::new(self.shared.limits.stream));
        Stream { stage: self.clone(), id, room }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.news.notify_one();
    }
}

impl Stream {
    /// Returns the maximum number of bytes to push at once.
    pub(super) fn piece(&self) -> usize {
        self.stage.shared.limits.piece()
    }

    /// Queues bytes once there is room for them. If the future is dropped before it completes, nothing is queued.
    pub(super) async fn push(&self, piece: &Bytes) -> Result<(), Gone> {
        let shared = &self.stage.shared;
        let bytes = u32::try_from(piece.len()).map_err(|_| Gone)?;
        let own = self.room.acquire_many(bytes).await.map_err(|_| Gone)?;
        let common = shared.room.acquire_many(bytes).await.map_err(|_| Gone)?;
        let wake = {
            let mut state = shared.lock();
            // Checked under the lock, since the thread closes it under the lock when it ends.
            if shared.room.is_closed() {
                return Err(Gone);
            }
            state.queue.push(self.id, &self.room, piece.clone(), Instant::now()) && state.asleep
        };
        own.forget();
        common.forget();
        if wake {
            shared.news.notify_one();
        }
        Ok(())
    }

    /// Waits for the digest of the pushed bytes.
    pub(super) async fn finish(&self) -> Result<Md5Digest, Gone> {
        let finish = {
            let mut state = self.stage.shared.lock();
            if self.stage.is_gone() {
                return Err(Gone);
            }
            state.queue.finish(self.id)
        };
        match finish {
            Finish::Done(md5) => Ok(md5.value()),
            Finish::Later(digest) => digest.await.map_err(|_| Gone),
        }
    }

    /// Hashes the bytes still queued, after the thread is gone.
    pub(super) fn take_back(&self) -> Md5 {
        let (mut md5, chunks) = self.stage.shared.lock().queue.take_out(self.id);
        for chunk in &chunks {
            md5.update(chunk);
        }
        md5
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let settled = self.stage.shared.lock().queue.cancel(self.id);
        self.stage.shared.announce(settled);
    }
}

impl Worker {
    /// Waits for bytes and hashes them. Returns false if no more can come.
    pub(super) fn step(&mut self) -> bool {
        let Some(mut jobs) = self.wait() else { return false };
        self.lanes.hash(&mut jobs);
        let settled = self.shared.lock().queue.settle(jobs);
        self.shared.announce(settled);
        true
    }

    fn wait(&self) -> Option<Vec<Job>> {
        let mut state = self.shared.lock();
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            let next = state.queue.next(now);
            state.asleep = true;
            state = match next {
                Next::Batch(jobs) => {
                    state.asleep = false;
                    return Some(jobs);
                }
                Next::Wait(None) => self.shared.news.wait(state).unwrap_or_else(PoisonError::into_inner),
                Next::Wait(Some(until)) => {
                    let waited = self.shared.news.wait_timeout(state, until.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Drop for Worker {
    /// Releases all waiting tasks, however the thread ends.
    fn drop(&mut self) {
        if thread::panicking() {
            warn!("failed to hash in lanes; from now on each part is hashed separately");
        }
        let mut state = self.shared.lock();
        self.shared.room.close();
        state.queue.give_up();
    }
}
