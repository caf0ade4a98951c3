//! Merges the fragments of a run and the records of its failures into its report.

use futures::{StreamExt, TryStreamExt, stream};
use migration_core::config::{ReportScope, ReportSettings};
use migration_core::error::ServiceError;
use migration_core::pair::BucketPair;
use migration_core::ports::{DeleteRequest, GetRequest, ListRequest, ObjectStore, Span};
use migration_core::records::{
    BATCH_PREFIX, BatchEnd, FailureRecord, RecordError, ReportRecord, RunRecord, failure_partition, report_write,
    run_partition,
};
use migration_core::report::{ReportLine, ReportManifest, ReportStatus};
use migration_ledger::{Pager, ReadError, Readable, view};
use tracing::{info, warn};

use super::files::Files;
use super::fragment::{TRIES, put};
use crate::log_context::{LogContext, within};
use crate::{Interruption, Process, Services};

/// Fragments read, or deleted, at once.
const AT_ONCE: usize = 16;
/// Records per request.
const PAGE: u32 = 200;

/// Why no report was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The job has no report configured.
    #[error("failed to write report: the job has no report; set spec.report")]
    Unwanted,
    /// The job has no such run.
    #[error("failed to write report: the ledger has no such run of the job")]
    NoRun,
    /// The run is not over, so its results are not final.
    #[error("failed to write report: run {0} is not over; try again when it is")]
    RunIsLive(String),
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] ReadError),
    /// A service failed, or the process is stopping.
    #[error(transparent)]
    Interruption(#[from] Interruption),
    /// A file of the report could not be written.
    #[error("failed to write report {bucket}/{key}: {source}")]
    Write {
        /// Bucket of the report.
        bucket: String,
        /// Key of the file.
        key: String,
        /// The service's error.
        source: Interruption,
    },
    /// A fragment could not be read.
    #[error("failed to read fragment {bucket}/{key} of report: {source}")]
    Read {
        /// Bucket of the report.
        bucket: String,
        /// Key of the file.
        key: String,
        /// The service's error.
        source: ServiceError,
    },
    /// A file or fragment has an invalid form.
    #[error("failed to write report: {0}")]
    Form(String),
}

impl From<RecordError> for ReportError {
    fn from(error: RecordError) -> Self {
        Self::Ledger(error.into())
    }
}

/// Writes the report of a run (by default the last one), records it, and deletes the fragments. If it is recorded
/// already, only deletes fragments left by a process that was killed. `now` is the current time in RFC 3339.
pub async fn write<P: Services>(
    process: &Process<P>,
    run: Option<&str>,
    now: String,
) -> Result<ReportRecord, ReportError> {
    let settings = process.config.report.as_ref().ok_or(ReportError::Unwanted)?;
    let job = &process.config.job.uid;
    let ledger = &process.ports.ledger;
    let run = match run {
        Some(run) => view::run(ledger, job, run).await?,
        None => view::last_run(ledger, job).await?,
    };
    let run = run.ok_or(ReportError::NoRun)?;
    if run.end.is_none() {
        return Err(ReportError::RunIsLive(run.run));
    }
    within(LogContext::run(&run.run), write_of(process, settings, &run, now)).await
}

async fn write_of<P: Services>(
    process: &Process<P>,
    settings: &ReportSettings,
    run: &RunRecord,
    now: String,
) -> Result<ReportRecord, ReportError> {
    let (job, ledger) = (&process.config.job.uid, &process.ports.ledger);
    let root = settings.root(&process.config.job, &run.run);
    let merge = Merge { process, settings, run, root: &root };
    let record = if let Some(record) = view::report(ledger, job, &run.run).await? {
        record
    } else {
        let record = merge.write(now).await?;
        process.write(&[report_write(job, &run.run, &record)]).await?;
        record
    };
    merge.remove_fragments().await;
    Ok(record)
}

struct Merge<'a, P: Services> {
    process: &'a Process<P>,
    settings: &'a ReportSettings,
    run: &'a RunRecord,
    root: &'a str,
}

impl<P: Services> Merge<'_, P> {
    async fn write(&self, now: String) -> Result<ReportRecord, ReportError> {
        let mut files = Files::new(self.process, self.settings, self.root);
        let mut record = ReportRecord::default();
        if self.settings.scope == ReportScope::AllTasks {
            self.add_pieces(&mut files, &mut record).await?;
        }
        for (pair, number) in self.run.pairs.iter().zip(0_u32..) {
            self.add_failures(&mut files, &mut record, pair, number).await?;
        }
        let manifest = ReportManifest::new(now, files.end().await?);
        let body = serde_json::to_string_pretty(&manifest).map_err(|error| ReportError::Form(error.to_string()))?;
        let (bucket, key) = (self.settings.bucket.clone(), format!("{}manifest.json", self.root));
        if let Err(source) = put(self.process, &bucket, &key, body.into(), "application/json").await {
            return Err(ReportError::Write { bucket, key, source });
        }
        info!(bucket, key, succeeded = record.succeeded, failed = record.failed, "report written");
        Ok(ReportRecord { at: self.process.runtime.clock.now(), bucket, key, ..record })
    }

    /// Adds the parts of the report that workers wrote for batches that count. An end of a batch that cannot be read is
    /// an error, because the number of objects missing from the report would be unknown.
    async fn add_pieces(&self, files: &mut Files<'_, P>, record: &mut ReportRecord) -> Result<(), ReportError> {
        let (process, partition) = (self.process, run_partition(&self.process.config.job.uid, &self.run.run));
        let mut pager = Pager::new(partition, BATCH_PREFIX, PAGE);
        while let Some(items) = pager.next_page(process).await? {
            let mut fragments = Vec::new();
            for item in &items {
                let end: BatchEnd = item.read()?;
                match end.piece {
                    _ if self.run.is_stale(&end.id) => {}
                    Some(fragment) => fragments.push(fragment),
                    None => record.unreported += end.counts.done + end.counts.gone,
                }
            }
            let reads: Vec<_> = fragments.into_iter().map(|fragment| self.read_fragment(fragment)).collect();
            let mut reads = stream::iter(reads).buffered(AT_ONCE);
            while let Some(lines) = reads.try_next().await? {
                for line in lines {
                    record.succeeded += u64::from(line.status != ReportStatus::Gone);
                    files.add(&line).await?;
                }
            }
        }
        Ok(())
    }

    async fn read_fragment(&self, fragment: String) -> Result<Vec<ReportLine>, ReportError> {
        let (bucket, key) = (&self.settings.bucket, format!("{}{fragment}", self.root));
        let wrong = |source| ReportError::Read { bucket: bucket.clone(), key: key.clone(), source };
        let mut tries = 0;
        let text = loop {
            match self.get(&key).await {
                Ok(text) => break text,
                Err(error) => {
                    tries += 1;
                    if !error.is_retryable() || tries == TRIES {
                        return Err(wrong(error));
                    }
                    self.process.back_off(tries - 1).await?;
                }
            }
        };
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines = lines.map(serde_json::from_slice);
        lines.collect::<Result<_, _>>().map_err(|error| ReportError::Form(format!("{bucket}/{key}: {error}")))
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, ServiceError> {
        let bucket = &self.settings.bucket;
        let request = GetRequest { bucket, key, span: Span::Whole, if_match: None, version_id: None };
        let got = self.process.reports().get(request).await?;
        let mut text = Vec::new();
        let mut body = got.body;
        while let Some(fragment) = body.try_next().await? {
            text.extend_from_slice(&fragment);
        }
        if text.len() as u64 == got.len {
            return Ok(text);
        }
        let cut = format!("{} bytes of {} arrived", text.len(), got.len);
        Err(ServiceError::new(migration_core::error::ErrorClass::Transient, "get object", "IncompleteBody", cut))
    }

    /// Adds the failures of a pair. Failure records that cannot be read are counted as missing from the report.
    async fn add_failures(
        &self,
        files: &mut Files<'_, P>,
        record: &mut ReportRecord,
        pair: &BucketPair,
        number: u32,
    ) -> Result<(), ReportError> {
        let process = self.process;
        let partition = failure_partition(&process.config.job.uid, &self.run.run, number);
        let mut pager = Pager::new(partition, "", PAGE);
        while let Some(items) = pager.next_page(process).await? {
            let failures = Readable::<FailureRecord>::of(&items);
            record.unreported += failures.unreadable.count;
            if !failures.unreadable.is_none() {
                warn!(unreadable = %failures.unreadable, "failures are missing in the report");
            }
            for failure in failures.records.into_iter().filter(|failure| self.run.counts(failure)) {
                files.add(&ReportLine::of_failure(pair, failure)).await?;
                record.failed += 1;
            }
        }
        Ok(())
    }

    /// Deletes the fragments, those of batches that do not count included. Fragments that cannot be deleted stay, and
    /// do no harm.
    async fn remove_fragments(&self) {
        let (store, bucket, prefix) = (self.process.reports(), &self.settings.bucket, format!("{}pieces/", self.root));
        let mut continuation: Option<String> = None;
        loop {
            let continued = continuation.as_deref();
            let request =
                ListRequest { bucket, prefix: &prefix, start_after: None, continuation: continued, max_keys: None };
            let page = match store.list(request).await {
                Ok(page) => page,
                Err(error) => return warn!(%error, bucket, prefix, "failed to delete fragments of the report"),
            };
            let deletions: Vec<_> = page
                .objects
                .iter()
                .map(|object| store.delete(DeleteRequest { bucket, key: &object.key, if_match: None }))
                .collect();
            let deleted = stream::iter(deletions).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await;
            if let Err(error) = deleted {
                return warn!(%error, bucket, prefix, "failed to delete fragments of the report");
            }
            continuation = page.continuation;
            if continuation.is_none() {
                return;
            }
        }
    }
}
