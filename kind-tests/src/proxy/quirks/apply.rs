//! How quirks change requests and answers.

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

/// Operations whose answers name ETags in XML.
const XML: [&str; 6] =
    ["ListObjectsV2", "ListObjects", "ListObjectVersions", "ListParts", "CompleteMultipartUpload", "CopyObject"];

/// What is done to one request.
#[derive(Clone, Debug)]
pub struct Drawn {
    acts: Vec<Act>,
    xml: bool,
    complete: bool,
    packed: bool,
}

impl Quirks {
    /// What is done to a request.
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
    /// The answer.
    pub fn response(self) -> anyhow::Result<Response<Body>> {
        let mut response = Response::new(full(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).context("failed to make an answer")?;
        if !self.content_type.is_empty() {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        Ok(response)
    }
}

impl Drawn {
    /// The answer in place of the service's, which hears nothing.
    pub fn instead(&self) -> Option<Canned> {
        self.acts.iter().find_map(|act| match act {
            Act::Answer(canned) | Act::Refuse(_, canned) => Some(*canned),
            _ => None,
        })
    }

    /// The answer in place of the service's, which has done what was asked.
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
        // Its digest is that of other bytes then.
        parts.headers.insert("x-amz-content-sha256", HeaderValue::from_static("UNSIGNED-PAYLOAD"));
        rewritten(&mut parts.headers, body, spelling.meant).await
    }

    /// Changes an answer.
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

/// Changes a header where it is.
fn change(headers: &mut HeaderMap, name: &HeaderName, to: impl Fn(&str) -> String) -> anyhow::Result<()> {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()).map(to) else { return Ok(()) };
    headers.insert(name, HeaderValue::from_str(&value).with_context(|| format!("failed to change {name}"))?);
    Ok(())
}

/// A body of XML with its ETags spelled otherwise.
async fn rewritten(headers: &mut HeaderMap, body: Body, spell: fn(&str) -> String) -> anyhow::Result<Body> {
    let bytes = body.collect().await.context("failed to read a body")?.to_bytes();
    let text = respell(&String::from_utf8_lossy(&bytes), spell);
    if headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    }
    Ok(full(text))
}

/// A body that ends after so many bytes; where its length was told, the connection ends with it.
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

/// A gzip body unpacked, without its length.
async fn unpacked(parts: &mut response::Parts, body: Body) -> anyhow::Result<Body> {
    if parts.headers.get(CONTENT_ENCODING).is_none_or(|value| value != "gzip") {
        return Ok(body);
    }
    let bytes = body.collect().await.context("failed to read a body")?.to_bytes();
    parts.headers.remove(CONTENT_ENCODING);
    parts.headers.remove(CONTENT_LENGTH);
    let mut text = Vec::new();
    GzipDecoder::new(&bytes[..]).read_to_end(&mut text).await.context("failed to unpack a body")?;
    // A stream has no length that could be told.
    let pieces = stream::iter([Ok(Frame::data(Bytes::from(text)))]);
    Ok(BodyExt::boxed(StreamBody::new(pieces)))
}
