//! Connections: directly, to a proxy, or through one; with TLS for `https://`.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use migration_core::congestion::Algorithm;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::congestion;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Idle time after which a peer is asked whether it is there, and the time between further questions. A request that a
/// service works on for minutes sends no byte meanwhile, and NAT gateways forget connections that are idle for 350 s.
/// Source: "NAT gateways" in the VPC user guide.
const KEEPALIVE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Questions without an answer until the peer is taken for gone.
const KEEPALIVE_PROBES: u32 = 4;

/// Makes connections.
#[derive(Clone)]
pub(super) struct Dial {
    /// With TLS for `https://`.
    direct: HttpsConnector<Tcp>,
    tls: Arc<ClientConfig>,
    proxies: Arc<Matcher>,
    /// Time limit of a connection, TLS included.
    within: Option<Duration>,
}

/// A connection took too long.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
pub(super) struct ConnectTimedOut(Duration);

impl Dial {
    pub(super) fn new(
        tls: Arc<ClientConfig>,
        proxies: Arc<Matcher>,
        congestion: Option<Algorithm>,
        within: Option<Duration>,
    ) -> Self {
        let direct = HttpsConnector::from((Tcp::new(congestion), tls.clone()));
        Self { direct, tls, proxies, within }
    }

    async fn connect(mut self, to: Uri) -> Result<Link, BoxError> {
        let Some(proxy) = self.proxies.intercept(&to) else {
            return Ok(Link::new(self.direct.call(to).await?, false));
        };
        if to.scheme() == Some(&Scheme::HTTP) {
            return Ok(Link::new(self.direct.call(proxy.uri().clone()).await?, true));
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct);
        if let Some(credentials) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        Ok(Link::new(HttpsConnector::from((tunnel, self.tls)).call(to).await?, false))
    }
}

impl Service<Uri> for Dial {
    type Response = Link;
    type Error = BoxError;
    type Future = Connecting<Link>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move {
            let Some(within) = dial.within else { return dial.connect(to).await };
            let late = |_| Err(ConnectTimedOut(within).into());
            tokio::time::timeout(within, dial.connect(to)).await.unwrap_or_else(late)
        })
    }
}

/// Makes TCP connections, and sets up their sockets.
///
/// | option | why |
/// |---|---|
/// | `TCP_NODELAY` | the end of a request does not wait for the acknowledgement of what came before |
/// | `SO_KEEPALIVE` | connections survive a gateway while a service works on a request; dead peers are noticed |
/// | `TCP_CONGESTION` | the job's choice |
///
/// Left out: `SO_SNDBUF` and `SO_RCVBUF`, since they end the kernel's own tuning and are bounded by
/// `net.core.wmem_max` and `rmem_max`, which are lower than the bounds of that tuning, `net.ipv4.tcp_wmem` and
/// `tcp_rmem` (tcp(7)); `TCP_USER_TIMEOUT`, since the progress of every body is watched.
#[derive(Clone)]
struct Tcp {
    http: HttpConnector,
    congestion: Option<Algorithm>,
}

impl Tcp {
    fn new(congestion: Option<Algorithm>) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        http.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        http.set_keepalive_retries(Some(KEEPALIVE_PROBES));
        Self { http, congestion }
    }
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting<TokioIo<TcpStream>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, congestion) = (self.http.call(to), self.congestion);
        Box::pin(async move {
            let stream = connecting.await?;
            // The node was asked before. Should it refuse now, the connection is as good as its default.
            if let Some(algorithm) = congestion
                && let Err(error) = congestion::set(stream.inner(), algorithm)
            {
                tracing::debug!(%error, %algorithm, "failed to set the congestion control of a connection");
            }
            Ok(stream)
        })
    }
}

trait Io: Read + Write + Connection + Send + Unpin {}

impl<T: Read + Write + Connection + Send + Unpin> Io for T {}

/// A connection.
pub(super) struct Link {
    io: Box<dyn Io>,
    /// To a proxy, which reads whole URLs.
    is_to_proxy: bool,
}

impl Link {
    fn new(io: impl Io + 'static, is_to_proxy: bool) -> Self {
        Self { io: Box::new(io), is_to_proxy }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_to_proxy", &self.is_to_proxy).finish_non_exhaustive()
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_to_proxy)
    }
}

impl Read for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_read(cx, buffer)
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use tokio::net::TcpListener;

    /// Connects to a listener of its own, and returns the name of its congestion control, without zeros at its end.
    async fn connected(congestion: Option<Algorithm>) -> (TcpListener, TokioIo<TcpStream>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stream = Tcp::new(congestion).call(url.parse().unwrap()).await.unwrap();
        let name = SockRef::from(stream.inner()).tcp_congestion().unwrap();
        let name = String::from_utf8(name).unwrap().trim_end_matches('\0').to_owned();
        (listener, stream, name)
    }

    #[tokio::test]
    async fn a_connection_has_the_chosen_congestion_control_or_the_nodes() {
        let default = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
        for (congestion, expected) in [(Some(Algorithm::Reno), "reno"), (None, default.trim())] {
            let (_listener, _stream, name) = connected(congestion).await;
            assert_eq!(name, expected, "{congestion:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_sends_at_once_and_notices_that_its_peer_is_gone() {
        let (_listener, stream, _) = connected(None).await;
        let socket = SockRef::from(stream.inner());
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_greet_ends_the_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let tls = Arc::new(super::super::tls(None).unwrap());
        let within = Some(Duration::from_secs(5));
        let mut dial = Dial::new(tls, Arc::new(Matcher::builder().build()), None, within);
        let error = dial.call(url.parse().unwrap()).await.unwrap_err();
        assert!(error.is::<ConnectTimedOut>(), "{error}");
    }
}
