//! The limits that the command line and the manifest set.

use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use migration_aws::SystemClock;
use migration_core::config::RateLimits;
use migration_core::ports::Clock;
use migration_core::timetable::{Timetable, TimetableError, Unit};
use migration_engine::limits::{Fleet, Limits, LocalTime, UTC};

/// Options that limit what a run takes of the services and the network.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Most requests per second to each side, such as 50; or a timetable, as for --bandwidth-limit; 0 or off for no
    /// limit. Instead of the manifest's transfer.requestLimit.
    #[arg(long, value_name = "LIMIT", value_parser = requests)]
    pub request_limit: Option<Timetable>,
    /// Most bytes per second that are copied through this machine, as for rclone's --bwlimit: 10M, or a timetable such
    /// as '08:00,512k 12:00,10M 23:00,off' or 'Mon-00:00,512 Sat-10:00,off'. Numbers are KiB/s without a suffix; times
    /// are local. Instead of the manifest's transfer.bandwidthLimit.
    #[arg(long, value_name = "LIMIT", value_parser = bytes)]
    pub bandwidth_limit: Option<Timetable>,
}

fn requests(text: &str) -> Result<Timetable, TimetableError> {
    Timetable::parse(text, Unit::Requests)
}

fn bytes(text: &str) -> Result<Timetable, TimetableError> {
    Timetable::parse(text, Unit::Bytes)
}

/// Returns the local time in milliseconds, by this machine's time zone.
fn system_time(unix: i64) -> i64 {
    let offset = Timestamp::from_millisecond(unix).map(|time| TimeZone::system().to_offset(time).seconds());
    unix + i64::from(offset.unwrap_or_default()) * 1_000
}

impl LimitArgs {
    /// Returns the limits of a process: those of the command line, by local time, and those of the manifest where the
    /// command line says nothing, in UTC.
    pub fn limits(&self, manifest: &RateLimits) -> Limits {
        let limits = |rates: &RateLimits, local: LocalTime| {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            Limits::new(rates, Fleet::Alone, &clock, local)
        };
        let used = |table: &Option<Timetable>| table.clone().filter(|table| !table.is_off());
        let own = RateLimits { bandwidth: used(&self.bandwidth_limit), requests: used(&self.request_limit) };
        let others = RateLimits {
            bandwidth: manifest.bandwidth.clone().filter(|_| self.bandwidth_limit.is_none()),
            requests: manifest.requests.clone().filter(|_| self.request_limit.is_none()),
        };
        limits(&own, system_time).or(limits(&others, UTC))
    }

    /// Describes the limits in a line. Returns `None` if there are none.
    pub fn describe(&self, manifest: &RateLimits) -> Option<String> {
        let limits = self.limits(manifest).describe();
        (!limits.is_empty()).then(|| format!("limited to {}", limits.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn args(words: &[&str]) -> Result<LimitArgs, String> {
        let line = Line::try_parse_from([&["run"], words].concat());
        line.map(|line| line.limits).map_err(|error| error.to_string())
    }

    #[test]
    fn limits_are_told_in_a_line() {
        let (none, both) = (RateLimits::default(), RateLimits::parse(Some("3M"), Some("7")).unwrap());
        for (words, manifest, expected) in [
            (&[][..], &none, None),
            (&["--request-limit", "0"], &none, None),
            (&["--request-limit", "20"], &none, Some("limited to 20 requests/s to each side")),
            (&["--bandwidth-limit", "10M"], &none, Some("limited to 10.0 MiB/s")),
            (&["--bandwidth-limit", "off"], &none, None),
            (
                &["--bandwidth-limit", "1M", "--request-limit", "5"],
                &none,
                Some("limited to 1.0 MiB/s, 5 requests/s to each side"),
            ),
            (&[], &both, Some("limited to 3.0 MiB/s, 7 requests/s to each side")),
            (&["--request-limit", "5"], &both, Some("limited to 3.0 MiB/s, 5 requests/s to each side")),
            (&["--bandwidth-limit", "off"], &both, Some("limited to 7 requests/s to each side")),
            (&["--bandwidth-limit", "off", "--request-limit", "0"], &both, None),
        ] {
            assert_eq!(args(words).unwrap().describe(manifest).as_deref(), expected, "{words:?} {manifest:?}");
        }
        let table = args(&["--bandwidth-limit", "08:00,512k;20:00,1M"]).unwrap().describe(&none).unwrap();
        assert!(table.ends_with("/s now (08:00,512k 20:00,1M)"), "{table}");
    }

    #[test]
    fn what_is_no_limit_is_refused_with_what_to_write() {
        let error = args(&["--bandwidth-limit", "10:1M"]).err().unwrap();
        assert!(error.contains("write one number, the lower"), "{error}");
        let error = args(&["--request-limit", "many"]).err().unwrap();
        assert!(error.contains("write a whole number of requests per second"), "{error}");
        assert!(args(&["--request-limit", "-1"]).is_err());
    }
}
