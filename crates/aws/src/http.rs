//! HTTP clients: trusted certificates and proxies.
//!
//! | | S3 of a side and its credential service | queue, ledger |
//! |---|---|---|
//! | proxy | the side's proxy, otherwise the environment's | the environment's |
//! | certificates | those of the image and those of the side | those of the image |
//!
//! `HTTPS_PROXY` and `HTTP_PROXY` apply to requests to `https://` and `http://`, `ALL_PROXY` to those without one of
//! their own. `NO_PROXY` lists what is reached directly: hosts with their subdomains, addresses, networks, `*`. All are
//! read in lower case too. The pod's credential services (`169.254.0.0/16`, `fd00:ec2::/32`) are always reached
//! directly, because a proxy would fetch its own credentials.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use migration_core::config::S3Side;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use self::proxy::{Proxies, environment};

mod proxy;

/// Network path to the S3 service of a side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reach {
    /// PEM file of certificates to trust in addition to the image's. Read by the first request.
    pub ca_bundle: Option<PathBuf>,
    /// URL of the HTTP proxy (scheme, host and port), which replaces the environment's.
    pub proxy: Option<String>,
    /// Adds the header by which the caller accepts the costs of each request.
    pub requester_pays: bool,
    /// Who sends the requests that carry bytes.
    pub requests: Requests,
}

/// Who sends the requests that carry bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Requests {
    /// The store itself where it knows how, otherwise the SDK.
    #[default]
    Auto,
    /// The SDK.
    Sdk,
}

impl Requests {
    /// Variable of the environment that chooses: `auto` or `sdk`.
    pub const VARIABLE: &str = "S3_REQUESTS";

    /// Reads the environment. Another value is logged and counts as `auto`.
    fn of_environment() -> Self {
        match std::env::var(Self::VARIABLE).as_deref() {
            Ok("sdk") => Self::Sdk,
            Ok("auto" | "") | Err(_) => Self::Auto,
            Ok(other) => {
                tracing::warn!("failed to read {}={other:?}: it takes auto and sdk; auto is used", Self::VARIABLE);
                Self::Auto
            }
        }
    }
}

impl From<&S3Side> for Reach {
    fn from(side: &S3Side) -> Self {
        Self {
            ca_bundle: side.ca_bundle.as_ref().map(|bundle| bundle.path.clone()),
            proxy: side.proxy.clone(),
            requester_pays: side.requester_pays,
            requests: Requests::of_environment(),
        }
    }
}

impl Reach {
    /// Returns the client for this path. Equal paths share a client and its connections.
    pub(crate) fn http_client(&self) -> SharedHttpClient {
        static MADE: OnceLock<Mutex<HashMap<Reach, SharedHttpClient>>> = OnceLock::new();
        let way = Self { requester_pays: false, requests: Requests::Auto, ..self.clone() };
        let mut made = MADE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        made.entry(way).or_insert_with_key(|way| SharedHttpClient::new(Client::new(way))).clone()
    }
}

/// Invalid certificates or proxies.
#[derive(Debug, thiserror::Error)]
enum ReachError {
    #[error("failed to read the certificates in {path}: {source}; mount the ConfigMap or Secret that caBundle names")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to read the certificates in {path}: {reason}; caBundle takes certificates in PEM")]
    Certificates { path: PathBuf, reason: String },
    #[error("failed to use the proxy of {variable}: {reason}; write a URL such as http://proxy.example.com:3128")]
    Proxy { variable: &'static str, reason: String },
}

/// Connect and read time-outs.
type Timeouts = (Option<Duration>, Option<Duration>);

/// Connection pools, one per set of time-outs, since a connector holds its time-outs.
struct Client {
    ca_bundle: Option<PathBuf>,
    proxies: Proxies,
    made: Mutex<HashMap<Timeouts, SharedHttpConnector>>,
}

/// Leaves out the proxies: their URLs may hold a password.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("ca_bundle", &self.ca_bundle).finish_non_exhaustive()
    }
}

impl Client {
    fn new(way: &Reach) -> Self {
        let proxies = match &way.proxy {
            Some(url) => Proxies::of_side(url),
            None => environment(),
        };
        Self { ca_bundle: way.ca_bundle.clone(), proxies, made: Mutex::default() }
    }

    fn connectors(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> Result<ByScheme, ReachError> {
        let context = tls_context(self.ca_bundle.as_deref())?;
        let build = |proxy: Option<&ProxyConfig>| {
            let mut builder: ConnectorBuilder = Connector::builder();
            builder.set_connector_settings(Some(settings.clone()));
            builder.set_sleep_impl(components.sleep_impl());
            builder.set_proxy_config(Some(proxy.cloned().unwrap_or_else(ProxyConfig::disabled)));
            let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
            builder.tls_provider(provider).tls_context(context.clone()).build()
        };
        Ok(ByScheme { http: build(self.proxies.http()?), https: build(self.proxies.https()?) })
    }
}

impl HttpClient for Client {
    /// Returns a connector. A failure to build one is not cached, since a file may be mounted late.
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let key = (settings.connect_timeout(), settings.read_timeout());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connector) = made.get(&key) {
            return connector.clone();
        }
        match self.connectors(settings, components) {
            Ok(connectors) => made.entry(key).or_insert(SharedHttpConnector::new(connectors)).clone(),
            Err(error) => SharedHttpConnector::new(Unreachable(error.to_string())),
        }
    }
}

/// One connector for `http://` and one for `https://`, which may use different proxies.
#[derive(Debug)]
struct ByScheme {
    http: Connector,
    https: Connector,
}

impl HttpConnector for ByScheme {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if request.uri().starts_with("http://") { self.http.call(request) } else { self.https.call(request) }
    }
}

/// Connector that fails every request with the given reason.
#[derive(Debug)]
struct Unreachable(String);

impl HttpConnector for Unreachable {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(Err(ConnectorError::io(self.0.clone().into())))
    }
}

/// Returns the certificates of the image plus those of the file.
fn tls_context(ca_bundle: Option<&Path>) -> Result<TlsContext, ReachError> {
    let mut trusted = TrustStore::default();
    if let Some(path) = ca_bundle {
        let pem = std::fs::read(path).map_err(|source| ReachError::Read { path: path.to_owned(), source })?;
        check(&pem).map_err(|reason| ReachError::Certificates { path: path.to_owned(), reason })?;
        trusted.add_pem_certificate(pem);
    }
    let broken = |error: &dyn std::error::Error| ReachError::Certificates {
        path: ca_bundle.unwrap_or(Path::new("")).to_owned(),
        reason: error.to_string(),
    };
    TlsContext::builder().with_trust_store(trusted).build().map_err(|error| broken(&error))
}

/// Checks that certificates can be parsed: the client assumes it.
fn check(pem: &[u8]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("no certificate found".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_said_to_be_none() {
        for (pem, expected) in [
            ("", "no certificate found"),
            ("no PEM", "no certificate found"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""),
            ("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n", ""),
        ] {
            let reason = check(pem.as_bytes()).unwrap_err();
            assert!(reason.contains(expected) && !reason.is_empty(), "{pem}: {reason}");
        }
        let missing = tls_context(Some(Path::new("/nowhere/ca.crt"))).err().map(|error| error.to_string());
        assert!(missing.as_deref().is_some_and(|text| text.contains("/nowhere/ca.crt")), "{missing:?}");
    }

    #[test]
    fn the_password_of_a_proxy_is_not_shown() {
        let way = Reach { proxy: Some("http://me:secret@a".into()), ..Reach::default() };
        assert!(!format!("{:?}", way.http_client()).contains("secret"));
    }
}
