//! Building and signing of requests.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::route::{Route, Scope};
use crate::s3::encoding::{encode_key, encode_value};

/// SHA-256 of nothing.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Parameters without a value, which name an operation.
const FLAGS: &[&str] = &["versions"];
/// Parameters whose value may be empty. Policies tell an empty prefix from none (`s3:prefix`).
const MAY_BE_EMPTY: &[&str] = &["prefix"];

/// A request to be sent.
pub(in crate::s3) struct Outgoing<'a> {
    pub method: &'static str,
    /// `None` for a request to the bucket itself.
    pub key: Option<&'a str>,
    /// Parameters of the query string. Only those of [`FLAGS`] have no value.
    pub query: Vec<(&'static str, &'a str)>,
    /// Headers to sign.
    pub headers: Vec<(&'a str, &'a str)>,
    /// Headers that a proxy may change, so that they are not signed.
    pub unsigned: Vec<(&'static str, &'static str)>,
    pub body: SdkBody,
    pub payload: Payload,
}

/// How a signature covers a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::s3) enum Payload {
    /// There is none.
    Empty,
    /// Not at all; a signed header does, or the sender compares what was received.
    Unsigned,
    /// Not at all; a checksum follows the body.
    Trailer,
}

impl Payload {
    fn signable(self) -> SignableBody<'static> {
        match self {
            Self::Empty => SignableBody::Precomputed(NOTHING.to_owned()),
            Self::Unsigned => SignableBody::UnsignedPayload,
            Self::Trailer => SignableBody::StreamingUnsignedPayloadTrailer,
        }
    }
}

impl Route {
    /// Builds a request, signed as of now plus a correction in milliseconds.
    pub(super) fn request(
        &self,
        outgoing: Outgoing<'_>,
        identity: Option<&Identity>,
        correction: Option<i64>,
    ) -> Result<HttpRequest, BoxError> {
        // Without a key it would be another operation, and without an upload too.
        let is_empty =
            |(name, value): &(&str, &str)| value.is_empty() && !FLAGS.contains(name) && !MAY_BE_EMPTY.contains(name);
        if outgoing.key.is_some_and(str::is_empty) || outgoing.query.iter().any(is_empty) {
            return Err("the key or a parameter of the request is empty".into());
        }
        let url = self.url(&outgoing)?;
        let mut request = HttpRequest::new(outgoing.body);
        request.set_method(outgoing.method)?;
        request.set_uri(url)?;
        let payer = self.payer.as_deref().map(|payer| ("x-amz-request-payer", payer));
        let headers = request.headers_mut();
        for (name, value) in outgoing.headers.into_iter().chain(payer) {
            headers.try_insert(name.to_owned(), value.to_owned())?;
        }
        match (&self.scope, identity) {
            (Some(scope), Some(identity)) => {
                scope.sign(&mut request, outgoing.payload.signable(), identity, now(correction))?;
            }
            _ if outgoing.payload == Payload::Trailer => {
                request.headers_mut().try_insert("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")?;
            }
            _ => {}
        }
        let headers = request.headers_mut();
        if let Some(agent) = &self.user_agent {
            headers.try_insert("user-agent", agent.clone())?;
        }
        for (name, value) in outgoing.unsigned {
            headers.try_insert(name, value)?;
        }
        Ok(request)
    }

    fn url(&self, outgoing: &Outgoing<'_>) -> Result<String, std::fmt::Error> {
        let key = outgoing.key.unwrap_or_default();
        let mut url = String::with_capacity(self.bucket_url.len() + 2 * key.len() + 64);
        write!(url, "{}/{}", self.bucket_url, encode_key(key))?;
        for (position, (name, value)) in outgoing.query.iter().enumerate() {
            let separator = if position == 0 { '?' } else { '&' };
            write!(url, "{separator}{name}")?;
            if !FLAGS.contains(name) {
                write!(url, "={}", encode_value(value))?;
            }
        }
        Ok(url)
    }
}

/// Returns the time of a signature.
fn now(correction: Option<i64>) -> SystemTime {
    let offset = Duration::from_millis(correction.unwrap_or_default().unsigned_abs());
    let now = SystemTime::now();
    if correction.is_some_and(i64::is_negative) { now - offset } else { now + offset }
}

impl Scope {
    fn sign(
        &self,
        request: &mut HttpRequest,
        body: SignableBody<'_>,
        identity: &Identity,
        time: SystemTime,
    ) -> Result<(), BoxError> {
        let mut settings = SigningSettings::default();
        // Source: "Create a canonical request", S3 API reference: paths are neither normalised nor encoded twice.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(identity)
            .region(&self.region)
            .name(&self.service)
            .time(time)
            .settings(settings)
            .build()?;
        let signable = SignableRequest::new(request.method(), request.uri(), request.headers().iter(), body)?;
        let (instructions, _) = sign(signable, &SigningParams::V4(params))?.into_parts();
        let (headers, _) = instructions.into_parts();
        for header in headers {
            request.headers_mut().try_insert(header.name(), header.value().to_owned())?;
        }
        Ok(())
    }
}
