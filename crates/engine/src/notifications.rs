//! Puts the notification entries of a job into its source buckets, and takes them away again.
//!
//! A bucket has one notification configuration, which a PUT replaces without a condition. So it is read, merged and
//! written back whole right afterwards, and read again until it is as wanted. What somebody else writes between that
//! read and write is lost to them: the caller must not configure one bucket from two processes at a time.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use migration_core::config::JobConfig;
use migration_core::error::{ErrorClass, ServiceError, ServiceFault};
use migration_core::events::{EventTypes, WantedEntries, merge, overlapping};
use migration_core::ports::{BucketAdmin, Ledger};
use migration_core::records::{self, NotificationsRecord, NotifiedBucket};
use migration_ledger::{ReadError, view, write};
use tracing::{info, warn};

use crate::repeat::repeated;

/// Times that a configuration is written. Configurations of buckets are eventually consistent, so that one that was
/// written may not be seen at once. Source: "Amazon S3 data consistency model" in the S3 user guide.
const WRITES: u32 = 4;
/// Time before a configuration is read back; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The services that are used.
#[derive(Debug)]
pub struct NotificationPorts<'a, S, D, L> {
    /// The source, whose buckets send events.
    pub source: &'a S,
    /// The destination, whose buckets are only looked at.
    pub destination: &'a D,
    /// The job's ledger.
    pub ledger: &'a L,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationReport {
    /// Buckets whose entries are as wanted.
    pub configured: Vec<String>,
    /// Buckets without an entry of the job, which had or may have had some.
    pub removed: Vec<String>,
    /// Buckets of a service that the source no longer is. They may still have entries.
    pub elsewhere: Vec<NotifiedBucket>,
}

impl fmt::Display for NotificationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |buckets: &[String]| if buckets.is_empty() { "none".to_owned() } else { buckets.join(", ") };
        write!(f, "buckets configured: {}; entries removed from: {}", list(&self.configured), list(&self.removed))?;
        if self.elsewhere.is_empty() {
            return Ok(());
        }
        let place = |place: &NotifiedBucket| {
            let at = place.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
            format!("{} in {}{at}", place.bucket, place.region)
        };
        let places: Vec<_> = self.elsewhere.iter().map(place).collect();
        write!(
            f,
            "; left, since the source is another service now: entries of {}, whose ids begin with s3-migration- and the \
             job's UID; remove them by hand",
            places.join(", ")
        )
    }
}

/// Why the entries are not as wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] ServiceError),
    /// The record of the buckets can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A bucket does not keep versions, and the job deletes at the destination.
    #[error(
        "failed to check versioning of {side} bucket {bucket}: it keeps no versions, and with mirror.deleteExtraneous or \
         mirror.deleteEvents an event's object could be deleted for good; enable versioning, or use events without mirror"
    )]
    Unversioned {
        /// `source` or `destination`.
        side: &'static str,
        /// The bucket.
        bucket: String,
    },
    /// The versioning of a bucket is unknown, and the job deletes at the destination.
    #[error("failed to check versioning of {side} bucket {bucket}: {source}; allow s3:GetBucketVersioning")]
    VersioningUnknown {
        /// `source` or `destination`.
        side: &'static str,
        /// The bucket.
        bucket: String,
        /// Cause.
        source: Box<ServiceError>,
    },
    /// Buckets could not be configured.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Buckets(Vec<BucketError>),
}

impl NotificationError {
    /// Returns true if another attempt may succeed without anybody's help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Ledger(error) | Self::Read(ReadError::Request(error)) => error.is_retryable(),
            Self::VersioningUnknown { source, .. } => source.is_retryable(),
            Self::Read(ReadError::Record(_)) | Self::Unversioned { .. } => false,
            Self::Buckets(errors) => errors.iter().any(|error| match error {
                BucketError::Request { source, .. } => source.is_retryable(),
                BucketError::Unstable { .. } => true,
            }),
        }
    }
}

/// Why the entries of one bucket are not as wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// The service refused a request.
    #[error("failed to configure notifications of bucket {bucket}: {source}{hint}")]
    Request {
        /// The bucket.
        bucket: String,
        /// Cause.
        source: ServiceError,
        /// What to do about it.
        hint: String,
    },
    /// The configuration did not stay as it was written.
    #[error(
        "failed to configure notifications of bucket {bucket}: it was written {WRITES} times and is still another; does \
         somebody else write it?"
    )]
    Unstable {
        /// The bucket.
        bucket: String,
    },
}

/// Makes the notification entries of the source buckets what the configuration says, and removes those of buckets that
/// are no longer the job's.
pub async fn apply<S: BucketAdmin, D: BucketAdmin, L: Ledger>(
    config: &JobConfig,
    ports: &NotificationPorts<'_, S, D, L>,
) -> Result<NotificationReport, NotificationError> {
    if config.needs_versions() {
        check_versions(config, ports).await?;
    }
    let queue = config.events.as_ref().and_then(|events| Some((events.queue_arn.as_deref()?, events.types)));
    converge(config, ports, queue).await
}

/// Removes all notification entries of the job.
pub async fn remove<S: BucketAdmin, D: BucketAdmin, L: Ledger>(
    config: &JobConfig,
    ports: &NotificationPorts<'_, S, D, L>,
) -> Result<NotificationReport, NotificationError> {
    converge(config, ports, None).await
}

/// Checks that the buckets of both sides keep versions.
async fn check_versions<S: BucketAdmin, D: BucketAdmin, L: Ledger>(
    config: &JobConfig,
    ports: &NotificationPorts<'_, S, D, L>,
) -> Result<(), NotificationError> {
    let sources: BTreeSet<_> = config.buckets.iter().map(|pair| &pair.source_bucket).collect();
    let destinations: BTreeSet<_> = config.buckets.iter().map(|pair| &pair.destination_bucket).collect();
    for bucket in sources {
        let kept = repeated(|| ports.source.keeps_versions(bucket)).await;
        check_versioning("source", bucket, kept)?;
    }
    for bucket in destinations {
        let kept = repeated(|| ports.destination.keeps_versions(bucket)).await;
        check_versioning("destination", bucket, kept)?;
    }
    Ok(())
}

fn check_versioning(
    side: &'static str,
    bucket: &str,
    kept: Result<bool, ServiceError>,
) -> Result<(), NotificationError> {
    let bucket = bucket.to_owned();
    match kept {
        Ok(true) => Ok(()),
        Ok(false) => Err(NotificationError::Unversioned { side, bucket }),
        Err(source) => Err(NotificationError::VersioningUnknown { side, bucket, source: Box::new(source) }),
    }
}

/// Makes the entries of all buckets as wanted. `queue` is where the events go; `None` removes the entries. One bucket
/// that can't be configured does not keep others from it.
async fn converge<S: BucketAdmin, D: BucketAdmin, L: Ledger>(
    config: &JobConfig,
    ports: &NotificationPorts<'_, S, D, L>,
    queue: Option<(&str, EventTypes)>,
) -> Result<NotificationReport, NotificationError> {
    let (job, service) = (&config.job.uid, &config.source.service);
    let before = view::notifications(ports.ledger, job).await?.buckets;
    let wanted: BTreeSet<NotifiedBucket> = config
        .buckets
        .iter()
        .filter(|_| queue.is_some())
        .map(|pair| NotifiedBucket::new(service, &pair.source_bucket))
        .collect();
    // Announced before anything is put, so that whatever was put is found again.
    let announced: BTreeSet<_> = before.iter().cloned().chain(wanted.iter().cloned()).collect();
    record(ports.ledger, job, &before, &announced).await?;

    let (mut report, mut errors) = (NotificationReport::default(), Vec::new());
    let mut left = wanted.clone();
    for notified in &announced {
        let bucket = &notified.bucket;
        if !notified.is_of(service) {
            left.insert(notified.clone());
            report.elsewhere.push(notified.clone());
            continue;
        }
        let (queue_arn, types) = queue.unwrap_or_default();
        let prefixes = if wanted.contains(notified) { config.source_prefixes(bucket) } else { Vec::new() };
        let entries = WantedEntries { job, queue_arn, prefixes: &prefixes, types };
        match converge_bucket(ports.source, bucket, &entries).await {
            Ok(()) if prefixes.is_empty() => report.removed.push(bucket.clone()),
            Ok(()) => report.configured.push(bucket.clone()),
            Err(error) => {
                left.insert(notified.clone());
                errors.push(error);
            }
        }
    }
    let announced: Vec<_> = announced.into_iter().collect();
    record(ports.ledger, job, &announced, &left).await?;
    if errors.is_empty() { Ok(report) } else { Err(NotificationError::Buckets(errors)) }
}

/// Writes the record of the buckets if it changes.
async fn record<L: Ledger>(
    ledger: &L,
    job: &str,
    before: &[NotifiedBucket],
    buckets: &BTreeSet<NotifiedBucket>,
) -> Result<(), ServiceError> {
    let buckets: Vec<_> = buckets.iter().cloned().collect();
    if buckets == before {
        return Ok(());
    }
    let writes = [records::notifications_write(job, &NotificationsRecord { buckets })];
    repeated(|| write::all(ledger, &writes)).await.map(drop)
}

/// Makes the entries of one bucket as wanted. A bucket that does not exist has none.
async fn converge_bucket<S: BucketAdmin>(
    source: &S,
    bucket: &str,
    wanted: &WantedEntries<'_>,
) -> Result<(), BucketError> {
    let failed = |source: ServiceError, hint: String| BucketError::Request { bucket: bucket.to_owned(), source, hint };
    for writes in 0..=WRITES {
        let current = match repeated(|| source.notifications(bucket)).await {
            Ok(current) => current,
            Err(error) if is_missing(&error) && wanted.prefixes.is_empty() => return Ok(()),
            Err(error) => return Err(failed(error, String::new())),
        };
        let Some(merged) = merge(&current, wanted) else { return Ok(()) };
        if writes == WRITES {
            break;
        }
        if writes > 0 {
            warn!(bucket, "the notification configuration is not yet as it was written");
        }
        if let Err(error) = repeated(|| source.put_notifications(bucket, &merged)).await {
            let hint =
                if error.class == ErrorClass::Refused { hint(&overlapping(&current, wanted)) } else { String::new() };
            return Err(failed(error, hint));
        }
        info!(bucket, entries = merged.entries.len(), "wrote the notification configuration");
        tokio::time::sleep(FIRST_WAIT * (1 << writes)).await;
    }
    Err(BucketError::Unstable { bucket: bucket.to_owned() })
}

fn is_missing(error: &ServiceError) -> bool {
    error.class == ErrorClass::Service(ServiceFault::NotFound)
}

/// Returns why S3 may refuse a configuration. It does not say which entries overlap, nor what the queue lacks.
fn hint(overlapping: &[&migration_core::events::NotificationEntry]) -> String {
    if overlapping.is_empty() {
        return "; the policy of the queue must allow s3.amazonaws.com to send, and an encrypted queue must have a key of \
                yours whose policy allows the same: s3migrate iam-policy queue-policy prints the policy"
            .to_owned();
    }
    let entries = overlapping.iter().map(|entry| {
        let id = entry.id.as_deref().unwrap_or("without an id");
        format!("{id} (to {} {})", entry.target.as_str(), entry.arn)
    });
    format!(
        "; S3 takes no two entries for the same event type and keys, and these overlap: {}; send the events of that entry on \
         to the job's queue (SNS, EventBridge), and set configureBucketNotifications: false",
        entries.collect::<Vec<_>>().join(", ")
    )
}
