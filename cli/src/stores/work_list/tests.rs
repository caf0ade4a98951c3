//! The list as a scan reads it.

use migration_core::manifest::{Encoding, RawRow};
use migration_core::message::BatchId;
use migration_core::records::{StaleRange, failure_write};
use migration_local::store::{BucketSettings, LocalStore, StoreSettings};
use migration_testkit::samples::{bucket_pair, run_record};
use migration_testkit::{MemoryLedger, TestClock};

use super::*;

const JOB: &str = "u";

/// Failures of a run of two pairs, in pages of two: of bucket `a` k0 to k4 and awkward keys, of bucket `c` one object.
async fn ledger() -> MemoryLedger {
    let ledger = MemoryLedger::with_page(2);
    let of_a = ["k0", "k1", "k2", "k3", "k4", "a,\"b\"\n", "ä/日本 +%2F", "late"];
    for key in of_a {
        let class = if key == "k3" { FailureClass::Archived } else { FailureClass::Refused };
        // A batch that was sent again, and does not count.
        let batch = (key == "late").then(|| BatchId::new(0, 1, 7));
        fail(&ledger, 0, key, class, batch).await;
    }
    fail(&ledger, 1, "k0", FailureClass::Archived, None).await;
    ledger
}

async fn fail(ledger: &MemoryLedger, pair: u32, key: &str, class: FailureClass, batch: Option<BatchId>) {
    let (key, message) = (key.to_owned(), "no".to_owned());
    let failure = FailureRecord { pair, key, size: 1, class, message, batch, attempts: 1, request_ids: vec![], at: 0 };
    ledger.write(&[failure_write(JOB, "r", &failure)]).await.unwrap();
}

fn run() -> RunRecord {
    let stale = vec![StaleRange { range: 0, epoch: 1, from: 7 }];
    RunRecord { run: "r".into(), pairs: vec![bucket_pair("a"), bucket_pair("c")], stale, ..run_record(true) }
}

fn selection(keys: &[&str], classes: &[FailureClass]) -> Selection {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Selection { run: "r".into(), keys, classes: classes.to_vec() }
}

async fn store(selection: &Selection) -> WithWorkList<LocalStore, MemoryLedger> {
    let list = WorkList::open(ledger().await, JOB, run(), selection).await.unwrap();
    let store = LocalStore::in_memory(std::sync::Arc::new(TestClock::default()), StoreSettings::default());
    store.create_bucket("a", BucketSettings::default());
    WithWorkList::without(store).with_list(list)
}

async fn read(store: &impl ObjectStore, span: Span) -> Vec<u8> {
    let etag = store.head(HeadRequest::new(BUCKET, KEY)).await.unwrap().unwrap().etag;
    let request = GetRequest { bucket: BUCKET, key: KEY, span, if_match: etag.as_ref(), version_id: None };
    let response = store.get(request).await.unwrap();
    let pieces: Vec<Bytes> = response.body.map(Result::unwrap).collect().await;
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
    let bytes = pieces.concat();
    assert_eq!(response.len, bytes.len() as u64);
    bytes
}

/// Reads rows as a scan does.
fn objects(csv: &[u8]) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    let rows = reader.byte_records().map(|record| {
        let record = record.unwrap();
        let fields: Vec<&[u8]> = record.iter().collect();
        let row = RawRow::of_csv(&fields, None).unwrap().read(Encoding::Url, false).unwrap().unwrap();
        assert_eq!(row.version_id, None);
        format!("{}/{}", row.bucket, row.key)
    });
    rows.collect()
}

#[tokio::test]
async fn the_list_has_what_is_selected_and_counts() {
    let all = ["a/a,\"b\"\n", "a/k0", "a/k1", "a/k2", "a/k3", "a/k4", "a/ä/日本 +%2F", "c/k0"];
    for (keys, classes, expected) in [
        (&[][..], &[][..], &all[..]),
        (&["a/*"], &[], &all[..7]),
        (&["*/k0", "a/k[2-3]"], &[], &["a/k0", "a/k2", "a/k3", "c/k0"]),
        (&[], &[FailureClass::Archived], &["a/k3", "c/k0"]),
        (&["c/*"], &[FailureClass::Archived, FailureClass::NotFound], &["c/k0"]),
        (&["a/日本*"], &[], &[]),
        (&[], &[FailureClass::DeadLetter], &[]),
        (&[""], &[], &[]),
    ] {
        let selection = selection(keys, classes);
        let store = store(&selection).await;
        let head = store.head(HeadRequest::new(BUCKET, KEY)).await.unwrap().unwrap();
        let csv = read(&store, Span::Whole).await;
        assert_eq!((objects(&csv), head.size), (expected.iter().map(ToString::to_string).collect(), csv.len() as u64));
        let list = store.list.unwrap();
        let buckets: Vec<&str> = list.buckets.iter().map(String::as_str).collect();
        let expected_buckets: BTreeSet<&str> = expected.iter().filter_map(|object| object.get(..1)).collect();
        assert_eq!((list.objects, list.unreadable), (expected.len() as u64, 0));
        assert_eq!(buckets, expected_buckets.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn any_range_is_that_part_of_the_whole() {
    let store = store(&selection(&[], &[])).await;
    let whole = read(&store, Span::Whole).await;
    for offset in 0..whole.len() {
        for len in [1, 7, 64, whole.len() - offset] {
            let found = read(&store, Span::Range { offset: offset as u64, len: len as u64 }).await;
            assert_eq!(found, whole[offset..whole.len().min(offset + len)], "{len} from {offset}");
        }
    }
}

#[tokio::test]
async fn another_list_has_another_etag_and_no_bytes() {
    let (all, some) = (store(&selection(&[], &[])).await, store(&selection(&["a/*"], &[])).await);
    let etag = some.list.as_ref().unwrap().etag.clone();
    let again = store(&selection(&["a/*"], &[])).await.list.unwrap().etag.clone();
    assert_eq!(etag, again);
    let request = GetRequest { bucket: BUCKET, key: KEY, span: Span::Whole, if_match: Some(&etag), version_id: None };
    assert!(some.get(request).await.is_ok());
    assert_eq!(all.get(request).await.err().map(|error| error.class), Some(ErrorClass::PreconditionFailed));
}

#[tokio::test]
async fn all_else_is_the_stores() {
    let store = store(&selection(&[], &[])).await;
    assert_eq!(store.head(HeadRequest::new("a", KEY)).await, Ok(None));
    assert_eq!(store.head(HeadRequest::new(BUCKET, "other")).await, Ok(None));
    let without = WithWorkList { list: None, ..store };
    assert_eq!(without.head(HeadRequest::new(BUCKET, KEY)).await, Ok(None));
}

#[tokio::test]
async fn records_that_can_not_be_read_are_counted() {
    let ledger = ledger().await;
    let key = migration_core::ports::LedgerKey::new(failure_partition(JOB, "r", 1), "zz");
    ledger.insert(migration_core::ports::Item::of(key, &serde_json::json!({"key": "zz", "class": "Newer"})));
    let list = WorkList::open(ledger, JOB, run(), &selection(&[], &[])).await.unwrap();
    assert_eq!((list.objects, list.unreadable), (8, 1));
}

#[test]
fn a_run_over_a_list_of_ours_is_a_retry() {
    let list = |etag: &str| Some(ETag::new(etag));
    for (listed_by_manifest, list, job_has_list, expected) in [
        (false, None, false, false),
        (true, None, false, true),
        (true, None, true, false),
        (true, list("s3migrate-retry-abc"), false, true),
        (true, list("s3migrate-retry-abc"), true, true),
        (true, list("abc"), true, false),
    ] {
        let run = RunRecord { listed_by_manifest, list, ..run() };
        assert_eq!(is_retry(&run, job_has_list), expected, "{run:?} {job_has_list}");
    }
}
