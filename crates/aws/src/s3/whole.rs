//! Documents that are cut off, which the SDK takes for shorter ones: parts, uploads and tags would look absent.

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::error::words::is_whole;

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug, thiserror::Error)]
#[error("the response is an XML document that is cut off or malformed")]
struct NotWhole;

/// Returns true if a body begins as an XML document does. The SDK skips the mark of UTF-8 too.
fn is_xml(body: &[u8]) -> bool {
    let text = body.trim_ascii_start();
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim_ascii_start().starts_with(b"<")
}

/// Interceptor that rejects successful responses with an XML document that is not whole.
#[derive(Debug)]
pub(super) struct WholeDocuments;

impl Intercept for WholeDocuments {
    fn name(&self) -> &'static str {
        "WholeDocuments"
    }

    /// The body of an object is a stream, and not looked at.
    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let body = answer.body().bytes().unwrap_or_default();
        if answer.status().is_success() && is_xml(body) && !is_whole(body) {
            return Err(NotWhole.into());
        }
        Ok(())
    }
}
