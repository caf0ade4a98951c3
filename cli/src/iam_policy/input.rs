//! What policies are made of: the parts of a job that decide which requests are sent, and to what.

use migration_api::config::is_server_side;
use migration_api::manifest::BucketSide;
use migration_api::services::{AssumeRole, Credentials, Destination, EncryptionType, Queue, Source};
use migration_api::spec::DeletionPolicy;
use migration_api::transfer::Transfer;
use migration_api::{MigrationJob, MigrationJobSpec, names};
use migration_core::pair::BucketPair;

use super::error::PolicyError;

/// What policies are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Partition of all ARNs; `None` follows from each region.
    pub partition: Option<String>,
    /// Account of queue, table and KMS keys; `None` means any.
    pub account: Option<String>,
    /// The source.
    pub source: Side,
    /// The destination.
    pub destination: Side,
    /// The queue; `None` if it is not known.
    pub queue: Option<QueueNames>,
    /// The ledger's table; `None` if it is not known.
    pub table: Option<Table>,
    /// The settings that decide which requests are sent.
    pub settings: Settings,
}

/// A side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Region.
    pub region: String,
    /// Buckets and prefixes, each once.
    pub ranges: Vec<Range>,
    /// ID, ARN or alias of the KMS key, unless it is the account's default key, which needs no permission.
    pub kms_key: Option<String>,
    /// The service has an endpoint of its own, so that it may be another than Amazon's.
    pub has_endpoint: bool,
    /// Requests name the payer.
    pub requester_pays: bool,
    /// The role that sends the requests, unless the policy is attached to whoever the job runs as.
    pub role: Option<AssumeRole>,
}

/// The keys of a bucket that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The bucket.
    pub bucket: String,
    /// The prefix; empty means all keys.
    pub prefix: String,
}

/// A queue and its dead letter queue. A name may end in `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueNames {
    /// Region.
    pub region: String,
    /// Account, if the queue's URL names it.
    pub account: Option<String>,
    /// Name of the queue.
    pub name: String,
    /// Name of the dead letter queue.
    pub dead_letters: String,
}

/// A table. A name may end in `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Region.
    pub region: String,
    /// Name.
    pub name: String,
}

/// A topic of SNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// ARN.
    pub arn: String,
    /// It has credentials of its own, rather than those of the queue.
    pub has_credentials: bool,
}

/// Settings that decide which requests are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Settings {
    /// Tags are preserved.
    pub tags: bool,
    /// Retention and legal hold are preserved.
    pub object_lock: bool,
    /// An ACL is written.
    pub acl: bool,
    /// Scans compare versions.
    pub compares_versions: bool,
    /// Reads name the version.
    pub reads_versions: bool,
    /// The service copies by itself.
    pub server_side: bool,
    /// Objects are deleted, by runs or for events.
    pub mirror: bool,
    /// Events start transfers.
    pub events: bool,
    /// The job configures the buckets that send them.
    pub notifications: bool,
    /// The reports.
    pub report: Option<Range>,
    /// The files of the work list, and whether they are at the source.
    pub work_list: Option<(BucketSide, Vec<Range>)>,
    /// The operator creates the queue.
    pub own_queue: bool,
    /// The operator creates the table.
    pub own_table: bool,
    /// What the operator created stays when the job is deleted.
    pub retains: bool,
    /// The topic of SNS that events are announced to.
    pub topic: Option<Topic>,
}

impl Input {
    /// Takes what a job says. `dead_letters` names the dead letter queue of a queue that exists, which a job does not
    /// name.
    pub fn of_job(job: &MigrationJob, dead_letters: Option<&str>) -> Result<Self, PolicyError> {
        let MigrationJobSpec { source, destination, queue, ledger, .. } = &job.spec;
        let pairs: Vec<BucketPair> = job.spec.buckets.iter().map(Into::into).collect();
        let table = ledger.table_name.clone().unwrap_or_else(|| own_name(job));
        Ok(Self {
            partition: None,
            account: None,
            source: source_side(source, &pairs),
            destination: destination_side(destination, &pairs),
            queue: Some(queue_names(job, queue, dead_letters)?),
            table: Some(Table { region: ledger.region.clone(), name: table }),
            settings: settings(job),
        })
    }
}

impl Range {
    /// Reads `bucket` or `bucket/prefix`.
    pub fn parse(text: &str) -> Self {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    }
}

/// Returns each range that is not within another one.
pub fn widest(ranges: impl Iterator<Item = Range>) -> Vec<Range> {
    let mut kept: Vec<Range> = Vec::new();
    let mut ranges: Vec<_> = ranges.collect();
    // A prefix sorts before what begins with it.
    ranges.sort();
    for range in ranges {
        if !kept.iter().any(|wide| wide.bucket == range.bucket && range.prefix.starts_with(&wide.prefix)) {
            kept.push(range);
        }
    }
    kept
}

fn source_side(source: &Source, pairs: &[BucketPair]) -> Side {
    let range = |pair: &BucketPair| Range { bucket: pair.source_bucket.clone(), prefix: pair.source_prefix.clone() };
    Side {
        region: source.region.clone(),
        ranges: widest(pairs.iter().map(range)),
        kms_key: None,
        has_endpoint: source.endpoint.is_some(),
        requester_pays: source.requester_pays,
        role: role(source.credentials.as_ref()),
    }
}

fn destination_side(destination: &Destination, pairs: &[BucketPair]) -> Side {
    let range = |pair: &BucketPair| Range { bucket: pair.destination_bucket.clone(), prefix: pair.destination_range() };
    let encryption = destination.encryption.as_ref().filter(|encryption| encryption.kind != EncryptionType::S3);
    Side {
        region: destination.region.clone(),
        ranges: widest(pairs.iter().map(range)),
        kms_key: encryption.and_then(|encryption| encryption.kms_key_id.clone()),
        has_endpoint: destination.endpoint.is_some(),
        requester_pays: destination.requester_pays,
        role: role(destination.credentials.as_ref()),
    }
}

fn role(credentials: Option<&Credentials>) -> Option<AssumeRole> {
    credentials.and_then(|credentials| credentials.assume_role.clone())
}

fn settings(job: &MigrationJob) -> Settings {
    let spec = &job.spec;
    let (Transfer { preserve, .. }, events) = (&spec.transfer, &spec.trigger.events);
    Settings {
        tags: preserve.tags,
        object_lock: preserve.object_lock,
        acl: spec.destination.acl.is_some(),
        compares_versions: spec.versioning.compare_version_id,
        reads_versions: spec.versioning.get_object_with_version_id,
        server_side: is_server_side(spec),
        mirror: spec.mirror.delete_extraneous || spec.mirror.delete_events,
        events: events.enabled,
        notifications: events.enabled && events.configure_bucket_notifications,
        report: spec.report.as_ref().map(|report| Range {
            bucket: report.bucket.clone(),
            prefix: format!("{}{}-", report.prefix, job.metadata.name.as_deref().unwrap_or_default()),
        }),
        work_list: spec.manifest.as_ref().map(|list| (list.side, files_of_list(&list.bucket, &list.key))),
        own_queue: spec.queue.url.is_none(),
        own_table: spec.ledger.table_name.is_none(),
        retains: spec.deletion_policy == DeletionPolicy::Retain,
        topic: spec
            .notify
            .as_ref()
            .and_then(|notify| notify.sns.as_ref())
            .map(|topic| Topic { arn: topic.topic_arn.clone(), has_credentials: topic.credentials.is_some() }),
    }
}

/// Returns the list itself and where its files are. Those of an inventory are in `data/` beside the folder of its
/// `manifest.json`, those of a report in `results/` beside it, or at its root.
/// Source: "Locating your inventory list" and "Examples: S3 Batch Operations completion reports" in the S3 user guide.
fn files_of_list(bucket: &str, key: &str) -> Vec<Range> {
    let range = |prefix: String| Range { bucket: bucket.to_owned(), prefix };
    let mut files = vec![range(key.to_owned())];
    let Some(folder) = key.strip_suffix("manifest.json") else { return files };
    files.push(range(format!("{folder}results/")));
    let outer = folder.trim_end_matches('/').rsplit_once('/').map_or("", |(outer, _)| outer);
    let outer = if outer.is_empty() { String::new() } else { format!("{outer}/") };
    files.push(range(format!("{outer}data/")));
    files
}

fn queue_names(job: &MigrationJob, queue: &Queue, dead_letters: Option<&str>) -> Result<QueueNames, PolicyError> {
    let region = queue.region.clone();
    let Some(url) = &queue.url else {
        let name = own_name(job);
        return Ok(QueueNames { region, account: None, dead_letters: format!("{name}{}", names::DEAD_LETTERS), name });
    };
    // https://host/account/name
    let mut path = url.splitn(4, '/').nth(3).unwrap_or_default().rsplit('/');
    let (name, account) = (path.next().unwrap_or_default(), path.next());
    let is_account = |text: &&str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    Ok(QueueNames {
        region,
        account: account.filter(is_account).map(ToOwned::to_owned),
        name: name.to_owned(),
        dead_letters: dead_letters.ok_or(PolicyError::NoDeadLetters)?.to_owned(),
    })
}

/// Returns the name of queue and table that the operator creates. The UID in it is known only if the resource comes from
/// a cluster.
fn own_name(job: &MigrationJob) -> String {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    match &job.metadata.uid {
        Some(uid) => names::queue_and_table(name, uid),
        None => format!("{}*", names::queue_and_table_prefix(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(change: &str) -> MigrationJob {
        let base = "{apiVersion: s3migration.dev/v1alpha1, kind: MigrationJob, metadata: {name: photos}, spec: \
                    {buckets: [{sourceBucket: aaa, destinationBucket: bbb}], source: {region: r}, destination: \
                    {region: r}, queue: {region: r}, ledger: {region: r}}}";
        let mut value: serde_json::Value = serde_yaml::from_str(base).unwrap();
        let change: serde_json::Value = serde_yaml::from_str(change).unwrap();
        for (path, new) in change.as_object().unwrap() {
            let (parent, name) = path.rsplit_once('/').unwrap();
            value.pointer_mut(parent).unwrap()[name] = new.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_service_copies_where_the_engine_lets_it() {
        for (change, expected) in [
            ("{}", true),
            ("{/spec/destination/region: q}", false),
            ("{/spec/destination/endpoint: 'http://s3'}", false),
            ("{/spec/destination/credentials: {secretRef: {name: k}}}", false),
            ("{/spec/transfer: {preserve: {tags: false}}}", false),
            ("{/spec/transfer: {mode: Stream}}", false),
            ("{/spec/transfer: {mode: ServerSide}, /spec/destination/region: q}", true),
        ] {
            assert_eq!(is_server_side(&job(change).spec), expected, "{change}");
        }
    }

    #[test]
    fn names_of_what_is_created_end_in_the_uid_if_it_is_known() {
        let of = |change: &str| Input::of_job(&job(change), None).unwrap();
        assert_eq!(of("{}").queue.unwrap().dead_letters, "s3-migration-photos-*-dlq");
        assert_eq!(of("{/metadata/uid: u-1}").table.unwrap().name, "s3-migration-photos-u-1");
        let long = of("{/metadata/name: abcdefghijklmnopqrstuvwxy-abcdefg}").table.unwrap().name;
        assert_eq!(long, "s3-migration-abcdefghijklmnopqrstuvwxy-*");
    }

    #[test]
    fn a_queue_that_exists_is_named_by_its_url() {
        let given = "{/spec/queue: {region: r, url: 'https://sqs.r.amazonaws.com/123456789012/photos'}}";
        assert!(matches!(Input::of_job(&job(given), None), Err(PolicyError::NoDeadLetters)));
        let queue = Input::of_job(&job(given), Some("dead")).unwrap().queue.unwrap();
        assert_eq!((queue.name.as_str(), queue.account.as_deref()), ("photos", Some("123456789012")));
        let elsewhere = "{/spec/queue: {region: r, url: 'http://host:9324/queue/photos'}}";
        assert_eq!(Input::of_job(&job(elsewhere), Some("dead")).unwrap().queue.unwrap().account, None);
    }

    #[test]
    fn ranges_within_others_are_left_out() {
        let ranges = ["b/a/", "b/a/x", "b/ab", "c", "c/d", "b/a/"].map(Range::parse);
        assert_eq!(widest(ranges.into_iter()), ["b/a/", "b/ab", "c"].map(Range::parse));
    }

    #[test]
    fn the_files_of_a_list_are_near_it() {
        let of = |key: &str| files_of_list("lists", key).into_iter().map(|file| file.prefix).collect::<Vec<_>>();
        assert_eq!(of("a.csv"), ["a.csv"]);
        assert_eq!(
            of("inv/src/daily/2026-01-01T00-00Z/manifest.json"),
            [
                "inv/src/daily/2026-01-01T00-00Z/manifest.json",
                "inv/src/daily/2026-01-01T00-00Z/results/",
                "inv/src/daily/data/"
            ]
        );
        assert_eq!(of("manifest.json"), ["manifest.json", "results/", "data/"]);
    }
}
