//! Histograms of times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::add;

/// Upper bounds of the buckets, in seconds: from a HEAD in the same region to a completion that takes minutes. Longer
/// times are in a bucket without a bound.
pub const SECONDS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// The same in microseconds.
const MICROS: [u64; 10] =
    [5_000, 20_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000, 60_000_000];

/// Times, by the bucket that they fall in.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; SECONDS.len() + 1],
    micros: AtomicU64,
}

/// The numbers of a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramReading {
    /// Sum of all times, in seconds.
    pub sum: f64,
    /// Number of times.
    pub count: u64,
    /// Upper bound of each bucket in seconds, and how many times are in it and in none before it.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Adds a time.
    pub fn observe(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let place = MICROS.iter().position(|bound| micros <= *bound).unwrap_or(MICROS.len());
        if let Some(bucket) = self.buckets.get(place) {
            add(bucket, 1);
        }
        add(&self.micros, micros);
    }

    /// Returns the numbers. The count is that of the buckets, whatever is added meanwhile.
    pub fn read(&self) -> HistogramReading {
        let numbers = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<_> = SECONDS.into_iter().chain([f64::INFINITY]).zip(numbers).collect();
        let sum = Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64();
        HistogramReading { sum, count: buckets.iter().map(|(_, number)| number).sum(), buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_the_first_bucket_that_holds_them() {
        let histogram = Histogram::default();
        for millis in [0, 5, 6, 20, 60_000, 60_001, 3_600_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let read = histogram.read();
        let filled: Vec<_> = read.buckets.iter().filter(|(_, number)| *number > 0).copied().collect();
        assert_eq!(filled, [(0.005, 2), (0.02, 2), (60.0, 1), (f64::INFINITY, 2)]);
        assert_eq!((read.count, read.sum), (7, 3_720.032));
    }

    #[test]
    fn both_tables_of_bounds_are_the_same() {
        for (seconds, micros) in SECONDS.into_iter().zip(MICROS) {
            assert_eq!(Duration::from_secs_f64(seconds), Duration::from_micros(micros));
        }
    }
}
