//! Connections of a server, plain or over TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Where a server listens.
#[derive(Debug, Args)]
pub struct Listen {
    /// Port of this machine to listen on; 0 takes a free one. It is told on standard output.
    #[arg(long)]
    pub port: u16,
    /// File of the certificate in PEM. Without one, the server speaks no TLS.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// File of its key in PEM.
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
}

impl Listen {
    /// Returns what does the server's part of TLS; `None` without a certificate.
    pub fn tls(&self) -> anyhow::Result<Option<TlsAcceptor>> {
        let Some((certificate, key)) = self.certificate.as_deref().zip(self.key.as_deref()) else { return Ok(None) };
        Ok(Some(acceptor(certificate, key)?))
    }
}

fn acceptor(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(certificate).context("failed to read the certificate")?;
    let key = PrivateKeyDer::from_pem_file(key).context("failed to read the certificate's key")?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("failed to choose versions of TLS")?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .context("failed to use the certificate")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Starts to listen on a port of this machine, and tells it on standard output after `what`. Port 0 takes a free one: nobody
/// else can have it between a look for a free port and its use.
pub async fn listen(what: &str, port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    let address = listener.local_addr().context("failed to read the address of a listener")?;
    println!("{what} {}", address.port());
    Ok(listener)
}

/// Accepts the next connection. Sockets can run out for a moment.
pub async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without it, small answers wait for delayed acknowledgements.
                if let Err(error) = stream.set_nodelay(true) {
                    eprintln!("failed to set TCP_NODELAY: {error}");
                }
                return stream;
            }
            Err(error) => {
                eprintln!("failed to accept a connection: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}
