//! The numbers of one job.

use std::collections::BTreeMap;

use migration_api::Reason;
use migration_api::status::{MigrationJobStatus, Progress, QueueDepth, Receiver};

use super::schedule::{ScheduleReading, ScheduleWatch};
use crate::notify::decide::DeliveryResult;

/// How long after the last reading what follows from the time still counts, in milliseconds. A conflict is over by then.
const UNREAD_MS: i64 = 60_000;

/// What the ledger says of a live run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunReading {
    /// The ledger did not answer.
    Unknown,
    /// No run is live.
    None,
    /// A run is live.
    Live(LiveRun),
}

/// A live run. All times are in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveRun {
    /// When it began to list.
    pub since: i64,
    /// When its last batch ended; `None` if none did.
    pub last_end: Option<i64>,
    /// Extraneous objects: found by the scan, deleted, and kept.
    pub extraneous: [u64; 3],
}

/// What a reconciliation found. All times are in milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct JobReading<'a> {
    /// The status.
    pub status: &'a MigrationJobStatus,
    /// Why the job is degraded.
    pub degraded: &'a [Reason],
    /// Messages in the queue; `None` if it did not answer.
    pub queue: Option<QueueDepth>,
    /// The live run.
    pub run: RunReading,
    /// The schedule; `None` if there is none, or it is suspended.
    pub schedule: Option<ScheduleReading>,
    /// The time.
    pub now: i64,
}

/// The numbers of one job. All times are in milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub(super) struct JobNumbers {
    /// Messages in the queue, and the workers that they need.
    pub(super) scaling: Option<(u64, u32)>,
    /// What was read last; `None` before the first time.
    pub(super) last: Option<LastReading>,
    /// Since when there is undone work.
    pub(super) undone_since: Option<i64>,
    /// When the live run last got on.
    pub(super) last_progress: Option<i64>,
    pub(super) schedule: ScheduleWatch,
    /// What became of deliveries of notifications.
    pub(super) notified: BTreeMap<(Receiver, DeliveryResult), u64>,
    /// When all this was read.
    read_at: i64,
    /// It has not been read for so long that nobody knows whether its run gets on.
    pub(super) is_old: bool,
}

/// What was read last.
#[derive(Clone, Debug, Default)]
pub(super) struct LastReading {
    pub(super) status: MigrationJobStatus,
    pub(super) degraded: Vec<Reason>,
    pub(super) queue: Option<QueueDepth>,
    /// When the live run began to list, as the ledger said last.
    pub(super) live_since: Option<i64>,
    extraneous: [u64; 3],
    pub(super) next_schedule: Option<i64>,
}

impl JobNumbers {
    pub(super) fn read(&mut self, reading: &JobReading<'_>) {
        let before = self.last.as_ref().map(|last| (last.live_since, last.extraneous)).unwrap_or_default();
        let (live_since, extraneous) = match reading.run {
            RunReading::Unknown => before,
            RunReading::None => (None, [0; 3]),
            RunReading::Live(run) => (Some(run.since), run.extraneous),
        };
        self.last_progress = match reading.run {
            // The workers may get on, or not: what was known stays, so that a run without progress is not forgotten.
            RunReading::Unknown => self.last_progress,
            RunReading::None => None,
            RunReading::Live(run) => Some(self.progressed(reading, &run)),
        };
        self.undone_since = undone_since(self.undone_since, live_since, reading);
        self.schedule.look(reading.schedule, reading.now);
        self.last = Some(LastReading {
            status: reading.status.clone(),
            degraded: reading.degraded.to_vec(),
            queue: reading.queue,
            live_since,
            extraneous,
            next_schedule: reading.schedule.map(|schedule| schedule.next),
        });
        (self.read_at, self.is_old) = (reading.now, false);
    }

    /// Counts what became of deliveries.
    pub(super) fn notified(&mut self, results: &[(Receiver, DeliveryResult)]) {
        for result in results {
            *self.notified.entry(*result).or_default() += 1;
        }
    }

    /// Takes a failure to read it. A problem that is reported changes the status; what was read before stays.
    pub(super) fn failed(&mut self, problem: Option<(&MigrationJobStatus, &Reason)>, now: i64) {
        self.is_old = now - self.read_at > UNREAD_MS;
        let Some((status, reason)) = problem else { return };
        let last = self.last.get_or_insert_default();
        last.status = status.clone();
        last.degraded = vec![reason.clone()];
    }

    /// Returns when the live run last got on: when a batch ended, when its numbers changed, or now if bytes are being
    /// moved. A run that this operator sees for the first time got on at the time of its last end, or now if it has
    /// none.
    fn progressed(&self, reading: &JobReading<'_>, live: &LiveRun) -> i64 {
        let LiveRun { since, last_end, extraneous } = *live;
        let now = reading.now;
        let before = self.last.as_ref().filter(|last| last.live_since == Some(since));
        let Some((before, known)) = before.zip(self.last_progress) else { return last_end.unwrap_or(now) };
        let changed = numbers(before.status.progress.as_ref()) != numbers(reading.status.progress.as_ref())
            || before.extraneous != extraneous;
        let moves = reading.status.progress.as_ref().and_then(|progress| progress.rate_bytes_per_second);
        let got_on = if changed || moves.is_some_and(|rate| rate > 0) { now } else { known };
        got_on.max(last_end.unwrap_or(got_on))
    }
}

/// Returns the numbers that grow as a run gets on.
fn numbers(progress: Option<&Progress>) -> [u64; 8] {
    progress.map_or([0; 8], |Progress { objects: o, bytes: b, .. }| {
        [o.total, o.done, o.skipped, o.failed, b.total, b.done, b.skipped, b.failed]
    })
}

/// Returns since when there has been undone work without a break: messages in the queue, or a live run.
fn undone_since(before: Option<i64>, live_since: Option<i64>, reading: &JobReading<'_>) -> Option<i64> {
    let waits = match reading.queue {
        Some(queue) => queue.visible + queue.in_flight > 0,
        None => before.is_some(),
    };
    let seen = waits.then(|| before.unwrap_or(reading.now));
    [seen, live_since].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_api::status::{Counts, Phase};

    fn status(done: u64, rate: u64) -> MigrationJobStatus {
        let objects = Counts { total: 9, done, ..Counts::default() };
        let progress = Progress { objects, rate_bytes_per_second: Some(rate), ..Progress::default() };
        MigrationJobStatus { progress: Some(progress), ..MigrationJobStatus::default() }
    }

    fn reading(status: &MigrationJobStatus, live_since: Option<i64>, now: i64) -> JobReading<'_> {
        let run = live_since.map_or(RunReading::None, |since| live(since, None, 0));
        JobReading { status, degraded: &[], queue: None, run, schedule: None, now }
    }

    fn live(since: i64, last_end: Option<i64>, deleted: u64) -> RunReading {
        RunReading::Live(LiveRun { since, last_end, extraneous: [9, deleted, 0] })
    }

    #[test]
    fn a_run_gets_on_while_its_numbers_change_or_bytes_move() {
        let mut job = JobNumbers::default();
        for (done, rate, live, now, expected) in [
            (0, 0, None, 100, None),
            (0, 0, Some(150), 200, Some(200)),
            (0, 0, Some(150), 300, Some(200)),
            (1, 0, Some(150), 400, Some(400)),
            (1, 5, Some(150), 500, Some(500)),
            (1, 0, Some(150), 600, Some(500)),
            (1, 0, Some(650), 700, Some(700)),
            (1, 0, None, 800, None),
        ] {
            job.read(&reading(&status(done, rate), live, now));
            assert_eq!(job.last_progress, expected, "at {now}");
        }
        // Another operator takes over: the ledger knows when it last got on.
        let mut job = JobNumbers::default();
        let status = status(1, 0);
        job.read(&JobReading { run: live(150, Some(180), 0), ..reading(&status, None, 900) });
        assert_eq!(job.last_progress, Some(180));
    }

    #[test]
    fn a_run_that_deletes_gets_on_and_one_whose_ledger_is_silent_is_not_forgotten() {
        let (mut job, status) = (JobNumbers::default(), status(9, 0));
        for (run, now, expected) in [
            (live(50, None, 0), 100, Some(100)),
            (live(50, None, 0), 200, Some(100)),
            (live(50, None, 5), 300, Some(300)),
            (live(50, None, 5), 400, Some(300)),
            (RunReading::Unknown, 500, Some(300)),
            (live(50, None, 5), 600, Some(300)),
            (RunReading::Unknown, 700, Some(300)),
            (live(50, None, 6), 800, Some(800)),
            (RunReading::None, 900, None),
            (RunReading::Unknown, 950, None),
        ] {
            job.read(&JobReading { run, queue: Some(QueueDepth::default()), ..reading(&status, None, now) });
            let live_since = job.last.as_ref().unwrap().live_since;
            assert_eq!((job.last_progress, live_since), (expected, expected.map(|_| 50)), "at {now}");
            assert_eq!(job.undone_since, expected.map(|_| 50), "at {now}");
        }
    }

    #[test]
    fn a_job_that_cannot_be_read_has_its_problem_and_soon_no_times() {
        let (mut job, before) = (JobNumbers::default(), status(1, 5));
        job.read(&reading(&before, Some(50), 100));
        let after = MigrationJobStatus { phase: Some(Phase::Transferring), ..before };
        let reason = Reason::ApplyFailed;
        let problem = Some((&after, &reason));
        for (problem, now, is_old) in [(None, 200, false), (problem, 300, false), (problem, 100 + UNREAD_MS + 1, true)]
        {
            job.failed(problem, now);
            assert_eq!(job.is_old, is_old, "at {now}");
            let last = job.last.as_ref().unwrap();
            assert_eq!(last.degraded.contains(&reason), problem.is_some());
            assert_eq!((last.status.phase.is_some(), job.last_progress), (problem.is_some(), Some(100)));
        }
        job.read(&reading(&after, Some(50), 200_000));
        assert!(!job.is_old && job.last.unwrap().degraded.is_empty());
        // One that never could be read has a status.
        let mut job = JobNumbers::default();
        job.failed(problem, 100_000);
        assert_eq!((job.last.unwrap().status, job.last_progress), (after.clone(), None));
    }

    #[test]
    fn work_is_undone_until_queue_and_run_have_none() {
        let (mut job, status) = (JobNumbers::default(), MigrationJobStatus::default());
        let queue = |visible| Some(QueueDepth { visible, ..QueueDepth::default() });
        for (queue, live, now, expected) in [
            (queue(0), None, 100, None),
            (queue(1), None, 200, Some(200)),
            (None, None, 300, Some(200)),
            (queue(3), Some(250), 400, Some(200)),
            (queue(0), Some(250), 500, Some(250)),
            (queue(0), None, 600, None),
            (None, None, 700, None),
        ] {
            job.read(&JobReading { queue, ..reading(&status, live, now) });
            assert_eq!(job.undone_since, expected, "at {now}");
        }
    }
}
