//! What a run tells its display.

use migration_core::error::{Blocked, Service};
use migration_core::outcome::FailureClass;
use migration_core::records::RunResult;
use migration_core::verification::Verification;
use serde::Serialize;

/// An event of a run. `docs/s3migrate.md` documents the JSON form.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A run began, or an earlier one is continued.
    RunStarted {
        /// Name of the job.
        job: String,
        /// ID of the run.
        run: String,
        /// True if an earlier process began it.
        continued: bool,
    },
    /// The state of the run; sent a few times per second.
    Progress(Progress),
    /// A service is paused: its requests are repeated until it works.
    Paused(Blocked),
    /// A paused service works again.
    Resumed {
        /// The service.
        service: Service,
    },
    /// An attempt to copy an object failed; it is tried again.
    ObjectRetried {
        /// The destination bucket.
        bucket: String,
        /// The destination key.
        key: String,
        /// What happened.
        message: String,
    },
    /// An object failed permanently.
    ObjectFailed {
        /// The destination bucket.
        bucket: String,
        /// The destination key.
        key: String,
        /// Class of the failure.
        class: FailureClass,
        /// What happened, and what to do.
        message: String,
    },
    /// The process is stopping: work in flight is finished, nothing new begins.
    Stopping,
    /// The run ended.
    RunEnded {
        /// ID of the run.
        run: String,
        /// The result.
        result: RunResult,
        /// An explanation, if it did not end well.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// What could not be preserved of some objects, in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        not_preserved: Option<String>,
        /// The final numbers.
        progress: Progress,
    },
    /// The verification after the run begins.
    Verifying,
    /// The verification after the run ended.
    Verified {
        /// Its numbers.
        found: Verification,
        /// True if the copy is whole.
        whole: bool,
    },
    /// The report of the run was written.
    Reported {
        /// Bucket of the report.
        bucket: String,
        /// Key of its manifest.
        key: String,
    },
    /// Something to know.
    Notice {
        /// What.
        message: String,
    },
}

/// The numbers of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// True if both sides are listed to their ends, so that the totals are final.
    pub scanned: bool,
    /// Number of source objects looked at.
    pub listed: u64,
    /// Number of objects to copy, as far as listed.
    pub objects: u64,
    /// Their total size, in bytes.
    pub bytes: u64,
    /// Number of objects at the destination and verified.
    pub done: u64,
    /// Bytes of these, and of the parts of objects in transfer.
    pub done_bytes: u64,
    /// Number of objects in place, ignored, or gone.
    pub skipped: u64,
    /// Number of objects that failed permanently.
    pub failed: u64,
    /// Their total size, in bytes.
    pub failed_bytes: u64,
    /// Bytes written per second, over the last seconds.
    pub rate: u64,
    /// Seconds left at this rate; `None` while it can't be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// The largest objects in transfer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_transfer: Vec<InTransfer>,
}

/// An object in transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InTransfer {
    /// The destination bucket.
    pub bucket: String,
    /// The destination key.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Bytes written by this attempt.
    pub done: u64,
}
