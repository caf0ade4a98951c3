//! Runs jobs again and again, by their schedules.

use std::time::Duration;

use jiff::{Timestamp, Zoned};
use migration_core::ports::Clock;
use migration_program::schedule::{Schedule, ScheduleError};
use tracing::warn;

use super::{RunError, print_error};
use crate::display::Display;
use crate::event::Event;
use crate::exit::Exit;
use crate::manifest::LocalJob;
use crate::migration::Stop;

/// Longest time between two looks at the clock, which may be set, and stands still while the machine sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Why jobs can't be run by their schedules.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// A job has no schedule.
    #[error("failed to watch {0}: it has no schedule; set spec.trigger.schedule, or run it without --watch")]
    NoSchedule(String),
    /// A schedule can't be used.
    #[error("failed to watch {job}: {source}")]
    Schedule {
        /// Name of the job.
        job: String,
        /// Cause.
        source: ScheduleError,
    },
}

/// A job that is due by a schedule.
pub(super) struct Watched<J> {
    pub(super) job: J,
    pub(super) name: String,
    schedule: Schedule,
}

impl Watched<LocalJob> {
    /// Reads the schedule of a job.
    pub(super) fn new(job: LocalJob) -> Result<Self, WatchError> {
        let name = job.config.job.name.clone();
        let trigger = &job.job.spec.trigger;
        let Some(text) = &trigger.schedule else { return Err(WatchError::NoSchedule(name)) };
        let schedule = Schedule::new(text, trigger.time_zone.as_deref());
        let schedule = schedule.and_then(|schedule| match schedule.next(Timestamp::now()) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never(text.clone())),
        });
        let schedule = schedule.map_err(|source| WatchError::Schedule { job: name.clone(), source })?;
        Ok(Self { job, name, schedule })
    }
}

/// What of its surroundings a watch uses.
pub(super) struct Watch<'a> {
    pub(super) display: &'a dyn Display,
    pub(super) stop: &'a Stop,
    pub(super) clock: &'a dyn Clock,
}

impl Watch<'_> {
    /// Runs each job when it is due, one at a time, until the stop signal is given. What comes due during a run is
    /// skipped. `run` returns how a run ended. A run that failed is printed, and goes on at the next time. Returns how
    /// the run ended that the signal interrupted; [`Exit::Done`] if there was none.
    pub(super) async fn jobs<J>(
        &self,
        jobs: &[Watched<J>],
        mut run: impl AsyncFnMut(&J) -> Result<Exit, RunError>,
    ) -> Exit {
        loop {
            let now = self.now();
            let due = jobs.iter().filter_map(|watched| Some((watched.schedule.next(now)?, watched)));
            let Some((time, next)) = due.min_by(|a, b| a.0.cmp(&b.0)) else { return Exit::Done };
            self.tell_next(&next.name, &time);
            if self.wait_until(time.timestamp()).await.is_none() {
                return Exit::Done;
            }
            // Others may be due at the same time.
            for watched in jobs {
                if watched.schedule.next(now).is_some_and(|due| due.timestamp() <= time.timestamp()) {
                    let exit = run(&watched.job).await.unwrap_or_else(|error| {
                        if !self.stop.is_given() {
                            print_error(&error);
                        }
                        error.exit()
                    });
                    if self.stop.is_given() {
                        return exit;
                    }
                }
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.now()).unwrap_or_else(|error| {
            warn!(%error, "failed to read the clock");
            Timestamp::MAX
        })
    }

    fn tell_next(&self, job: &str, time: &Zoned) {
        let time = time.strftime("%F %R %:z");
        self.display.show(&Event::Notice { message: format!("{job}: the next run is due at {time}") });
    }

    /// Waits for a time. Returns `None` once the stop signal is given.
    async fn wait_until(&self, time: Timestamp) -> Option<()> {
        loop {
            if self.stop.is_given() {
                return None;
            }
            let left = Duration::try_from(time.duration_since(self.now())).unwrap_or_default();
            if left.is_zero() {
                return Some(());
            }
            tokio::select! {
                () = self.stop.given() => {}
                () = tokio::time::sleep(left.min(LOOK_EVERY)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use migration_testkit::TestClock;

    use super::*;

    #[derive(Default)]
    struct Notices(Mutex<Vec<String>>);

    impl Display for Notices {
        fn show(&self, event: &Event) {
            let Event::Notice { message } = event else { return };
            self.0.lock().unwrap().push(message.clone());
        }
    }

    fn watched(name: &'static str, schedule: &str) -> Watched<&'static str> {
        let schedule = Schedule::new(schedule, Some("UTC")).unwrap();
        Watched { job: name, name: name.to_owned(), schedule }
    }

    /// Watches jobs from 2026-12-02 00:10 until this number of runs. A run of `slow` takes 150 minutes, others a
    /// second.
    /// Returns the runs with their times, the notices, and the exit.
    async fn watch(jobs: &[Watched<&'static str>], runs: usize, result: Exit) -> (Vec<String>, Vec<String>, Exit) {
        let begin: Timestamp = "2026-12-02T00:10:00Z".parse().unwrap();
        let clock = TestClock::following_tokio(begin.as_millisecond());
        let (notices, stop, mut ran) = (Notices::default(), Stop::default(), Vec::new());
        let watch = Watch { display: &notices, stop: &stop, clock: &clock };
        let exit = watch.jobs(jobs, async |job| {
            ran.push(format!("{job} {}", watch.now().strftime("%d %R")));
            let takes = if *job == "slow" { Duration::from_mins(150) } else { Duration::from_secs(1) };
            tokio::time::sleep(takes).await;
            if ran.len() == runs {
                stop.give();
            }
            Ok(result)
        });
        let exit = exit.await;
        (ran, notices.0.into_inner().unwrap(), exit)
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_runs_when_it_is_due() {
        let (ran, notices, exit) = watch(&[watched("a", "0 */6 * * *")], 3, Exit::Interrupted).await;
        assert_eq!(ran, ["a 02 06:00", "a 02 12:00", "a 02 18:00"]);
        assert_eq!(notices[0], "a: the next run is due at 2026-12-02 06:00 +00:00");
        assert_eq!((notices.len(), exit), (3, Exit::Interrupted));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_due_during_a_run_is_skipped() {
        let (ran, _, _) = watch(&[watched("slow", "@hourly")], 3, Exit::SomeFailed).await;
        assert_eq!(ran, ["slow 02 01:00", "slow 02 04:00", "slow 02 07:00"]);
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_run_one_at_a_time_each_by_its_own_schedule() {
        let jobs = [watched("a", "@hourly"), watched("b", "0,30 * * * *"), watched("slow", "0 2 * * *")];
        let (ran, _, _) = watch(&jobs, 8, Exit::Done).await;
        let expected =
            ["b 02 00:30", "a 02 01:00", "b 02 01:00", "b 02 01:30", "a 02 02:00", "b 02 02:00", "slow 02 02:00"];
        assert_eq!(ran[..7], expected);
        assert_eq!(ran[7], "a 02 05:00");
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_ends_the_waiting() {
        let (clock, notices, stop) = (TestClock::following_tokio(0), Notices::default(), Stop::default());
        let watch = Watch { display: &notices, stop: &stop, clock: &clock };
        let jobs = [watched("a", "@yearly")];
        let waiting = watch.jobs(&jobs, async |_| Ok(Exit::Failed));
        let (exit, ()) = tokio::join!(waiting, async {
            tokio::time::sleep(Duration::from_hours(1)).await;
            stop.give();
        });
        assert_eq!(exit, Exit::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_failed_is_followed_by_the_next_one() {
        let (clock, notices, stop) = (TestClock::following_tokio(0), Notices::default(), Stop::default());
        let watch = Watch { display: &notices, stop: &stop, clock: &clock };
        let mut runs = 0;
        let jobs = [watched("a", "@daily")];
        let exit = watch.jobs(&jobs, async |_| {
            runs += 1;
            if runs == 3 {
                stop.give();
                return Ok(Exit::Done);
            }
            Err(RunError::Signals(std::io::Error::other("a failure of a test")))
        });
        assert_eq!(exit.await, Exit::Done);
        assert_eq!(runs, 3);
    }
}
