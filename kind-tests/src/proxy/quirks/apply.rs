//! Application of quirks to requests and responses.

use anyhow::Context as _;
use async_compression::tokio::bufread::GzipDecoder;
use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MATCH, IF_NONE_MATCH,
};
use hyper::http::{request, response};
use hyper::{Response, StatusCode};
use tokio::io::AsyncReadExt as _;

use super::tags::{quoted, respell};
use super::{Act, Canned, Quirks, Spelling};
use crate::proxy::classify::Request;
use crate::proxy::{Body, full};

/// Operations whose responses name ETags in XML.
const XML: [&str; 6] =
    ["ListObjectsV2", "ListObjects", "ListObjectVersions", "ListParts", "CompleteMultipartUpload", "CopyObject"];

/// Changes selected for one request.
#[derive(Clone, Debug)]
pub struct Drawn {
    acts: Vec<Act>,
    xml: bool,
    complete: bool,
    packed: bool,
}

impl Quirks {
    /// Selects the changes of a request.
    pub fn draw(&self, side: &str, what: &Request, headers: &HeaderMap) -> Drawn {
        let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Drawn {
            acts: self.drawn(side, what, headers),
            xml: XML.contains(&what.operation.as_str()),
            complete: what.operation == "CompleteMultipartUpload",
            packed: accepted.contains("gzip") || accepted.contains("identity"),
        }
    }
}

impl Canned {
    /// Builds the response.
    pub fn response(self) -> anyhow::Result<Response<Body>> {
        let mut response = Response::new(full(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).context("failed to build a response")?;
        if !self.content_type.is_empty() {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        Ok(response)
    }
}

impl Drawn {
    /// Returns the response that replaces the service's, if the request is not forwarded.
    pub fn instead(&self) -> Option<Canned> {
        self.acts.iter().find_map(|act| match act {
            Act::Answer(canned) | Act::Refuse(_, canned) => Some(*canned),
            _ => None,
        })
    }

    /// Returns the response that replaces the service's after the request was executed.
    pub fn after(&self) -> Option<Canned> {
        self.acts.iter().find_map(|act| if let Act::AnswerAfter(canned) = act { Some(*canned) } else { None })
    }

    fn spelling(&self) -> Option<Spelling> {
        self.acts.iter().find_map(|act| if let Act::ETags(spelling) = act { Some(*spelling) } else { None })
    }

    /// Changes a request.
    pub async fn request(&self, parts: &mut request::Parts, body: Body) -> anyhow::Result<Body> {
        for act in &self.acts {
            if let Act::StripRequest(names) = act {
                names.iter().for_each(|name| drop(parts.headers.remove(*name)));
            }
        }
        let Some(spelling) = self.spelling() else { return Ok(body) };
        for name in [IF_MATCH, IF_NONE_MATCH, HeaderName::from_static("x-amz-copy-source-if-match")] {
            change(&mut parts.headers, &name, |tag| quoted(tag, spelling.meant))?;
        }
        if !self.complete {
            return Ok(body);
        }
        // The digest in this header would be that of the original bytes.
        parts.headers.insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"));
        rewritten(&mut parts.headers, body, spelling.meant).await
    }

    /// Changes a response.
    pub async fn answer(&self, parts: &mut response::Parts, mut body: Body) -> anyhow::Result<Body> {
        for act in &self.acts {
            match act {
                Act::Strip(names) => names.iter().for_each(|name| drop(parts.headers.remove(*name))),
                Act::Change(name, to) => change(&mut parts.headers, &HeaderName::from_static(name), to)?,
                Act::Add(name, value) => {
                    parts.headers.insert(*name, HeaderValue::from_static(value));
                }
                Act::ETags(spelling) => {
                    change(&mut parts.headers, &ETAG, |tag| quoted(tag, spelling.told))?;
                    if self.xml {
                        body = rewritten(&mut parts.headers, body, spelling.told).await?;
                    }
                }
                Act::Cut(bytes) => body = cut(body, *bytes),
                Act::Unpack if !self.packed => body = unpacked(parts, body).await?,
                _ => {}
            }
        }
        Ok(body)
    }
}

/// Changes a header that is present.
fn change(headers: &mut HeaderMap, name: &HeaderName, to: impl Fn(&str) -> String) -> anyhow::Result<()> {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()).map(to) else { return Ok(()) };
    headers.insert(name, HeaderValue::from_str(&value).with_context(|| format!("failed to change {name}"))?);
    Ok(())
}

/// Rewrites the ETags in an XML body.
async fn rewritten(headers: &mut HeaderMap, body: Body, spell: fn(&str) -> String) -> anyhow::Result<Body> {
    let bytes = body.collect().await.context("failed to read a body")?.to_bytes();
    let text = respell(&String::from_utf8_lossy(&bytes), spell);
    if headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    }
    Ok(full(text))
}

/// Ends a body after so many bytes. If its length was announced, the connection is closed too.
fn cut(body: Body, bytes: u64) -> Body {
    let pieces = stream::unfold((body, bytes), |(mut body, left)| async move {
        if left == 0 {
            return None;
        }
        let frame = body.frame().await?;
        let frame = frame.map(|frame| match frame.into_data() {
            Ok(data) => Frame::data(data.slice(..data.len().min(usize::try_from(left).unwrap_or(usize::MAX)))),
            Err(trailers) => trailers,
        });
        let len = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
        Some((frame, (body, left - len)))
    });
    BodyExt::boxed(StreamBody::new(pieces))
}

/// Decompresses a gzip body and removes its length.
async fn unpacked(parts: &mut response::Parts, body: Body) -> anyhow::Result<Body> {
    if parts.headers.get(CONTENT_ENCODING).is_none_or(|value| value != "gzip") {
        return Ok(body);
    }
    let bytes = body.collect().await.context("failed to read a body")?.to_bytes();
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    let mut text = Vec::new();
    GzipDecoder::new(&bytes[..]).read_to_end(&mut text).await.context("failed to decompress a body")?;
    // The length of a stream can't be announced.
    let pieces = stream::iter([Ok(Frame::data(Bytes::from(text)))]);
    Ok(BodyExt::boxed(StreamBody::new(pieces)))
}
