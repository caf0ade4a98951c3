//! The report of a run: the outcome of each object, in the format of S3 Batch Operations and in more detail.
//!
//! | object under the report's root | content |
//! |---|---|
//! | `manifest.json` | names the CSV files, as in a completion report; written last |
//! | `results/succeeded-N.csv`, `results/failed-N.csv` | one row per object, with the columns of a completion report |
//! | `objects-N.jsonl` | one line per object: see [`ReportLine`] |
//! | `pieces/` | fragments written by workers during the run; deleted when the report is complete |
//!
//! Source: "Examples: S3 Batch Operations completion reports" in the S3 user guide.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::config::{JobIdentity, ReportScope, ReportSettings};
use crate::etag::ETag;
use crate::message::{Batch, EVENTS_RUN, Entry};
use crate::outcome::{Delivery, EntryOutcome, FailureClass, Fingerprint};
use crate::pair::BucketPair;
use crate::printable::printable;
use crate::records::FailureRecord;

pub use crate::manifest::REPORT_SCHEMA;

impl ReportSettings {
    /// Returns the common prefix of the keys of a run's report.
    pub fn root(&self, job: &JobIdentity, run: &str) -> String {
        let id = job.uid.get(..8).unwrap_or(&job.uid);
        format!("{}{}-{id}/{run}/", self.prefix, job.name)
    }

    /// Returns true if a worker writes a fragment for this batch.
    pub fn wants(&self, batch: &Batch) -> bool {
        // Events belong to a run that never ends.
        self.scope == ReportScope::AllTasks && batch.run != EVENTS_RUN
    }
}

/// The outcome of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReportStatus {
    /// Copied and verified.
    Copied,
    /// Found at the destination with this content: copied by another delivery of its message, or by an attempt whose
    /// answer was lost.
    Found,
    /// No longer at the source.
    Gone,
    /// Not moved.
    Failed,
}

/// One line of `objects-N.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportLine {
    /// The outcome.
    pub status: ReportStatus,
    /// The source bucket.
    pub bucket: String,
    /// The source key.
    pub key: String,
    /// The version at the source, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// The destination bucket.
    pub destination_bucket: String,
    /// The destination key; `None` if the source key cannot be mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_key: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// The content at the source.
    #[serde(default, skip_serializing_if = "Fingerprint::is_none")]
    pub source: Fingerprint,
    /// The content at the destination, as reported by the service.
    #[serde(default, skip_serializing_if = "Fingerprint::is_none")]
    pub destination: Fingerprint,
    /// Number of attempts, including the last.
    pub attempts: u32,
    /// Duration of the last attempt, in milliseconds; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// When it was reported, as Unix time in milliseconds.
    pub at: i64,
    /// The failure, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ReportFailure>,
}

/// Why an object failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportFailure {
    /// Class of the failure.
    pub class: FailureClass,
    /// A description for people.
    pub message: String,
    /// The service's IDs of the failed requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
}

impl ReportLine {
    /// Returns the line of a batch entry. Returns `None` for a failure, which has a record of its own, and for an entry
    /// that is retried.
    pub fn of_outcome(batch: &Batch, entry: &Entry, outcome: &EntryOutcome, at: i64) -> Option<Self> {
        let begun = |status| Self {
            status,
            bucket: batch.pair.source_bucket.clone(),
            key: entry.key.clone(),
            version_id: entry.version_id.clone(),
            destination_bucket: batch.pair.destination_bucket.clone(),
            destination_key: batch.pair.map_key(&entry.key).ok(),
            size: entry.size,
            source: Fingerprint { etag: entry.etag.clone(), checksum: None },
            destination: Fingerprint::default(),
            attempts: batch.tries(entry) + 1,
            duration_ms: None,
            at,
            failure: None,
        };
        match outcome {
            EntryOutcome::Done(Delivery { bytes, version_id, copied, source, destination, millis, .. }) => {
                let status = if *copied { ReportStatus::Copied } else { ReportStatus::Found };
                Some(Self {
                    size: *bytes,
                    version_id: version_id.clone(),
                    source: source.clone(),
                    destination: destination.clone(),
                    duration_ms: Some(*millis),
                    ..begun(status)
                })
            }
            EntryOutcome::Gone => Some(begun(ReportStatus::Gone)),
            EntryOutcome::Failed(_) | EntryOutcome::Retry(_) | EntryOutcome::Interrupted => None,
        }
    }

    /// Returns the line of a failure record.
    pub fn of_failure(pair: &BucketPair, failure: FailureRecord) -> Self {
        let FailureRecord { key, size, class, message, attempts, request_ids, at, .. } = failure;
        Self {
            status: ReportStatus::Failed,
            bucket: pair.source_bucket.clone(),
            version_id: None,
            destination_bucket: pair.destination_bucket.clone(),
            destination_key: pair.map_key(&key).ok(),
            key,
            size,
            source: Fingerprint::default(),
            destination: Fingerprint::default(),
            attempts,
            duration_ms: None,
            at,
            failure: Some(ReportFailure { class, message, request_ids }),
        }
    }

    /// Returns the line as JSON, with a line feed.
    pub fn json(&self) -> String {
        // Cannot fail: the type consists of strings, numbers and lists.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// Returns the columns of a completion report. Returns `None` for an object that neither succeeded nor failed.
    pub fn columns(&self) -> Option<[String; 7]> {
        let (status, code, http, message) = match (self.status, &self.failure) {
            (ReportStatus::Gone, _) => return None,
            (ReportStatus::Failed, Some(failure)) => {
                ("failed", failure.class.as_str().to_owned(), http_status(failure.class), failure.message.clone())
            }
            (ReportStatus::Failed, None) => ("failed", String::new(), "", String::new()),
            (ReportStatus::Copied | ReportStatus::Found, _) => ("succeeded", String::new(), "200", "Successful".into()),
        };
        let key = utf8_percent_encode(&self.key, ENCODED).to_string();
        let version = self.version_id.clone().unwrap_or_default();
        // People look at it in terminals; the object's line has the message as it is.
        let message = printable(&message).into_owned();
        Some([self.bucket.clone(), key, version, status.to_owned(), code, http.to_owned(), message])
    }
}

/// Characters that are encoded in keys: all but those allowed in a URL path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Returns the HTTP status that services return for this failure, or an empty string.
const fn http_status(class: FailureClass) -> &'static str {
    match class {
        FailureClass::AccessDenied | FailureClass::Archived => "403",
        FailureClass::NotFound => "404",
        _ => "",
    }
}

/// A CSV file of a report, as named in its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportFile {
    /// `succeeded` or `failed`.
    pub task_execution_status: String,
    /// The bucket.
    pub bucket: String,
    /// MD5 of the file, in hexadecimal.
    #[serde(rename = "MD5Checksum")]
    pub md5: String,
    /// The key.
    pub key: String,
}

/// The `manifest.json` of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportManifest {
    /// Always [`Self::FORMAT`].
    pub format: String,
    /// When it was written, in RFC 3339 format.
    pub report_creation_date: String,
    /// The CSV files.
    pub results: Vec<ReportFile>,
    /// Columns of the CSV files: [`REPORT_SCHEMA`].
    pub report_schema: String,
}

impl ReportManifest {
    /// Format of a completion report.
    pub const FORMAT: &str = "Report_CSV_20180820";

    /// Creates the manifest of these files.
    pub fn new(created: String, results: Vec<ReportFile>) -> Self {
        let (format, report_schema) = (Self::FORMAT.to_owned(), REPORT_SCHEMA.to_owned());
        Self { format, report_creation_date: created, results, report_schema }
    }
}

/// Returns the key of a batch's fragment, relative to the root. If two workers process one batch they write two
/// fragments, and the end of the batch names the one that counts.
pub fn piece_name(batch: &Batch, by: &str, at: i64) -> String {
    format!("pieces/{}/{at}-{}.jsonl", batch.id.as_str(), by.replace('/', "-"))
}

impl Fingerprint {
    /// Returns true if nothing is known.
    pub const fn is_none(&self) -> bool {
        self.etag.is_none() && self.checksum.is_none()
    }

    /// Creates a fingerprint of an ETag only.
    pub const fn of(etag: Option<ETag>) -> Self {
        Self { etag, checksum: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Encoding, RawRow};
    use crate::message::tests::{batch, entry};
    use crate::outcome::Failure;
    use crate::ports::Checksum;

    fn failure(key: &str) -> FailureRecord {
        FailureRecord {
            pair: 0,
            key: key.into(),
            size: 7,
            class: FailureClass::NotFound,
            message: "failed to find \"it\", sorry".into(),
            batch: None,
            attempts: 2,
            request_ids: vec!["R1".into()],
            at: 9,
        }
    }

    #[test]
    fn each_outcome_has_its_line() {
        let batch = batch(vec![entry("a b", 1)]);
        let fingerprint = |etag: &str| Fingerprint { etag: Some(ETag::new(etag)), checksum: Some(Checksum(5)) };
        let delivery = Delivery {
            bytes: 3,
            copied: true,
            source: fingerprint("s"),
            destination: fingerprint("d"),
            millis: 12,
            ..Delivery::default()
        };
        let line = |outcome| ReportLine::of_outcome(&batch, &batch.objects[0], &outcome, 9);
        let copied = line(EntryOutcome::Done(delivery.clone())).unwrap();
        assert_eq!(
            copied.json(),
            "{\"status\":\"copied\",\"bucket\":\"a\",\"key\":\"a b\",\"destinationBucket\":\"b\",\"destinationKey\":\"p/a b\",\"size\":3,\
             \"source\":{\"etag\":\"s\",\"crc64nvme\":\"AAAAAAAAAAU=\"},\"destination\":{\"etag\":\"d\",\"crc64nvme\":\"AAAAAAAAAAU=\"},\
             \"attempts\":1,\"durationMs\":12,\"at\":9}\n"
        );
        assert_eq!(copied.columns().unwrap().join("|"), "a|a%20b||succeeded||200|Successful");
        let found = line(EntryOutcome::Done(Delivery { copied: false, ..delivery })).unwrap();
        assert_eq!(found.status, ReportStatus::Found);
        let gone = line(EntryOutcome::Gone).unwrap();
        assert_eq!((gone.status, gone.columns()), (ReportStatus::Gone, None));
        assert_eq!(line(EntryOutcome::Failed(Failure::new(FailureClass::Refused, "x"))), None);
        assert_eq!(line(EntryOutcome::Interrupted), None);
    }

    #[test]
    fn what_failed_can_be_fed_back() {
        let line = ReportLine::of_failure(&batch(vec![]).pair, failure("x+y/é \"z\""));
        let columns = line.columns().unwrap();
        assert_eq!(columns[3..6], ["failed", "NotFound", "404"]);
        let fields: Vec<&[u8]> = columns.iter().map(String::as_bytes).collect();
        let row = RawRow::of_csv(&fields, None).unwrap().read(Encoding::Url, false).unwrap().unwrap();
        assert_eq!((row.bucket.as_str(), row.key.as_str()), ("a", "x+y/é \"z\""));
    }

    #[test]
    fn a_line_survives_its_piece() {
        let line = ReportLine::of_failure(&batch(vec![]).pair, failure("\n"));
        assert_eq!(line.json().matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<ReportLine>(&line.json()).unwrap(), line);
    }

    #[test]
    fn a_report_has_a_place_of_its_own() {
        let settings: ReportSettings = serde_yaml::from_str("{bucket: r, prefix: reports/}").unwrap();
        let job = JobIdentity { namespace: "n".into(), name: "photos".into(), uid: "0a1b2c3d-4e5f".into() };
        assert_eq!(settings.root(&job, "r-1"), "reports/photos-0a1b2c3d/r-1/");
        let mut batch = batch(vec![]);
        assert!(settings.wants(&batch));
        assert!(!ReportSettings { scope: ReportScope::FailedTasksOnly, ..settings.clone() }.wants(&batch));
        assert_eq!(piece_name(&batch, "pod/3", 7), "pieces/000000/0001/0000000002/7-pod-3.jsonl");
        batch.run = EVENTS_RUN.into();
        assert!(!settings.wants(&batch));
    }
}
