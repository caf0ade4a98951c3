//! Layout of the parts of a multipart upload.

use serde::{Deserialize, Serialize};

use crate::mutants::{Mutant, is_active};
use crate::size::{ByteSize, SizeError, Written};

/// Minimum size of a part other than the last, in bytes. Source: "Amazon S3 multipart upload limits".
pub const MIN_PART: u64 = 5 << 20;
/// Maximum size of a part, in bytes.
pub const MAX_PART: u64 = 5 << 30;
/// Maximum number of parts of an upload.
pub const MAX_PARTS: u64 = 10_000;
/// Part sizes that we compute are multiples of this.
const MIB: u64 = 1 << 20;
/// Default part size, in bytes. It halves the number of requests compared with the usual 8 MiB.
const AUTO_PART: u64 = 16 * MIB;

/// Part sizes of the source that are kept, in bytes.
const KEPT: std::ops::RangeInclusive<u64> = 8 * MIB..=512 * MIB;

/// How the part size is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub enum PartSize {
    /// 16 MiB, or more if the object would exceed 10,000 parts.
    #[default]
    Auto,
    /// This size, or more if the object would exceed 10,000 parts.
    Fixed(ByteSize),
}

impl TryFrom<Written> for PartSize {
    type Error = SizeError;

    fn try_from(written: Written) -> Result<Self, SizeError> {
        match written {
            Written::Text(text) if text == "Auto" => Ok(Self::Auto),
            written => ByteSize::try_from(written).map(Self::Fixed),
        }
    }
}

impl From<PartSize> for String {
    fn from(size: PartSize) -> Self {
        match size {
            PartSize::Auto => "Auto".to_owned(),
            PartSize::Fixed(size) => size.to_string(),
        }
    }
}

/// The parts of one object: of equal size, the last one shorter. They cover every byte once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartLayout {
    /// Size of the object, in bytes; at least 1.
    pub size: u64,
    /// Size of each part but the last, in bytes.
    pub part_size: u64,
}

/// One part of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Part number, from 1.
    pub number: u32,
    /// Offset of the first byte.
    pub offset: u64,
    /// Size in bytes; at least 1.
    pub len: u64,
}

/// Why an object has no part layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The object is empty.
    #[error("failed to divide object into parts: it is empty")]
    Empty,
    /// The object exceeds 10,000 parts of 5 GiB.
    #[error("failed to divide object into parts: {0} bytes exceed 10,000 parts of 5 GiB")]
    TooLarge(u64),
}

impl PartLayout {
    /// Returns the layout of an object of `size` bytes.
    ///
    /// | size | wanted | part size |
    /// |---|---|---|
    /// | at most 10,000 parts | any | as wanted, within 1 byte … 5 GiB |
    /// | more | any | size ÷ 10,000, rounded up to whole MiB |
    /// | over 48.8 TiB | any | error |
    ///
    /// The configuration checks that the part size is at least [`MIN_PART`].
    pub fn new(size: u64, wanted: PartSize) -> Result<Self, LayoutError> {
        if size == 0 {
            return Err(LayoutError::Empty);
        }
        let wanted = match wanted {
            PartSize::Auto => AUTO_PART,
            PartSize::Fixed(size) => size.bytes().clamp(1, MAX_PART),
        };
        let needed = size.div_ceil(MAX_PARTS).div_ceil(MIB) * MIB;
        let part_size = if size.div_ceil(wanted) <= MAX_PARTS { wanted } else { needed };
        if part_size > MAX_PART { Err(LayoutError::TooLarge(size)) } else { Ok(Self { size, part_size }) }
    }

    /// Returns the layout in which the source was uploaded, if it can be kept: the copy then gets the same ETag, and
    /// later comparisons need listings only. `first` is the size of its first part, in bytes, and `parts` the number of
    /// its parts.
    ///
    /// | first part | number of parts as computed from the first | layout |
    /// |---|---|---|
    /// | 8 … 512 MiB, or the whole object | yes | the source's |
    /// | any | no: the parts are unequal | none |
    /// | smaller or larger | any | none: too many requests, or too much to repeat after a failure |
    pub fn of_source(size: u64, first: u64, parts: u32) -> Option<Self> {
        let whole = parts == 1 && first == size;
        let layout = Self { size, part_size: first };
        let fits = size > 0 && first > 0 && (whole || KEPT.contains(&first)) && first <= MAX_PART;
        (fits && layout.count() == parts).then_some(layout)
    }

    /// Returns the size of the largest part, in bytes.
    pub fn longest(&self) -> u64 {
        self.part_size.min(self.size)
    }

    /// Returns the number of parts: 1 … 10,000.
    pub fn count(&self) -> u32 {
        u32::try_from(self.size.div_ceil(self.part_size)).unwrap_or(u32::MAX)
    }

    /// Returns the part with this number, from 1. Returns `None` if there is no such part.
    pub fn part(&self, number: u32) -> Option<Part> {
        let offset = u64::from(number.checked_sub(1)?).checked_mul(self.part_size)?;
        let left = self.size.saturating_sub(offset);
        let len = if is_active(Mutant::WrongLastPart) { self.part_size } else { self.part_size.min(left) };
        (offset < self.size).then_some(Part { number, offset, len })
    }

    /// Returns all parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = Part> + use<'_> {
        (1..=self.count()).filter_map(|number| self.part(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cuts_as_the_table_says() {
        let mib = |n: u64| n << 20;
        for (size, wanted, part_size, count) in [
            (1, PartSize::Auto, mib(16), 1),
            (mib(16) + 1, PartSize::Auto, mib(16), 2),
            (mib(16) * 10_000, PartSize::Auto, mib(16), 10_000),
            (mib(16) * 10_000 + 1, PartSize::Auto, mib(17), 9412),
            (mib(50_000), PartSize::Fixed(ByteSize::mib(5)), mib(5), 10_000),
            (mib(20), PartSize::Fixed(ByteSize(1)), mib(1), 20),
            (20, PartSize::Fixed(ByteSize(7)), 7, 3),
            (20, PartSize::Fixed(ByteSize(0)), 1, 20),
            (5 << 40, PartSize::Auto, mib(525), 9987),
        ] {
            let layout = PartLayout::new(size, wanted).unwrap();
            assert_eq!((layout.part_size, layout.count()), (part_size, count), "{size}");
        }
        assert_eq!(PartLayout::new(0, PartSize::Auto), Err(LayoutError::Empty));
        assert!(PartLayout::new(u64::MAX / 2, PartSize::Auto).is_err());
    }

    #[test]
    fn the_sources_cut_is_kept_where_the_table_says() {
        let mib = |n: u64| n << 20;
        for (size, first, parts, kept) in [
            (mib(20), mib(8), 3, true),
            (mib(20), mib(8), 2, false),
            (mib(20), mib(20), 1, true),
            (mib(20), mib(5), 4, false),
            (mib(1024), mib(512), 2, true),
            (mib(1026), mib(513), 2, false),
            (0, 0, 1, false),
        ] {
            let layout = PartLayout::of_source(size, first, parts);
            assert_eq!(layout, kept.then_some(PartLayout { size, part_size: first }), "{size} {first} {parts}");
        }
    }

    proptest! {
        #[test]
        fn parts_cover_every_byte_once_and_keep_the_limits(size in 1_u64..(5 << 40), wanted in MIN_PART..(1 << 33)) {
            let layout = PartLayout::new(size, PartSize::Fixed(ByteSize(wanted))).unwrap();
            let mut next = 0;
            for (part, number) in layout.parts().zip(1..) {
                prop_assert_eq!((part.number, part.offset), (number, next));
                prop_assert!(part.len <= MAX_PART && part.len > 0);
                next += part.len;
                prop_assert!(part.len >= MIN_PART || next == size);
            }
            prop_assert_eq!(next, size);
            prop_assert!(u64::from(layout.count()) <= MAX_PARTS);
            prop_assert_eq!(layout.part(layout.count() + 1), None);
        }
    }
}
