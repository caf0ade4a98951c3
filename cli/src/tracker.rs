//! Follows the objects in transfer, for the display.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use migration_core::outcome::EntryOutcome;
use migration_engine::observer::{ObjectName, TransferObserver};

use crate::display::Display;
use crate::event::{Event, InTransfer};

/// Time over which the rate is computed, in milliseconds.
const WINDOW_MS: i64 = 10_000;
/// Number of objects in transfer that are shown.
const SHOWN: usize = 3;
/// Smallest object shown, in bytes: others come and go too fast to be read.
const SMALLEST_SHOWN: u64 = 16 << 20;

/// What this process did since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Number of objects that were copied or found in place.
    pub done: u64,
    /// Their total size, and what is written of the objects in transfer, in bytes.
    pub done_bytes: u64,
    /// Number of objects that failed permanently.
    pub failed: u64,
    /// Bytes per second over the last seconds.
    pub rate: u64,
    /// The largest objects in transfer.
    pub in_transfer: Vec<InTransfer>,
}

/// Follows the objects in transfer. Failures are passed on to the display at once.
pub struct Tracker {
    display: Arc<dyn Display>,
    state: Mutex<TrackerState>,
}

#[derive(Debug, Default)]
struct TrackerState {
    done: u64,
    done_bytes: u64,
    failed: u64,
    /// All bytes written, those of failed attempts included.
    moved: u64,
    /// Size and written bytes of the objects in transfer, by bucket and key.
    objects: HashMap<(String, String), (u64, u64)>,
    /// Time and `moved` of earlier looks, oldest first.
    looks: VecDeque<(i64, u64)>,
}

impl Tracker {
    /// Creates a tracker that has seen nothing.
    pub fn new(display: Arc<dyn Display>) -> Self {
        Self { display, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, TrackerState> {
        // If another thread panicked, the numbers lack at most what it was adding.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what was done by `now`, in milliseconds since 1970.
    pub fn look(&self, now: i64) -> Tracked {
        let mut state = self.state();
        let moved = state.moved;
        state.looks.push_back((now, moved));
        while state.looks.get(1).is_some_and(|(at, _)| *at <= now - WINDOW_MS) {
            state.looks.pop_front();
        }
        let (since, before) = state.looks.front().copied().unwrap_or((now, moved));
        let millis = u64::try_from(now - since).unwrap_or_default();
        let rate = ((moved - before) * 1_000).checked_div(millis).unwrap_or_default();
        let in_flight: u64 = state.objects.values().map(|(_, done)| done).sum();
        let mut large: Vec<_> = state.objects.iter().filter(|(_, (size, _))| *size >= SMALLEST_SHOWN).collect();
        large.sort_by(|a, b| b.1.0.cmp(&a.1.0).then_with(|| a.0.cmp(b.0)));
        let shown = large.into_iter().take(SHOWN).map(|((bucket, key), (size, done))| InTransfer {
            bucket: bucket.clone(),
            key: key.clone(),
            size: *size,
            done: (*done).min(*size),
        });
        let in_transfer = shown.collect();
        Tracked { done: state.done, done_bytes: state.done_bytes + in_flight, failed: state.failed, rate, in_transfer }
    }
}

fn owned(object: ObjectName<'_>) -> (String, String) {
    (object.bucket.to_owned(), object.key.to_owned())
}

impl TransferObserver for Tracker {
    fn began(&self, object: ObjectName<'_>, size: u64) {
        self.state().objects.insert(owned(object), (size, 0));
    }

    fn found(&self, object: ObjectName<'_>, bytes: u64) {
        if let Some((_, done)) = self.state().objects.get_mut(&owned(object)) {
            *done += bytes;
        }
    }

    fn moved(&self, object: ObjectName<'_>, bytes: u64) {
        let mut state = self.state();
        state.moved += bytes;
        if let Some((_, done)) = state.objects.get_mut(&owned(object)) {
            *done += bytes;
        }
    }

    fn ended(&self, object: ObjectName<'_>, outcome: &EntryOutcome) {
        let mut state = self.state();
        state.objects.remove(&owned(object));
        match outcome {
            EntryOutcome::Done(delivery) => {
                state.done += 1;
                state.done_bytes += delivery.bytes;
            }
            EntryOutcome::Failed(failure) => {
                state.failed += 1;
                drop(state);
                let ObjectName { bucket, key } = object;
                let (class, message) = (failure.class, failure.message.clone());
                let failed = Event::ObjectFailed { bucket: bucket.into(), key: key.into(), class, message };
                self.display.show(&failed);
            }
            EntryOutcome::Retry(failure) => {
                drop(state);
                let ObjectName { bucket, key } = object;
                let message = failure.message.clone();
                self.display.show(&Event::ObjectRetried { bucket: bucket.into(), key: key.into(), message });
            }
            EntryOutcome::Gone | EntryOutcome::Interrupted => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::outcome::{Delivery, Failure, FailureClass};
    use std::sync::Mutex as StdMutex;

    #[derive(Default)]
    struct Recorder(StdMutex<Vec<Event>>);

    impl Display for Recorder {
        fn show(&self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    #[test]
    fn objects_are_counted_once_whatever_their_attempts_wrote() {
        let recorder = Arc::new(Recorder::default());
        let tracker = Tracker::new(recorder.clone());
        let name = |key| ObjectName { bucket: "b", key };
        let big = 64 << 20;
        tracker.began(name("k"), big);
        tracker.moved(name("k"), 8 << 20);
        let look = tracker.look(0);
        assert_eq!((look.done, look.done_bytes, look.rate), (0, 8 << 20, 0));
        assert_eq!(look.in_transfer[0].done, 8 << 20);
        tracker.ended(name("k"), &EntryOutcome::Interrupted);
        assert_eq!(tracker.look(1_000).done_bytes, 0, "an attempt that did not end well counts for the rate only");
        tracker.began(name("k"), big);
        tracker.found(name("k"), 8 << 20);
        assert_eq!(tracker.look(1_000).done_bytes, 8 << 20, "what an earlier attempt wrote is done");
        tracker.moved(name("k"), 56 << 20);
        tracker.ended(name("k"), &EntryOutcome::Done(Delivery { bytes: big, ..Delivery::default() }));
        let look = tracker.look(2_000);
        assert_eq!((look.done, look.done_bytes, look.rate), (1, big, 28 << 20));
        assert!(look.in_transfer.is_empty());
        tracker.began(name("x"), 1);
        tracker.ended(name("x"), &EntryOutcome::Failed(Failure::new(FailureClass::Refused, "no")));
        assert_eq!(tracker.look(3_000).failed, 1);
        assert!(matches!(&recorder.0.lock().unwrap()[..], [Event::ObjectFailed { key, .. }] if key == "x"));
        assert_eq!(tracker.look(60_000).rate, 0);
    }

    #[test]
    fn the_largest_objects_are_shown() {
        let tracker = Tracker::new(Arc::new(Recorder::default()));
        for (key, mib) in [("a", 20), ("b", 1), ("c", 40), ("d", 30), ("e", 50)] {
            tracker.began(ObjectName { bucket: "b", key }, mib << 20);
        }
        let keys: Vec<_> = tracker.look(0).in_transfer.into_iter().map(|object| object.key).collect();
        assert_eq!(keys, ["e", "c", "d"]);
    }
}
