//! Numbers over time, in bounded memory.

use serde::Serialize;

use crate::view::{JobView, Numbers, QueueLine, WorkersLine};

/// Most points of a series.
pub const MOST_POINTS: usize = 720;

/// The numbers of a job at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Unix time in milliseconds.
    pub at: i64,
    rate: u64,
    numbers: Numbers,
    queue: QueueLine,
    workers: WorkersLine,
}

impl Point {
    /// Returns the numbers of a job at a time, in milliseconds since 1970.
    pub fn of(job: &JobView, at: i64) -> Self {
        Self {
            at,
            rate: job.rate,
            numbers: job.numbers.unwrap_or_default(),
            queue: job.queue.unwrap_or_default(),
            workers: job.workers.unwrap_or_default(),
        }
    }

    /// Returns true if the numbers are the same, whatever the times.
    pub fn is_like(&self, other: &Self) -> bool {
        self.moved_to(other.at) == *other
    }

    /// Returns these numbers at another time.
    #[must_use]
    pub fn moved_to(self, at: i64) -> Self {
        Self { at, ..self }
    }
}

/// The points of a job, in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Columns {
    at: Vec<i64>,
    rate: Vec<u64>,
    done: Vec<u64>,
    objects: Vec<u64>,
    failed: Vec<u64>,
    visible: Vec<u64>,
    in_flight: Vec<u64>,
    desired: Vec<u32>,
    ready: Vec<u32>,
}

impl Columns {
    fn push(&mut self, point: &Point) {
        self.at.push(point.at);
        self.rate.push(point.rate);
        self.done.push(point.numbers.done);
        self.objects.push(point.numbers.objects);
        self.failed.push(point.numbers.failed);
        self.visible.push(point.queue.visible);
        self.in_flight.push(point.queue.in_flight);
        self.desired.push(point.workers.desired);
        self.ready.push(point.workers.ready);
    }
}

impl<'a> FromIterator<&'a Point> for Columns {
    fn from_iter<I: IntoIterator<Item = &'a Point>>(points: I) -> Self {
        let mut columns = Self::default();
        points.into_iter().for_each(|point| columns.push(point));
        columns
    }
}

/// The points of a run since its first one. When it is full every second point goes, so that it always covers the whole
/// time, ever more coarsely.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    points: Vec<Point>,
    /// Least distance of a new point from the one before it, in milliseconds.
    step: i64,
}

impl Series {
    /// Adds a point, unless the last one is too young. Points come in order of time; one from before the last is left out.
    pub fn push(&mut self, point: Point) {
        if self.points.last().is_some_and(|last| point.at < last.at + self.step.max(1)) {
            return;
        }
        if self.points.len() >= MOST_POINTS {
            let mut is_kept = false;
            self.points.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            let span = point.at - self.points.first().map_or(point.at, |first| first.at);
            let half = i64::try_from(MOST_POINTS / 2).unwrap_or(i64::MAX);
            self.step = span / half;
        }
        self.points.push(point);
    }

    /// Returns true if there are no points.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Returns true if the last point has the numbers of this one.
    pub fn ends_with(&self, point: &Point) -> bool {
        self.points.last().is_some_and(|last| last.is_like(point))
    }

    /// Returns all points.
    pub fn columns(&self) -> Columns {
        self.points.iter().collect()
    }

    /// Returns the time of the first point, in milliseconds since 1970.
    pub fn since(&self) -> Option<i64> {
        self.points.first().map(|point| point.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: i64) -> Point {
        Point { at, rate: u64::try_from(at).unwrap(), ..Point::default() }
    }

    #[test]
    fn a_series_covers_all_time_in_bounded_memory() {
        let mut series = Series::default();
        for second in 0..1_000_000 {
            series.push(point(second * 1_000));
            assert!(series.points.len() <= MOST_POINTS);
        }
        assert_eq!(series.since(), Some(0));
        let at = series.columns().at;
        assert!(at.len() > MOST_POINTS / 3, "{}", at.len());
        assert!(at.is_sorted() && *at.last().unwrap() > 990_000_000, "{:?}", at.last());
        let gaps = || at.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps().max().unwrap() <= 4 * gaps().min().unwrap(), "points are spread evenly");
    }

    #[test]
    fn a_clock_that_goes_back_adds_nothing() {
        let mut series = Series::default();
        for at in [5_000, 4_000, 5_000, 6_000] {
            series.push(point(at));
        }
        assert_eq!(series.columns().at, [5_000, 6_000]);
        assert_eq!(series.columns().rate, [5_000, 6_000]);
    }
}
