//! HTTP clients: trusted certificates, proxies, and how connections are made.
//!
//! | | S3 of a side and its credential service | queue, ledger |
//! |---|---|---|
//! | proxy | the side's proxy, otherwise the environment's | the environment's |
//! | certificates | those of the image and those of the side | those of the image |
//! | TCP congestion control | the job's choice | the node's default |
//!
//! The SDK's own connector gives nobody its sockets, so connections are made here, by the libraries that it stands on:
//! hyper's client with its pool, rustls, and hyper's tunnels through proxies. All speak HTTP/1.1, where each request in
//! flight has a connection and thus a congestion window of its own.
//!
//! `HTTPS_PROXY` and `HTTP_PROXY` apply to requests to `https://` and `http://`, `ALL_PROXY` to those without one of
//! their own. `NO_PROXY` lists what is reached directly: hosts with their subdomains, addresses, networks, `*`. All are
//! read in lower case too. The pod's credential services (`169.254.0.0/16`, `fd00:ec2::/32`) are always reached
//! directly, because a proxy would fetch its own credentials.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use migration_core::config::S3Side;
use migration_core::congestion::Algorithm;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use self::connector::PooledConnector;
use self::dial::Dial;
use self::proxy::{Proxies, environment};

mod connector;
mod dial;
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
    /// Who sends the requests that are sent for every object and every page of a listing.
    pub requests: Requests,
    /// TCP congestion control of the connections; `None` leaves the node's default.
    pub congestion: Option<Algorithm>,
}

/// Who sends the requests that are sent for every object and every page of a listing.
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

impl Reach {
    /// Returns the path to the S3 service of a side, with this congestion control.
    pub(crate) fn of_side(side: &S3Side, congestion: Option<Algorithm>) -> Self {
        Self {
            ca_bundle: side.ca_bundle.as_ref().map(|bundle| bundle.path.clone()),
            proxy: side.proxy.clone(),
            requester_pays: side.requester_pays,
            requests: Requests::of_environment(),
            congestion,
        }
    }

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
pub enum ReachError {
    /// The file of certificates can't be read.
    #[error("failed to read the certificates in {path}: {source}; mount the ConfigMap or Secret that caBundle names")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The file has no certificates, or invalid ones.
    #[error("failed to read the certificates in {path}: {reason}; caBundle takes certificates in PEM")]
    Certificates {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        reason: String,
    },
    /// The URL of a proxy is invalid.
    #[error("failed to use the proxy of {variable}: {reason}; write a URL such as http://proxy.example.com:3128")]
    Proxy {
        /// Name of the variable or field with the URL.
        variable: &'static str,
        /// Cause.
        reason: String,
    },
    /// TLS refuses its settings.
    #[error("failed to set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Connect and read time-outs.
type Timeouts = (Option<Duration>, Option<Duration>);

/// Connection pools, one per set of time-outs, since a connector holds its time-outs.
struct Client {
    ca_bundle: Option<PathBuf>,
    proxies: Proxies,
    congestion: Option<Algorithm>,
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
        Self { ca_bundle: way.ca_bundle.clone(), proxies, congestion: way.congestion, made: Mutex::default() }
    }

    fn connector(&self, (connect, read): Timeouts) -> Result<PooledConnector, ReachError> {
        let proxies = Arc::new(self.proxies.matcher()?);
        let tls = Arc::new(tls(self.ca_bundle.as_deref())?);
        Ok(PooledConnector::new(Dial::new(tls, proxies.clone(), self.congestion, connect), proxies, read))
    }
}

impl HttpClient for Client {
    /// Returns a connector. A failure to build one is not cached, since a file may be mounted late.
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let key = (settings.connect_timeout(), settings.read_timeout());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connector) = made.get(&key) {
            return connector.clone();
        }
        match self.connector(key) {
            Ok(connector) => made.entry(key).or_insert(SharedHttpConnector::new(connector)).clone(),
            Err(error) => SharedHttpConnector::new(Unreachable(error.to_string())),
        }
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

/// The certificates that the image trusts. Reading them takes a while, so it is done once.
static OF_IMAGE: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "failed to read certificates of the image");
    }
    found.certs
});

/// Returns how TLS is spoken with what is no S3 service, trusting the certificates of the image.
pub fn tls_of_image() -> Result<ClientConfig, ReachError> {
    tls(None)
}

/// Returns how TLS is spoken, trusting the certificates of the image and those of the file.
fn tls(ca_bundle: Option<&Path>) -> Result<ClientConfig, ReachError> {
    let mut roots = of_image();
    if let Some(path) = ca_bundle {
        let pem = std::fs::read(path).map_err(|source| ReachError::Read { path: path.to_owned(), source })?;
        add(&mut roots, &pem).map_err(|reason| ReachError::Certificates { path: path.to_owned(), reason })?;
    }
    Ok(trusting_only(roots)?)
}

/// Returns how TLS is spoken over HTTP/1.1, trusting the certificates of the image and those in PEM. Fails with the
/// reason if these are none.
pub fn trusting(pem: Option<&[u8]>) -> Result<ClientConfig, String> {
    let mut roots = of_image();
    pem.map_or(Ok(()), |pem| add(&mut roots, pem))?;
    trusting_only(roots).map_err(|error| error.to_string())
}

fn of_image() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(OF_IMAGE.iter().cloned());
    roots
}

fn trusting_only(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Adds certificates in PEM.
fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        found = true;
    }
    if found { Ok(()) } else { Err("no certificate found".to_owned()) }
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
            let reason = add(&mut RootCertStore::empty(), pem.as_bytes()).unwrap_err();
            assert!(reason.contains(expected) && !reason.is_empty(), "{pem}: {reason}");
        }
        let missing = tls(Some(Path::new("/nowhere/ca.crt"))).err().map(|error| error.to_string());
        assert!(missing.as_deref().is_some_and(|text| text.contains("/nowhere/ca.crt")), "{missing:?}");
    }

    #[test]
    fn the_password_of_a_proxy_is_not_shown() {
        let way = Reach { proxy: Some("http://me:secret@a".into()), ..Reach::default() };
        assert!(!format!("{:?}", way.http_client()).contains("secret"));
    }
}
