//! How the objects to transfer are gathered into batches.

use crate::message::{Entry, MAX_BODY_BYTES, json};

/// Bounds of a batch. A batch is a worker's unit of loss: what is redone when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Objects over this size travel alone.
    pub alone_over: u64,
    /// Most bytes of all objects of a batch, unless it has one only.
    pub bytes: u64,
    /// Most objects.
    pub objects: usize,
    /// Most bytes of the entries' JSON.
    pub body: usize,
}

impl BatchLimits {
    /// The limits for a job whose objects over `multipart_threshold` are moved in parts.
    ///
    /// 250 objects keep queue and ledger requests below 2 % of the S3 requests; 64 MiB are a few seconds of work.
    pub const fn new(multipart_threshold: u64) -> Self {
        // What is left of a body for job, run, id and pair, whose prefixes may have 1,024 bytes each, escaped.
        Self { alone_over: multipart_threshold, bytes: 64 << 20, objects: 250, body: MAX_BODY_BYTES - 32 * 1024 }
    }
}

/// Gathers entries in order; every entry leaves in exactly one batch.
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    entries: Vec<Entry>,
    bytes: u64,
    body: usize,
}

impl Batcher {
    /// An empty one.
    pub fn new(limits: BatchLimits) -> Self {
        Self { limits, entries: Vec::new(), bytes: 0, body: 0 }
    }

    /// Takes an entry and gives the batches that are full now: none, one, or the open one and a large object's own.
    pub fn push(&mut self, entry: Entry) -> Vec<Vec<Entry>> {
        let mut full = Vec::new();
        if entry.size > self.limits.alone_over {
            full.push(vec![entry]);
            return full;
        }
        let body = json_len(&entry);
        let over = self.bytes + entry.size > self.limits.bytes || self.body + body > self.limits.body;
        if over && let Some(batch) = self.flush() {
            full.push(batch);
        }
        self.bytes += entry.size;
        self.body += body;
        self.entries.push(entry);
        if self.entries.len() >= self.limits.objects {
            full.extend(self.flush());
        }
        full
    }

    /// Gives what is left, at the end.
    pub fn flush(&mut self) -> Option<Vec<Entry>> {
        self.bytes = 0;
        self.body = 0;
        (!self.entries.is_empty()).then(|| std::mem::take(&mut self.entries))
    }
}

/// Bytes of an entry's JSON and the comma after it.
fn json_len(entry: &Entry) -> usize {
    json(entry).len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{batch, entry};
    use proptest::prelude::*;

    #[test]
    fn large_objects_travel_alone_and_do_not_close_the_open_batch() {
        let mut batcher = Batcher::new(BatchLimits::new(10));
        assert!(batcher.push(entry("a", 10)).is_empty());
        assert_eq!(batcher.push(entry("large", 11)), vec![vec![entry("large", 11)]]);
        assert!(batcher.push(entry("b", 0)).is_empty());
        assert_eq!(batcher.flush(), Some(vec![entry("a", 10), entry("b", 0)]));
        assert_eq!(batcher.flush(), None);
    }

    #[test]
    fn the_longest_keys_fit_the_queue() {
        let mut batcher = Batcher::new(BatchLimits::new(1 << 20));
        // Control characters take six bytes each in JSON.
        let key = "\u{1}".repeat(1024);
        let full = (0..1000).find_map(|_| batcher.push(entry(&key, 1)).pop()).unwrap();
        assert!(batch(full).body().len() <= MAX_BODY_BYTES);
    }

    proptest! {
        #[test]
        fn every_entry_leaves_once_and_within_the_limits(sizes in prop::collection::vec(0_u64..200, 0..300)) {
            let limits = BatchLimits { alone_over: 100, bytes: 500, objects: 7, body: 400 };
            let mut batcher = Batcher::new(limits);
            let entries: Vec<Entry> = sizes.iter().enumerate().map(|(i, s)| entry(&i.to_string(), *s)).collect();
            let mut batches: Vec<Vec<Entry>> = entries.iter().cloned().flat_map(|e| batcher.push(e)).collect();
            batches.extend(batcher.flush());
            for batch in &batches {
                prop_assert!(!batch.is_empty() && batch.len() <= limits.objects);
                let bytes: u64 = batch.iter().map(|e| e.size).sum();
                prop_assert!(batch.len() == 1 || bytes <= limits.bytes);
            }
            let mut left: Vec<String> = batches.into_iter().flatten().map(|e| e.key).collect();
            let mut all: Vec<String> = entries.into_iter().map(|e| e.key).collect();
            left.sort();
            all.sort();
            prop_assert_eq!(left, all);
        }
    }
}
