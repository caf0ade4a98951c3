//! What becomes of the actions of policies in the runs of the cases.

use migration_core::permissions::Part;

/// The sides of a job.
pub const SIDES: [Part; 2] = [Part::Source, Part::Destination];
/// What is at queue and ledger.
pub const SERVICES: [Part; 3] = [Part::Queue, Part::Ledger, Part::Operator];

/// Actions that no request of the whole runs needs, by side and statement, with the words of `--explain` that say when
/// they are needed.
pub const NOT_SEEN: &[(Part, &str, &str, &str)] = &[
    // The killed run had recorded the ID of its upload.
    (Part::Destination, "DestinationBuckets", "s3:ListBucketMultipartUploads", "an upload whose ID was lost"),
    // MiniStack drops no tags.
    (Part::Destination, "DestinationObjects", "s3:GetObjectTagging", "whether the service dropped the tags"),
    (Part::Destination, "DestinationObjects", "s3:GetObjectVersionTagging", "dropped the tags of the version written"),
    (Part::Destination, "DestinationObjects", "s3:PutObjectVersionTagging", "tags that the service dropped"),
    // A copy does not tell how its source is encrypted.
    (Part::Destination, "SourceKey", "kms:Decrypt", "decrypts what it copies"),
];

/// What becomes of a run that lacks an action that requests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// It fails and names the action.
    Fails,
    /// It ends well, for this reason.
    EndsWell(&'static str),
    /// The service does not check the action as Amazon does.
    NotEnforced(&'static str),
    /// It ends well: no request needs the action.
    NotNeeded,
}

/// What `MiniStack` does as if everybody had the right.
const SHOWS_ATTRIBUTES: Without = Without::NotEnforced("MiniStack shows tags and locks to all readers");
const TAKES_ATTRIBUTES: Without = Without::NotEnforced("MiniStack does not look at headers with tags, locks and ACLs");
const COPIES_TAGS: Without = Without::NotEnforced("MiniStack copies tags for all who may read");
const KNOWS_NO_KEYS: Without = Without::NotEnforced("MiniStack encrypts nothing");

/// The actions without which a run does not fail, by side and statement.
pub const SPARED: &[(Part, &str, &str, Without)] = &[
    (
        Part::Source,
        "SourceObjects",
        "s3:GetObjectVersionTagging",
        Without::EndsWell("objects are copied without tags that can't be read"),
    ),
    (
        Part::Destination,
        "DestinationObjects",
        "s3:AbortMultipartUpload",
        Without::EndsWell("the probes' uploads stay open, and a lifecycle rule removes them"),
    ),
    (
        Part::Destination,
        "DestinationObjects",
        "s3:DeleteObject",
        Without::EndsWell("extraneous objects stay, and the verification counts them"),
    ),
    (
        Part::Destination,
        "DestinationObjects",
        "s3:GetObjectVersion",
        Without::EndsWell("the answers alone prove the objects that abilities of the service were detected with"),
    ),
    (Part::Source, "SourceObjects", "s3:GetObjectTagging", SHOWS_ATTRIBUTES),
    (Part::Source, "SourceObjects", "s3:GetObjectRetention", SHOWS_ATTRIBUTES),
    (Part::Source, "SourceObjects", "s3:GetObjectLegalHold", SHOWS_ATTRIBUTES),
    (Part::Source, "SourceKey", "kms:Decrypt", KNOWS_NO_KEYS),
    (Part::Destination, "DestinationObjects", "s3:PutObjectTagging", TAKES_ATTRIBUTES),
    (Part::Destination, "DestinationObjects", "s3:PutObjectRetention", TAKES_ATTRIBUTES),
    (Part::Destination, "DestinationObjects", "s3:PutObjectLegalHold", TAKES_ATTRIBUTES),
    (Part::Destination, "DestinationObjects", "s3:PutObjectAcl", TAKES_ATTRIBUTES),
    (Part::Destination, "SourceObjects", "s3:GetObjectTagging", COPIES_TAGS),
    (Part::Destination, "SourceObjects", "s3:GetObjectVersionTagging", COPIES_TAGS),
    (Part::Destination, "DestinationKey", "kms:GenerateDataKey", KNOWS_NO_KEYS),
    (Part::Destination, "DestinationKey", "kms:Decrypt", KNOWS_NO_KEYS),
    (
        Part::Destination,
        "ReportBucket",
        "s3:ListBucket",
        Without::EndsWell("the report is whole; fragments that no longer count stay"),
    ),
    (
        Part::Destination,
        "ReportObjects",
        "s3:DeleteObject",
        Without::EndsWell("the report is whole; its fragments stay"),
    ),
];
