//! Functions of values.

use std::hint::black_box;

use migration_core::batch::{BatchLimits, Batcher};
use migration_core::compare::{CompareContext, compare};
use migration_core::etag::{ETag, Md5Digest};
use migration_core::ignore::IgnoreList;
use migration_core::message::{Batch, BatchId, DestinationState, Entry, MESSAGE_VERSION, Message};
use migration_core::object::ListedObject;
use migration_core::pair::BucketPair;
use migration_core::retry::Tried;
use migration_engine::hash;

/// Keys of a round.
pub const KEYS: u32 = 1_000;
/// Entries of a batch, the most that one has.
pub const BATCH: u32 = 250;
const MIB: usize = 1 << 20;
/// A time, as Unix time in milliseconds.
const LONG_AGO: i64 = 1_700_000_000_000;

fn key(n: u32) -> String {
    format!("data/2026/11/{:02}/host-{:03}/part-{n:06}.parquet", n % 30, n % 97)
}

fn digest_of(n: u32) -> Md5Digest {
    (u128::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()
}

/// Every eighth is that of an object that was uploaded in parts.
fn etag(n: u32) -> ETag {
    let digest = digest_of(n);
    if n.is_multiple_of(8) { ETag::of_parts([&digest]) } else { ETag::of_content(&digest) }
}

fn pair() -> BucketPair {
    BucketPair {
        source_bucket: "source".into(),
        source_prefix: "data/".into(),
        destination_bucket: "destination".into(),
        destination_prefix: "copies/of/source/".into(),
        prefix_mode: migration_core::pair::PrefixMode::Replace,
    }
}

fn listed(n: u32, of: u32) -> ListedObject {
    ListedObject {
        key: key(n),
        size: u64::from(n) * 1_000,
        etag: Some(etag(of)),
        modified: LONG_AGO + i64::from(of),
        version_id: None,
        storage_class: None,
    }
}

fn entry(n: u32) -> Entry {
    Entry {
        key: key(n),
        size: u64::from(n) * 1_000,
        etag: Some(etag(n)),
        version_id: None,
        destination: n.is_multiple_of(4).then(|| DestinationState { etag: Some(etag(n + 1)) }),
        unlisted: false,
        tried: Tried::default(),
    }
}

fn batch() -> Batch {
    Batch {
        version: MESSAGE_VERSION,
        job: "6f0c9a3e-3f0d-4b1e-9d8a-0c1f5f2f7a10".into(),
        run: "run-20261130-100000".into(),
        id: BatchId::new(1, 1, 1),
        scanned: LONG_AGO,
        pair: pair(),
        attempts: 0,
        objects: (0..BATCH).map(entry).collect(),
    }
}

/// Maps keys to those of the destination.
pub fn map_keys(rounds: u32) {
    let (pair, keys): (_, Vec<String>) = (pair(), (0..KEYS).map(key).collect());
    for key in (0..rounds).flat_map(|_| &keys) {
        black_box(pair.map_key(black_box(key))).unwrap();
    }
}

/// Compares objects: of ten, one is absent at the destination, one has other content, and the rest are in place.
pub fn compare_objects(rounds: u32) {
    let sources: Vec<ListedObject> = (0..KEYS).map(|n| listed(n, n)).collect();
    let copy = |n: u32| match n % 10 {
        0 => None,
        1 => Some(listed(n, n + 1)),
        _ => Some(listed(n, n)),
    };
    let copies: Vec<Option<ListedObject>> = (0..KEYS).map(copy).collect();
    let context = CompareContext { last_complete_scan: Some(LONG_AGO), ..CompareContext::default() };
    for (source, copy) in (0..rounds).flat_map(|_| sources.iter().zip(&copies)) {
        black_box(compare(black_box(source), black_box(copy.as_ref()), context));
    }
}

/// Matches keys with patterns of four kinds, none of which matches.
pub fn ignore(patterns: u32, rounds: u32) {
    let pattern = |n: u32| match n % 4 {
        0 => format!("source/logs/{n:05}/*"),
        1 => format!("*.x{n:05}"),
        2 => format!("*/tmp-{n:05}/?"),
        _ => format!("source/none-{n:05}[ab]"),
    };
    let list = IgnoreList::new(&(0..patterns).map(pattern).collect::<Vec<_>>()).unwrap();
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    for key in (0..rounds).flat_map(|_| &keys) {
        assert!(!black_box(list.ignores("source", black_box(key))));
    }
}

/// Groups entries into batches, as a scan does.
pub fn group(rounds: u32) {
    let entries: Vec<Entry> = (0..KEYS).map(entry).collect();
    for _ in 0..rounds {
        let mut batcher = Batcher::new(BatchLimits::new(16 << 20));
        for entry in &entries {
            black_box(batcher.push(entry.clone()));
        }
        black_box(batcher.flush());
    }
}

/// Writes the message of a batch.
pub fn write_batch(rounds: u32) {
    let batch = batch();
    for _ in 0..rounds {
        black_box(black_box(&batch).body());
    }
}

/// Reads the message of a batch.
pub fn read_batch(rounds: u32) {
    let body = batch().body();
    for _ in 0..rounds {
        black_box(Message::parse(black_box(&body))).unwrap();
    }
}

/// Reads ETags as they are in headers.
pub fn read_etags(rounds: u32) {
    let texts: Vec<String> = (0..KEYS).map(|n| etag(n).quoted()).collect();
    for text in (0..rounds).flat_map(|_| &texts) {
        black_box(ETag::new(black_box(text)).md5());
    }
}

/// Computes the ETag of an object from the MD5s of its parts.
pub fn etag_of_parts(rounds: u32) {
    let digests: Vec<Md5Digest> = (0..KEYS).map(digest_of).collect();
    for _ in 0..rounds {
        black_box(ETag::of_parts(black_box(&digests)));
    }
}

fn body() -> Vec<u8> {
    (0..MIB).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[4]).collect()
}

/// Computes the digests of a body by itself.
pub fn digest(rounds: u32) {
    let body = body();
    for _ in 0..rounds {
        black_box(hash::digest(black_box(&body)));
    }
}

/// Computes the CRC-64 of a body.
pub fn crc64(rounds: u32) {
    let body = body();
    for _ in 0..rounds {
        black_box(hash::crc64::of(black_box(&body)));
    }
}
