//! Records the actions of foreign writers in a history.

use std::collections::BTreeMap;

use bytes::Bytes;
use migration_core::etag::ETag;

use super::Chance;

/// Minimum bytes of a part, except for the last.
const SMALLEST_PART: u64 = 24;

/// A content that the source had under a key.
#[derive(Clone, Debug)]
pub struct Content {
    /// Number of the content in the history; a later one is newer.
    pub generation: u64,
    pub bytes: Bytes,
    pub etag: ETag,
}

/// The actions of foreign writers in a history, by key.
#[derive(Debug, Default)]
pub struct Reference {
    generation: u64,
    contents: BTreeMap<String, Vec<Content>>,
    /// Generations after which a key was deleted at the source.
    deleted: BTreeMap<String, Vec<u64>>,
    /// Contents that foreign writers put at the destination.
    foreign: BTreeMap<String, Vec<Bytes>>,
    /// Deletions at the destination: the key, and how many objects had become visible by then.
    pub removed: Vec<(String, usize)>,
    /// Foreign uploads at the destination: key, ID and bytes of their only part.
    pub uploads: Vec<(String, String, u64)>,
    /// Bodies of messages that were in the queue.
    pub bodies: Vec<String>,
}

impl Reference {
    /// Returns bytes that no other content has, unless empty.
    pub fn new_bytes(&mut self, size: u64) -> Bytes {
        self.generation += 1;
        let mut chance = Chance::new(self.generation << 32);
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            bytes.extend_from_slice(&chance.next().to_le_bytes());
        }
        bytes.truncate(usize::try_from(size).unwrap_or_default());
        bytes.into()
    }

    /// Returns the number of contents so far.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the number of contents that the source has had under a key.
    pub fn contents(&self, key: &str) -> usize {
        self.contents.get(key).map_or(0, Vec::len)
    }

    /// Records that the source now has these bytes, the last that were made, under the key.
    pub fn put(&mut self, key: &str, bytes: Bytes, etag: ETag) {
        let content = Content { generation: self.generation, bytes, etag };
        self.contents.entry(key.to_owned()).or_default().push(content);
    }

    /// Records that the source's object was deleted.
    pub fn deleted(&mut self, key: &str) {
        self.deleted.entry(key.to_owned()).or_default().push(self.generation);
    }

    /// Records that a foreign writer put these bytes at the destination.
    pub fn foreign(&mut self, key: &str, bytes: Bytes) {
        self.foreign.entry(key.to_owned()).or_default().push(bytes);
    }

    /// Returns true if a foreign writer put these bytes at the destination.
    pub fn is_foreign(&self, key: &str, bytes: &Bytes) -> bool {
        self.foreign.get(key).is_some_and(|all| all.contains(bytes))
    }

    /// Returns the newest generation in which the source had these bytes under the key.
    pub fn generation_of(&self, key: &str, bytes: &Bytes) -> Option<u64> {
        let contents = self.contents.get(key)?;
        contents.iter().rev().find(|content| content.bytes == *bytes).map(|content| content.generation)
    }

    /// Returns true if these bytes are a content of the source except for one bit in each part.
    pub fn is_damaged(&self, key: &str, bytes: &Bytes) -> bool {
        let bits = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| u64::from((a ^ b).count_ones())).sum::<u64>();
        self.contents.get(key).is_some_and(|contents| {
            let mut same_size = contents.iter().filter(|content| content.bytes.len() == bytes.len());
            same_size.any(|content| bits(&content.bytes, bytes) <= 1 + bytes.len() as u64 / SMALLEST_PART)
        })
    }

    /// Returns the generation of a listed content.
    pub fn generation_of_etag(&self, key: &str, etag: Option<&ETag>) -> Option<u64> {
        let contents = self.contents.get(key)?;
        contents.iter().find(|content| Some(&content.etag) == etag).map(|content| content.generation)
    }

    /// Returns true if the source was without the key at some time after a generation.
    pub fn was_absent_after(&self, key: &str, generation: u64) -> bool {
        self.deleted.get(key).is_some_and(|all| all.iter().any(|at| *at >= generation))
    }
}
