//! What the buckets have: names, sizes and headers, and no bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderName;
use jiff::Timestamp;

use super::answer::{Refusal, escaped};
use super::body::Received;
use crate::pattern;

/// Headers of an object that are kept, besides its metadata.
const KEPT: &[&str] =
    &["cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"];

/// All buckets.
#[derive(Debug, Default)]
pub struct Buckets(BTreeMap<String, Bucket>);

/// A bucket.
#[derive(Debug, Default)]
pub struct Bucket {
    /// Its objects.
    pub objects: BTreeMap<String, Object>,
    /// Its uploads, by their ids.
    pub uploads: BTreeMap<String, Upload>,
    /// Uploads that there ever were.
    pub begun: u64,
}

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Size in bytes.
    pub size: u64,
    /// ETag without quotes.
    pub etag: Arc<str>,
    /// When it was written.
    pub modified: Timestamp,
    /// Headers that it was written with; `None` if there are none.
    pub headers: Option<Arc<HeaderMap>>,
}

/// A multipart upload.
#[derive(Debug)]
pub struct Upload {
    /// Key of the object.
    pub key: String,
    /// When it was begun.
    pub begun: Timestamp,
    /// Headers of the object.
    pub headers: Option<Arc<HeaderMap>>,
    /// Its parts by number.
    pub parts: BTreeMap<u32, Received>,
}

impl Buckets {
    /// Returns a bucket.
    pub fn get(&mut self, name: &str) -> Result<&mut Bucket, Refusal> {
        self.0.get_mut(name).ok_or(Refusal::NoSuchBucket)
    }

    /// Makes a bucket if there is none.
    pub fn make(&mut self, name: &str) -> &mut Bucket {
        self.0.entry(name.to_owned()).or_default()
    }

    /// Removes a bucket with all that it has.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Adds computed objects by lines of `SIZE KEY`.
    pub fn fill(&mut self, name: &str, lines: &str) -> Result<(), Refusal> {
        let (modified, bucket) = (Timestamp::now(), self.make(name));
        let mut etags: BTreeMap<u64, Arc<str>> = BTreeMap::new();
        for line in lines.lines() {
            let (size, key) = line.split_once(' ').ok_or(Refusal::InvalidRequest)?;
            let size = size.parse().map_err(|_| Refusal::InvalidRequest)?;
            let etag = etags.entry(size).or_insert_with(|| pattern::etag(size)).clone();
            bucket.objects.insert(key.to_owned(), Object { size, etag, modified, headers: None });
        }
        Ok(())
    }

    /// Returns the list of buckets.
    pub fn list(&self) -> String {
        let mut text = "<ListAllMyBucketsResult><Owner><ID>o</ID></Owner><Buckets>".to_owned();
        for name in self.0.keys() {
            let _ = write!(
                text,
                "<Bucket><Name>{}</Name><CreationDate>{}</CreationDate></Bucket>",
                escaped(name),
                time(Timestamp::UNIX_EPOCH)
            );
        }
        text + "</Buckets></ListAllMyBucketsResult>"
    }
}

impl Bucket {
    /// Returns an object.
    pub fn object(&self, key: &str) -> Result<&Object, Refusal> {
        self.objects.get(key).ok_or(Refusal::NoSuchKey)
    }

    /// Returns an upload of a key.
    pub fn upload(&mut self, id: &str, key: &str) -> Result<&mut Upload, Refusal> {
        self.uploads.get_mut(id).filter(|upload| upload.key == key).ok_or(Refusal::NoSuchUpload)
    }
}

/// Returns the headers of a request that its object keeps.
pub fn kept(headers: &HeaderMap) -> Option<Arc<HeaderMap>> {
    let is_kept = |name: &HeaderName| KEPT.contains(&name.as_str()) || name.as_str().starts_with("x-amz-meta-");
    let is_framing = |value: &[u8]| value == b"aws-chunked";
    let kept: HeaderMap = headers
        .iter()
        .filter(|(name, value)| is_kept(name) && !is_framing(value.as_bytes()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!kept.is_empty()).then(|| Arc::new(kept))
}

/// Returns a time as S3's XML has it.
pub fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}
