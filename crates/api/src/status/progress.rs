//! Numbers of objects and bytes, of a run and of work without a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Progress of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Number of objects.
    pub objects: Counts,
    /// Bytes of these objects.
    pub bytes: Counts,
    /// Current rate of all workers, in bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_per_second: Option<u64>,
    /// Seconds until the rest is copied at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// Attributes that copies lack. Absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_preserved: Option<NotPreserved>,
    /// Objects found up to date without comparing content: by size and time, or with `compare: Size` or `ETag` by size.
    /// Absent if there are none. `compare: Checksum` reduces their number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_compared_by_content: Option<u64>,
}

/// Results of the objects of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// To copy, as far as the scan has found.
    pub total: u64,
    /// At the destination and verified.
    pub done: u64,
    /// Not copied: up to date, filtered out, or no longer at the source.
    pub skipped: u64,
    /// Failed.
    pub failed: u64,
}

/// Number of objects whose content was copied and verified, but whose copies lack attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NotPreserved {
    /// Objects without their tags.
    pub tags: u64,
    /// Objects without their retention or legal hold.
    pub object_locks: u64,
    /// Objects without some of their metadata or headers.
    pub metadata: u64,
    /// Objects in another storage class, since the destination does not support the source's.
    pub storage_classes: u64,
    /// Objects without the encryption requested by spec.destination.encryption, which the service accepted but did not
    /// apply. Checked for objects copied in parts.
    pub encryption: u64,
}

/// Objects copied outside of runs since the job was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventWork {
    /// Number of objects.
    pub objects: EventCounts,
    /// Bytes of the objects done.
    pub bytes: u64,
    /// Attributes that copies lack. Absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_preserved: Option<NotPreserved>,
}

/// Results of objects named in events and foreign messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventCounts {
    /// At the destination and verified.
    pub done: u64,
    /// Failed; the ledger has the reasons.
    pub failed: u64,
    /// Not copied: no longer at the source, excluded by the filters, or older than the newest version. With
    /// `mirror.deleteEvents`, what the source no longer has was deleted at the destination too.
    #[serde(default)]
    pub skipped: u64,
}

/// Progress as text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Display {
    /// Objects copied, of those to copy: `12/5003`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<String>,
    /// Bytes copied, of those to copy: `1.2 GiB / 2.0 GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// Current rate, or the average of the last run: `85.1 MiB/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Remaining time: `4m10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<String>,
    /// Workers ready, of those wanted: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<String>,
    /// Cost of the current run so far, or of the last one: `12.34 USD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// Source bucket and prefix of the first pair, with the number of the others: `photos/2026/ (+2)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Destination bucket and prefix of the first pair, with the number of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}
