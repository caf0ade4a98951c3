//! Times in the library's type.

use std::time::{Duration, SystemTime};

use s3s::dto::Timestamp;

/// Converts a Unix time in milliseconds; times before 1970 become 1970.
pub(crate) fn timestamp(millis: i64) -> Timestamp {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    Timestamp::from(SystemTime::UNIX_EPOCH + since)
}
