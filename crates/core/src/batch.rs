//! Groups the objects to transfer into batches.

use crate::message::{Entry, MAX_BODY_BYTES, json};

/// Limits of a batch. A batch is the unit of rework: when a worker dies, its whole batch is processed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Objects larger than this, in bytes, get a batch of their own.
    pub alone_over: u64,
    /// Maximum total size of the objects, in bytes. A single object may exceed it.
    pub bytes: u64,
    /// Maximum number of objects.
    pub objects: usize,
    /// Maximum size of the entries as JSON, in bytes.
    pub body: usize,
}

impl BatchLimits {
    /// Returns the limits for a job whose objects over `multipart_threshold` bytes are moved in parts.
    ///
    /// With 250 objects a batch, queue and ledger requests stay below 2 % of the S3 requests; 64 MiB take a few seconds
    /// to move.
    pub const fn new(multipart_threshold: u64) -> Self {
        // The rest of the body holds job, run, id and pair, whose prefixes may have 1,024 bytes each, escaped.
        Self { alone_over: multipart_threshold, bytes: 64 << 20, objects: 250, body: MAX_BODY_BYTES - 32 * 1024 }
    }
}

/// Groups entries into batches, in order. Each entry ends up in exactly one batch.
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    entries: Vec<Entry>,
    bytes: u64,
    body: usize,
}

impl Batcher {
    /// Creates an empty batcher.
    pub fn new(limits: BatchLimits) -> Self {
        Self { limits, entries: Vec::new(), bytes: 0, body: 0 }
    }

    /// Adds an entry. Returns the batches that are now full: none, one, or two if a large object also gets its own
    /// batch.
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

    /// Returns the last, partly filled batch. Returns `None` if it is empty.
    pub fn flush(&mut self) -> Option<Vec<Entry>> {
        self.bytes = 0;
        self.body = 0;
        (!self.entries.is_empty()).then(|| std::mem::take(&mut self.entries))
    }
}

/// Returns the size of an entry's JSON and the comma after it, in bytes.
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
