//! Reads ledgers, in pages and few at the same time, so that no client and no namespace holds up the others.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::found::RunScan;
use crate::source::{FailureQuery, RunFailures, Source, SourceError};
use crate::view::JobName;

/// Most pages, or scans, that are read at the same time.
const READINGS: usize = 4;
/// Most of them that are of one namespace.
const OF_NAMESPACE: usize = 2;
/// Time within which a page has to be read.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// Why something of a ledger is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// Others are being read.
    #[error("failed to read the ledger: too many are being read; try again")]
    Busy,
    /// It took too long.
    #[error("failed to read the ledger: it took over {} s; try again", READ_WITHIN.as_secs())]
    Late,
    /// The source says why.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Reads from a source. A place is taken while a page is read, and not while a client takes it.
pub struct Readings<S> {
    source: Arc<S>,
    all: Semaphore,
    of_namespaces: Shares<String>,
}

impl<S: Source> Readings<S> {
    /// Reads from this source.
    pub fn new(source: Arc<S>) -> Self {
        Self { source, all: Semaphore::new(READINGS), of_namespaces: Shares::new(OF_NAMESPACE) }
    }

    /// Reads a page, after a wait for its turn that is not longer than this.
    pub async fn page(
        &self,
        job: &JobName,
        query: &FailureQuery,
        turn_within: Duration,
    ) -> Result<RunFailures, ReadingError> {
        self.in_turn(&job.namespace, turn_within, self.source.failures(job, query)).await
    }

    /// Reads what the scan of the last run has found, after a wait for its turn that is not longer than this.
    pub async fn scan(&self, job: &JobName, turn_within: Duration) -> Result<RunScan, ReadingError> {
        self.in_turn(&job.namespace, turn_within, self.source.scan(job)).await
    }

    async fn in_turn<T>(
        &self,
        namespace: &str,
        turn_within: Duration,
        reading: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, ReadingError> {
        let of_namespace = self.of_namespaces.of(namespace.to_owned());
        // Who waits for its namespace's turn must not have one of all.
        let turn = timeout(turn_within, async { (of_namespace.acquire().await, self.all.acquire().await) });
        let Ok((Ok(_of_namespace), Ok(_of_all))) = turn.await else { return Err(ReadingError::Busy) };
        Ok(timeout(READ_WITHIN, reading).await.map_err(|_| ReadingError::Late)??)
    }
}

/// Semaphores of the same size, one for each of many. Knows only those that somebody has at the time.
#[derive(Debug)]
pub struct Shares<K> {
    each: usize,
    of: Mutex<HashMap<K, Arc<Semaphore>>>,
}

impl<K: Eq + Hash> Shares<K> {
    /// Creates it, with this number of permits for each.
    pub fn new(each: usize) -> Self {
        Self { each, of: Mutex::default() }
    }

    /// Returns the semaphore of one of them, to hold as long as its permits.
    pub fn of(&self, one: K) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        of.entry(one).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_ledger::failures::{FailureCursor, FailureFilter, FailurePage, PageBounds};
    use tokio::time::{Instant, sleep};

    const TURN_WITHIN: Duration = Duration::from_secs(10);

    /// Has the failures of the namespace `fast` at once, and those of others never.
    struct Ledger;

    impl Source for Ledger {
        async fn failures(&self, job: &JobName, _: &FailureQuery) -> Result<RunFailures, SourceError> {
            if job.namespace != "fast" {
                std::future::pending::<()>().await;
            }
            Ok(RunFailures { run: "r".into(), pairs: vec![], page: FailurePage::default() })
        }

        async fn scan(&self, _: &JobName) -> Result<RunScan, SourceError> {
            Err(SourceError::NoRun)
        }
    }

    async fn read(readings: &Readings<Ledger>, namespace: &str) -> Result<RunFailures, ReadingError> {
        let bounds = PageBounds { failures: 1, records: 1, queries: 1 };
        let query =
            FailureQuery { run: None, filter: FailureFilter::default(), from: FailureCursor::default(), bounds };
        readings.page(&JobName { namespace: namespace.into(), name: "j".into() }, &query, TURN_WITHIN).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_ledger_holds_up_its_own_namespace_and_only_for_a_while() {
        let readings = Arc::new(Readings::new(Arc::new(Ledger)));
        let begun = Instant::now();
        let slow: Vec<_> = (0..READINGS)
            .map(|_| {
                let readings = readings.clone();
                tokio::spawn(async move { read(&readings, "slow").await })
            })
            .collect();
        sleep(Duration::from_secs(1)).await;
        assert!(read(&readings, "fast").await.is_ok());
        assert_eq!(begun.elapsed(), Duration::from_secs(1), "another namespace does not wait");
        let mut ends = Vec::new();
        for slow in slow {
            ends.push(slow.await.unwrap().unwrap_err());
        }
        assert_eq!(ends, [ReadingError::Late, ReadingError::Late, ReadingError::Busy, ReadingError::Busy]);
        assert_eq!(begun.elapsed(), READ_WITHIN);
    }

    #[test]
    fn each_has_its_share_and_none_is_remembered() {
        let shares = Shares::new(1);
        let held = shares.of("a").try_acquire_owned().unwrap();
        assert!(shares.of("a").try_acquire_owned().is_err());
        assert!(shares.of("b").try_acquire_owned().is_ok());
        drop(held);
        assert!(shares.of("c").try_acquire_owned().is_ok());
        assert_eq!(shares.of.lock().unwrap().len(), 1);
    }
}
