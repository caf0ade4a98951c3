//! Tests of the S3 service, in memory and on disk.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod conformance;
mod directory;
mod killed;
mod reopening;

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use md5::{Digest, Md5};
use migration_core::error::ServiceError;
use migration_core::ports::{Attributes, GetRequest, ObjectStore, PutRequest, Span, Tags, WriteCondition, Written};
use migration_local::store::{LocalStore, StoreSettings};
use migration_testkit::TestClock;

/// Returns bytes that differ by seed and place.
fn content(seed: u64, size: usize) -> Bytes {
    let word = |place: u64| (place ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bytes: Vec<u8> = (0..).flat_map(|place| word(place).to_be_bytes()).take(size).collect();
    bytes.into()
}

fn open(directory: &std::path::Path) -> LocalStore {
    LocalStore::open(directory, Arc::new(TestClock::default()), StoreSettings::default()).unwrap()
}

async fn put(store: &LocalStore, key: &str, body: Bytes) -> Result<Written, ServiceError> {
    let (attributes, tags, condition) = (Attributes::default(), Tags::new(), WriteCondition::Any);
    let (attributes, tags, condition) = (&attributes, &tags, &condition);
    let md5 = Md5::digest(&body).into();
    store.put(PutRequest { bucket: "b", key, body, md5, attributes, tags, condition }).await
}

async fn get(store: &LocalStore, key: &str) -> Result<Vec<u8>, ServiceError> {
    let request = GetRequest { bucket: "b", key, span: Span::Whole, if_match: None, version_id: None };
    let pieces: Vec<Bytes> = store.get(request).await?.body.try_collect().await?;
    Ok(pieces.concat())
}
