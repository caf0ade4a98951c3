//! TLS in front of services, with an authority of the tests' own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority that nobody trusts, and the certificate of a service by it.
#[derive(Clone)]
pub struct Certificates {
    /// File with the authority's certificate in PEM.
    pub authority: PathBuf,
    pub(crate) acceptor: TlsAcceptor,
}

impl Certificates {
    /// Makes an authority, and a service's certificate for these names (`DNS:name`, `IP:address`), in a directory.
    pub fn make(directory: &Path, names: &[&str]) -> anyhow::Result<Self> {
        let file = |name: &str| directory.join(name);
        let path = |name: &str| file(name).display().to_string();
        let (ca, key, service, service_key) =
            (path("ca.pem"), path("ca.key"), path("service.pem"), path("service.key"));
        let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let of_authority = ["-subj", "/CN=an authority of tests", "-addext", "keyUsage=critical,keyCertSign"];
        openssl(&[&["req", "-x509", "-keyout", &key, "-out", &ca], &new[..], &of_authority].concat())?;
        let names = format!("subjectAltName={}", names.join(","));
        let extensions = ["-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE"];
        let signed = ["-CA", &ca, "-CAkey", &key, "-subj", "/CN=a service of tests"];
        openssl(
            &[&["req", "-x509", "-keyout", &service_key, "-out", &service], &new[..], &signed, &extensions].concat(),
        )?;
        let certificate = CertificateDer::from_pem_file(&service).context("failed to read a certificate")?;
        let key = PrivateKeyDer::from_pem_file(&service_key).context("failed to read a key")?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .context("failed to choose versions of TLS")?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .context("failed to use a certificate")?;
        Ok(Self { authority: file("ca.pem"), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

fn openssl(arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("openssl").args(arguments).stdin(Stdio::null()).output();
    let done = done.context("failed to run openssl")?;
    ensure!(done.status.success(), "failed to make a certificate: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// A task that ends with this value.
#[derive(Debug)]
pub struct Listening {
    /// Address that it listens on.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

impl Listening {
    /// Creates it from a running task.
    pub fn new(address: SocketAddr, task: JoinSet<()>) -> Self {
        Self { address, _task: task }
    }
}

/// Puts TLS in front of a service, on any port of an address.
pub async fn tls(certificates: &Certificates, ip: &str, upstream: SocketAddr) -> anyhow::Result<Listening> {
    let listener = TcpListener::bind((ip, 0)).await.context("failed to listen")?;
    let address = listener.local_addr().context("failed to listen")?;
    let acceptor = certificates.acceptor.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate disconnects here.
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = relay(stream, upstream).await;
                }
            });
        }
    });
    Ok(Listening::new(address, task))
}

/// Passes bytes on in both directions until one side ends.
pub(crate) async fn relay(mut stream: impl AsyncRead + AsyncWrite + Unpin, upstream: SocketAddr) -> anyhow::Result<()> {
    let mut service = TcpStream::connect(upstream).await.context("failed to reach a service")?;
    service.set_nodelay(true).context("failed to set TCP_NODELAY")?;
    copy_bidirectional(&mut stream, &mut service).await.map(drop).context("a connection broke")
}
