//! The limits that the command line sets.

use std::sync::Arc;

use clap::Args;
use jiff::tz::TimeZone;
use migration_aws::SystemClock;
use migration_core::error::Service;
use migration_core::ports::ObjectStore;

use super::bandwidth::Bandwidth;
use super::limited::Limited;
use super::pace::{Bucket, bucket};
use super::timetable::Timetable;

/// Options that limit what a run takes of the services and the network.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Most requests per second to each side; 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub request_limit: u32,
    /// Most bytes per second that are copied through this machine, as for rclone's --bwlimit: 10M, or a timetable such
    /// as '08:00,512k 12:00,10M 23:00,off' or 'Mon-00:00,512 Sat-10:00,off'. Numbers are KiB/s without a suffix; times
    /// are local.
    #[arg(long, value_name = "LIMIT")]
    pub bandwidth_limit: Option<Timetable>,
}

/// The limits of a process. Clones share them.
#[derive(Clone, Default)]
pub struct Limits {
    source: Option<Bucket>,
    destination: Option<Bucket>,
    bandwidth: Option<Arc<Bandwidth>>,
}

impl Limits {
    /// Creates the limits that the options ask for, with the times of this machine's time zone.
    pub fn new(args: &LimitArgs) -> Self {
        let requests = (args.request_limit > 0).then(|| f64::from(args.request_limit));
        let bandwidth = args.bandwidth_limit.clone().filter(|table| !table.is_off());
        let bandwidth = bandwidth.map(|table| Bandwidth::new(table, TimeZone::system(), Arc::new(SystemClock)));
        Self { source: requests.map(bucket), destination: requests.map(bucket), bandwidth: bandwidth.map(Arc::new) }
    }

    /// Puts a store of one side under the limits.
    pub fn limit<S: ObjectStore>(&self, store: S, side: Service) -> Limited<S> {
        let requests = if side == Service::Source { &self.source } else { &self.destination };
        Limited::new(store, requests.clone(), self.bandwidth.clone())
    }
}

impl LimitArgs {
    /// Describes the limits in a line. Returns `None` if there are none.
    pub fn describe(&self) -> Option<String> {
        let requests = (self.request_limit > 0).then(|| format!("{} requests/s to each side", self.request_limit));
        let bandwidth = Limits::new(self).bandwidth.map(|bandwidth| bandwidth.describe());
        let limits: Vec<String> = bandwidth.into_iter().chain(requests).collect();
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
        for (words, expected) in [
            (&[][..], None),
            (&["--request-limit", "0"], None),
            (&["--request-limit", "20"], Some("limited to 20 requests/s to each side")),
            (&["--bandwidth-limit", "10M"], Some("limited to 10.0 MiB/s")),
            (&["--bandwidth-limit", "off"], None),
            (
                &["--bandwidth-limit", "1M", "--request-limit", "5"],
                Some("limited to 1.0 MiB/s, 5 requests/s to each side"),
            ),
        ] {
            assert_eq!(args(words).unwrap().describe().as_deref(), expected, "{words:?}");
        }
        let table = args(&["--bandwidth-limit", "08:00,512k;20:00,1M"]).unwrap().describe().unwrap();
        assert!(table.ends_with("/s now (08:00,512k 20:00,1M)"), "{table}");
    }

    #[test]
    fn what_is_no_limit_is_refused_with_what_to_write() {
        let error = args(&["--bandwidth-limit", "10:1M"]).err().unwrap();
        assert!(error.contains("write one number, the lower"), "{error}");
        assert!(args(&["--request-limit", "-1"]).is_err());
        assert!(args(&["--request-limit", "many"]).is_err());
    }
}
