//! Answers, with the headers that all of them have.

use std::io;

use futures::Stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};

use crate::assets::Asset;
use crate::guard::Refusal;

/// Body of an answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;
/// An answer.
pub type Answer = Response<Body>;

/// Only files of the page itself, no code in the markup, no text as markup, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Returns an answer of this type.
fn answer(status: StatusCode, media_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Returns a file of the page.
pub fn file(status: StatusCode, asset: Asset) -> Answer {
    answer(status, asset.media_type, full(asset.content))
}

/// Returns JSON.
pub fn json(text: String) -> Answer {
    answer(StatusCode::OK, "application/json", full(text))
}

/// Returns an error in JSON, with a text for people.
pub fn error(status: StatusCode, text: &str) -> Answer {
    let body = serde_json::json!({ "error": text }).to_string();
    answer(status, "application/json", full(body))
}

/// Returns the answer to a request that is refused.
pub fn refused(refusal: &Refusal) -> Answer {
    let mut answer = error(refusal.status(), &refusal.to_string());
    if *refusal == Refusal::Unauthenticated {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

/// Returns events as they happen.
pub fn events(stream: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static) -> Answer {
    answer(StatusCode::OK, "text/event-stream", StreamBody::new(stream).boxed_unsync())
}

/// Returns a CSV file to save.
pub fn csv(stream: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static) -> Answer {
    let mut answer = answer(StatusCode::OK, "text/csv; charset=utf-8", StreamBody::new(stream).boxed_unsync());
    let name = HeaderValue::from_static("attachment; filename=\"failures.csv\"");
    answer.headers_mut().insert(CONTENT_DISPOSITION, name);
    answer
}
