use super::*;
use crate::compare::{Difference, Evidence};
use crate::etag::ETag;
use crate::object::ListedObject;
use crate::size::ByteSize;

const MIB: u64 = 1 << 20;

fn config() -> JobConfig {
    serde_yaml::from_str(
        r"
version: 1
job: {namespace: default, name: photos, uid: u-1}
buckets: [{sourceBucket: a, destinationBucket: b}]
source: {region: cn-north-1}
destination: {region: us-east-1}
transfer: {partSize: Auto, multipartThreshold: 16Mi, filesPerWorker: 4, partsPerFile: 4, memoryLimit: 256Mi, maxAttempts: 5}
queue: {region: us-east-1, url: 'http://q/1', deadLetterUrl: 'http://q/2'}
ledger: {region: us-east-1, table: t}
",
    )
    .unwrap()
}

fn object(size: u64, etag: &str) -> ListedObject {
    let etag = Some(ETag::new(etag));
    ListedObject { key: "k".into(), size, etag, modified: 0, version_id: None, storage_class: None }
}

fn missing(source: &ListedObject) -> Finding<'_> {
    Finding::Transfer { source, destination: None, difference: Difference::Missing }
}

#[test]
fn each_finding_is_counted_once_and_what_is_copied_by_size() {
    let mut estimate = Estimate::new(&config());
    let (empty, small, large) = (object(0, "e"), object(5, "e"), object(17 * MIB, "e"));
    estimate.add(&missing(&empty));
    estimate.add(&Finding::Transfer { source: &large, destination: Some(&small), difference: Difference::Size });
    estimate.add(&Finding::InPlace { source: &small, evidence: Evidence::Content });
    estimate.add(&Finding::Ignored { source: &small });
    estimate.add(&Finding::Extraneous { destination: &large });
    let sums = [estimate.transfer, estimate.update, estimate.skip, estimate.ignore, estimate.fail, estimate.delete];
    assert_eq!(sums.map(|sum| sum.objects), [1, 1, 1, 1, 0, 1]);
    assert_eq!(estimate.copied(), Sum { objects: 2, bytes: 17 * MIB });
    assert_eq!(estimate.sizes.map(|sum| sum.objects), [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
}

#[test]
fn requests_are_those_of_the_documented_table() {
    // Size, the source's ETag, server side: requests to the source and the destination.
    let requests = |writes, reads| Requests { writes, reads };
    for (size, etag, server_side, source, destination) in [
        (0, "e", false, requests(0, 1), requests(1, 0)),
        (16 * MIB, "e", false, requests(0, 1), requests(1, 0)),
        (33 * MIB, "e", false, requests(0, 3), requests(3 + 2 + 1, 3)),
        // 8 MiB parts of the source are kept, 5 MiB parts are not.
        (33 * MIB, "0cc175b9c0f1b6a831c399e269772661-5", false, requests(0, 5), requests(5 + 2 + 1, 3)),
        (33 * MIB, "0cc175b9c0f1b6a831c399e269772661-7", false, requests(0, 3), requests(3 + 2 + 1, 3)),
        (33 * MIB, "e", true, requests(0, 1), requests(1, 1)),
    ] {
        let mut config = config();
        if server_side {
            config.transfer.mode = crate::config::TransferMode::ServerSide;
        }
        let mut estimate = Estimate::new(&config);
        estimate.add(&missing(&object(size, etag)));
        assert_eq!((estimate.source, estimate.destination), (source, destination), "{size} {etag} {server_side}");
        assert_eq!(estimate.carried_bytes, if server_side { 0 } else { size }, "{size} {etag} {server_side}");
    }
}

#[test]
fn listings_cost_a_request_for_each_thousand_keys_and_one_at_least() {
    let mut estimate = Estimate::new(&config());
    let small = object(5, "e");
    assert_eq!(estimate.requests().0.writes, 1);
    for _ in 0..1_001 {
        estimate.add(&Finding::InPlace { source: &small, evidence: Evidence::Content });
    }
    let (source, destination) = estimate.requests();
    assert_eq!((source.writes, destination.writes), (2, 2));
}

#[test]
fn the_cost_is_what_the_prices_say() {
    let mut config = config();
    config.transfer.part_size = PartSize::Fixed(ByteSize::mib(100));
    let mut estimate = Estimate::new(&config);
    let large = object(1_000_000_000, "e");
    estimate.add(&missing(&large));
    let prices: Prices = serde_yaml::from_str(
        "{currency: CNY, source: {outPerGigabyte: 1, readsPerThousand: 1000, writesPerThousand: 0}, \
         destination: {outPerGigabyte: 9, readsPerThousand: 0, writesPerThousand: 1000}, queuePerMillion: 1000000, \
         ledgerWritesPerMillion: 0}",
    )
    .unwrap();
    let cost = estimate.cost(&prices, 1);
    // 10 parts: 10 GETs; 10 parts, 2 for the upload, 1 ListParts, 1 listing.
    assert!((cost.requests - (10.0 + 14.0)).abs() < 1e-9, "{cost:?}");
    assert!((cost.out - 1.0).abs() < 1e-9 && (cost.coordination - 4.0).abs() < 1e-9, "{cost:?}");
    assert!((cost.total() - 29.0).abs() < 1e-9);
    assert!(serde_yaml::from_str::<Prices>("{currenzy: CNY}").is_err(), "a price that is not known");
}
