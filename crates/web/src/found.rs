//! What the scan of a run has found, and what the run costs at least because of it.

use migration_core::cost::{Money, PriceTable};
use migration_core::estimate::Sum;
use migration_core::records::{RunRecord, ScanCounts, Spending};
use serde::Serialize;

/// Keys per page of a listing. Source: `ListObjectsV2` in the S3 API reference.
const LIST_PAGE: u64 = 1_000;
/// Least queue requests per batch: received and deleted.
const QUEUE_REQUESTS: u64 = 2;
/// Write units per batch: its end and the counters in one transaction, which counts double.
const BATCH_WRITES: u64 = 4;

/// The terms by which a run is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The prices of the job.
    pub prices: PriceTable,
    /// True if the service copies by itself, so that no bytes leave it.
    pub is_server_side: bool,
}

/// What the scan of a run has found so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunScan {
    run: String,
    is_whole: bool,
    is_listed: bool,
    mirrors: bool,
    counts: ScanCounts,
    terms: Option<Terms>,
}

/// What a scan has found, as the page gets it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    run: &'a str,
    /// True once the scan has ended.
    is_whole: bool,
    /// Objects to copy.
    copy: Sum,
    /// Objects in place.
    skip: Sum,
    /// Of those in place, objects that were not compared by content.
    not_compared_by_content: u64,
    /// Objects that the filters exclude.
    ignore: u64,
    /// Objects that can't be moved.
    fail: Sum,
    /// Objects of a work list that do not exist any more.
    gone: u64,
    /// Objects that only the destination has; none if the job does not mirror.
    delete: Option<u64>,
    batches: u64,
    least_cost: Option<LeastCost<'a>>,
}

#[derive(Serialize)]
struct LeastCost<'a> {
    currency: &'a str,
    total: Money,
}

impl RunScan {
    /// Returns what the scan of a run has found. Without terms nothing is said of its cost.
    pub fn of(run: &RunRecord, terms: Option<Terms>) -> Self {
        Self {
            run: run.run.clone(),
            is_whole: run.scan.closed,
            is_listed: !run.listed_by_manifest,
            mirrors: run.mirror.is_some(),
            counts: run.scan.counts,
            terms,
        }
    }

    /// Returns it in JSON.
    pub fn json(&self) -> String {
        let counts = &self.counts;
        let least_cost = self.terms.as_ref().map(|terms| LeastCost {
            currency: &terms.prices.currency,
            total: terms.prices.bill(&least(counts, self.is_listed, terms.is_server_side)).total(),
        });
        let answer = Answer {
            run: &self.run,
            is_whole: self.is_whole,
            copy: Sum { objects: counts.objects, bytes: counts.bytes },
            skip: Sum { objects: counts.in_place, bytes: counts.in_place_bytes },
            not_compared_by_content: counts.in_place_by_time + counts.in_place_by_size,
            ignore: counts.ignored,
            fail: Sum { objects: counts.failed, bytes: counts.failed_bytes },
            gone: counts.gone,
            delete: self.mirrors.then_some(counts.extra),
            batches: counts.batches,
            least_cost,
        };
        serde_json::to_string(&answer).unwrap_or_default()
    }
}

/// Returns the least that a run sends which copies what its scan has found: one request to either side for each object,
/// the pages of the listings, what each batch takes of queue and ledger, and the bytes that leave the source. Sizes of
/// single objects are not recorded, so that the requests for parts are not known.
fn least(counts: &ScanCounts, is_listed: bool, is_server_side: bool) -> Spending {
    let keys = counts.objects + counts.in_place + counts.ignored + counts.failed;
    let pages = |keys: u64| if is_listed { keys.div_ceil(LIST_PAGE).max(1) } else { 0 };
    Spending {
        source_writes: pages(keys),
        source_reads: counts.objects,
        destination_writes: counts.objects + pages(counts.in_place),
        source_bytes: if is_server_side { 0 } else { counts.bytes },
        queue_requests: counts.batches * QUEUE_REQUESTS,
        ledger_writes: counts.batches * BATCH_WRITES,
        ..Spending::default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use migration_core::estimate::Prices;
    use migration_core::records::ScanProgress;
    use serde_json::{Value, json};

    use super::*;

    /// Returns a run that has found nothing, whose scan has ended or not.
    pub(crate) fn run_record(closed: bool) -> RunRecord {
        let scan = ScanProgress { closed, ..ScanProgress::default() };
        let run = json!({
            "run": "r", "revision": 1, "startedBy": "s", "owner": "s-1", "epoch": 1, "leaseUntil": 0, "started": 0,
            "pairs": [], "scan": scan,
        });
        serde_json::from_value(run).unwrap()
    }

    fn scan(is_server_side: bool, change: impl FnOnce(&mut RunRecord)) -> Value {
        let mut run = run_record(true);
        run.scan.counts = ScanCounts {
            batches: 10,
            objects: 1_000,
            bytes: 10_000_000_000,
            in_place: 500,
            in_place_bytes: 5,
            in_place_by_time: 3,
            in_place_by_size: 4,
            ignored: 2,
            failed: 1,
            failed_bytes: 9,
            gone: 6,
            extra: 7,
        };
        change(&mut run);
        let terms = Terms { prices: PriceTable::of(&Prices::default()), is_server_side };
        serde_json::from_str(&RunScan::of(&run, Some(terms)).json()).unwrap()
    }

    #[test]
    fn everything_that_was_found_is_told_and_what_it_costs_at_least() {
        let found = scan(false, |_| {});
        assert_eq!((&found["copy"]["objects"], &found["copy"]["bytes"]), (&json!(1_000), &json!(10_000_000_000_u64)));
        assert_eq!((&found["skip"]["objects"], &found["ignore"]), (&json!(500), &json!(2)));
        assert_eq!((&found["notComparedByContent"], &found["fail"]["bytes"]), (&json!(7), &json!(9)));
        assert_eq!((&found["gone"], &found["delete"], &found["isWhole"]), (&json!(6), &Value::Null, &json!(true)));
        // 10 GB out at 0.09; 1,000 + 1 + 2 writes at 0.005 and 1,000 reads at 0.0004 a thousand; 20 and 40 of a million.
        assert_eq!(found["leastCost"], json!({"currency": "USD", "total": "0.905448"}));
    }

    #[test]
    fn nothing_leaves_a_service_that_copies_by_itself_and_a_work_list_takes_no_listing() {
        assert_eq!(scan(true, |_| {})["leastCost"]["total"], "0.005448");
        let listed = scan(true, |run| run.listed_by_manifest = true);
        assert_eq!(listed["leastCost"]["total"], "0.005433");
    }

    #[test]
    fn without_prices_nothing_is_said_of_a_cost() {
        let answer: Value = serde_json::from_str(&RunScan::of(&run_record(false), None).json()).unwrap();
        assert_eq!((&answer["leastCost"], &answer["isWhole"]), (&Value::Null, &json!(false)));
    }
}
