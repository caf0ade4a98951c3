//! Which request needs which action of a policy, and when it is sent.
//!
//! Source: the required permissions in the API references of S3, SQS, SNS, `DynamoDB` and KMS.

mod needs;
mod object_rules;
mod service_rules;
mod table;

use std::fmt;

use crate::operation::Operation;

pub use needs::{Needs, actions};
pub use table::all;

/// What a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The credentials that read the source.
    Source,
    /// The credentials that write the destination.
    Destination,
    /// Jobsender and workers at the queue.
    Queue,
    /// Jobsender and workers at the ledger.
    Ledger,
    /// The operator, at queue, ledger and the topic of notifications.
    Operator,
}

/// What an action is allowed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The source buckets.
    SourceBuckets,
    /// The objects under the source prefixes.
    SourceObjects,
    /// The destination buckets.
    DestinationBuckets,
    /// The objects that pairs write.
    DestinationObjects,
    /// The objects of a work list.
    WorkList,
    /// The bucket of reports.
    ReportBucket,
    /// The objects of reports.
    ReportObjects,
    /// The KMS key of the source.
    SourceKey,
    /// The KMS key of the destination.
    DestinationKey,
    /// The queue.
    Queue,
    /// Its dead letter queue.
    DeadLetters,
    /// The ledger's table.
    Table,
    /// The topic of notifications.
    Topic,
}

/// When a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// By every job.
    Always,
    /// `transfer.preserve.tags`.
    Tags,
    /// `transfer.preserve.tags`, at a destination that may drop tags silently.
    TagsMayBeDropped,
    /// `transfer.preserve.objectLock`.
    ObjectLock,
    /// `destination.acl`.
    Acl,
    /// `versioning.compareVersionId`.
    ComparesVersions,
    /// `versioning.getObjectWithVersionId`.
    ReadsVersions,
    /// The service copies by itself.
    ServerSide,
    /// The service copies by itself, and versions are read.
    ServerSideVersions,
    /// The service copies by itself, and the source's objects are encrypted with a KMS key.
    ServerSideKey,
    /// `mirror.deleteExtraneous`.
    Mirror,
    /// `trigger.events` with `configureBucketNotifications`.
    ConfiguresNotifications,
    /// `trigger.events` with `mirror.deleteExtraneous`.
    EventsAndMirror,
    /// `report`.
    Report,
    /// `manifest` at the source.
    ListAtSource,
    /// `manifest` at the destination.
    ListAtDestination,
    /// The source's objects are encrypted with a KMS key.
    SourceKey,
    /// The destination's objects are encrypted with a KMS key.
    DestinationKey,
    /// The operator creates the queue.
    OwnQueue,
    /// The operator deletes the queue that it created.
    OwnQueueDeleted,
    /// The operator creates the table.
    OwnTable,
    /// The operator deletes the table that it created.
    OwnTableDeleted,
    /// `notify.sns`.
    Notifies,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Of a port of the engine.
    Port(Operation),
    /// Of the operator, which creates, inspects and deletes queues and tables, and announces events.
    Admin(&'static str),
}

/// An action that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The policy that it belongs to.
    pub part: Part,
    /// Name of the action.
    pub action: &'static str,
    /// What it is allowed on.
    pub kind: Kind,
    /// When it is needed.
    pub when: When,
    /// The requests that need it.
    pub requests: &'static [Request],
    /// Why.
    pub reason: &'static str,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 5] = [Self::Source, Self::Destination, Self::Queue, Self::Ledger, Self::Operator];

    /// Returns its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Queue => "queue",
            Self::Ledger => "ledger",
            Self::Operator => "operator",
        }
    }
}

impl Kind {
    /// Returns the ID of the statement about it.
    pub const fn sid(self) -> &'static str {
        match self {
            Self::SourceBuckets => "SourceBuckets",
            Self::SourceObjects => "SourceObjects",
            Self::DestinationBuckets => "DestinationBuckets",
            Self::DestinationObjects => "DestinationObjects",
            Self::WorkList => "WorkList",
            Self::ReportBucket => "ReportBucket",
            Self::ReportObjects => "ReportObjects",
            Self::SourceKey => "SourceKey",
            Self::DestinationKey => "DestinationKey",
            Self::Queue => "Queue",
            Self::DeadLetters => "DeadLetters",
            Self::Table => "Table",
            Self::Topic => "Topic",
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(operation) => operation.fmt(f),
            Self::Admin(name) => f.write_str(name),
        }
    }
}
