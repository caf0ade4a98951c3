//! The route of requests to a bucket, as the SDK took it.

use std::fmt;

use aws_runtime::auth::sigv4;
use aws_runtime::service_clock_skew::DisableClockSkewCorrection;
use aws_sdk_s3::config::endpoint::Endpoint;
use aws_sdk_s3::config::{ConfigBag, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::auth::AuthScheme;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorSettings, SharedHttpClient};
use aws_smithy_runtime_api::client::identity::{Identity, ResolveCachedIdentity, SharedIdentityResolver};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

/// URL, signature and connection of requests to a bucket.
pub(in crate::s3) struct Route {
    /// URL of the bucket, without a slash at its end.
    pub(super) bucket_url: String,
    /// Region and service of signatures; `None` if requests are not signed.
    pub(super) scope: Option<Scope>,
    /// Header `User-Agent`.
    pub(super) user_agent: Option<String>,
    /// Header by which the caller accepts the costs of requests.
    pub(super) payer: Option<String>,
    /// False if the SDK is told not to correct the time of signatures.
    pub(super) corrects_clock: bool,
    resolver: Option<SharedIdentityResolver>,
    client: SharedHttpClient,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
    /// By these the SDK limits how long credentials may take.
    config: ConfigBag,
}

/// Leaves out the SDK's components: they hold the interceptor that taught the route.
impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket_url, scope, .. } = self;
        f.debug_struct("Route").field("bucket_url", bucket_url).field("scope", scope).finish_non_exhaustive()
    }
}

/// Region and service of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) region: String,
    pub(super) service: String,
}

impl Scope {
    /// Reads a header `Authorization`. Source: "Authorization header", S3 API reference.
    fn parse(authorization: &str) -> Option<Self> {
        let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let credential = rest.split(',').find_map(|part| part.trim().strip_prefix("Credential="))?;
        let mut scope = credential.rsplit('/');
        let (end, service, region) = (scope.next()?, scope.next()?, scope.next()?);
        (end == "aws4_request").then(|| Self { region: region.to_owned(), service: service.to_owned() })
    }
}

impl Route {
    /// Returns the route that the SDK's request takes; `None` if others can't be sent likewise.
    pub(super) fn of(request: &HttpRequest, components: &RuntimeComponents, config: &ConfigBag) -> Option<Self> {
        let endpoint = config.load::<Endpoint>()?;
        let bucket_url = endpoint.url().trim_end_matches('/').to_owned();
        let below = request.uri().strip_prefix(&bucket_url).is_some_and(|path| path.starts_with('/'));
        // Directory buckets have sessions with tokens of their own.
        let session = request.headers().contains_key("x-amz-s3session-token");
        if !below || session || endpoint.headers().next().is_some() {
            return None;
        }
        let scope = match request.headers().get("authorization") {
            Some(authorization) => Some(Scope::parse(authorization)?),
            None => None,
        };
        let resolver = match &scope {
            Some(_) => Some(components.auth_scheme(sigv4::SCHEME_ID)?.identity_resolver(components)?),
            None => None,
        };
        let header = |name: &str| request.headers().get(name).map(ToOwned::to_owned);
        Some(Self {
            bucket_url,
            scope,
            user_agent: header("user-agent"),
            payer: header("x-amz-request-payer"),
            resolver,
            corrects_clock: !config
                .load::<DisableClockSkewCorrection>()
                .is_some_and(DisableClockSkewCorrection::is_disabled),
            client: components.http_client()?,
            settings: connector_settings(config),
            components: components.clone(),
            config: limits(config),
        })
    }

    /// Returns the credentials of the SDK's cache; `None` if requests are not signed.
    pub(super) async fn identity(&self) -> Result<Option<Identity>, BoxError> {
        let Some(resolver) = self.resolver.clone() else { return Ok(None) };
        let cache = self.components.identity_cache();
        cache.resolve_cached_identity(resolver, &self.components, &self.config).await.map(Some)
    }

    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        // Asked for each time: the client keeps connectors that work, and makes one anew that did not.
        self.client.http_connector(&self.settings, &self.components).call(request).await
    }
}

/// The settings by which the SDK's cache limits how long credentials may take.
fn limits(config: &ConfigBag) -> ConfigBag {
    let mut layer = Layer::new("LimitsOfCredentials");
    layer.store_or_unset(config.load::<TimeoutConfig>().cloned());
    layer.store_or_unset(config.load::<RetryConfig>().cloned());
    ConfigBag::of_layers([layer])
}

/// The time-outs by which the SDK chooses a pool of connections.
fn connector_settings(config: &ConfigBag) -> HttpConnectorSettings {
    let mut settings = HttpConnectorSettings::builder();
    if let Some(timeouts) = config.load::<TimeoutConfig>() {
        settings.set_connect_timeout(timeouts.connect_timeout()).set_read_timeout(timeouts.read_timeout());
    }
    settings.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_read_from_the_signature() {
        let signed =
            |credential: &str| format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0");
        let scope = Scope { region: "cn-north-1".into(), service: "s3".into() };
        assert_eq!(Scope::parse(&signed("AKIA/with/slashes/20260101/cn-north-1/s3/aws4_request")), Some(scope));
        for other in ["AWS4-ECDSA-P256-SHA256 Credential=A/20260101/s3/aws4_request", "Bearer t", &signed("A/aws4")] {
            assert_eq!(Scope::parse(other), None, "{other}");
        }
    }
}
