//! Checkpoints in a work list.

use std::fmt;
use std::str::FromStr;

use crate::etag::ETag;

/// A checkpoint in a work list: all earlier files, and this many rows of the current one, have been processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Index of the file in the list, from 0.
    pub file: u32,
    /// Number of rows of it that have been processed.
    pub rows: u64,
    /// ETag of the list or of its `manifest.json`. The checkpoint is valid for this content only.
    pub list: ETag,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.file, self.rows, self.list.as_str())
    }
}

/// Error for a checkpoint that is not one of a work list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPosition;

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().ok_or(NoPosition);
        let (file, rows, list) = (part()?, part()?, part()?);
        Ok(Self {
            file: file.parse().map_err(|_| NoPosition)?,
            rows: rows.parse().map_err(|_| NoPosition)?,
            list: ETag::new(list),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_the_ledger() {
        let position = Position { file: 3, rows: 1 << 40, list: ETag::new("a/b-2") };
        assert_eq!(position.to_string().parse(), Ok(position));
        assert_eq!("a/key".parse::<Position>(), Err(NoPosition));
        assert_eq!("1/2".parse::<Position>(), Err(NoPosition));
    }
}
