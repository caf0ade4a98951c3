//! The schedule of a job, as the `CronJobs` of Kubernetes take it.

mod fields;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// When the runs of a job are due.
#[derive(Clone, Debug)]
pub struct Schedule(Crontab);

/// Why a schedule can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A field is not what Kubernetes takes.
    #[error("failed to read trigger.schedule {schedule:?}: {problem}")]
    Field {
        /// The schedule.
        schedule: String,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// The time zone is unknown here.
    #[error(
        "failed to find time zone {0:?} of trigger.timeZone: write its name in the IANA database, such as \
         Europe/Berlin, and install the system's tzdata if it is missing"
    )]
    TimeZone(String),
    /// No time fits the schedule.
    #[error("failed to find a time for trigger.schedule {0:?}: it is never due; write days that some month has")]
    Never(String),
}

impl Schedule {
    /// Reads a schedule. Without a time zone, that of this machine counts.
    pub fn new(schedule: &str, time_zone: Option<&str>) -> Result<Self, ScheduleError> {
        if let Some(name) = time_zone {
            TimeZone::get(name).map_err(|_| ScheduleError::TimeZone(name.to_owned()))?;
        }
        let problem = |problem| ScheduleError::Field { schedule: schedule.to_owned(), problem };
        let fields = fields::normalized(schedule).map_err(problem)?;
        let text = time_zone.map_or_else(|| fields.clone(), |zone| format!("{fields} {zone}"));
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::System;
        let crontab = cronexpr::parse_crontab_with(&text, options).map_err(|error| problem(error.to_string()))?;
        Ok(Self(crontab))
    }

    /// Returns the first time after another one at which a run is due. Returns `None` if no time of the next four years
    /// fits. Times that a change to summer time skips don't fit, and those that the change back repeats fit twice, as
    /// in Kubernetes.
    pub fn next(&self, after: Timestamp) -> Option<Zoned> {
        self.0.find_next(after).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, after: &str) -> String {
        let schedule = Schedule::new(schedule, Some(zone)).unwrap();
        schedule.next(after.parse().unwrap()).map_or_else(|| "never".into(), |time| time.timestamp().to_string())
    }

    // The rows of robfig/cron's own test of its schedules (spec_test.go) that have five fields.
    #[test]
    fn times_are_those_that_kubernetes_computes() {
        for (after, schedule, expected) in [
            ("2012-07-09T14:45:00Z", "0/15 * * * *", "2012-07-09T15:00:00Z"),
            ("2012-07-09T14:59:59Z", "0/15 * * * *", "2012-07-09T15:00:00Z"),
            ("2012-07-09T15:45:00Z", "20-35/15 * * * *", "2012-07-09T16:20:00Z"),
            ("2012-07-09T23:46:00Z", "*/15 * * * *", "2012-07-10T00:00:00Z"),
            ("2012-07-09T23:45:00Z", "20-35/15 * * * *", "2012-07-10T00:20:00Z"),
            ("2012-07-09T23:35:51Z", "20-35/15 1/2 * * *", "2012-07-10T01:20:00Z"),
            ("2012-07-09T23:35:51Z", "20-35/15 10-12 * * *", "2012-07-10T10:20:00Z"),
            ("2012-07-09T23:35:51Z", "20-35/15 1/2 */2 * *", "2012-07-11T01:20:00Z"),
            ("2012-07-09T23:35:51Z", "20-35/15 * 9-20 * *", "2012-07-10T00:20:00Z"),
            ("2012-07-09T23:35:51Z", "20-35/15 * 9-20 Jul *", "2012-07-10T00:20:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 9 Apr-Oct ?", "2012-08-09T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 */5 Apr,Aug,Oct Mon", "2012-08-01T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 */5 Oct Mon", "2012-10-01T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 * Feb Mon", "2013-02-04T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 * Feb Mon/2", "2013-02-01T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 29 Feb ?", "2016-02-29T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 30 Feb ?", "never"),
            ("2012-07-09T23:35:00Z", "0 0 31 Apr ?", "never"),
            // Both days are restricted: either fits. One of them is not: the other one has to fit.
            ("2012-07-14T23:59:00Z", "0 0 1,15 * Sun", "2012-07-15T00:00:00Z"),
            ("2012-06-15T00:00:00Z", "0 0 1,15 * Sun", "2012-06-17T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 * * Mon", "2012-07-16T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 1,* * Mon", "2012-07-16T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 */10 * Sun", "2012-07-11T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "0 0 1,15 * *", "2012-07-15T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "@hourly", "2012-07-10T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "@daily", "2012-07-10T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "@midnight", "2012-07-10T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "@weekly", "2012-07-15T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "@monthly", "2012-08-01T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "@yearly", "2013-01-01T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "@annually", "2013-01-01T00:00:00Z"),
        ] {
            assert_eq!(next(schedule, "UTC", after), expected, "{schedule} after {after}");
        }
    }

    #[test]
    fn times_are_those_of_the_time_zone() {
        for (schedule, zone, after, expected) in [
            ("0 3 * * *", "Europe/Berlin", "2026-11-29T02:00:00Z", "2026-11-30T02:00:00Z"),
            ("0 3 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"),
            ("30 2 * * *", "Asia/Kolkata", "2026-07-01T00:00:00Z", "2026-07-01T21:00:00Z"),
            // robfig/cron's rows on summer time in New York: 02:30 is skipped, 01:30 comes twice.
            ("30 2 11 Mar ?", "America/New_York", "2012-03-11T05:00:00Z", "2013-03-11T06:30:00Z"),
            ("0 * * * ?", "America/New_York", "2012-03-11T06:00:00Z", "2012-03-11T07:00:00Z"),
            ("30 1 4 Nov ?", "America/New_York", "2012-11-04T04:00:00Z", "2012-11-04T05:30:00Z"),
            ("30 1 4 Nov ?", "America/New_York", "2012-11-04T05:45:00Z", "2012-11-04T06:30:00Z"),
            ("0 * * * ?", "America/New_York", "2012-11-04T05:00:00Z", "2012-11-04T06:00:00Z"),
        ] {
            assert_eq!(next(schedule, zone, after), expected, "{schedule} in {zone} after {after}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_what_to_write() {
        for (schedule, zone, expected) in [
            ("* * * *", None, "it has 4 fields; write five fields: minute, hour"),
            ("* * * * * *", None, "it has 6 fields"),
            ("60 * * * *", None, "minute 60 is not from 0 to 59"),
            ("* * 0 * *", None, "day of the month 0 is not from 1 to 31"),
            ("* * * 13 *", None, "month 13 is not from 1 to 12"),
            ("* * * * 7", None, "day of the week 7 is not from 0 to 6"),
            ("* * L * *", None, "day of the month \"L\" is no number"),
            ("* * * * 5L", None, "is no number"),
            ("H * * * *", None, "minute \"H\" is no number"),
            ("*/0 * * * *", None, "step of minute \"*/0\""),
            ("1/2/3 * * * *", None, "\"1/2/3\""),
            ("5-1 * * * *", None, "\"5-1\" begins after its end"),
            ("1-2-3 * * * *", None, "\"1-2-3\""),
            ("@fortnightly", None, "write five fields"),
            ("0 3 * * *", Some("Europe/Atlantis"), "time zone \"Europe/Atlantis\""),
        ] {
            let error = Schedule::new(schedule, zone).unwrap_err().to_string();
            assert!(error.contains(expected), "{schedule}: {error}");
        }
    }
}
