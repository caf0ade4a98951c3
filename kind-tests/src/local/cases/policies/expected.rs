//! What becomes of the actions of policies in the runs of the case.

/// A side of the job, with its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// Reads.
    Source,
    /// Writes.
    Destination,
}

impl Of {
    /// Both sides.
    pub const BOTH: [Self; 2] = [Self::Source, Self::Destination];

    /// Returns its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// Actions that no request of the whole runs needs, by side and statement, with the words of `--explain` that say when
/// they are needed.
pub const NOT_SEEN: [(Of, &str, &str, &str); 6] = [
    // Of a bucket without versions.
    (Of::Source, "SourceObjects", "s3:GetObjectTagging", "tags are read"),
    // The killed run had recorded the ID of its upload.
    (Of::Destination, "DestinationBuckets", "s3:ListBucketMultipartUploads", "an upload whose ID was lost"),
    // MiniStack shows the ETag of what was sent, and drops no tags.
    (Of::Destination, "DestinationObjects", "s3:GetObjectVersion", "whose ETag is not that of the bytes sent"),
    (Of::Destination, "DestinationObjects", "s3:GetObjectTagging", "whether the service dropped the tags"),
    (Of::Destination, "DestinationObjects", "s3:GetObjectVersionTagging", "dropped the tags of the version written"),
    (Of::Destination, "DestinationObjects", "s3:PutObjectVersionTagging", "tags that the service dropped"),
];

/// What becomes of a run that lacks an action that requests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// It fails and names the action.
    Fails,
    /// It ends well, for this reason.
    EndsWell(&'static str),
    /// The service does not check the action as S3 does.
    NotEnforced(&'static str),
}

/// The actions without which a run does not fail, by side and statement.
pub const SPARED: [(Of, &str, &str, Without); 6] = [
    (
        Of::Source,
        "SourceObjects",
        "s3:GetObjectVersionTagging",
        Without::EndsWell("objects are copied without tags that can't be read"),
    ),
    (
        Of::Destination,
        "DestinationObjects",
        "s3:AbortMultipartUpload",
        Without::EndsWell("the probes' uploads stay open, and a lifecycle rule removes them"),
    ),
    (
        Of::Destination,
        "DestinationObjects",
        "s3:DeleteObject",
        Without::EndsWell("extraneous objects stay, and the verification counts them"),
    ),
    (
        Of::Destination,
        "DestinationObjects",
        "s3:PutObjectTagging",
        Without::NotEnforced("MiniStack does not look at the header x-amz-tagging"),
    ),
    (
        Of::Destination,
        "ReportBucket",
        "s3:ListBucket",
        Without::EndsWell("the report is whole; fragments that no longer count stay"),
    ),
    (Of::Destination, "ReportObjects", "s3:DeleteObject", Without::EndsWell("the report is whole; its fragments stay")),
];
