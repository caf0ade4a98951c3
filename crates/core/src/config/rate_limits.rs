//! Limits of a job's bytes and requests per second.

use super::ConfigError;
use crate::timetable::{Timetable, Unit};

/// The timetables of the limits. Those that never limit anything are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Bytes per second.
    pub bandwidth: Option<Timetable>,
    /// Requests per second to each side.
    pub requests: Option<Timetable>,
}

impl RateLimits {
    /// Reads the timetables of `transfer.bandwidthLimit` and `transfer.requestLimit`.
    pub fn parse(bandwidth: Option<&str>, requests: Option<&str>) -> Result<Self, ConfigError> {
        let read = |field, text: Option<&str>, unit| {
            let table = text.map(|text| Timetable::parse(text, unit)).transpose();
            let table = table.map(|table| table.filter(|table| !table.is_off()));
            table.map_err(|source| ConfigError::RateLimit { field, source })
        };
        Ok(Self {
            bandwidth: read("transfer.bandwidthLimit", bandwidth, Unit::Bytes)?,
            requests: read("transfer.requestLimit", requests, Unit::Requests)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_limit_is_left_out_and_what_is_no_timetable_named() {
        assert_eq!(RateLimits::parse(Some("off"), Some("0")), Ok(RateLimits::default()));
        let both = RateLimits::parse(Some("08:00,1M 20:00,off"), Some("50")).unwrap();
        let texts = [&both.bandwidth, &both.requests].map(|table| table.as_ref().map(|table| table.text().to_owned()));
        assert_eq!(texts, [Some("08:00,1M 20:00,off".to_owned()), Some("50".to_owned())]);
        for (bandwidth, requests, expected) in [
            (
                "1X",
                None,
                "failed to read job config: transfer.bandwidthLimit \"1X\" is no limit; write a number of KiB",
            ),
            ("1M", Some("1.5"), "failed to read job config: transfer.requestLimit \"1.5\" is no limit; write a whole"),
        ] {
            let error = RateLimits::parse(Some(bandwidth), requests).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
