//! Tries the requests of a job on its buckets before objects are moved, so that what is refused is known with its cause:
//! operation, resource, the service's words, and the permissions that the request needs.
//!
//! | side | of each | request | shows |
//! |---|---|---|---|
//! | source | bucket and prefix | a page of the listing | credentials, bucket, region, permission to list |
//! | | | a byte of the first, the middle and the last object of that page that the job would move | permission to read and to decrypt; versions, if the job uses them |
//! | | | the tags of one of them, if they are preserved | permission to read tags: S3 hides them without an error |
//! | destination | bucket and prefix | one key of the listing | as at the source |
//! | | | an upload, which is created and aborted: nothing becomes visible | permission to write, to encrypt, to write tags, to abort |
//!
//! Each request is sent to the service itself and not through the gates, which would wait for the end of a fault.

mod destination;
mod source;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use migration_core::error::{Service, ServiceError};
use migration_core::events::{bucket_arn, partition};
use migration_core::operation::Operation;
use migration_core::permissions::{Needs, Part, actions};
use migration_core::ports::ObjectStore;
use migration_core::preflight::{CLOCK_TOLERANCE_MS, Finding, Purpose, Report, Shortcoming};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::{Process, Services};

/// Ranges of keys that are checked at once.
const AT_ONCE: usize = 8;
/// Time for all checks: well within the deadline of their Job.
const TIME: Duration = Duration::from_mins(4);

/// The keys of a bucket that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    side: Service,
    bucket: String,
    prefix: String,
}

/// Checks the buckets of a job. Each finding is logged too.
pub async fn check<P: Services>(process: &Process<P>) -> Report {
    let ends = Instant::now() + TIME;
    let checks = stream::iter(ranges(process)).map(|range| async move {
        let check = Check { process, range: &range };
        let found = timeout_at(ends, Box::pin(check.all())).await;
        found.unwrap_or_else(|_| vec![check.overdue()])
    });
    let mut found: Vec<Finding> = checks.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.concat();
    found.extend(clocks(process));
    for finding in &found {
        warn!(side = %finding.side, problem = ?finding.problem, %finding, "preflight");
    }
    Report::of(found)
}

/// Returns the ranges that the pairs read and write, each once.
fn ranges<P: Services>(process: &Process<P>) -> BTreeSet<Range> {
    let pairs = process.config.buckets.iter();
    let both = pairs.map(|pair| {
        let source =
            Range { side: Service::Source, bucket: pair.source_bucket.clone(), prefix: pair.source_prefix.clone() };
        let (bucket, prefix) = (pair.destination_bucket.clone(), pair.destination_range());
        [source, Range { side: Service::Destination, bucket, prefix }]
    });
    both.flatten().collect()
}

/// Returns the sides whose clock is not ours.
fn clocks<P: Services>(process: &Process<P>) -> Vec<Finding> {
    let sides = [
        (Service::Source, process.ports.source.clock_offset(), &process.config.source),
        (Service::Destination, process.ports.destination.clock_offset(), &process.config.destination),
    ];
    let far = sides.into_iter().filter_map(|(side, offset, at)| Some((side, offset?, at)));
    let far = far.filter(|(_, offset, _)| offset.abs() > CLOCK_TOLERANCE_MS);
    far.map(|(side, offset, at)| {
        let (minutes, what) = (offset.abs() / 60_000, if offset > 0 { "ahead of" } else { "behind" });
        let message = format!("the service's clock is {minutes} minutes {what} the pod's");
        let place = at.service.endpoint.clone().unwrap_or_else(|| at.service.region.clone());
        Finding::new(side, Shortcoming::ClockInaccurate, Operation::ListObjects, place, message)
    })
    .collect()
}

/// The checks of one range.
struct Check<'a, P: Services> {
    process: &'a Process<P>,
    range: &'a Range,
}

impl<P: Services> Check<'_, P> {
    async fn all(&self) -> Vec<Finding> {
        match self.range.side {
            Service::Source => self.source().await,
            _ => self.destination().await,
        }
    }

    /// Returns the finding that a refused request is.
    fn found(
        &self,
        purpose: Purpose,
        operation: Operation,
        key: Option<&str>,
        error: &ServiceError,
    ) -> Option<Finding> {
        let needs = Needs::of(&self.process.config);
        let (side, part) = match self.range.side {
            Service::Source => (Service::Source, Part::Source),
            side => (side, Part::Destination),
        };
        // The configuration does not tell which keys objects are encrypted with, but a denial may.
        let of_kms = migration_core::preflight::is_of_kms(error);
        let needs = Needs { source_key: of_kms, destination_key: of_kms || needs.destination_key, ..needs };
        let mut actions = actions(part, operation, &needs);
        if of_kms {
            actions.retain(|action| action.starts_with("kms:"));
        }
        Finding::of(side, purpose, operation, self.arn(key), error, &actions)
    }

    /// Returns the ARN of the bucket, or of an object in it.
    fn arn(&self, key: Option<&str>) -> String {
        let side = match self.range.side {
            Service::Source => &self.process.config.source,
            _ => &self.process.config.destination,
        };
        let bucket = bucket_arn(partition(&side.service.region), &self.range.bucket);
        key.map_or_else(|| bucket.clone(), |key| format!("{bucket}/{key}"))
    }

    fn overdue(&self) -> Finding {
        let message = format!("the checks did not end within {} minutes", TIME.as_secs() / 60);
        Finding::new(self.range.side, Shortcoming::Unreachable, Operation::ListObjects, self.arn(None), message)
    }

    /// Why a bucket is listed: a job with a work list needs listings only to tell absence from denial.
    fn purpose_of_listing(&self) -> Purpose {
        if self.process.config.manifest.is_some() { Purpose::Absence } else { Purpose::Scan }
    }
}
