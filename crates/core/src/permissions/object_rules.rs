//! The rules for source and destination.

use super::{Kind, Part, Request, Rule, When};
use crate::operation::Operation::{
    AbortUpload, CompleteUpload, CopyObject, CopyPart, CreateUpload, DeleteObject, GetNotifications, GetObject,
    GetTags, GetVersioning, HeadObject, ListObjects, ListParts, ListUploads, ListVersions, PutNotifications, PutObject,
    PutPart, PutTags,
};
use Request::Port;

const fn source(
    action: &'static str,
    kind: Kind,
    when: When,
    requests: &'static [Request],
    reason: &'static str,
) -> Rule {
    Rule { part: Part::Source, action, kind, when, requests, reason }
}

const fn destination(
    action: &'static str,
    kind: Kind,
    when: When,
    requests: &'static [Request],
    reason: &'static str,
) -> Rule {
    Rule { part: Part::Destination, action, kind, when, requests, reason }
}

const LIST: &str = "scans list; without it S3 answers 403 instead of 404 for an object that is absent. A check lists \
     one key of the bucket, and a HEAD names no prefix, so that a condition on s3:prefix would deny both";

const VERSIONING: &str = "with events and mirror together, the buckets have to keep versions";

/// What the source's credentials need.
pub(super) const SOURCE: &[Rule] = &[
    source("s3:ListBucket", Kind::SourceBuckets, When::Always, &[Port(ListObjects), Port(HeadObject)], LIST),
    source(
        "s3:ListBucketVersions",
        Kind::SourceBuckets,
        When::ComparesVersions,
        &[Port(ListVersions)],
        "scans list versions",
    ),
    source(
        "s3:GetObject",
        Kind::SourceObjects,
        When::Always,
        &[Port(GetObject), Port(HeadObject)],
        "objects and their attributes are read",
    ),
    source(
        "s3:GetObjectVersion",
        Kind::SourceObjects,
        When::ReadsVersions,
        &[Port(GetObject), Port(HeadObject)],
        "the version is named",
    ),
    source(
        "s3:GetObjectTagging",
        Kind::SourceObjects,
        When::Tags,
        &[Port(GetTags), Port(GetObject)],
        "tags are read; without it a GET does not show that there are any",
    ),
    source(
        "s3:GetObjectVersionTagging",
        Kind::SourceObjects,
        When::Tags,
        &[Port(GetTags)],
        "in buckets with versions the tags of the version that was read are asked for",
    ),
    source(
        "s3:GetObjectRetention",
        Kind::SourceObjects,
        When::ObjectLock,
        &[Port(GetObject), Port(HeadObject)],
        "without it the answer does not show the retention",
    ),
    source(
        "s3:GetObjectLegalHold",
        Kind::SourceObjects,
        When::ObjectLock,
        &[Port(GetObject), Port(HeadObject)],
        "without it the answer does not show the legal hold",
    ),
    source(
        "kms:Decrypt",
        Kind::SourceKey,
        When::SourceKey,
        &[Port(GetObject), Port(HeadObject)],
        "S3 decrypts what is read, and shows checksums only to those who may decrypt",
    ),
    source(
        "s3:GetBucketNotification",
        Kind::SourceBuckets,
        When::ConfiguresNotifications,
        &[Port(GetNotifications)],
        "the configuration is read, since it is written back with everything that others put there",
    ),
    source(
        "s3:PutBucketNotification",
        Kind::SourceBuckets,
        When::ConfiguresNotifications,
        &[Port(PutNotifications)],
        "the buckets are configured to send their events to the queue",
    ),
    source("s3:GetBucketVersioning", Kind::SourceBuckets, When::EventsAndMirror, &[Port(GetVersioning)], VERSIONING),
    source(
        "s3:GetObject",
        Kind::WorkList,
        When::ListAtSource,
        &[Port(HeadObject), Port(GetObject)],
        "the work list and its files are read",
    ),
];

/// What the destination's credentials need.
pub(super) const DESTINATION: &[Rule] = &[
    destination("s3:ListBucket", Kind::DestinationBuckets, When::Always, &[Port(ListObjects), Port(HeadObject)], LIST),
    destination(
        "s3:ListBucketMultipartUploads",
        Kind::DestinationBuckets,
        When::Always,
        &[Port(ListUploads)],
        "an upload whose ID was lost is found again",
    ),
    destination(
        "s3:GetObject",
        Kind::DestinationObjects,
        When::Always,
        &[Port(HeadObject), Port(GetObject), Port(PutObject), Port(CompleteUpload)],
        "copies are looked up and compared; a write with If-Match needs it",
    ),
    destination(
        "s3:GetObjectVersion",
        Kind::DestinationObjects,
        When::Always,
        &[Port(GetObject)],
        "in buckets with versions, copies that show abilities of the service or have another ETag are read back by version",
    ),
    destination(
        "s3:PutObject",
        Kind::DestinationObjects,
        When::Always,
        &[Port(PutObject), Port(CreateUpload), Port(PutPart), Port(CompleteUpload), Port(CopyObject), Port(CopyPart)],
        "objects are written, whole or in parts",
    ),
    destination(
        "s3:ListMultipartUploadParts",
        Kind::DestinationObjects,
        When::Always,
        &[Port(ListParts)],
        "an upload is completed from, and resumed by, the parts that are there",
    ),
    destination(
        "s3:AbortMultipartUpload",
        Kind::DestinationObjects,
        When::Always,
        &[Port(AbortUpload)],
        "the job's own uploads are aborted if they can't be continued",
    ),
    destination(
        "s3:PutObjectTagging",
        Kind::DestinationObjects,
        When::Tags,
        &[Port(PutObject), Port(CreateUpload), Port(CopyObject), Port(PutTags)],
        "objects are written with their tags",
    ),
    destination(
        "s3:PutObjectVersionTagging",
        Kind::DestinationObjects,
        When::TagsMayBeDropped,
        &[Port(PutTags)],
        "tags that the service dropped are set for the version written",
    ),
    destination(
        "s3:GetObjectTagging",
        Kind::DestinationObjects,
        When::TagsMayBeDropped,
        &[Port(GetTags), Port(HeadObject)],
        "it is looked whether the service dropped the tags",
    ),
    destination(
        "s3:GetObjectVersionTagging",
        Kind::DestinationObjects,
        When::TagsMayBeDropped,
        &[Port(GetTags)],
        "it is looked whether the service dropped the tags of the version written",
    ),
    destination(
        "s3:PutObjectRetention",
        Kind::DestinationObjects,
        When::ObjectLock,
        &[Port(PutObject), Port(CreateUpload), Port(CopyObject)],
        "objects are written with their retention",
    ),
    destination(
        "s3:PutObjectLegalHold",
        Kind::DestinationObjects,
        When::ObjectLock,
        &[Port(PutObject), Port(CreateUpload), Port(CopyObject)],
        "objects are written with their legal hold",
    ),
    destination(
        "s3:PutObjectAcl",
        Kind::DestinationObjects,
        When::Acl,
        &[Port(PutObject), Port(CreateUpload), Port(CopyObject)],
        "objects are written with an ACL",
    ),
    destination(
        "s3:DeleteObject",
        Kind::DestinationObjects,
        When::Mirror,
        &[Port(DeleteObject)],
        "extraneous objects are deleted",
    ),
    destination(
        "s3:GetBucketVersioning",
        Kind::DestinationBuckets,
        When::EventsAndMirror,
        &[Port(GetVersioning)],
        VERSIONING,
    ),
    destination(
        "s3:GetObject",
        Kind::SourceObjects,
        When::ServerSide,
        &[Port(CopyObject), Port(CopyPart)],
        "the service reads what it copies with the destination's credentials",
    ),
    destination(
        "s3:GetObjectTagging",
        Kind::SourceObjects,
        When::ServerSide,
        &[Port(CopyObject)],
        "the service copies tags with the destination's credentials",
    ),
    destination(
        "s3:GetObjectVersion",
        Kind::SourceObjects,
        When::ServerSideVersions,
        &[Port(CopyObject), Port(CopyPart)],
        "the version to copy is named",
    ),
    destination(
        "s3:GetObjectVersionTagging",
        Kind::SourceObjects,
        When::ServerSideVersions,
        &[Port(CopyObject)],
        "the service copies the tags of the named version",
    ),
    destination(
        "kms:Decrypt",
        Kind::SourceKey,
        When::ServerSideKey,
        &[Port(CopyObject), Port(CopyPart)],
        "the service decrypts what it copies with the destination's credentials",
    ),
    destination(
        "kms:GenerateDataKey",
        Kind::DestinationKey,
        When::DestinationKey,
        &[Port(PutObject), Port(CreateUpload), Port(PutPart), Port(CopyObject), Port(CopyPart)],
        "S3 encrypts what is written",
    ),
    destination(
        "kms:Decrypt",
        Kind::DestinationKey,
        When::DestinationKey,
        &[Port(PutPart), Port(CopyPart), Port(CompleteUpload), Port(GetObject), Port(HeadObject)],
        "S3 decrypts the parts of an upload, and what is read back or compared",
    ),
    destination(
        "s3:GetObject",
        Kind::WorkList,
        When::ListAtDestination,
        &[Port(HeadObject), Port(GetObject)],
        "the work list and its files are read",
    ),
    destination(
        "s3:ListBucket",
        Kind::ReportBucket,
        When::Report,
        &[Port(ListObjects)],
        "fragments are found that no longer count",
    ),
    destination(
        "s3:PutObject",
        Kind::ReportObjects,
        When::Report,
        &[Port(PutObject)],
        "fragments and the report are written",
    ),
    destination("s3:GetObject", Kind::ReportObjects, When::Report, &[Port(GetObject)], "fragments are merged"),
    destination(
        "s3:DeleteObject",
        Kind::ReportObjects,
        When::Report,
        &[Port(DeleteObject)],
        "fragments are deleted when the report is complete",
    ),
];
