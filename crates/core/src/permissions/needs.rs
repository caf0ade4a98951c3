//! Which rules apply to a job.

use super::{Part, Request, Rule, When, all};
use crate::config::{Encryption, JobConfig};
use crate::manifest::BucketSide;
use crate::operation::Operation;
use crate::plan;

/// The settings of a job that decide which requests it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Needs {
    /// Tags are preserved.
    pub tags: bool,
    /// The destination may drop tags silently: it has an endpoint of its own.
    pub tags_may_be_dropped: bool,
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
    /// Extraneous objects are deleted.
    pub mirror: bool,
    /// Events start transfers.
    pub events: bool,
    /// The job configures the buckets that send them.
    pub notifications: bool,
    /// Reports are written.
    pub report: bool,
    /// The side of the work list.
    pub work_list: Option<BucketSide>,
    /// The source's objects are encrypted with a KMS key that needs a permission.
    pub source_key: bool,
    /// The destination's objects are encrypted with a KMS key that needs a permission.
    pub destination_key: bool,
    /// The operator creates the queue.
    pub own_queue: bool,
    /// The operator creates the table.
    pub own_table: bool,
    /// What the operator created stays when the job is deleted.
    pub retains: bool,
    /// Events are announced to a topic of SNS.
    pub notifies: bool,
}

impl Needs {
    /// Returns what a configuration says. It does not tell which keys the source's objects are encrypted with, who
    /// creates queue and table, nor whether the operator announces events.
    pub fn of(config: &JobConfig) -> Self {
        let (preserve, versioning) = (config.transfer.preserve, config.versioning);
        let own_key = |encryption: &Encryption| match encryption {
            Encryption::S3 => false,
            Encryption::Kms { kms_key_id } | Encryption::DualKms { kms_key_id } => kms_key_id.is_some(),
        };
        Self {
            tags: preserve.tags,
            tags_may_be_dropped: preserve.tags && config.destination.service.endpoint.is_some(),
            object_lock: preserve.object_lock,
            acl: config.write.acl.is_some(),
            compares_versions: versioning.compare_version_id,
            reads_versions: versioning.get_object_with_version_id,
            server_side: plan::is_server_side(&config.transfer, &config.source, &config.destination),
            mirror: config.mirror.is_some(),
            events: config.events.is_some(),
            notifications: config.events.as_ref().is_some_and(|events| events.queue_arn.is_some()),
            report: config.report.is_some(),
            work_list: config.manifest.as_ref().map(|list| list.side),
            destination_key: config.write.encryption.as_ref().is_some_and(own_key),
            ..Self::default()
        }
    }
}

impl When {
    /// Returns true if a job with these settings sends the requests.
    pub fn holds(self, needs: &Needs) -> bool {
        match self {
            Self::Always => true,
            Self::Tags => needs.tags,
            Self::TagsMayBeDropped => needs.tags_may_be_dropped,
            Self::ObjectLock => needs.object_lock,
            Self::Acl => needs.acl,
            Self::ComparesVersions => needs.compares_versions,
            Self::ReadsVersions => needs.reads_versions,
            Self::ServerSide => needs.server_side,
            Self::ServerSideVersions => needs.server_side && needs.reads_versions,
            Self::ServerSideKey => needs.server_side && needs.source_key,
            Self::Mirror => needs.mirror,
            Self::ConfiguresNotifications => needs.notifications,
            Self::EventsAndMirror => needs.events && needs.mirror,
            Self::Report => needs.report,
            Self::ListAtSource => needs.work_list == Some(BucketSide::Source),
            Self::ListAtDestination => needs.work_list == Some(BucketSide::Destination),
            Self::SourceKey => needs.source_key,
            Self::DestinationKey => needs.destination_key,
            Self::OwnQueue => needs.own_queue,
            Self::OwnQueueDeleted => needs.own_queue && !needs.retains,
            Self::OwnTable => needs.own_table,
            Self::OwnTableDeleted => needs.own_table && !needs.retains,
            Self::Notifies => needs.notifies,
        }
    }
}

/// Returns the actions that a request of a job needs, each once; those that every job needs come first.
pub fn actions(part: Part, operation: Operation, needs: &Needs) -> Vec<&'static str> {
    let is_needed =
        |rule: &&Rule| rule.part == part && rule.requests.contains(&Request::Port(operation)) && rule.when.holds(needs);
    let (always, others): (Vec<&Rule>, Vec<&Rule>) =
        all().filter(is_needed).partition(|rule| rule.when == When::Always);
    let mut found: Vec<&'static str> = Vec::new();
    for rule in always.into_iter().chain(others) {
        if !found.contains(&rule.action) {
            found.push(rule.action);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operation::{AbortUpload, CreateUpload, GetObject, ListObjects};

    #[test]
    fn a_request_needs_what_the_settings_of_its_job_add() {
        let (plain, tags) = (Needs::default(), Needs { tags: true, ..Needs::default() });
        let key = Needs { source_key: true, destination_key: true, ..Needs::default() };
        for (part, operation, needs, expected) in [
            (Part::Source, ListObjects, plain, &["s3:ListBucket"][..]),
            (Part::Source, GetObject, plain, &["s3:GetObject"]),
            (Part::Source, GetObject, tags, &["s3:GetObject", "s3:GetObjectTagging"]),
            (Part::Source, GetObject, key, &["s3:GetObject", "kms:Decrypt"]),
            (Part::Destination, CreateUpload, tags, &["s3:PutObject", "s3:PutObjectTagging"]),
            (Part::Destination, CreateUpload, key, &["s3:PutObject", "kms:GenerateDataKey"]),
            (Part::Destination, AbortUpload, tags, &["s3:AbortMultipartUpload"]),
            (Part::Queue, CreateUpload, tags, &[]),
        ] {
            assert_eq!(actions(part, operation, &needs), expected, "{part:?} {operation} {needs:?}");
        }
    }
}
