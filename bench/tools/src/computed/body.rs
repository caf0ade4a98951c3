//! Bodies of uploads: their bytes are compared, hashed or dropped.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::Incoming;
use md5::{Digest as _, Md5};

use super::answer::Refusal;
use super::unframe::Unframe;
use crate::counts::Counts;
use crate::pattern;

/// What was uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Size in bytes.
    pub size: u64,
    /// MD5 of the content.
    pub md5: [u8; 16],
}

/// What is done with the bytes.
enum Look {
    /// Nothing has come yet.
    First,
    /// They are compared with the computed content.
    Compare,
    /// They are another content.
    Hash(Box<Md5>),
    /// They are dropped, as if they were the computed content.
    Drop,
}

/// Reads the body of an upload, and counts its bytes. Fails unless it is whole, and what its headers announce.
pub async fn receive(
    headers: &HeaderMap,
    mut body: Incoming,
    unchecked: bool,
    counts: &Counts,
) -> Result<Received, Refusal> {
    let is_framed = text(headers, "x-amz-content-sha256").is_some_and(|value| value.starts_with("STREAMING-"));
    let mut unframe = is_framed.then(Unframe::default);
    let (mut look, mut size) = (if unchecked { Look::Drop } else { Look::First }, 0);
    while let Some(frame) = body.frame().await {
        let Ok(mut piece) = frame.map_err(|_| Refusal::IncompleteBody)?.into_data() else { continue };
        while let Some(bytes) = content(unframe.as_mut(), &mut piece)? {
            look = look.at(size, &bytes)?;
            size += bytes.len() as u64;
            counts.add("bytes received", bytes.len() as u64);
        }
    }
    let announced = text(headers, "x-amz-decoded-content-length").and_then(|length| length.parse().ok());
    if unframe.is_some_and(|unframe| !unframe.is_over()) || announced.is_some_and(|announced: u64| announced != size) {
        return Err(Refusal::IncompleteBody);
    }
    let md5 = match look {
        Look::Hash(md5) => md5.finalize().into(),
        Look::First | Look::Compare | Look::Drop => pattern::digest(size),
    };
    Ok(Received { size, md5 })
}

/// Returns the next bytes of content in a piece, which is advanced past them.
fn content(unframe: Option<&mut Unframe>, piece: &mut Bytes) -> Result<Option<Bytes>, Refusal> {
    match unframe {
        Some(unframe) => unframe.next(piece).map_err(|_| Refusal::IncompleteBody),
        None => Ok((!piece.is_empty()).then(|| std::mem::take(piece))),
    }
}

impl Look {
    fn at(self, at: u64, bytes: &[u8]) -> Result<Self, Refusal> {
        match self {
            Self::First if pattern::matches(0, bytes) => Ok(Self::Compare),
            Self::First => Ok(Self::Hash(Box::new(Md5::new_with_prefix(bytes)))),
            Self::Compare if pattern::matches(at, bytes) => Ok(Self::Compare),
            Self::Compare => Err(Refusal::BadDigest),
            Self::Hash(mut md5) => {
                md5.update(bytes);
                Ok(Self::Hash(md5))
            }
            Self::Drop => Ok(Self::Drop),
        }
    }
}

/// Returns the value of a header.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Reads a body of text.
pub async fn text_of(body: Incoming) -> Result<String, Refusal> {
    let bytes = body.collect().await.map_err(|_| Refusal::IncompleteBody)?.to_bytes();
    String::from_utf8(bytes.into()).map_err(|_| Refusal::InvalidRequest)
}
