//! The AWS SDK for Rust, as it is and slimmed.

use anyhow::Context as _;
use aws_config::BehaviorVersion;
use aws_runtime::invocation_id::InvocationIdInterceptor;
use aws_runtime::recursion_detection::RecursionDetectionInterceptor;
use aws_runtime::request_info::RequestInfoInterceptor;
use aws_runtime::user_agent::UserAgentInterceptor;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::endpoint::{Endpoint, EndpointFuture, Params, ResolveEndpoint};
use aws_sdk_s3::config::interceptors::BeforeSerializationInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    ConfigBag, Credentials, IdentityCache, Intercept, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_runtime_api::client::interceptors::disable_interceptor;
use aws_smithy_types::config_bag::Layer;
use bytes::Bytes;
use migration_core::etag::ETag;

use crate::way::{Body, REGION, Target, Way};

/// A client of the SDK.
#[derive(Debug)]
pub struct BySdk {
    client: Client,
    target: Target,
    is_slim: bool,
}

impl BySdk {
    /// Makes a client with the SDK's defaults. It signs the SHA-256 of bodies, and sends their CRC-32.
    pub async fn as_it_is(target: Target) -> Self {
        let shared = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(REGION)).load().await;
        let config = aws_sdk_s3::config::Builder::from(&shared).endpoint_url(&target.endpoint).force_path_style(true);
        Self { client: Client::from_conf(config.build()), target, is_slim: false }
    }

    /// Makes a client without retries, time-outs, watching of streams, cache of credentials, rules of endpoints,
    /// checksums, SHA-256 of bodies, and the headers that only inform. Bodies have a Content-MD5.
    pub fn slim(target: Target) -> anyhow::Result<Self> {
        let variable = |name| std::env::var(name).with_context(|| format!("failed to read {name}"));
        let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
        let config = aws_sdk_s3::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new(id, secret, None, None, "environment"))
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .endpoint_resolver(Fixed::new(&target))
            .interceptor(LeaveOut);
        Ok(Self { client: Client::from_conf(config.build()), target, is_slim: true })
    }
}

impl Way for BySdk {
    async fn get(&self, key: &str) -> anyhow::Result<Vec<Bytes>> {
        let mut answer = self.client.get_object().bucket(&self.target.source).key(key).send().await?;
        let mut chunks = Vec::new();
        while let Some(chunk) = answer.body.try_next().await? {
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    async fn put(&self, key: &str, body: &Body) -> anyhow::Result<ETag> {
        let request = self.client.put_object().bucket(&self.target.destination).key(key);
        let request = request.body(ByteStream::from(body.bytes.clone()));
        let answer = if self.is_slim {
            request.content_md5(body.content_md5()).customize().disable_payload_signing().send().await?
        } else {
            request.send().await?
        };
        Ok(ETag::new(answer.e_tag().context("the answer has no ETag")?))
    }
}

/// The endpoints of two buckets, found once.
#[derive(Debug)]
struct Fixed {
    source: String,
    endpoints: [Endpoint; 2],
}

impl Fixed {
    fn new(target: &Target) -> Self {
        let endpoint = |bucket: &str| Endpoint::builder().url(format!("{}/{bucket}", target.endpoint)).build();
        Self { source: target.source.clone(), endpoints: [&target.source, &target.destination].map(|b| endpoint(b)) }
    }
}

impl ResolveEndpoint for Fixed {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        let [source, destination] = &self.endpoints;
        let endpoint = if params.bucket() == Some(&self.source) { source } else { destination };
        EndpointFuture::ready(Ok(endpoint.clone()))
    }
}

/// Leaves out the interceptors that write headers which only inform.
#[derive(Debug)]
struct LeaveOut;

impl Intercept for LeaveOut {
    fn name(&self) -> &'static str {
        "LeaveOut"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        const CAUSE: &str = "they only inform";
        let mut layer = Layer::new("LeaveOut");
        layer
            .store_put(disable_interceptor::<UserAgentInterceptor>(CAUSE))
            .store_put(disable_interceptor::<InvocationIdInterceptor>(CAUSE))
            .store_put(disable_interceptor::<RecursionDetectionInterceptor>(CAUSE))
            .store_put(disable_interceptor::<RequestInfoInterceptor>(CAUSE));
        config.push_layer(layer);
        Ok(())
    }
}
