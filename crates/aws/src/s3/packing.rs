//! Choice of `Accept-Encoding`. Objects are transferred as stored, but a service or proxy that compresses or
//! decompresses on the way returns other bytes under the same ETag.
//!
//! | service | returns an object with `Content-Encoding: gzip` as stored |
//! |---|---|
//! | Amazon S3, MinIO, Ceph | always |
//! | Google Cloud Storage, Cloudflare R2 | for `Accept-Encoding: gzip` |
//! | a proxy that decompresses | for `identity` or `gzip`, as in RFC 9110, section 12.5.3 |
//!
//! `identity` is sent first, since it keeps proxies from compressing. If the response turns out decompressed, `gzip` is
//! tried, and sent first from then on. The header is added after signing because Google's front end changes it.
//! Sources: "Transcoding of gzip-compressed files" in the documentation of Google Cloud Storage; rclone's option
//! `use_accept_encoding_gzip`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;

use super::headers::Answered;

/// Encoding that a service honoured last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Packing {
    gzip: Arc<AtomicBool>,
}

/// Value of `Accept-Encoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    Identity,
    Gzip,
}

impl Accept {
    /// Returns the header.
    pub(super) fn header(self) -> (&'static str, &'static str) {
        let coding = match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
        };
        ("accept-encoding", coding)
    }
}

impl Packing {
    /// Returns the encodings to try, in order.
    pub(super) fn order(&self) -> [Accept; 2] {
        if self.gzip.load(Ordering::Relaxed) {
            [Accept::Gzip, Accept::Identity]
        } else {
            [Accept::Identity, Accept::Gzip]
        }
    }

    /// Remembers the encoding that returned the stored bytes when the other one did not.
    pub(super) fn honours(&self, accept: Accept) {
        self.gzip.store(accept == Accept::Gzip, Ordering::Relaxed);
    }
}

/// Returns true if the response shows that its bytes are not the stored ones: it has no length, as when content is
/// compressed on the fly, or says that it was transformed.
pub(super) fn is_repacked(answered: &Answered) -> bool {
    let transformed = answered.text("warning").is_some_and(|text| text.starts_with("214"));
    let stored = answered.text("x-goog-stored-content-encoding").filter(|encoding| *encoding != "identity");
    let unpacked = stored.is_some() && stored != answered.text("content-encoding");
    answered.text("content-length").is_none() || transformed || unpacked
}

/// Removes `aws-chunked` from a `Content-Encoding`: it describes the request that wrote the object. `None` if nothing
/// else is left. Source: "Signature calculations for the authorization header: transferring payload in multiple chunks"
/// in the S3 API reference; services other than Amazon's store it.
pub(super) fn without_framing(encoding: &str) -> Option<String> {
    let codings = encoding.split(',').map(str::trim);
    let codings: Vec<_> = codings.filter(|c| !c.is_empty() && !c.eq_ignore_ascii_case("aws-chunked")).collect();
    (!codings.is_empty()).then(|| codings.join(", "))
}

impl Intercept for Accept {
    fn name(&self) -> &'static str {
        "AcceptEncoding"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (name, coding) = self.header();
        context.request_mut().headers_mut().insert(name, coding);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_framing_of_a_request_is_no_encoding_of_its_object() {
        for (encoding, expected) in [
            ("aws-chunked", None),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip, aws-chunked", Some("gzip")),
            ("AWS-Chunked, gzip, br", Some("gzip, br")),
            ("gzip", Some("gzip")),
            ("aws-chunked,", None),
            ("", None),
        ] {
            assert_eq!(without_framing(encoding).as_deref(), expected, "{encoding}");
        }
    }

    #[test]
    fn what_was_honoured_is_asked_first() {
        let packing = Packing::default();
        assert_eq!(packing.order(), [Accept::Identity, Accept::Gzip]);
        packing.clone().honours(Accept::Gzip);
        assert_eq!(packing.order(), [Accept::Gzip, Accept::Identity]);
    }
}
