//! Messages for ranges of the parts of a distributed object, which several workers move together.

use serde::{Deserialize, Serialize};

use super::{Batch, BatchId, MessageError};
use crate::object::SourceIdentity;
use crate::pair::BucketPair;
use crate::part::PartLayout;

/// Value of the member `kind`.
pub(super) const KIND: &str = "parts";

/// A range of the parts of one distributed object. Its upload is open and recorded in the ledger; once the record is
/// gone, the range is obsolete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartRange {
    /// [`super::MESSAGE_VERSION`] of the writer.
    #[serde(rename = "v")]
    pub version: u32,
    /// [`KIND`].
    kind: String,
    /// UID of the job.
    pub job: String,
    /// ID of the run.
    pub run: String,
    /// ID of the batch that holds the object.
    pub batch: BatchId,
    /// Source and destination of the object. Must be one of the run's recorded pairs.
    pub pair: BucketPair,
    /// The source content that the upload copies.
    pub source: SourceIdentity,
    /// Destination key of the upload.
    pub destination_key: String,
    /// The service's ID of the upload.
    pub upload_id: String,
    /// The layout of the parts.
    #[serde(flatten)]
    pub layout: PartLayout,
    /// True if the upload was created with a checksum algorithm.
    pub checksum: bool,
    /// First part of the range, from 1.
    pub first: u32,
    /// Last part of the range, inclusive.
    pub last: u32,
    /// Largest number of its parts that were at the destination at the end of any attempt.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub parts: u32,
}

impl PartRange {
    /// Returns the range of all parts of an upload, which is given by its ID, its part layout, and whether it was created
    /// with a checksum algorithm.
    pub fn whole(
        batch: &Batch,
        source: SourceIdentity,
        destination_key: &str,
        (upload_id, layout, checksum): (&str, PartLayout, bool),
    ) -> Self {
        Self {
            version: super::MESSAGE_VERSION,
            kind: KIND.to_owned(),
            job: batch.job.clone(),
            run: batch.run.clone(),
            batch: batch.id.clone(),
            pair: batch.pair.clone(),
            source,
            destination_key: destination_key.to_owned(),
            upload_id: upload_id.to_owned(),
            layout,
            checksum,
            first: 1,
            last: layout.count(),
            parts: 0,
        }
    }

    /// Returns the range of the same upload from part `first` to part `last`.
    #[must_use]
    pub fn between(&self, first: u32, last: u32) -> Self {
        Self { first, last, parts: 0, ..self.clone() }
    }

    /// Returns the same range with a new number of parts seen at the destination.
    #[must_use]
    pub fn with_parts(&self, parts: u32) -> Self {
        Self { parts, ..self.clone() }
    }

    /// Rejects a range of a pair that its run does not have, or whose key the pair maps elsewhere.
    pub fn check(&self, pairs: &[BucketPair]) -> Result<(), MessageError> {
        if self.source.key.is_empty() {
            return Err(MessageError::NoKey { bucket: self.source.bucket.clone() });
        }
        let mapped = self.pair.map_key(&self.source.key);
        if pairs.contains(&self.pair) && mapped.as_deref() == Ok(self.destination_key.as_str()) {
            return Ok(());
        }
        Err(MessageError::OtherPair {
            run: self.run.clone(),
            bucket: self.pair.source_bucket.clone(),
            destination: self.pair.destination_bucket.clone(),
        })
    }

    /// Returns the message body.
    pub fn body(&self) -> String {
        super::json(self)
    }
}

/// Maximum number of ranges of one object, and thus of workers that move it at the same time.
pub const MAX_RANGES: u32 = 64;

/// Splits the parts of an object into at most [`MAX_RANGES`] ranges with equal numbers of parts, the last one shorter.
/// Returns first and last part of each range, in order. Every part is in exactly one range.
pub fn ranges(layout: &PartLayout) -> impl Iterator<Item = (u32, u32)> + use<> {
    let count = layout.count();
    let each = count.div_ceil(MAX_RANGES).max(1);
    (0..count.div_ceil(each)).map(move |n| (n * each + 1, ((n + 1) * each).min(count)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::ETag;
    use crate::message::Message;
    use proptest::prelude::*;

    #[test]
    fn the_form_on_the_wire_is_read_back() {
        let source = SourceIdentity { bucket: "a".into(), key: "k".into(), etag: ETag::new("e-2"), version_id: None };
        let batch = crate::message::tests::batch(Vec::new());
        let all = PartRange::whole(&batch, source, "p/k", ("id", PartLayout { size: 25, part_size: 10 }, true));
        assert_eq!((all.first, all.last), (1, 3));
        let range = all.between(2, 3);
        let pairs = [crate::message::tests::pair()];
        assert_eq!(range.check(&pairs), Ok(()));
        assert!(range.check(&[]).is_err());
        assert!(PartRange { destination_key: "x".into(), ..range.clone() }.check(&pairs).is_err());
        assert_eq!(Message::parse(&range.body()), Ok(Message::PartRange(range)));
    }

    proptest! {
        #[test]
        fn every_part_is_in_exactly_one_range(size in 1_u64..200_000, part_size in 20_u64..5_000) {
            let layout = PartLayout { size, part_size };
            let ranges: Vec<(u32, u32)> = ranges(&layout).collect();
            prop_assert!(ranges.len() <= MAX_RANGES as usize);
            let parts: Vec<u32> = ranges.into_iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(parts, (1..=layout.count()).collect::<Vec<_>>());
        }
    }
}
