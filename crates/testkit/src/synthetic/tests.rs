use migration_core::ports::{HeadRequest, ObjectStore};

use super::*;
use crate::{MemoryStore, StoreSettings, TestClock};

const LIST: ListRequest<'static> =
    ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };

/// Returns the keys of each page of a listing.
async fn pages<S: ObjectStore>(store: &S, request: ListRequest<'_>) -> Vec<Vec<String>> {
    let (mut pages, mut continuation) = (Vec::new(), None::<String>);
    loop {
        let page = store.list(ListRequest { continuation: continuation.as_deref(), ..request }).await.unwrap();
        pages.push(page.objects.into_iter().map(|object| object.key).collect());
        continuation = page.continuation;
        if continuation.is_none() {
            return pages;
        }
    }
}

#[tokio::test]
async fn it_lists_as_one_that_stores_its_objects() {
    for shape in KeyShape::ALL {
        for synthetic in [SyntheticStore::new(shape, 50), SyntheticStore::new(shape, 40).without_every(10).under("p/")]
        {
            let synthetic = synthetic.with_page(7);
            let settings = StoreSettings { list_page: 7, ..StoreSettings::default() };
            let stored = MemoryStore::with_settings(TestClock::default(), "tester", settings);
            stored.create_bucket("b");
            let keys: Vec<String> = (0..50).filter(|n| synthetic.has(*n)).map(|n| synthetic.key(n)).collect();
            for key in &keys {
                stored.insert("b", key, "x");
            }
            let prefixes = ["", "p/", "data", "none", &keys[20][..keys[20].len() - 7], keys[3].as_str()];
            let starts = [None, Some(""), Some("p/"), Some("zzz"), Some(keys[0].as_str()), Some(&keys[21][..9])];
            for prefix in prefixes {
                for start_after in starts {
                    for max_keys in [None, Some(1)] {
                        let request = ListRequest { prefix, start_after, max_keys, ..LIST };
                        let (a, b) = (pages(&synthetic, request).await, pages(&stored, request).await);
                        assert_eq!(a, b, "{shape:?} {request:?}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn objects_are_the_same_in_every_listing_and_the_size_costs_nothing() {
    let store = SyntheticStore::new(KeyShape::Hashed, 100_000_000);
    let last = store.object(99_999_999);
    let before = store.key(99_999_997);
    let page = store.list(ListRequest { start_after: Some(&before), ..LIST }).await.unwrap();
    assert_eq!(page.objects, [store.object(99_999_998), last]);
    assert_eq!(page.continuation, None);
    assert!(store.list(ListRequest { continuation: Some("a"), ..LIST }).await.is_err());
}

#[tokio::test]
async fn everything_but_a_listing_is_refused() {
    let store = SyntheticStore::new(KeyShape::Flat, 1);
    assert!(store.head(HeadRequest::new("b", "k")).await.is_err());
    assert!(store.list_versions(LIST).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn requests_take_their_time_fail_as_told_and_are_counted() {
    let store =
        SyntheticStore::new(KeyShape::Flat, 10).with_latency(Duration::from_secs(2)).failing_every(3).swapped_at(4);
    let began = tokio::time::Instant::now();
    let one = ListRequest { max_keys: Some(1), ..LIST };
    let (first, second) = tokio::join!(store.list(LIST), store.list(one));
    assert!(store.list(one).await.is_err(), "the third one");
    assert_eq!(began.elapsed(), Duration::from_secs(4));
    assert_eq!(store.traffic(), ListTraffic { requests: 3, probes: 2, keys: 11, most_in_flight: 2 });
    assert_eq!(second.unwrap().objects, [store.object(0)]);
    let places: Vec<u64> = first.unwrap().objects.iter().map(|object| object.key.parse().unwrap()).collect();
    assert_eq!(places, [0, 1, 2, 3, 5, 4, 6, 7, 8, 9]);
}
