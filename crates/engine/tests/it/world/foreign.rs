//! Actions of other writers at the services, bypassing our ports.

use bytes::Bytes;
use md5::{Digest, Md5};
use migration_core::etag::ETag;
use migration_core::ports::{Attributes, Body, CreateUpload, ObjectStore, PutPart, Tags, UploadRef};
use migration_testkit::MemoryStore;

/// The initiator of foreign uploads.
const SOMEBODY: &str = "somebody";
/// Bytes of the parts in foreign uploads.
const PART: usize = 45;

/// Returns attributes and tags that identify the content they came with; none for 0.
pub fn dressed(number: u64) -> (Attributes, Tags) {
    let mut attributes = Attributes::default();
    if number == 0 {
        return (attributes, Tags::new());
    }
    attributes.content_type = Some(format!("text/{number}"));
    attributes.cache_control = Some("no-store".to_owned());
    attributes.metadata.insert("number".to_owned(), number.to_string());
    let tags = if number.is_multiple_of(2) { vec![("number".to_owned(), number.to_string())] } else { Tags::new() };
    (attributes, tags)
}

/// Puts an object that was uploaded in parts and returns its ETag.
pub fn put_in_parts(
    store: &MemoryStore,
    (bucket, key): (&str, &str),
    bytes: &Bytes,
    (attributes, tags): (&Attributes, &Tags),
) -> ETag {
    let parts: Vec<Bytes> = bytes.chunks(PART).map(|part| bytes.slice_ref(part)).collect();
    store.insert_parts(bucket, key, &parts, attributes, tags)
}

/// Begins an upload, sends one part of it, and returns its ID.
pub async fn begin_upload(store: &MemoryStore, bucket: &str, key: &str, bytes: Bytes) -> String {
    let store = store.as_principal(SOMEBODY);
    let (attributes, tags) = dressed(0);
    let request = CreateUpload { bucket, key, attributes: &attributes, tags: &tags, checksum: false };
    let id = store.create_upload(request).await.unwrap();
    let upload = UploadRef { bucket, key, upload_id: &id };
    let md5 = Md5::digest(&bytes).into();
    let part = PutPart { upload, number: 1, body: Body::Held { bytes, md5 }, checksum: false };
    store.put_part(part).await.unwrap();
    id
}

/// Returns the sizes of the parts of an upload; none if it is not open.
pub async fn part_sizes(store: &MemoryStore, bucket: &str, key: &str, upload_id: &str) -> Vec<u64> {
    let listed = store.list_parts(UploadRef { bucket, key, upload_id }, None).await;
    listed.map(|page| page.parts.iter().map(|part| part.size).collect()).unwrap_or_default()
}

/// Aborts an upload, which need not exist any more.
pub async fn abort_upload(store: &MemoryStore, bucket: &str, key: &str, upload_id: &str) {
    let _ = store.abort_upload(UploadRef { bucket, key, upload_id }).await;
}
