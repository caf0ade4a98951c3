//! Estimates what a run would do and cost, from the findings of its scan.

use serde::Serialize;

use crate::config::JobConfig;
use crate::finding::{Action, Finding};
use crate::part::{PartLayout, PartSize};
use crate::plan::{TransferMethod, is_server_side, method};

mod price;

pub use price::{Cost, Prices, SidePrices};

/// Keys per page of a listing. Source: `ListObjectsV2` in the S3 API reference.
const LIST_PAGE: u64 = 1_000;
/// Parts per page of `ListParts`. Source: the S3 API reference.
const PARTS_PAGE: u64 = 1_000;
/// Queue requests per batch: sent (ten at a time), received, extended about once, deleted.
const QUEUE_REQUESTS: u64 = 4;
/// Write units per batch: its end and the counters in one transaction, which counts double.
const BATCH_WRITES: u64 = 4;
/// Write units per large object: intent, creation, removal.
const LARGE_WRITES: u64 = 3;

/// A number of objects and their total size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Number of objects.
    pub objects: u64,
    /// Their total size, in bytes.
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// Requests to one side, by price class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// PUT, COPY, POST, LIST.
    pub writes: u64,
    /// GET, HEAD and all others.
    pub reads: u64,
}

/// Upper bounds of the size classes of a [`Estimate`], in bytes. A last class holds everything larger.
pub const SIZE_CLASSES: [u64; 9] = [0, 4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20, 1 << 30, 16 << 30, 256 << 30];

/// The estimated work of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Objects missing at the destination.
    pub transfer: Sum,
    /// Objects whose content at the destination differs.
    pub update: Sum,
    /// Objects in place.
    pub skip: Sum,
    /// Objects that the filters exclude.
    pub ignore: Sum,
    /// Objects that cannot be moved.
    pub fail: Sum,
    /// Objects that exist only at the destination. Counted only if the job mirrors.
    pub delete: Sum,
    /// Objects to copy, by size: see [`SIZE_CLASSES`].
    pub sizes: [Sum; SIZE_CLASSES.len() + 1],
    /// Estimated requests to the source, without listings: see [`Self::requests`].
    pub source: Requests,
    /// Estimated requests to the destination, without listings: see [`Self::requests`].
    pub destination: Requests,
    /// Bytes that leave the source's service. 0 if the service copies by itself.
    pub carried_bytes: u64,
    /// Number of objects moved in parts.
    large: u64,
    rules: Rules,
}

/// The job's settings that determine the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rules {
    /// True if objects are looked up one by one.
    by_manifest: bool,
    transfer: crate::config::TransferSettings,
    server_side: bool,
}

impl Estimate {
    /// Creates the estimate of a job, before any finding.
    pub fn new(config: &JobConfig) -> Self {
        let server_side = is_server_side(&config.transfer, &config.source, &config.destination);
        Self {
            transfer: Sum::default(),
            update: Sum::default(),
            skip: Sum::default(),
            ignore: Sum::default(),
            fail: Sum::default(),
            delete: Sum::default(),
            sizes: [Sum::default(); SIZE_CLASSES.len() + 1],
            source: Requests::default(),
            destination: Requests::default(),
            carried_bytes: 0,
            large: 0,
            rules: Rules { by_manifest: config.manifest.is_some(), transfer: config.transfer.clone(), server_side },
        }
    }

    /// Adds a finding.
    pub fn add(&mut self, finding: &Finding<'_>) {
        let object = finding.object();
        let sum = match finding.action() {
            Action::Transfer => &mut self.transfer,
            Action::Update => &mut self.update,
            Action::Skip => &mut self.skip,
            Action::Ignore => &mut self.ignore,
            Action::Fail => &mut self.fail,
            Action::Delete => &mut self.delete,
        };
        sum.add(object.size);
        if let Finding::Transfer { source, .. } = finding {
            let class = SIZE_CLASSES.partition_point(|largest| source.size > *largest);
            if let Some(class) = self.sizes.get_mut(class) {
                class.add(source.size);
            }
            self.add_requests(source.size, source.etag.as_ref().and_then(crate::etag::ETag::parts));
        }
        if matches!(finding, Finding::Extraneous { .. }) {
            // The source is asked to confirm that the object does not exist; deletions are free of charge.
            self.source.reads += 1;
        }
    }

    /// Source: the table "What it costs" of docs/transfer.md.
    fn add_requests(&mut self, size: u64, source_parts: Option<u32>) {
        let settings = &self.rules.transfer;
        let way = method(size, settings, self.rules.server_side);
        let parts = u64::from(parts_of(size, source_parts, settings.part_size));
        if matches!(way, TransferMethod::SinglePut | TransferMethod::Multipart | TransferMethod::Distributed) {
            self.carried_bytes += size;
        }
        match way {
            TransferMethod::SinglePut => {
                self.source.reads += 1;
                self.destination.writes += 1;
            }
            TransferMethod::Multipart | TransferMethod::Distributed => {
                self.source.reads += parts;
                self.destination.writes += parts + 2 + parts.div_ceil(PARTS_PAGE);
                self.destination.reads += 2 + u64::from(settings.compare_checksums);
                self.large += 1;
            }
            TransferMethod::CopyObject => {
                self.source.reads += 1;
                self.destination.writes += 1;
                self.destination.reads += 1;
            }
            TransferMethod::CopyParts => {
                self.source.reads += 1;
                self.destination.writes += parts + 2 + parts.div_ceil(PARTS_PAGE);
                self.destination.reads += 2;
                self.large += 1;
            }
        }
    }

    /// Returns the sum of the objects to copy.
    pub const fn copied(&self) -> Sum {
        Sum { objects: self.transfer.objects + self.update.objects, bytes: self.transfer.bytes + self.update.bytes }
    }

    /// Returns the estimated requests to the source and the destination, listings included.
    pub fn requests(&self) -> (Requests, Requests) {
        let all = [self.transfer, self.update, self.skip, self.ignore, self.fail];
        let listed: u64 = all.iter().map(|sum| sum.objects).sum();
        let there = self.update.objects + self.skip.objects + self.delete.objects;
        if self.rules.by_manifest {
            // An upper bound: objects described by an inventory are not all looked up again.
            let looked_at = listed - self.ignore.objects;
            let with_looks = |requests: Requests| Requests { reads: requests.reads + looked_at, ..requests };
            return (with_looks(self.source), with_looks(self.destination));
        }
        let with_lists = |requests: Requests, keys: u64| Requests {
            writes: requests.writes + keys.div_ceil(LIST_PAGE).max(1),
            ..requests
        };
        (with_lists(self.source, listed), with_lists(self.destination, there))
    }

    /// Returns the estimated cost, given the number of batches.
    pub fn cost(&self, prices: &Prices, batches: u64) -> Cost {
        let (source, destination) = self.requests();
        let queue = batches * QUEUE_REQUESTS;
        let writes = batches * BATCH_WRITES + self.large * LARGE_WRITES;
        prices.cost(source, destination, self.carried_bytes, queue, writes)
    }
}

/// Returns the number of parts that an object is moved in: the source's, if it is known and its layout can be kept.
fn parts_of(size: u64, source_parts: Option<u32>, wanted: PartSize) -> u32 {
    if let (PartSize::Auto, Some(parts)) = (wanted, source_parts.filter(|parts| *parts > 0)) {
        // The exact length of the first part would take a request. It is at least the mean.
        let mean = size.div_ceil(u64::from(parts));
        let likely = [mean.next_multiple_of(1 << 20), mean.next_power_of_two()];
        if likely.iter().any(|first| PartLayout::of_source(size, (*first).min(size), parts).is_some()) {
            return parts;
        }
    }
    PartLayout::new(size, wanted).map_or(1, |layout| layout.count())
}

#[cfg(test)]
mod tests;
