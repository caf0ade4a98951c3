//! How every client is set up: connection pools that are shared, at most one layer of quick retries, time-outs, no needless checksums.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

use crate::access::{Access, CredentialSource};
use crate::credentials::DirectoryCredentials;
use crate::http::Reach;

/// Tries of one request to SQS or `DynamoDB`, the first included. This is their only layer of quick retries: what it gives
/// up is left to the caller's own slow ones. S3 has [`one_attempt`].
const ATTEMPTS: u32 = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the answer's head has come (and its body, unless that is an object's content) of a request without a large
/// body. Over SQS's longest wait of 20 s.
const SMALL_REQUEST: Duration = Duration::from_secs(30);
/// Completing a large upload, and copying, take minutes. Source: `CompleteMultipartUpload` in the S3 API reference.
pub(crate) const LONG_REQUEST: Duration = Duration::from_mins(10);
/// Below this many bytes a second over the whole of a body a sending is broken off and tried again.
const SLOWEST_UPLOAD: u64 = 64 << 10;
/// How long a body may stand still.
pub(crate) const STALLED: Duration = Duration::from_secs(20);

/// What all clients of one access share, reached as the environment says. Reads no credentials yet: the first request does.
pub(crate) async fn load(access: &Access) -> SdkConfig {
    load_through(access, &Reach::default()).await
}

/// The same for a service that is reached in a way of its own; so is what gives the credentials.
pub(crate) async fn load_through(access: &Access, reach: &Reach) -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(access.region.clone()))
        .http_client(reach.http_client())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts(SMALL_REQUEST))
        // Bodies in memory leave at once as the SDK sees it: `upload_time` bounds them. Streams are watched by the store.
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().upload_enabled(false).grace_period(STALLED).build(),
        )
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    match &access.credentials {
        CredentialSource::Pod => loader,
        CredentialSource::Anonymous => loader.no_credentials(),
        CredentialSource::Directory { path } => loader.credentials_provider(DirectoryCredentials::new(path.clone())),
        CredentialSource::Static(keys) => loader.credentials_provider(keys.credentials(None, "static")),
    }
    .load()
    .await
}

/// One attempt: the caller tries again itself, so that its bound on requests under way hears of every answer. Only a
/// request that was refused for a clock that is wrong is sent again, with the service's time.
pub(crate) fn one_attempt() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(10))
}

/// Forbids every retry but that of a wrong clock, which the SDK finds out by the `Date` of a 403.
#[derive(Debug)]
pub(crate) struct OnlyWrongClocks;

impl ClassifyRetry for OnlyWrongClocks {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response().map(|response| response.status().as_u16()) {
            Some(403) => RetryAction::NoActionIndicated,
            _ => RetryAction::RetryForbidden,
        }
    }

    fn name(&self) -> &'static str {
        "OnlyWrongClocks"
    }
}

/// Connections of all clients are pooled by their connect and read time-outs, so only the attempt's differs.
pub(crate) fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(attempt).build()
}

/// A stream is watched while it moves, and may take as long as it needs.
pub(crate) fn timeouts_of_streams() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).disable_operation_attempt_timeout().build()
}

/// How long one try of sending this many bytes may take.
pub(crate) fn upload_time(bytes: usize) -> Duration {
    SMALL_REQUEST + Duration::from_secs(u64::try_from(bytes).unwrap_or(u64::MAX) / SLOWEST_UPLOAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_have_more_time() {
        assert_eq!(upload_time(0), Duration::from_secs(30));
        assert_eq!(upload_time(16 << 20), Duration::from_secs(30 + 256));
    }
}
