//! The work of the raw clients: lines of `SIZE OFFSET GET PUT`, where GET and PUT are presigned URLs and OFFSET is `-`
//! for a whole object.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use clap::Args;
use hyper::Uri;

/// What a raw client does, and how much of it at once.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// File of lines `SIZE OFFSET GET PUT`.
    #[arg(long)]
    pub work: PathBuf,
    /// Objects, or parts, in flight.
    #[arg(long, default_value_t = 16)]
    pub in_flight: usize,
    /// File of the authority's certificate in PEM, for URLs with https.
    #[arg(long)]
    pub ca: Option<PathBuf>,
}

/// An object, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its size, in bytes.
    pub size: u64,
    /// Where it begins in its object; `None` for a whole object.
    pub offset: Option<u64>,
    /// Where to read it.
    pub get: Uri,
    /// Where to write it.
    pub put: Uri,
}

/// Pieces that are taken one by one, by many tasks.
#[derive(Debug)]
pub struct Work {
    pieces: Vec<Piece>,
    next: AtomicUsize,
}

impl Work {
    /// Reads the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        let pieces = text.lines().map(|line| piece(line).with_context(|| format!("failed to read {line:?}")));
        Ok(Self { pieces: pieces.collect::<anyhow::Result<_>>()?, next: AtomicUsize::new(0) })
    }

    /// Takes the next piece.
    pub fn take(&self) -> Option<&Piece> {
        self.pieces.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

fn piece(line: &str) -> anyhow::Result<Piece> {
    let mut words = line.split(' ');
    let mut word = |name: &'static str| words.next().with_context(|| format!("it has no {name}"));
    let size = word("size")?.parse()?;
    let offset = match word("offset")? {
        "-" => None,
        offset => Some(offset.parse()?),
    };
    Ok(Piece { size, offset, get: word("GET")?.parse()?, put: word("PUT")?.parse()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_pieces() {
        let whole = piece("10 - http://a/b/k?x=1 http://c/d/k").unwrap();
        assert_eq!((whole.size, whole.offset, whole.get.path()), (10, None, "/b/k"));
        assert_eq!(piece("10 8388608 http://a/b http://c/d").unwrap().offset, Some(8_388_608));
        assert!(piece("10 - http://a/b").is_err());
        assert!(piece("ten - http://a/b http://c/d").is_err());
    }
}
