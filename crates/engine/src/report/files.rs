//! Files of a report, written as they fill.

use md5::{Digest, Md5};
use migration_core::config::ReportSettings;
use migration_core::report::{ReportFile, ReportLine, ReportStatus};

use super::fragment::put;
use super::merge::ReportError;
use crate::{Process, Services};

/// Size of a file in bytes: at most this much is in memory for each of the three kinds.
const FULL: usize = 8 << 20;

/// A kind of file.
struct Kind {
    /// Prefix and suffix of the file names.
    name: (&'static str, &'static str),
    content_type: &'static str,
    /// Status of all tasks in the file, if a completion report lists it.
    status: Option<&'static str>,
    held: Vec<u8>,
    number: u32,
}

impl Kind {
    fn new(name: (&'static str, &'static str), content_type: &'static str, status: Option<&'static str>) -> Self {
        Self { name, content_type, status, held: Vec::new(), number: 0 }
    }
}

/// The files of a report being written.
pub(super) struct Files<'a, P: Services> {
    process: &'a Process<P>,
    settings: &'a ReportSettings,
    root: &'a str,
    succeeded: Kind,
    failed: Kind,
    lines: Kind,
    written: Vec<ReportFile>,
}

impl<'a, P: Services> Files<'a, P> {
    pub(super) fn new(process: &'a Process<P>, settings: &'a ReportSettings, root: &'a str) -> Self {
        Self {
            process,
            settings,
            root,
            succeeded: Kind::new(("results/succeeded-", ".csv"), "text/csv", Some("succeeded")),
            failed: Kind::new(("results/failed-", ".csv"), "text/csv", Some("failed")),
            lines: Kind::new(("objects-", ".jsonl"), "application/x-ndjson", None),
            written: Vec::new(),
        }
    }

    /// Adds a line to the files that it belongs to.
    pub(super) async fn add(&mut self, line: &ReportLine) -> Result<(), ReportError> {
        self.lines.held.extend_from_slice(line.json().as_bytes());
        if let Some(columns) = line.columns() {
            let kind = if line.status == ReportStatus::Failed { &mut self.failed } else { &mut self.succeeded };
            let mut writer = csv::WriterBuilder::new().from_writer(&mut kind.held);
            writer
                .write_record(columns)
                .and_then(|()| Ok(writer.flush()?))
                .map_err(|error| ReportError::Form(error.to_string()))?;
        }
        self.write(FULL).await
    }

    /// Writes the remaining lines, and returns the files that a completion report lists.
    pub(super) async fn end(mut self) -> Result<Vec<ReportFile>, ReportError> {
        self.write(1).await?;
        Ok(self.written)
    }

    /// Writes every file that has at least this many bytes.
    async fn write(&mut self, full: usize) -> Result<(), ReportError> {
        let Self { process, settings, root, written, .. } = self;
        for kind in [&mut self.succeeded, &mut self.failed, &mut self.lines] {
            if kind.held.len() < full {
                continue;
            }
            kind.number += 1;
            let key = format!("{root}{}{:05}{}", kind.name.0, kind.number, kind.name.1);
            let body = std::mem::take(&mut kind.held);
            let md5 = hex::encode(Md5::digest(&body));
            let bucket = &settings.bucket;
            put(process, bucket, &key, body.into(), kind.content_type).await.map_err(|source| ReportError::Write {
                bucket: bucket.clone(),
                key: key.clone(),
                source,
            })?;
            if let Some(status) = kind.status {
                let (task_execution_status, bucket) = (status.to_owned(), bucket.clone());
                written.push(ReportFile { task_execution_status, bucket, md5, key });
            }
        }
        Ok(())
    }
}
