//! Setup common to all clients: shared connection pools, at most one layer of retries, time-outs, no unneeded
//! checksums.

use std::time::Duration;

pub use aws_config::SdkConfig;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};

use crate::access::{Access, CredentialSource};
use crate::credentials::{DirectoryCredentials, role};
use crate::http::Reach;

/// Attempts of a request to SQS or DynamoDB, the first included. This is their only layer of quick retries; slower ones
/// are up to the caller. S3 uses [`one_attempt`].
const ATTEMPTS: u32 = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of an attempt without a large body, until the response is complete (for a GET of an object, until its
/// headers have come). Longer than SQS's longest wait of 20 s.
pub(crate) const SMALL_REQUEST: Duration = Duration::from_secs(30);
/// Time limit for completing large uploads and for copies, which take minutes.
/// Source: `CompleteMultipartUpload` in the S3 API reference.
pub(crate) const LONG_REQUEST: Duration = Duration::from_mins(10);
/// Slowest accepted upload in bytes per second, averaged over the body; slower ones are aborted and retried.
const SLOWEST_UPLOAD: u64 = 64 << 10;
/// Longest pause without progress in a body.
pub(crate) const STALLED: Duration = Duration::from_secs(20);

/// Loads the configuration for all clients of an access, reached as the environment says. Loads no credentials yet.
pub async fn load(access: &Access) -> SdkConfig {
    load_through(access, &Reach::default()).await
}

/// Loads the configuration with a network path, which applies to the credential service too.
pub(crate) async fn load_through(access: &Access, reach: &Reach) -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(access.region.clone()))
        .http_client(reach.http_client())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts(SMALL_REQUEST))
        // The SDK sees a body in memory as sent at once: `upload_time` limits it. The store watches streams itself.
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled().upload_enabled(false).grace_period(STALLED).build(),
        )
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    let loader = match &access.credentials {
        CredentialSource::Pod | CredentialSource::AssumeRole(_) => loader,
        CredentialSource::Anonymous => loader.no_credentials(),
        CredentialSource::Directory { path } => loader.credentials_provider(DirectoryCredentials::new(path.clone())),
        CredentialSource::Static(keys) => loader.credentials_provider(keys.credentials(None, "static")),
        CredentialSource::Profile(name) => loader.credentials_provider(profile(name, access, reach).build()),
    };
    let config = loader.load().await;
    match &access.credentials {
        CredentialSource::AssumeRole(role) => role::assumed(config, role).await,
        _ => config,
    }
}

/// Reads credentials from a profile. Where it names a role, that is assumed in the region of the access, and thus in
/// its partition.
fn profile(name: &str, access: &Access, reach: &Reach) -> aws_config::profile::credentials::Builder {
    let config = ProviderConfig::without_region()
        .with_region(Some(Region::new(access.region.clone())))
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_http_client(reach.http_client());
    ProfileFileCredentialsProvider::builder().configure(&config).profile_name(name)
}

/// One attempt: the caller retries, so that its concurrency limit sees every response. The second attempt is only for
/// requests rejected because of a wrong clock, sent again with the service's time.
pub(crate) fn one_attempt() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(10))
}

/// Forbids retries except after a wrong clock, which the SDK detects from the `Date` of a 403.
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

/// Returns time-outs with the given limit of an attempt. Connection pools are keyed by the connect and read time-outs,
/// so these never differ.
pub(crate) fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(attempt).build()
}

/// Returns time-outs without a limit for streams, whose progress is watched instead.
pub(crate) fn timeouts_of_streams() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).disable_operation_attempt_timeout().build()
}

/// Returns the time limit for an attempt that sends this many bytes.
pub(crate) fn upload_time(bytes: usize) -> Duration {
    SMALL_REQUEST + Duration::from_secs(u64::try_from(bytes).unwrap_or(u64::MAX) / SLOWEST_UPLOAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of the AWS tools.
    const CONFIG: &str = "
[default]
aws_access_key_id = DEFAULT
aws_secret_access_key = s
[profile work]
aws_access_key_id = WORK
aws_secret_access_key = s
aws_session_token = t
[profile printed]
credential_process = printf '{\"Version\": 1, \"AccessKeyId\": \"PRINTED\", \"SecretAccessKey\": \"s\"}'
[profile signed-in]
sso_session = company
sso_account_id = 111122223333
sso_role_name = reader
[sso-session company]
sso_region = eu-central-1
sso_start_url = https://example.com/start-of-this-test
";

    /// Loads the credentials of a profile from [`CONFIG`], for a region.
    async fn loaded(name: &str) -> Result<aws_credential_types::Credentials, String> {
        use aws_credential_types::provider::ProvideCredentials;
        use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
        let source = CredentialSource::Profile(name.to_owned());
        let access = Access { region: "eu-west-1".into(), endpoint: None, credentials: source };
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, CONFIG).build();
        let provider = profile(name, &access, &Reach::default()).profile_files(files).build();
        let error = |error| format!("{:?}", &error as &dyn std::error::Error);
        provider.provide_credentials().await.map_err(error)
    }

    #[tokio::test]
    async fn a_profile_is_read_whatever_kind_it_is_of() {
        for (name, id, token) in
            [("work", "WORK", Some("t")), ("default", "DEFAULT", None), ("printed", "PRINTED", None)]
        {
            let credentials = loaded(name).await.unwrap();
            assert_eq!((credentials.access_key_id(), credentials.session_token()), (id, token));
        }
        let absent = loaded("absent").await.unwrap_err();
        assert!(absent.contains("absent"), "{absent}");
        // Nobody has signed in at this address.
        let signed_out = loaded("signed-in").await.unwrap_err();
        assert!(signed_out.contains("sso/cache/"), "{signed_out}");
    }

    #[test]
    fn large_bodies_have_more_time() {
        assert_eq!(upload_time(0), Duration::from_secs(30));
        assert_eq!(upload_time(16 << 20), Duration::from_secs(30 + 256));
    }
}
