//! Measures the latency of both sides, and adapts the number of objects in transfer to it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use migration_core::concurrency::{FilesPerWorker, FinishedObject, Knee, RequestKind};
use migration_core::error::ServiceError;
use tokio::time::Instant;
use tracing::debug;

/// The number of objects that a worker moves at the same time.
pub(crate) struct ObjectLimit {
    began: Instant,
    knee: Mutex<Knee>,
}

impl ObjectLimit {
    pub(crate) fn new(files: FilesPerWorker) -> Self {
        Self { began: Instant::now(), knee: Mutex::new(Knee::new(files)) }
    }

    /// Records how long a request took, if it succeeded. Not a wrapper of the request's future, which would make it
    /// larger.
    pub(crate) fn answered<T>(&self, kind: RequestKind, began: Instant, answer: &Result<T, ServiceError>) {
        if answer.is_ok() {
            self.knee().answered(kind, self.at(began), began.elapsed());
        }
    }

    /// Records an object that began at `began` and is finished now, and returns the limit from now on.
    pub(crate) fn finished(&self, began: Instant, in_flight: u32, may_grow: bool) -> u32 {
        let object = FinishedObject { began: self.at(began), in_flight, may_grow };
        let mut knee = self.knee();
        let before = knee.limit();
        let limit = knee.finished(object, self.began.elapsed());
        drop(knee);
        if limit != before {
            debug!(limit, before, "objects at once");
        }
        limit
    }

    fn at(&self, time: Instant) -> Duration {
        time.duration_since(self.began)
    }

    fn knee(&self) -> MutexGuard<'_, Knee> {
        // A poisoned lock is used as it is: at worst a sample is missing.
        self.knee.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
