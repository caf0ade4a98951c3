//! The parts of the status for people.

use migration_api::buckets::BucketMapping;
use migration_api::status::{CostStatus, Display, MigrationJobStatus};
use migration_core::printable::printable;
use migration_core::size::human;

/// Returns what the columns of `kubectl get` show.
pub fn of(status: &MigrationJobStatus, buckets: &[BucketMapping]) -> Display {
    let progress = status.progress.as_ref();
    let live = status.current_run.is_some();
    Display {
        objects: progress.map(|p| format!("{}/{}", p.objects.done, p.objects.total)),
        bytes: progress.map(|p| format!("{} / {}", human(p.bytes.done), human(p.bytes.total))),
        rate: if live { progress.and_then(|p| p.rate_bytes_per_second) } else { mean(status) }
            .map(|rate| format!("{}/s", human(rate))),
        eta: progress.filter(|_| live).and_then(|p| p.eta_seconds).map(duration),
        workers: status.workers.map(|workers| format!("{}/{}", workers.ready, workers.desired)),
        cost: status.cost.as_ref().filter(|cost| cost.as_of.is_some()).map(cost),
        source: first_of(buckets, |pair| place(&pair.source_bucket, &pair.source_prefix)),
        destination: first_of(buckets, |pair| place(&pair.destination_bucket, &pair.destination_prefix)),
    }
}

fn cost(cost: &CostStatus) -> String {
    format!("{} {}", cost.total.short(), cost.currency)
}

/// Returns the place of the first pair, and the number of the others.
fn first_of(buckets: &[BucketMapping], place: impl Fn(&BucketMapping) -> String) -> Option<String> {
    let (first, others) = buckets.split_first()?;
    let others = if others.is_empty() { String::new() } else { format!(" (+{})", others.len()) };
    Some(format!("{}{others}", place(first)))
}

fn place(bucket: &str, prefix: &str) -> String {
    if prefix.is_empty() { bucket.to_owned() } else { format!("{bucket}/{}", printable(prefix)) }
}

/// Returns the mean rate of the last run in bytes per second, or none if it moved nothing.
fn mean(status: &MigrationJobStatus) -> Option<u64> {
    let run = status.last_run.as_ref().filter(|run| run.bytes > 0)?;
    let millis = run.ended_at.0.as_millisecond() - run.started_at.0.as_millisecond();
    let millis = u64::try_from(millis.max(1)).ok()?;
    u64::try_from(u128::from(run.bytes) * 1_000 / u128::from(millis)).ok()
}

/// Formats a duration as `45s`, `4m10s`, `3h05m`, `2d04h`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pair_stands_for_all() {
        let buckets: Vec<BucketMapping> = serde_yaml::from_str(
            "[{sourceBucket: photos, sourcePrefix: 2026/, destinationBucket: copy}, {sourceBucket: a, destinationBucket: b}]",
        )
        .unwrap();
        let shown = |buckets| {
            let display = of(&MigrationJobStatus::default(), buckets);
            (display.source, display.destination)
        };
        assert_eq!(shown(&buckets), (Some("photos/2026/ (+1)".to_owned()), Some("copy (+1)".to_owned())));
        assert_eq!(shown(&buckets[..1]), (Some("photos/2026/".to_owned()), Some("copy".to_owned())));
        assert_eq!(shown(&[]), (None, None));
    }

    #[test]
    fn times_are_short() {
        for (seconds, expected) in
            [(0, "0s"), (59, "59s"), (60, "1m00s"), (250, "4m10s"), (11_100, "3h05m"), (187_200, "2d04h")]
        {
            assert_eq!(duration(seconds), expected);
        }
    }
}
