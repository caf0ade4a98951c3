//! Values that tests of several crates start from.

use migration_core::pair::{BucketPair, PrefixMode};
use migration_core::records::{Counters, RunRecord, ScanProgress};

/// Returns a pair of a source bucket and the destination bucket `b`, without prefixes.
pub fn bucket_pair(source_bucket: &str) -> BucketPair {
    BucketPair {
        source_bucket: source_bucket.to_owned(),
        source_prefix: String::new(),
        destination_bucket: "b".to_owned(),
        destination_prefix: String::new(),
        prefix_mode: PrefixMode::Append,
    }
}

/// Returns the first record of run `r` without pairs: its scan is open or closed, and has sent nothing.
pub fn run_record(is_closed: bool) -> RunRecord {
    RunRecord {
        run: "r".to_owned(),
        revision: 1,
        started_by: "j".to_owned(),
        owner: "p".to_owned(),
        epoch: 1,
        lease_until: 0,
        started: 0,
        pairs: Vec::new(),
        sides: None,
        scan: ScanProgress { closed: is_closed, ..ScanProgress::default() },
        stale: Vec::new(),
        mirror: None,
        listed_by_manifest: false,
        list: None,
        reopen: None,
        reopened: Vec::new(),
        kept: Counters::default(),
        end: None,
    }
}
