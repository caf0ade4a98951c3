//! The bandwidth limit of a process, shared by all bodies that it reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use migration_core::ports::Clock;

use super::pace::{Bucket, bucket};
use super::timetable::{Rate, Timetable};

/// Bytes per second that all bodies together may pass, by a timetable.
///
/// A body waits for each piece before it is passed on. The pieces are so small that the bodies in flight take turns
/// within about a second, and wait a few seconds at most while more of them begin: services and the adapter take a
/// connection for dead after 20 seconds without a byte. Changes of the timetable take effect with the next piece.
pub(super) struct Bandwidth {
    timetable: Timetable,
    zone: TimeZone,
    clock: Arc<dyn Clock>,
    current: Mutex<Current>,
    bodies: AtomicU64,
}

/// The limit that was last seen to hold.
struct Current {
    rate: Rate,
    bucket: Bucket,
}

/// A body in flight.
pub(super) struct InFlight(Arc<Bandwidth>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InFlight {
    /// Waits until a piece of a body may pass, and returns its size: 1 to `len` bytes. `len` must not be 0.
    pub(super) async fn pass(&self, len: usize) -> usize {
        self.0.pass(len).await
    }
}

impl Bandwidth {
    /// Creates a limit whose times are those of a time zone.
    pub(super) fn new(timetable: Timetable, zone: TimeZone, clock: Arc<dyn Clock>) -> Self {
        let current = Mutex::new(Current { rate: None, bucket: bucket_of(None) });
        Self { timetable, zone, clock, current, bodies: AtomicU64::default() }
    }

    /// Counts a body as in flight until the result is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> InFlight {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Returns the limit now.
    fn rate(&self) -> Rate {
        let time = Timestamp::from_millisecond(self.clock.now()).unwrap_or_default();
        self.timetable.limit_at(time.to_zoned(self.zone.clone()).datetime())
    }

    /// Returns the bucket of a limit. Each new limit has a new one: what was taken from a faster one before would have
    /// to be waited for at the slower rate.
    fn bucket(&self, rate: Rate) -> Bucket {
        // A panic can't leave half of an assignment.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.rate != rate {
            *current = Current { rate, bucket: bucket_of(rate) };
        }
        current.bucket.clone()
    }

    async fn pass(&self, len: usize) -> usize {
        let limit = self.rate();
        let bucket = self.bucket(limit);
        let Some(rate) = limit else { return len };
        let share = rate.get() / self.bodies.load(Ordering::Relaxed).max(1);
        let size = len.min(usize::try_from(share).unwrap_or(usize::MAX)).max(1);
        bucket.consume(size).await;
        size
    }

    /// Describes the limit: what holds now, and the timetable if it changes.
    pub(super) fn describe(&self) -> String {
        let now = match self.rate() {
            Some(rate) => format!("{}/s", migration_core::size::human(rate.get())),
            None => "no limit".to_owned(),
        };
        if self.timetable.is_constant() { now } else { format!("{now} now ({})", self.timetable.text()) }
    }
}

fn bucket_of(rate: Rate) -> Bucket {
    #[allow(clippy::cast_precision_loss, reason = "a rate is exact up to 8 PiB per second")]
    bucket(rate.map_or(f64::INFINITY, |rate| rate.get() as f64))
}
