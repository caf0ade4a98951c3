//! Reading a job's state from the ledger: the same for operator, jobsender and command line.

use crate::error::ServiceError;
use crate::ports::{Item, Ledger};
use crate::progress::Tally;
use crate::records::{
    self, BatchEnd, COUNTER_PREFIX, Counters, CurrentRun, FailureRecord, HEARTBEAT_PREFIX, Heartbeat, RANGE_PREFIX,
    RangeRecord, RecordError, ReportRecord, RunRecord, UPLOAD_SHARDS, UploadRecord, VerificationRecord,
};

/// Why the state can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The ledger's service.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// What stands there is not ours.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The last run that was taken; none where no run ever was. One read for the pointer, one for the run.
pub async fn last_run<L: Ledger>(ledger: &L, job: &str) -> Result<Option<RunRecord>, ViewError> {
    let Some(current) = current(ledger, job).await? else { return Ok(None) };
    run(ledger, job, &current.run).await
}

/// The pointer to the last run that was taken.
pub async fn current<L: Ledger>(ledger: &L, job: &str) -> Result<Option<CurrentRun>, ViewError> {
    Ok(ledger.get(&records::current_key(job)).await?.map(|item| item.read()).transpose()?)
}

/// One run by its id.
pub async fn run<L: Ledger>(ledger: &L, job: &str, run: &str) -> Result<Option<RunRecord>, ViewError> {
    Ok(ledger.get(&records::run_key(job, run)).await?.map(|item| item.read()).transpose()?)
}

/// What the ledger says of a run's batches: one query of a page per 1 MB of worker counters, and one more for each
/// stale range, of which there are some only after a sender was killed. What is older than the last reopening of the run
/// is not read again.
pub async fn tally<L: Ledger>(ledger: &L, job: &str, run: &RunRecord) -> Result<Tally, ViewError> {
    let partition = records::run_partition(job, &run.run);
    let mut tally = Tally { ended: run.kept, ..Tally::default() };
    // The order matters: a stale batch that ends between the two reads is then taken away without having been added,
    // which delays the end of the run by one look and never hastens it.
    for item in all(ledger, &partition, COUNTER_PREFIX).await? {
        tally.last_end = tally.last_end.max(records::last_end(&item));
        if records::counter_epoch(&item.key.sort) >= run.counted_from() {
            tally.ended.add(&item.read::<Counters>()?);
        }
    }
    for stale in run.stale.iter().filter(|stale| stale.epoch >= run.counted_from()) {
        for item in all_after(ledger, &partition, &stale.prefix(), stale.after()).await? {
            tally.stale.add(&Counters::of(&item.read::<BatchEnd>()?));
        }
    }
    Ok(tally)
}

/// The sum of all workers' counters of a run, [`crate::message::EVENTS_RUN`] among them: one query of a page per 1 MB.
pub async fn counters<L: Ledger>(ledger: &L, job: &str, run: &str) -> Result<Counters, ViewError> {
    let mut sum = Counters::default();
    for item in all(ledger, &records::run_partition(job, run), COUNTER_PREFIX).await? {
        sum.add(&item.read::<Counters>()?);
    }
    Ok(sum)
}

/// What the last verification of a run found; none where there was none.
pub async fn verification<L: Ledger>(
    ledger: &L,
    job: &str,
    run: &str,
) -> Result<Option<VerificationRecord>, ViewError> {
    Ok(ledger.get(&records::verification_key(job, run)).await?.map(|item| item.read()).transpose()?)
}

/// That the report of a run is written; none where it is not.
pub async fn report<L: Ledger>(ledger: &L, job: &str, run: &str) -> Result<Option<ReportRecord>, ViewError> {
    Ok(ledger.get(&records::report_key(job, run)).await?.map(|item| item.read()).transpose()?)
}

/// The ranges of a run.
pub async fn ranges<L: Ledger>(ledger: &L, job: &str, run: &str) -> Result<Vec<RangeRecord>, ViewError> {
    read_all(&all(ledger, &records::run_partition(job, run), RANGE_PREFIX).await?)
}

/// The heartbeats that are not too old to mean something.
pub async fn heartbeats<L: Ledger>(ledger: &L, job: &str, now: i64) -> Result<Vec<Heartbeat>, ViewError> {
    let mut beats = all_heartbeats(ledger, job).await?;
    beats.retain(|beat| beat.is_fresh(now));
    Ok(beats)
}

/// The last heartbeats of all processes, of those that are gone too.
pub async fn all_heartbeats<L: Ledger>(ledger: &L, job: &str) -> Result<Vec<Heartbeat>, ViewError> {
    read_all(&all(ledger, &records::job_partition(job), HEARTBEAT_PREFIX).await?)
}

/// The first failures of a run, at most `limit`, in order of pair and key; those of batches that don't count left out.
pub async fn failures<L: Ledger>(
    ledger: &L,
    job: &str,
    run: &RunRecord,
    limit: u32,
) -> Result<Vec<FailureRecord>, ViewError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found: Vec<FailureRecord> = Vec::new();
    for pair in 0..u32::try_from(run.pairs.len()).unwrap_or(u32::MAX) {
        let partition = records::failure_partition(job, &run.run, pair);
        let mut after: Option<String> = None;
        while found.len() < limit {
            let left = u32::try_from(limit - found.len()).unwrap_or(u32::MAX);
            let page = ledger.query(&partition, "", after.as_deref(), left).await?;
            let failures: Vec<FailureRecord> = read_all(&page.items)?;
            found.extend(failures.into_iter().filter(|failure| run.counts(failure)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// Every multipart upload of the job that may be open.
pub async fn uploads<L: Ledger>(ledger: &L, job: &str) -> Result<Vec<UploadRecord>, ViewError> {
    let mut found = Vec::new();
    for shard in 0..UPLOAD_SHARDS {
        found.extend(read_all(&all(ledger, &records::upload_partition(job, shard), "").await?)?);
    }
    Ok(found)
}

/// All items of a partition under a prefix, page by page.
async fn all<L: Ledger>(ledger: &L, partition: &str, prefix: &str) -> Result<Vec<Item>, ServiceError> {
    all_after(ledger, partition, prefix, None).await
}

async fn all_after<L: Ledger>(
    ledger: &L,
    partition: &str,
    prefix: &str,
    mut after: Option<String>,
) -> Result<Vec<Item>, ServiceError> {
    let mut items = Vec::new();
    loop {
        let page = ledger.query(partition, prefix, after.as_deref(), 1_000).await?;
        items.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(items);
        }
    }
}

fn read_all<T: serde::de::DeserializeOwned>(items: &[Item]) -> Result<Vec<T>, ViewError> {
    items.iter().map(|item| Ok(item.read()?)).collect()
}
