//! Bodies in chunks of S3 (`aws-chunked`): `LENGTH[;chunk-signature=…]⏎BYTES⏎…0⏎[trailers]⏎`, without a look at
//! signatures and trailers. Source: "Signature calculations: transferring a payload in multiple chunks" of the S3 API
//! reference.

use bytes::{Buf as _, Bytes};

/// Longest line before a chunk, in bytes: a length, and a signature of 64 characters.
const LONGEST_LINE: usize = 256;

/// The lengths of chunks can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChunk;

/// Takes the bytes out of the chunks of a body, however it is cut into pieces.
#[derive(Debug, Default)]
pub struct Unframe {
    state: State,
}

#[derive(Debug)]
enum State {
    /// In the line before a chunk, or in the line's end after one.
    Line(Vec<u8>),
    /// In a chunk, with so many bytes to come.
    Chunk(u64),
    /// After the last chunk.
    Trailers,
}

impl Default for State {
    fn default() -> Self {
        Self::Line(Vec::new())
    }
}

impl Unframe {
    /// Returns the next bytes of content in a piece, which is advanced past them; `None` if it has no more.
    pub fn next(&mut self, piece: &mut Bytes) -> Result<Option<Bytes>, BadChunk> {
        while !piece.is_empty() {
            match &mut self.state {
                State::Line(line) => {
                    let byte = piece.get_u8();
                    if byte != b'\n' {
                        line.push(byte);
                    } else if line == b"\r" {
                        line.clear();
                    } else {
                        self.state = after(line)?;
                    }
                    if matches!(&self.state, State::Line(line) if line.len() > LONGEST_LINE) {
                        return Err(BadChunk);
                    }
                }
                State::Chunk(left) => {
                    let len = usize::try_from(*left).map_or(piece.len(), |left| left.min(piece.len()));
                    *left -= len as u64;
                    if *left == 0 {
                        self.state = State::default();
                    }
                    return Ok(Some(piece.split_to(len)));
                }
                State::Trailers => piece.clear(),
            }
        }
        Ok(None)
    }

    /// Returns true after the last chunk.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Trailers)
    }
}

/// Returns what follows the line before a chunk.
fn after(line: &[u8]) -> Result<State, BadChunk> {
    let line = std::str::from_utf8(line).map_err(|_| BadChunk)?;
    let len = line.split([';', '\r']).next().unwrap_or_default().trim();
    let len = u64::from_str_radix(len, 16).map_err(|_| BadChunk)?;
    Ok(if len == 0 { State::Trailers } else { State::Chunk(len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unframed(body: &'static [u8], size: usize) -> Result<(Vec<u8>, bool), BadChunk> {
        let (mut unframe, mut content) = (Unframe::default(), Vec::new());
        for piece in body.chunks(size) {
            let mut piece = Bytes::from_static(piece);
            while let Some(bytes) = unframe.next(&mut piece)? {
                content.extend_from_slice(&bytes);
            }
        }
        Ok((content, unframe.is_over()))
    }

    #[test]
    fn content_is_the_same_wherever_pieces_end() {
        let signed =
            b"5;chunk-signature=ab\r\nhello\r\nA;chunk-signature=cd\r\n\r\n0\r\nworld\r\n0;chunk-signature=e\r\n\r\n";
        let unsigned = b"f\r\nhello\r\n0\r\nworld\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n";
        for size in 1..signed.len() {
            assert_eq!(unframed(signed, size), Ok((b"hello\r\n0\r\nworld".to_vec(), true)), "{size}");
            assert_eq!(unframed(unsigned, size), Ok((b"hello\r\n0\r\nworld".to_vec(), true)), "{size}");
        }
    }

    #[test]
    fn what_breaks_off_is_not_over_and_nonsense_is_refused() {
        assert_eq!(unframed(b"5\r\nhel", 100), Ok((b"hel".to_vec(), false)));
        assert_eq!(unframed(b"five\r\nhello", 100), Err(BadChunk));
        assert_eq!(unframed(&[b'1'; 300], 100), Err(BadChunk));
    }
}
