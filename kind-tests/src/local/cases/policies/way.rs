//! The kinds of jobs of the case. There are several, since `MiniStack` sends the whole object for a part of a version,
//! and since some settings exclude others.

use migration_core::permissions::Part;
use serde_json::{Value, json};

use crate::local::permissions::ACCOUNT;

/// Bucket of most objects.
pub const FROM: &str = "policies-from";
/// Bucket of objects that are encrypted and locked.
pub const LOCKED: &str = "policies-locked";
/// Bucket of reports.
pub const REPORTS: &str = "policies-reports";
/// Bucket of work lists, at both services.
pub const LISTS: &str = "policies-lists";
/// Key of an inventory at the source, and of its file.
pub const INVENTORY: (&str, &str) = ("inventory/daily/2026-01-01T00-00Z/manifest.json", "inventory/daily/data/1.csv");
/// Key of a list at the destination.
pub const LIST: &str = "list.csv";
/// Prefix of the copies.
pub const INTO: &str = "b/";
/// KMS keys of source and destination.
pub const KMS: [&str; 2] = ["11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"];

/// A kind of job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Copies large objects, deletes extraneous ones, writes a report and verifies.
    Everything,
    /// Copies versions of small objects.
    Versions,
    /// Copies objects with locks, encrypted on both sides, and writes an ACL.
    Protected,
    /// The service copies.
    Copied,
    /// The service copies versions.
    CopiedVersions,
    /// The work list is an inventory at the source.
    Inventory,
    /// The work list is a file at the destination.
    List,
}

impl Way {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Everything,
        Self::Versions,
        Self::Protected,
        Self::Copied,
        Self::CopiedVersions,
        Self::Inventory,
        Self::List,
    ];

    /// Returns the name of the job.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Versions => "versions",
            Self::Protected => "protected",
            Self::Copied => "copied",
            Self::CopiedVersions => "copied-versions",
            Self::Inventory => "inventory",
            Self::List => "list",
        }
    }

    /// Returns the side whose service a side is at: the service copies only what it has.
    pub const fn place(self, of: Part) -> Part {
        match self {
            Self::Copied | Self::CopiedVersions => Part::Destination,
            _ => of,
        }
    }

    /// Returns the source bucket.
    pub const fn bucket(self) -> &'static str {
        match self {
            Self::Protected => LOCKED,
            _ => FROM,
        }
    }

    /// Returns the prefix of the source's objects.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Versions | Self::CopiedVersions => "v/",
            _ => "a/",
        }
    }

    /// Returns the keys after a run: others are deleted, or have another prefix, or are not in the list.
    pub const fn copies(self) -> &'static [&'static str] {
        match self {
            Self::Everything | Self::Copied => &["b/a/large", "b/a/plain", "b/a/tagged"],
            Self::Versions | Self::CopiedVersions => &["b/v/tagged"],
            Self::Protected => &["b/a/held", "b/a/large"],
            Self::Inventory | Self::List => &["b/a/plain", "b/a/tagged"],
        }
    }

    /// Returns what the policies need to know besides the job.
    pub const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Protected | Self::Copied => &["--account", ACCOUNT, "--source-kms-key", KMS[0]],
            _ => &[],
        }
    }

    /// Returns the settings of the job.
    pub fn fields(self, to: &str) -> Value {
        let versions = json!({"compareVersionId": true, "updateVersionId": true, "getObjectWithVersionId": true});
        let mut fields = match self {
            Self::Everything => json!({
                "transfer": {"partSize": "5Mi", "multipartThreshold": "5Mi"},
                "mirror": {"deleteExtraneous": true, "maxDeletes": 10},
                "report": {"bucket": REPORTS, "prefix": "reports/"},
                "verify": {"mode": "Full", "method": "Read"},
            }),
            Self::Versions => json!({"versioning": versions}),
            Self::Protected => json!({
                "destination": {
                    "encryption": {"type": "SSE-KMS", "kmsKeyId": KMS[1]},
                    "acl": "bucket-owner-full-control",
                },
                "transfer": {"partSize": "5Mi", "multipartThreshold": "5Mi", "preserve": {"objectLock": true}},
                "verify": {"mode": "Full", "method": "Read"},
            }),
            Self::Copied => json!({"transfer": {"mode": "ServerSide"}}),
            Self::CopiedVersions => json!({"transfer": {"mode": "ServerSide"}, "versioning": versions}),
            Self::Inventory => json!({"manifest": {"side": "Source", "bucket": LISTS, "key": INVENTORY.0}}),
            Self::List => json!({"manifest": {"side": "Destination", "bucket": LISTS, "key": LIST}}),
        };
        fields["buckets"] = json!([{
            "sourceBucket": self.bucket(),
            "sourcePrefix": self.prefix(),
            "destinationBucket": to,
            "destinationPrefix": INTO,
        }]);
        fields
    }
}
