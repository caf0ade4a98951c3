//! Reads the state of a job, for the operator, the jobsender and the command line.

use std::ops::Range;

use migration_core::ports::Item;
use migration_core::progress::Tally;
use migration_core::records::{
    self, BatchEnd, COUNTED_PREFIX, COUNTER_PREFIX, Counters, CurrentRun, FailureRecord, HEARTBEAT_LOST_MS,
    HEARTBEAT_PREFIX, Heartbeat, NotificationsRecord, RANGE_PREFIX, RUN_PREFIX, RangeRecord, ReportRecord, RunRecord,
    SHARE_PREFIX, SPENDING_PREFIX, ShareRecord, UPLOAD_SHARDS, UploadRecord, VerificationRecord,
};

use crate::pager::Pager;
use crate::read::{LedgerRead, ReadError, get};
use crate::readable::Readable;

/// Reads the last run of a job with two requests: one for the pointer, one for the run. Returns `None` if there has
/// never been a run.
pub async fn last_run<R: LedgerRead>(ledger: &R, job: &str) -> Result<Option<RunRecord>, ReadError<R::Error>> {
    let Some(current) = current(ledger, job).await? else { return Ok(None) };
    run(ledger, job, &current.run).await
}

/// Reads the pointer to the last run.
pub async fn current<R: LedgerRead>(ledger: &R, job: &str) -> Result<Option<CurrentRun>, ReadError<R::Error>> {
    get(ledger, &records::current_key(job)).await
}

/// Reads one run by its ID.
pub async fn run<R: LedgerRead>(ledger: &R, job: &str, run: &str) -> Result<Option<RunRecord>, ReadError<R::Error>> {
    get(ledger, &records::run_key(job, run)).await
}

/// Reads all runs of a job that have not expired, oldest first.
pub async fn runs<R: LedgerRead>(ledger: &R, job: &str) -> Result<Readable<RunRecord>, R::Error> {
    let items = Pager::all(records::job_partition(job), RUN_PREFIX).rest(ledger).await?;
    Ok(Readable::of(&items))
}

/// Adds up the ends of a run's batches, and what its processes sent. Sends one query with a page per 1 MB of worker
/// counters, and one more per stale range; those exist only after a jobsender was killed. Does not count batches again
/// that ended before the last reopening of the run. Counters that cannot be read are an error, because a total without
/// them would be wrong.
pub async fn tally<R: LedgerRead>(ledger: &R, job: &str, run: &RunRecord) -> Result<Tally, ReadError<R::Error>> {
    let partition = records::run_partition(job, &run.run);
    let mut tally = Tally { ended: run.kept, ..Tally::default() };
    // The counters are read before the stale batches. A stale batch that ends between the two reads is then subtracted
    // without having been added, which may delay the end of the run until the next check but never ends it too early.
    let mut counters = Pager::all(&partition, COUNTED_PREFIX);
    while let Some(items) = counters.next_page(ledger).await.map_err(ReadError::Request)? {
        for item in &items {
            if item.key.sort.starts_with(SPENDING_PREFIX) {
                tally.add_spending(&item.read()?);
                continue;
            }
            tally.last_end = tally.last_end.max(records::last_end(item));
            if records::counter_epoch(&item.key.sort) >= run.counted_from() {
                tally.ended.add(&item.read::<Counters>()?);
            }
        }
    }
    for stale in run.stale.iter().filter(|stale| stale.epoch >= run.counted_from()) {
        let mut ends = Pager::all(&partition, stale.prefix()).after(stale.after());
        while let Some(items) = ends.next_page(ledger).await.map_err(ReadError::Request)? {
            for item in &items {
                tally.stale.add(&Counters::of(&item.read::<BatchEnd>()?));
            }
        }
    }
    Ok(tally)
}

/// Adds up all workers' counters of a run, including those of [`EVENTS_RUN`](migration_core::message::EVENTS_RUN).
/// Sends one query with a page per 1 MB.
pub async fn counters<R: LedgerRead>(ledger: &R, job: &str, run: &str) -> Result<Counters, ReadError<R::Error>> {
    let mut sum = Counters::default();
    let mut counters = Pager::all(records::run_partition(job, run), COUNTER_PREFIX);
    while let Some(items) = counters.next_page(ledger).await.map_err(ReadError::Request)? {
        for item in &items {
            sum.add(&item.read()?);
        }
    }
    Ok(sum)
}

/// Reads the result of a run's last verification. Returns `None` if the run was not verified.
pub async fn verification<R: LedgerRead>(
    ledger: &R,
    job: &str,
    run: &str,
) -> Result<Option<VerificationRecord>, ReadError<R::Error>> {
    get(ledger, &records::verification_key(job, run)).await
}

/// Reads the location of a run's report. Returns `None` if the report has not been written.
pub async fn report<R: LedgerRead>(
    ledger: &R,
    job: &str,
    run: &str,
) -> Result<Option<ReportRecord>, ReadError<R::Error>> {
    get(ledger, &records::report_key(job, run)).await
}

/// Reads the buckets that have, or may have, notification entries of a job.
pub async fn notifications<R: LedgerRead>(ledger: &R, job: &str) -> Result<NotificationsRecord, ReadError<R::Error>> {
    Ok(get(ledger, &records::notifications_key(job)).await?.unwrap_or_default())
}

/// Reads the ranges of a run. A range that cannot be read is an error, because its keys would be treated as scanned.
pub async fn ranges<R: LedgerRead>(ledger: &R, job: &str, run: &str) -> Result<Vec<RangeRecord>, ReadError<R::Error>> {
    let mut pager = Pager::all(records::run_partition(job, run), RANGE_PREFIX);
    let items = pager.rest(ledger).await.map_err(ReadError::Request)?;
    Ok(items.iter().map(Item::read).collect::<Result<_, _>>()?)
}

/// Reads the heartbeats that are still fresh at `now`, in milliseconds since 1970.
pub async fn heartbeats<R: LedgerRead>(ledger: &R, job: &str, now: i64) -> Result<Readable<Heartbeat>, R::Error> {
    let mut beats = all_heartbeats(ledger, job).await?;
    beats.records.retain(|beat| beat.is_fresh(now));
    Ok(beats)
}

/// Reads the last heartbeat of every process, including those that have ended.
pub async fn all_heartbeats<R: LedgerRead>(ledger: &R, job: &str) -> Result<Readable<Heartbeat>, R::Error> {
    let items = Pager::all(records::job_partition(job), HEARTBEAT_PREFIX).rest(ledger).await?;
    Ok(Readable::of(&items))
}

/// Reads the shares of a job's limits that were renewed lately at `now`, in milliseconds since 1970: those of processes
/// that died are left out after as long as their heartbeats are. Sends one query with a page per 1 MB.
pub async fn shares<R: LedgerRead>(ledger: &R, job: &str, now: i64) -> Result<Readable<ShareRecord>, R::Error> {
    let is_renewed = |item: &Item| records::share_written(item).is_some_and(|at| at + HEARTBEAT_LOST_MS > now);
    let mut found = Readable::default();
    let mut pager = Pager::all(records::share_partition(job), SHARE_PREFIX);
    while let Some(items) = pager.next_page(ledger).await? {
        for item in &items {
            match item.read() {
                Ok(share) if is_renewed(item) => found.records.push(share),
                Ok(_) => {}
                Err(error) => found.unreadable.add(error),
            }
        }
    }
    Ok(found)
}

/// Reads the first failures of a run, at most `limit`, in order of pair and key, without those of batches that do not
/// count. Unreadable records are counted if they were read on the way to these.
pub async fn failures<R: LedgerRead>(
    ledger: &R,
    job: &str,
    run: &RunRecord,
    limit: u32,
) -> Result<Readable<FailureRecord>, R::Error> {
    failures_of(ledger, job, run, 0..u32::try_from(run.pairs.len()).unwrap_or(u32::MAX), limit).await
}

/// Like [`failures`], of some of the pairs. Sends at least one query for each.
pub async fn failures_of<R: LedgerRead>(
    ledger: &R,
    job: &str,
    run: &RunRecord,
    pairs: Range<u32>,
    limit: u32,
) -> Result<Readable<FailureRecord>, R::Error> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found = Readable::default();
    for pair in pairs {
        let mut pager = Pager::new(records::failure_partition(job, &run.run, pair), "", limit);
        while found.records.len() < most {
            let Some(items) = pager.next_page(ledger).await? else { break };
            found.extend(&items);
            found.records.retain(|failure| run.counts(failure));
        }
    }
    found.records.truncate(most);
    Ok(found)
}

/// Reads the records of all multipart uploads of the job that may be open.
pub async fn uploads<R: LedgerRead>(ledger: &R, job: &str) -> Result<Readable<UploadRecord>, R::Error> {
    let mut found = Readable::default();
    for shard in 0..UPLOAD_SHARDS {
        let mut pager = Pager::all(records::upload_partition(job, shard), "");
        while let Some(items) = pager.next_page(ledger).await? {
            found.extend(&items);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use migration_core::error::ErrorClass;
    use migration_core::message::{Batch, BatchId};
    use migration_core::outcome::FailureClass;
    use migration_core::ports::{Ledger, LedgerKey};
    use migration_core::records::{EndCounts, PoolRecord, Portions, Reopening, Spending, SpendingRecord, StaleRange};
    use migration_testkit::MemoryLedger;
    use migration_testkit::samples::{bucket_pair, run_record};
    use serde_json::json;

    use super::*;

    const JOB: &str = "u";

    /// A run of two pairs, whose second jobsender has sent three batches.
    fn second_take() -> RunRecord {
        let mut run = RunRecord { epoch: 2, pairs: vec![bucket_pair("a"), bucket_pair("c")], ..run_record(true) };
        run.scan.counts.batches = 3;
        run
    }

    async fn fail(ledger: &MemoryLedger, pair: u32, key: &str, batch: Option<BatchId>) {
        let failure = FailureRecord {
            pair,
            key: key.into(),
            size: 1,
            class: FailureClass::Refused,
            message: "no".into(),
            batch,
            attempts: 1,
            request_ids: vec![],
            at: 0,
        };
        ledger.write(&[records::failure_write(JOB, "r", &failure)]).await.unwrap();
    }

    #[tokio::test]
    async fn failures_that_can_not_be_read_are_counted_and_leave_the_others() {
        let ledger = MemoryLedger::with_page(2);
        let mut run = second_take();
        run.reopened.push(Reopening { at: 1, epoch: 2, ranges: vec![0] });
        for key in ["a", "c", "e"] {
            fail(&ledger, 0, key, None).await;
        }
        fail(&ledger, 0, "d", Some(BatchId::new(0, 1, 0))).await;
        fail(&ledger, 1, "a", None).await;
        for (pair, sort) in [(0, "b"), (1, "b")] {
            let key = LedgerKey::new(records::failure_partition(JOB, "r", pair), sort);
            ledger.insert(Item::of(key, &json!({"key": sort, "class": "Newer"})));
        }
        let read = async |limit| {
            let found = failures(&ledger, JOB, &run, limit).await.unwrap();
            let keys: Vec<String> = found.records.iter().map(|f| format!("{}{}", f.pair, f.key)).collect();
            (keys.join(" "), found.unreadable.count)
        };
        assert_eq!(read(9).await, ("0a 0c 0e 1a".to_owned(), 2), "what does not count is left out");
        assert_eq!(read(2).await, ("0a 0c".to_owned(), 1), "one that can't be read takes nobody's place");
        assert_eq!(read(0).await, (String::new(), 0));
    }

    #[tokio::test]
    async fn heartbeats_and_uploads_that_can_not_be_read_leave_the_others() {
        let ledger = MemoryLedger::new();
        for (name, at) in [("old", 0), ("young", 90_000)] {
            let beat = json!({"name": name, "at": at, "messages": 0, "rate": 0});
            ledger.insert(Item::of(records::heartbeat_key(JOB, name), &beat));
        }
        ledger.insert(Item::of(records::heartbeat_key(JOB, "broken"), &json!({"name": "broken", "at": "now"})));
        let names = |found: &Readable<Heartbeat>| {
            let names: Vec<_> = found.records.iter().map(|beat| beat.name.clone()).collect();
            (names.join(" "), found.unreadable.count)
        };
        assert_eq!(names(&all_heartbeats(&ledger, JOB).await.unwrap()), ("old young".to_owned(), 1));
        let fresh = heartbeats(&ledger, JOB, 100_000).await.unwrap();
        assert_eq!(names(&fresh), ("young".to_owned(), 1));
        let error = fresh.unreadable.first.unwrap();
        assert_eq!((error.key.sort.as_str(), error.member.as_deref()), ("heartbeat/broken", Some("at")), "{error}");
        ledger.insert(Item::of(LedgerKey::new(records::upload_partition(JOB, 3), "x"), &json!({"revision": 1})));
        let found = uploads(&ledger, JOB).await.unwrap();
        assert_eq!((found.records.len(), found.unreadable.count), (0, 1));
    }

    #[tokio::test]
    async fn shares_that_were_not_renewed_are_left_out_and_those_that_can_not_be_read_counted() {
        let ledger = MemoryLedger::with_page(2);
        let half = Portions { bytes: 500_000, requests: 0 };
        for (process, at) in [("dead", 60_000), ("w1", 91_000), ("w2", 99_000), ("ahead", 102_000)] {
            let record = ShareRecord { revision: 1, share: half, need: half };
            ledger.write(&[record.write(JOB, process, at)]).await.unwrap();
        }
        ledger.write(&[PoolRecord { revision: 1, free: half }.write(JOB, 99_000)]).await.unwrap();
        ledger.insert(Item::of(records::share_key(JOB, "newer"), &json!({"revision": 1, "share": "all"})));
        let found = shares(&ledger, JOB, 100_000).await.unwrap();
        assert_eq!((found.records.len(), found.unreadable.count), (3, 1));
        assert_eq!(found.unreadable.first.unwrap().key.sort, "share/newer");
        assert_eq!(shares(&ledger, JOB, 129_500).await.unwrap().records.len(), 1);
        assert_eq!(shares(&ledger, "other", 100_000).await.unwrap(), Readable::default());
    }

    #[tokio::test]
    async fn a_tally_adds_what_counts_and_ends_at_what_can_not_be_read() {
        let ledger = MemoryLedger::with_page(1);
        let mut run = second_take();
        run.stale.push(StaleRange { range: 0, epoch: 1, from: 1 });
        let counts = EndCounts { done: 2, ..EndCounts::default() };
        for (index, by) in [(0, "w1"), (1, "w2"), (2, "w1")] {
            let batch = Batch {
                version: 1,
                job: JOB.into(),
                run: "r".into(),
                id: BatchId::new(0, 1, index),
                scanned: 0,
                pair: bucket_pair("a"),
                attempts: 0,
                objects: vec![],
            };
            let end = BatchEnd::new(batch.id.clone(), by, 1_000, counts);
            ledger.write(&records::end_writes(&batch, &end)).await.unwrap();
        }
        let found = tally(&ledger, JOB, &run).await.unwrap();
        assert_eq!((found.ended.counts.done, found.stale.counts.done, found.last_end), (6, 4, Some(1_000)));
        assert_eq!(counters(&ledger, JOB, "r").await.unwrap().batches, 3);
        let key = records::counter_key(JOB, "r", "w3", 1);
        ledger.insert(Item::of(key, &json!({"done": "many"})));
        let error = tally(&ledger, JOB, &run).await.unwrap_err().to_string();
        assert!(error.contains("run/u/r counter/w3: done: "), "{error}");
    }

    #[tokio::test]
    async fn what_processes_sent_is_added_up_whatever_was_repeated_or_reopened() {
        let ledger = MemoryLedger::with_page(1);
        let mut run = second_take();
        run.reopened.push(Reopening { at: 1, epoch: 9, ranges: vec![0] });
        let spent = |reads| Spending { source_reads: reads, ..Spending::default() };
        // A record is written again and again; a restarted container of the same pod counts from 0.
        for (name, token, at, reads) in
            [("w1", "1", 10, 2), ("w1", "1", 20, 5), ("w1", "1", 20, 5), ("w1", "2", 30, 1), ("w2", "1", 15, 4)]
        {
            let record = SpendingRecord { name: name.into(), at, spent: spent(reads) };
            ledger.write(&[record.write(JOB, &run.run, token)]).await.unwrap();
        }
        let found = tally(&ledger, JOB, &run).await.unwrap();
        assert_eq!((found.spent, found.spent_at), (spent(10), Some(30)));
        assert_eq!((found.ended, found.last_end), (Counters::default(), None), "no batch has ended");
        assert_eq!(counters(&ledger, JOB, &run.run).await.unwrap(), Counters::default());
        ledger.insert(Item::of(records::spending_key(JOB, &run.run, "w3", "1"), &json!({"name": "w3", "at": "x"})));
        let error = tally(&ledger, JOB, &run).await.unwrap_err().to_string();
        assert!(error.contains("run/u/r cost/w3/1: at: "), "{error}");
    }

    #[tokio::test]
    async fn one_record_is_absent_there_or_an_error() {
        let ledger = MemoryLedger::new();
        assert_eq!(last_run(&ledger, JOB).await, Ok(None));
        ledger.insert(Item::of(records::current_key(JOB), &json!({"run": "r", "revision": 1})));
        assert_eq!(last_run(&ledger, JOB).await, Ok(None));
        ledger.insert(Item::of(records::run_key(JOB, "r"), &second_take()));
        assert_eq!(last_run(&ledger, JOB).await, Ok(Some(second_take())));
        ledger.insert(Item::of(records::run_key(JOB, "r"), &json!({"run": 1})));
        assert!(matches!(last_run(&ledger, JOB).await, Err(ReadError::Record(error)) if error.key.sort == "run/r"));
        ledger.denials().deny_all(ErrorClass::Throttled, "ThrottlingException");
        assert!(matches!(last_run(&ledger, JOB).await, Err(ReadError::Request(_))));
    }
}
