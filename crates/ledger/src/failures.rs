//! Reads the failures of a run in pages, of any number and with a filter, with bounded work a page.

use std::fmt;
use std::str::FromStr;

use migration_core::outcome::FailureClass;
use migration_core::records::{self, FailureRecord, RunRecord};

use crate::read::LedgerRead;
use crate::readable::Unreadable;

/// Most records of one query.
const QUERY: u32 = 1_000;

/// Which failures are wanted. The default wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureFilter {
    /// Only failures of this class.
    pub class: Option<FailureClass>,
    /// Only failures whose key or description contains this text, whatever the case of its ASCII letters.
    pub text: Option<String>,
}

impl FailureFilter {
    /// Returns true if a failure is wanted.
    pub fn wants(&self, failure: &FailureRecord) -> bool {
        let has = |text: &str, part: &str| text.to_ascii_lowercase().contains(part);
        let part = self.text.as_ref().map(|text| text.to_ascii_lowercase());
        self.class.is_none_or(|class| failure.class == class)
            && part.is_none_or(|part| has(&failure.key, &part) || has(&failure.message, &part))
    }
}

/// A place among the failures of a run. The default is before the first one. Shown and read as `pair` or `pair:sort key`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureCursor {
    /// Index of the pair in the run's pairs.
    pair: u32,
    /// The sort key after which to go on; `None` at the first failure of the pair.
    after: Option<String>,
}

impl fmt::Display for FailureCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.after {
            Some(after) => write!(f, "{}:{after}", self.pair),
            None => write!(f, "{}", self.pair),
        }
    }
}

/// A text is no place among failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the place to go on after: give the one that the page before named")]
pub struct CursorError;

impl FromStr for FailureCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (pair, after) = text.split_once(':').map_or((text, None), |(pair, after)| (pair, Some(after)));
        let pair = pair.parse().map_err(|_| CursorError)?;
        // The ledger's sort keys have 1 to 1,024 bytes.
        match after {
            Some(after) if after.is_empty() || after.len() > 1_024 => Err(CursorError),
            after => Ok(Self { pair, after: after.map(ToOwned::to_owned) }),
        }
    }
}

/// Bounds of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBounds {
    /// Most failures in it; at least 1.
    pub failures: usize,
    /// Most records that are read for it, the unwanted ones included; at least 1. A page may exceed it by one query.
    pub records: usize,
    /// Most queries that are sent for it: a pair without failures takes one.
    pub queries: usize,
}

/// A page of failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailurePage {
    /// The wanted failures that count, in order of pair and key.
    pub failures: Vec<FailureRecord>,
    /// Where the next page begins; `None` after the last failure. A page may have no failures and yet a next one.
    pub next: Option<FailureCursor>,
    /// Number of failures that count and were read for the page, the unwanted ones included.
    pub read: u64,
    /// Records that can't be read, of those that were looked at.
    pub unreadable: Unreadable,
}

/// Reads a page of the failures of a run, without those of batches that do not count.
pub async fn failure_page<R: LedgerRead>(
    ledger: &R,
    job: &str,
    run: &RunRecord,
    filter: &FailureFilter,
    from: FailureCursor,
    bounds: PageBounds,
) -> Result<FailurePage, R::Error> {
    let pairs = u32::try_from(run.pairs.len()).unwrap_or(u32::MAX);
    let limit = QUERY.min(u32::try_from(bounds.records).unwrap_or(QUERY)).max(1);
    let (mut page, mut place, mut seen) = (FailurePage::default(), from, 0);
    for _ in 0..bounds.queries.max(1) {
        if place.pair >= pairs || seen >= bounds.records {
            break;
        }
        let partition = records::failure_partition(job, &run.run, place.pair);
        let queried = ledger.query_items(&partition, "", place.after.as_deref(), limit).await?;
        for item in &queried.items {
            seen += 1;
            place.after = Some(item.key.sort.clone());
            match item.read::<FailureRecord>() {
                Ok(failure) if run.counts(&failure) => {
                    page.read += 1;
                    if filter.wants(&failure) {
                        page.failures.push(failure);
                    }
                }
                Ok(_) => {}
                Err(error) => page.unreadable.add(error),
            }
            if page.failures.len() >= bounds.failures {
                page.next = Some(place);
                return Ok(page);
            }
        }
        place = match queried.next {
            Some(after) => FailureCursor { after: Some(after), ..place },
            None => FailureCursor { pair: place.pair + 1, after: None },
        };
    }
    page.next = (place.pair < pairs).then_some(place);
    Ok(page)
}

#[cfg(test)]
mod tests {
    use migration_core::ports::{Item, Ledger, LedgerKey};
    use migration_testkit::MemoryLedger;
    use migration_testkit::samples::{bucket_pair, run_record};

    use super::*;

    const JOB: &str = "u";
    const WIDE: PageBounds = PageBounds { failures: 100, records: 1_000, queries: 100 };

    /// A ledger with this many failures in each of two pairs, every third of which is `Archived`.
    async fn ledger(failures: u32) -> (MemoryLedger, RunRecord) {
        let ledger = MemoryLedger::with_page(3);
        for number in 0..2 * failures {
            let class = if number % 3 == 0 { FailureClass::Archived } else { FailureClass::Refused };
            let failure = FailureRecord {
                pair: number / failures,
                key: format!("key-{number:04}"),
                size: 1,
                class,
                message: "a Reason".into(),
                batch: None,
                attempts: 1,
                request_ids: vec![],
                at: 0,
            };
            ledger.write(&[records::failure_write(JOB, "r", &failure)]).await.unwrap();
        }
        (ledger, RunRecord { pairs: vec![bucket_pair("a"), bucket_pair("b")], ..run_record(true) })
    }

    /// Reads all pages. Returns the keys and the number of pages.
    async fn all(failures: u32, filter: &FailureFilter, bounds: PageBounds) -> (Vec<String>, usize) {
        let (ledger, run) = ledger(failures).await;
        let (mut keys, mut pages, mut from) = (Vec::new(), 0, Some(FailureCursor::default()));
        while let Some(place) = from {
            // What a client sends back is the text.
            let place = place.to_string().parse().unwrap();
            let page = failure_page(&ledger, JOB, &run, filter, place, bounds).await.unwrap();
            assert!(page.failures.len() <= bounds.failures);
            keys.extend(page.failures.into_iter().map(|failure| failure.key));
            (pages, from) = (pages + 1, page.next);
        }
        (keys, pages)
    }

    #[tokio::test]
    async fn pages_have_every_wanted_failure_once_and_in_order() {
        let everything: Vec<_> = (0..20).map(|number| format!("key-{number:04}")).collect();
        let archived: Vec<_> = (0..20).filter(|n| n % 3 == 0).map(|number| format!("key-{number:04}")).collect();
        for failures in [1, 2, 3, 7, 100] {
            for records in [1, 2, 5, 1_000] {
                for queries in [1, 2, 100] {
                    let bounds = PageBounds { failures, records, queries };
                    assert_eq!(all(10, &FailureFilter::default(), bounds).await.0, everything, "{bounds:?}");
                    let filter = FailureFilter { class: Some(FailureClass::Archived), text: None };
                    assert_eq!(all(10, &filter, bounds).await.0, archived, "{bounds:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_filter_that_nothing_fits_reads_no_more_than_its_bounds() {
        let nothing = FailureFilter { text: Some("nowhere".into()), class: None };
        let bounds = PageBounds { records: 6, ..WIDE };
        let (keys, pages) = all(9, &nothing, bounds).await;
        assert!(keys.is_empty() && (3..=4).contains(&pages), "{pages}");
        let by_text = FailureFilter { text: Some("KEY-0003".into()), class: None };
        assert_eq!(all(9, &by_text, WIDE).await.0, ["key-0003"]);
        let by_reason = FailureFilter { text: Some("a reason".into()), class: None };
        assert_eq!(all(9, &by_reason, WIDE).await.0.len(), 18);
    }

    #[tokio::test]
    async fn records_that_can_not_be_read_are_counted() {
        let (ledger, run) = ledger(2).await;
        let key = LedgerKey::new(records::failure_partition(JOB, "r", 0), "x");
        ledger.insert(Item::of(key, &serde_json::json!({"class": "Newer"})));
        let (all, start) = (FailureFilter::default(), FailureCursor::default());
        let page = failure_page(&ledger, JOB, &run, &all, start, WIDE).await.unwrap();
        assert_eq!((page.failures.len(), page.read, page.unreadable.count, page.next), (4, 4, 1, None));
    }

    #[test]
    fn places_that_nobody_named_are_refused() {
        for text in ["", "x", "-1", "0:", ":a", &format!("0:{}", "a".repeat(1_025))] {
            assert_eq!(text.parse::<FailureCursor>(), Err(CursorError), "{text}");
        }
        assert_eq!("3:a:b".parse(), Ok(FailureCursor { pair: 3, after: Some("a:b".into()) }));
    }
}
