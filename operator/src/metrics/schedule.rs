//! Finds times of a schedule at which nothing was started.

/// Time in milliseconds that Kubernetes may take to start a Job, and the operator to look at it, after the last moment
/// at which it may start.
const LEEWAY_MS: i64 = 60_000;

/// A schedule, and what Kubernetes did by it. All times are in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleReading {
    /// The next time after now.
    pub next: i64,
    /// The last time for which a Job was started; `None` if there was none.
    pub last: Option<i64>,
    /// How late a Job may start, in milliseconds.
    pub deadline: i64,
}

/// Waits for the Jobs of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ScheduleWatch {
    /// The time whose Job is expected.
    due: Option<i64>,
    /// Times that passed without one.
    pub(super) missed: u64,
}

impl ScheduleWatch {
    /// Takes a look at the schedule; `None` if there is none, or it is suspended. Several times that are missed between
    /// two looks count once.
    pub(super) fn look(&mut self, schedule: Option<ScheduleReading>, now: i64) {
        let Some(ScheduleReading { next, last, deadline }) = schedule else {
            self.due = None;
            return;
        };
        let Some(due) = self.due else {
            self.due = Some(next);
            return;
        };
        let is_started = last.is_some_and(|last| last >= due);
        let is_missed = !is_started && now > due.saturating_add(deadline).saturating_add(LEEWAY_MS);
        self.missed += u64::from(is_missed);
        // Before it is due, another time means another schedule.
        if is_started || is_missed || now < due {
            self.due = Some(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    /// Returns what is missed after looks at these minutes: now, next, last.
    fn missed(looks: &[Option<(i64, i64, Option<i64>)>]) -> u64 {
        let mut watch = ScheduleWatch::default();
        for (look, place) in looks.iter().zip(0_i64..) {
            let now = look.map_or(place, |(now, _, _)| now * MINUTE);
            let reading = look.map(|(_, next, last)| ScheduleReading {
                next: next * MINUTE,
                last: last.map(|last| last * MINUTE),
                deadline: 5 * MINUTE,
            });
            watch.look(reading, now);
        }
        watch.missed
    }

    #[test]
    fn a_time_without_a_job_is_missed_once() {
        for (looks, expected) in [
            // Hourly, at minute 60, 120, ...; started, and started late.
            (&[Some((10, 60, None)), Some((61, 120, Some(60))), Some((121, 180, Some(120)))][..], 0),
            (&[Some((10, 60, None)), Some((63, 120, None)), Some((64, 120, Some(60)))], 0),
            // Not started.
            (&[Some((10, 60, None)), Some((65, 120, None)), Some((67, 120, None)), Some((80, 120, None))], 1),
            (&[Some((10, 60, None)), Some((70, 120, None)), Some((130, 180, None))], 2),
            // Nobody looked when the Job was started.
            (&[Some((10, 60, None)), Some((200, 240, Some(180)))], 0),
            // Suspended while it was due, or set to another time before.
            (&[Some((10, 60, None)), None, Some((80, 120, None))], 0),
            (&[Some((10, 60, None)), Some((20, 300, None)), Some((100, 300, None))], 0),
        ] {
            assert_eq!(missed(looks), expected, "{looks:?}");
        }
    }
}
