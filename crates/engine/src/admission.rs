//! Bounds the objects that one worker holds.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use migration_core::concurrency::FilesPerWorker;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Permits for objects in transfer, whose number may change, and a count of the objects of all held messages.
#[derive(Debug)]
pub struct ObjectPermits {
    free: Arc<Semaphore>,
    size: Mutex<Size>,
    /// Taken by objects in parts besides the permit.
    free_in_parts: Arc<Semaphore>,
    most_in_parts: u32,
    /// Objects of held messages that are not finished.
    pending: AtomicU32,
    /// Those of them that are moved in parts.
    pending_in_parts: AtomicU32,
    /// Objects that had a permit and ended.
    ended: AtomicU64,
    /// Notified when `pending` falls, and when there are more permits.
    changed: Notify,
}

/// How many permits there are.
#[derive(Clone, Copy, Debug)]
struct Size {
    limit: u32,
    /// Permits in use that have to be taken back.
    excess: u32,
}

/// What an object needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectClass {
    /// It is moved whole, or its size is unknown.
    Whole,
    /// It is moved in parts, or it is a range of parts.
    InParts,
}

/// An unfinished object of a held message. Counted until dropped.
#[derive(Debug)]
pub struct PendingObject {
    permits: Arc<ObjectPermits>,
    class: ObjectClass,
    /// Objects that it stands for: more than one for a message just received.
    number: u32,
}

/// Permission to transfer one object. Dropped when the object is finished, or when only other workers work on it.
#[derive(Debug)]
pub struct ObjectPermit {
    permit: Option<OwnedSemaphorePermit>,
    #[allow(dead_code, reason = "held for its Drop")]
    in_parts: Option<OwnedSemaphorePermit>,
    pending: PendingObject,
}

impl ObjectPermits {
    /// Creates the permits with which a worker begins.
    pub fn new(files: FilesPerWorker) -> Self {
        let (limit, most_in_parts) = (files.least(), files.most_in_parts());
        Self {
            free: Arc::new(Semaphore::new(limit as usize)),
            size: Mutex::new(Size { limit, excess: 0 }),
            free_in_parts: Arc::new(Semaphore::new(most_in_parts as usize)),
            most_in_parts,
            pending: AtomicU32::new(0),
            pending_in_parts: AtomicU32::new(0),
            ended: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// Counts an object that will need a permit.
    pub fn expect(self: &Arc<Self>, class: ObjectClass) -> PendingObject {
        self.pending.fetch_add(1, Ordering::Relaxed);
        if class == ObjectClass::InParts {
            self.pending_in_parts.fetch_add(1, Ordering::Relaxed);
        }
        PendingObject { permits: self.clone(), class, number: 1 }
    }

    /// Counts the objects of a message, which are moved whole, until each of them is counted.
    pub fn expect_message(self: &Arc<Self>, number: u32) -> PendingObject {
        self.pending.fetch_add(number, Ordering::Relaxed);
        PendingObject { permits: self.clone(), class: ObjectClass::Whole, number }
    }

    /// Returns how many more objects have a permit for themselves, once `ending` of those pending have ended. None while
    /// as many objects in parts are pending as may be moved: the next ones may be such too, and could only wait.
    pub fn room(&self, ending: u32) -> u32 {
        if self.pending_in_parts.load(Ordering::Relaxed) >= self.most_in_parts {
            return 0;
        }
        let pending = self.pending.load(Ordering::Relaxed).saturating_sub(ending);
        self.size().limit.saturating_sub(pending)
    }

    /// Returns the number of objects that had a permit and ended, since the worker began.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Returns the number of permits.
    pub fn limit(&self) -> u32 {
        self.size().limit
    }

    /// Returns the number of permits in use.
    pub fn in_use(&self) -> u32 {
        let size = self.size();
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        (size.limit + size.excess).saturating_sub(free)
    }

    /// Changes the number of permits. Those in use beyond it are taken back as they come free.
    pub fn resize(&self, limit: u32) {
        let mut size = self.size();
        if limit > size.limit {
            let more = limit - size.limit;
            let kept = more.min(size.excess);
            size.excess -= kept;
            self.free.add_permits((more - kept) as usize);
            self.changed.notify_one();
        } else {
            let fewer = size.limit - limit;
            let taken = self.free.forget_permits(fewer as usize);
            size.excess += fewer - u32::try_from(taken).unwrap_or(fewer);
        }
        size.limit = limit;
    }

    /// Waits until a pending object is finished, or there are more permits.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn size(&self) -> MutexGuard<'_, Size> {
        // A poisoned lock is used as it is: no statement changes the numbers halfway.
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingObject {
    /// Waits for a permit. Returns `None` if no more permits are given out.
    pub async fn acquire(self) -> Option<ObjectPermit> {
        let in_parts = match self.class {
            ObjectClass::Whole => None,
            // First, so that those who wait for it hold no permit that others could use.
            ObjectClass::InParts => Some(self.permits.free_in_parts.clone().acquire_owned().await.ok()?),
        };
        let permit = self.permits.free.clone().acquire_owned().await.ok()?;
        Some(ObjectPermit { permit: Some(permit), in_parts, pending: self })
    }
}

impl Drop for ObjectPermit {
    fn drop(&mut self) {
        self.pending.permits.ended.fetch_add(1, Ordering::Relaxed);
        let mut size = self.pending.permits.size();
        if size.excess > 0
            && let Some(permit) = self.permit.take()
        {
            size.excess -= 1;
            permit.forget();
        }
    }
}

impl Drop for PendingObject {
    fn drop(&mut self) {
        if self.class == ObjectClass::InParts {
            self.permits.pending_in_parts.fetch_sub(1, Ordering::Relaxed);
        }
        self.permits.pending.fetch_sub(self.number, Ordering::Relaxed);
        self.permits.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use proptest::prelude::*;

    fn permits(files: FilesPerWorker) -> Arc<ObjectPermits> {
        Arc::new(ObjectPermits::new(files))
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_and_the_others_wait() {
        let permits = permits(1.into());
        assert_eq!(permits.room(0), 1);
        let first = permits.expect(ObjectClass::Whole).acquire().await.unwrap();
        assert_eq!((permits.room(0), permits.in_use()), (0, 1));
        let mut second = Box::pin(permits.expect(ObjectClass::Whole).acquire());
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!((permits.room(1), permits.ended()), (0, 0), "one waits");
        assert_eq!(permits.room(2), 1);
        drop(first);
        assert!(second.await.is_some());
        assert_eq!((permits.room(0), permits.in_use(), permits.ended()), (1, 0, 2));
    }

    #[tokio::test]
    async fn more_permits_wake_those_who_wait_and_fewer_are_taken_back_as_they_come_free() {
        let permits = permits(FilesPerWorker::Auto);
        let mut held = Vec::new();
        for _ in 0..16 {
            held.push(permits.expect(ObjectClass::Whole).acquire().await.unwrap());
        }
        let mut waits = Box::pin(permits.expect(ObjectClass::Whole).acquire());
        assert!(futures::poll!(&mut waits).is_pending());
        permits.resize(20);
        held.push(waits.await.unwrap());
        assert_eq!((permits.room(0), permits.in_use()), (3, 17));
        permits.resize(16);
        let mut waits = Box::pin(permits.expect(ObjectClass::Whole).acquire());
        held.pop();
        assert!(futures::poll!(&mut waits).is_pending(), "sixteen are in use");
        held.pop();
        held.push(waits.await.unwrap());
        held.clear();
        assert_eq!((permits.room(0), permits.in_use()), (16, 0));
    }

    #[tokio::test]
    async fn objects_in_parts_take_no_more_than_before_and_are_not_hoarded() {
        let permits = permits(FilesPerWorker::Auto);
        permits.resize(100);
        let mut held = Vec::new();
        for _ in 0..16 {
            assert!(permits.room(0) > 0);
            held.push(permits.expect(ObjectClass::InParts).acquire().await.unwrap());
        }
        assert_eq!(permits.room(0), 0);
        let mut waits = Box::pin(permits.expect(ObjectClass::InParts).acquire());
        assert!(futures::poll!(&mut waits).is_pending());
        let small = permits.expect(ObjectClass::Whole).acquire().now_or_never();
        assert!(small.flatten().is_some(), "those who wait hold no permit");
        held.pop();
        held.push(waits.await.unwrap());
        held.clear();
        assert_eq!((permits.room(0), permits.in_use()), (100, 0));
    }

    proptest! {
        #[test]
        fn no_permit_is_lost_or_made(steps in prop::collection::vec((0_u8..3, 1_u32..40), 0..200)) {
            let permits = permits(FilesPerWorker::Auto);
            let (mut held, mut limit) = (Vec::new(), 16);
            for (step, number) in steps {
                match step {
                    0 => {
                        permits.resize(number);
                        limit = number;
                    }
                    1 => held.truncate(held.len().saturating_sub(number as usize)),
                    _ => for _ in 0..number {
                        let before = held.len();
                        held.extend(permits.expect(ObjectClass::Whole).acquire().now_or_never().flatten());
                        prop_assert_eq!(held.len() > before, before < limit as usize);
                    }
                }
                prop_assert_eq!(permits.in_use() as usize, held.len());
            }
            held.clear();
            prop_assert_eq!((permits.room(0), permits.in_use()), (limit, 0));
        }
    }
}
