//! Answers, and the refusals that S3 documents.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::pattern::Content;

/// Body of an answer.
pub type Body = Either<Full<Bytes>, Content>;

/// Reasons to refuse a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such bucket.
    NoSuchBucket,
    /// There is no such object.
    NoSuchKey,
    /// There is no such upload.
    NoSuchUpload,
    /// A setting of the bucket that it does not have.
    NoSuchSetting(&'static str),
    /// A completion names parts that are not there.
    InvalidPart,
    /// The range is outside of the object.
    InvalidRange,
    /// A condition does not hold.
    PreconditionFailed,
    /// The bytes are not those that they should be.
    BadDigest,
    /// The body broke off, or its chunks can't be read.
    IncompleteBody,
    /// The request can't be read.
    InvalidRequest,
    /// The service does not have this.
    NotImplemented,
}

impl Refusal {
    /// Returns the answer. Source: "Error responses" of the S3 API reference.
    pub fn answer(self) -> Response<Body> {
        let (status, code) = match self {
            Self::NoSuchBucket => (StatusCode::NOT_FOUND, "NoSuchBucket"),
            Self::NoSuchKey => (StatusCode::NOT_FOUND, "NoSuchKey"),
            Self::NoSuchUpload => (StatusCode::NOT_FOUND, "NoSuchUpload"),
            Self::NoSuchSetting(code) => (StatusCode::NOT_FOUND, code),
            Self::InvalidPart => (StatusCode::BAD_REQUEST, "InvalidPart"),
            Self::InvalidRange => (StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
            Self::BadDigest => (StatusCode::BAD_REQUEST, "BadDigest"),
            Self::IncompleteBody => (StatusCode::BAD_REQUEST, "IncompleteBody"),
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "InvalidRequest"),
            Self::NotImplemented => (StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        };
        let mut answer = xml(&format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"));
        *answer.status_mut() = status;
        answer
    }
}

/// Returns an answer without a body.
pub fn empty() -> Response<Body> {
    Response::new(Either::Left(Full::default()))
}

/// Returns the answer to a request after which something is gone.
pub fn no_content() -> Response<Body> {
    let mut answer = empty();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// Returns an answer of XML.
pub fn xml(text: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}");
    let mut answer = Response::new(Either::Left(Full::from(text)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    answer
}

/// Returns a text with the characters replaced that XML reserves.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
