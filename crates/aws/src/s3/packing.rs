//! Which form of a content is asked for. What travels is the object as it is stored; a service or proxy that packs and
//! unpacks contents on the way gives other bytes under the same ETag.
//!
//! | service | an object with `Content-Encoding: gzip` comes as it is stored |
//! |---|---|
//! | Amazon S3, MinIO, Ceph | always |
//! | Google Cloud Storage, Cloudflare R2 | where `Accept-Encoding: gzip` is asked |
//! | a proxy that unpacks | where `identity` or `gzip` is asked, as RFC 9110, section 12.5.3, has it |
//!
//! `identity` is asked first, since it keeps proxies from packing what is not packed; where the answer shows that it was
//! unpacked, `gzip` is asked, and first from then on. The header is added after signing: Google's front end changes it.
//! Sources: "Transcoding of gzip-compressed files" in the documentation of Google Cloud Storage; rclone's option
//! `use_accept_encoding_gzip`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;

use super::headers::Answered;

/// What a service was last seen to honour. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Packing {
    gzip: Arc<AtomicBool>,
}

/// A form of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    Identity,
    Gzip,
}

impl Packing {
    /// What to ask for, and what to ask for where that does not give what is stored.
    pub(super) fn order(&self) -> [Accept; 2] {
        if self.gzip.load(Ordering::Relaxed) {
            [Accept::Gzip, Accept::Identity]
        } else {
            [Accept::Identity, Accept::Gzip]
        }
    }

    /// Remembers what gave what is stored where the other one did not.
    pub(super) fn honours(&self, accept: Accept) {
        self.gzip.store(accept == Accept::Gzip, Ordering::Relaxed);
    }
}

/// Whether an answer shows that its bytes are not those stored: it has no length, as contents have that are packed or
/// unpacked on the way, or says that it was transformed.
pub(super) fn is_repacked(answered: &Answered) -> bool {
    let transformed = answered.text("warning").is_some_and(|text| text.starts_with("214"));
    let stored = answered.text("x-goog-stored-content-encoding").filter(|encoding| *encoding != "identity");
    let unpacked = stored.is_some() && stored != answered.text("content-encoding");
    answered.text("content-length").is_none() || transformed || unpacked
}

/// A `Content-Encoding` without `aws-chunked`, which is of the request that wrote the object and not of the object; none
/// where nothing is left. Source: "Signature calculations for the authorization header: transferring payload in multiple
/// chunks" in the S3 API reference; services other than Amazon's keep it.
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
        let coding = match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
        };
        context.request_mut().headers_mut().insert("accept-encoding", coding);
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
