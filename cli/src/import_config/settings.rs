//! The settings of the predecessor, what each becomes, and what is different then.
//!
//! Source: `aws-samples/amazon-s3-resumable-upload`, branch `v1`: `s3_migration_cluster_config.ini`, the cluster's and
//! the serverless edition's `app.py`, and the Lambda functions' environment.

/// A setting of the predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub stands_in: StandsIn,
    /// What it becomes.
    pub becomes: Becomes,
    /// What is different now, or why there is no counterpart. Empty if the meaning is the same.
    pub note: &'static str,
}

/// Where a setting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandsIn {
    /// The cluster's configuration file.
    Cluster,
    /// The cluster's configuration file and the environment of the Lambda functions.
    Both,
    /// The environment of the Lambda functions, or `app.py` of the serverless edition, which sets it.
    Serverless,
    /// The list of buckets.
    Buckets,
    /// The stored credentials.
    Credentials,
    /// The CDK programs.
    Cdk,
    /// The list of objects to ignore.
    IgnoreList,
}

/// What a setting becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// A field of the resource or of what stands beside it.
    Field(&'static str),
    /// Nothing.
    Nothing,
}

impl StandsIn {
    /// Returns its name in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Both => "cluster, serverless",
            Self::Serverless => "serverless",
            Self::Buckets => "bucket list",
            Self::Credentials => "credentials",
            Self::Cdk => "CDK program",
            Self::IgnoreList => "ignore list",
        }
    }
}

impl Setting {
    /// Returns its row in the table of `docs/import-config.md`.
    pub fn row(&self) -> String {
        let becomes = match self.becomes {
            Becomes::Field(field) => format!("`{field}`"),
            Becomes::Nothing => "not taken over".to_owned(),
        };
        format!("| `{}` | {} | {becomes} | {} |", self.name, self.stands_in.as_str(), self.note)
    }
}

/// Finds a setting by its name; case does not matter, as in the predecessor's configuration file.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(name))
}

const fn field(name: &'static str, stands_in: StandsIn, becomes: &'static str, note: &'static str) -> Setting {
    Setting { name, stands_in, becomes: Becomes::Field(becomes), note }
}

const fn nothing(name: &'static str, stands_in: StandsIn, note: &'static str) -> Setting {
    Setting { name, stands_in, becomes: Becomes::Nothing, note }
}

/// All settings.
pub const SETTINGS: &[Setting] = {
    use StandsIn::{Both, Buckets, Cdk, Cluster, Credentials, IgnoreList, Serverless};
    &[
        field(
            "JobType",
            Both,
            "spec.source.credentials, spec.destination.credentials",
            "PUT means that the stored keys write the destination, and the source is read with the pods' own identity; \
             GET means the other way round",
        ),
        nothing(
            "table_queue_name",
            Both,
            "the ledger is a table of another form, which the operator creates; a table that exists is named by \
             spec.ledger.tableName",
        ),
        nothing(
            "sqs_queue_name",
            Cluster,
            "the operator creates a queue of the job's own; to work off the old queue, drain it with the predecessor, \
             or name its URL in spec.queue.url: workers understand its messages",
        ),
        nothing("sqs_queue", Serverless, "as sqs_queue_name"),
        nothing(
            "ssm_parameter_bucket",
            Both,
            "the pairs of buckets stand in spec.buckets; no parameter is read while the job runs",
        ),
        nothing(
            "ssm_parameter_credentials",
            Both,
            "the keys stand in a Secret; no parameter is read while the job runs",
        ),
        nothing(
            "ssm_parameter_ignore_list",
            Serverless,
            "the patterns stand in a ConfigMap; no parameter is read while the job runs",
        ),
        nothing(
            "Des_bucket_default",
            Both,
            "each S3 event is mapped by the pairs of spec.buckets that its bucket and key match; add a pair for the \
             bucket that sends events, and write spec.trigger.events.enabled: true, which also has the bucket configured",
        ),
        nothing("Des_prefix_default", Both, "as Des_bucket_default"),
        field(
            "StorageClass",
            Both,
            "spec.destination.storageClass",
            "without it each object keeps the class that it has at the source",
        ),
        field(
            "ResumableThreshold",
            Cluster,
            "spec.transfer.multipartThreshold",
            "smaller objects are moved in one request of at most 5Gi. The default, 16Mi, needs fewer requests",
        ),
        field(
            "MaxRetry",
            Both,
            "spec.transfer.maxAttempts",
            "it counted the retries of one part; now it counts attempts of a whole object without progress, over all \
             deliveries of its message. Single requests are retried besides that. At most 100",
        ),
        field("MaxThread", Both, "spec.transfer.partsPerFile", "at most 256; spec.transfer.memoryLimit bounds it too"),
        field(
            "MaxParallelFile",
            Both,
            "spec.transfer.filesPerWorker",
            "a bound of at most 256; the default, Auto, suits small objects better",
        ),
        nothing(
            "JobTimeout",
            Both,
            "an object may take any time: its message is kept while bytes move, and is given back after 5 minutes \
             without progress. spec.limits.runDeadline limits a whole run",
        ),
        field(
            "JobsenderCompareVersionId",
            Both,
            "spec.versioning.compareVersionId",
            "versions are recorded when a copy was verified, not when it began. The predecessor's records are not \
             read, so the first run copies every object of a bucket with versions again",
        ),
        field(
            "UpdateVersionId",
            Both,
            "spec.versioning.updateVersionId",
            "it works for small objects and for buckets without versions too, and looks again after the copy",
        ),
        field(
            "GetObjectWithVersionId",
            Both,
            "spec.versioning.getObjectWithVersionId",
            "without a version the current object is read, bound to its ETag; the version null is never asked for",
        ),
        nothing(
            "CleanUnfinishedUpload",
            Cluster,
            "an upload is continued only if it is the job's own and fits the source, else it is aborted; uploads of \
             others are never touched: remove them with a lifecycle rule",
        ),
        field(
            "LoggingLevel",
            Cluster,
            "spec.logs.level",
            "spec.logs.transferLines adds the lines that the CloudWatch filters look for",
        ),
        nothing(
            "LocalProfileMode",
            Cluster,
            "pods have their own identity; `s3migrate run` takes profiles by --source-profile and \
            --destination-profile",
        ),
        nothing(
            "ifVerifyMD5Twice",
            Cluster,
            "always done: the ETag of each finished object is compared with the bytes sent. spec.verify.mode Full \
             compares both sides once more after a run",
        ),
        field(
            "ChunkSize",
            Cluster,
            "spec.transfer.partSize",
            "from 5Mi to 5Gi; it may be changed at any time. Auto, the default, needs fewer requests. Parts of the \
             source's object are kept where they are regular",
        ),
        nothing("checkip_url", Serverless, "it named the Lambda function in logs and records; pods have names"),
        field(
            "aws_access_key_region",
            Serverless,
            "spec.source.region, spec.destination.region",
            "the region of the side that the stored keys belong to; early releases kept the keys in variables",
        ),
        field("src_bucket", Buckets, "spec.buckets[].sourceBucket", ""),
        field(
            "src_prefix",
            Buckets,
            "spec.buckets[].sourcePrefix",
            "a plain string, as before: photo means photo/ and photos/ too. `/` alone meant no prefix, which is empty \
            now",
        ),
        field("des_bucket", Buckets, "spec.buckets[].destinationBucket", ""),
        field(
            "des_prefix",
            Buckets,
            "spec.buckets[].destinationPrefix",
            "a plain string now, so the `/` that was put after it is written. Keys are not changed: `//`, `/./` and a \
             leading `/` stay, which the predecessor removed",
        ),
        field("aws_access_key_id", Credentials, "AWS_ACCESS_KEY_ID of the Secret", ""),
        field("aws_secret_access_key", Credentials, "AWS_SECRET_ACCESS_KEY of the Secret", ""),
        field(
            "aws_session_token",
            Credentials,
            "AWS_SESSION_TOKEN of the Secret",
            "the predecessor took no temporary keys; a changed Secret is noticed without a restart",
        ),
        field(
            "region",
            Credentials,
            "spec.source.region, spec.destination.region",
            "the region of the side that the stored keys belong to; the other side's is given by --region",
        ),
        field(
            "bucket_para",
            Cdk,
            "spec.buckets",
            "up to 50 pairs in a MigrationJob, whose destinations don't overlap; further ones go into more \
            MigrationJobs",
        ),
        nothing("alarm_email", Cdk, "alerts come from Prometheus rules and are sent by its Alertmanager"),
        nothing("worker_type", Cdk, "spec.worker.resources and spec.worker.nodeSelector say where pods run"),
        nothing("jobsender_type", Cdk, "spec.jobsender.resources and spec.jobsender.nodeSelector say where pods run"),
        nothing("app", Cdk, "of cdk.json: it starts the CDK, which is not needed any more"),
        field(
            "AWS_REGION",
            Serverless,
            "spec.source.region, spec.destination.region, spec.queue.region, spec.ledger.region",
            "the region that the predecessor ran in, unless --region is given",
        ),
        field(
            "FunctionArn",
            Serverless,
            "spec.source.region, spec.destination.region, spec.queue.region, spec.ledger.region",
            "as AWS_REGION",
        ),
        field(
            "s3_migration_ignore_list.txt",
            IgnoreList,
            "spec.filters.ignoreFrom, and a ConfigMap",
            "the same patterns with the same meaning; they also apply to S3 events. A pattern with an impossible \
             class such as [z-a] matched nothing or stopped the predecessor, and is left out",
        ),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_nothing_is_left_out_without_a_reason() {
        for (place, setting) in SETTINGS.iter().enumerate() {
            assert!(SETTINGS[place + 1..].iter().all(|other| !other.name.eq_ignore_ascii_case(setting.name)));
            assert!(setting.becomes != Becomes::Nothing || !setting.note.is_empty(), "{}", setting.name);
        }
        assert_eq!(find("jobtype").map(|setting| setting.name), Some("JobType"));
        assert_eq!(find("other"), None);
    }

    #[test]
    fn the_documented_table_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/import-config.md");
        let text = std::fs::read_to_string(path).unwrap();
        let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = SETTINGS.iter().map(Setting::row).collect();
        assert_eq!(documented, expected, "docs/import-config.md is stale");
    }
}
