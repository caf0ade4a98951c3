//! How far a work list is read.

use std::fmt;
use std::str::FromStr;

use crate::etag::ETag;

/// So many rows of a file are behind, and all files before it, of the list with this content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file's place in the list, from 0.
    pub file: u32,
    /// Rows of it that are behind.
    pub rows: u64,
    /// The content of the list, or of its `manifest.json`.
    pub list: ETag,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.file, self.rows, self.list.as_str())
    }
}

/// It is the checkpoint of something else.
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
