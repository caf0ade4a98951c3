//! Sends a request to a webhook: over TLS, directly, to an address that was checked, once.
//!
//! The name is resolved here, and the connection goes to the addresses that were checked: so a name that resolves to
//! something else a moment later leads nowhere else. Nothing of the answer is read but its head, which is bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822::DateTimeParser;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::task::AbortOnDropHandle;

use super::failure::Failure;
use super::network::Networks;

/// The most addresses of a host that are tried.
const ADDRESSES: usize = 3;
/// The time for a connection to one of them.
const CONNECT: Duration = Duration::from_secs(3);
/// The most bytes of the head of an answer.
const HEAD: usize = 16 << 10;
/// The longest reason of a broken connection, in characters.
const REASON: usize = 200;
const HTTPS_PORT: u16 = 443;

/// Where a webhook is.
pub struct Target {
    uri: Uri,
    /// The host, in lower case.
    pub host: String,
    port: u16,
}

impl Target {
    /// Reads a URL, which may come from a Secret that no schema has checked.
    pub fn parse(url: &str) -> Result<Self, Failure> {
        let uri: Uri = url.parse().map_err(|_| Failure::Url)?;
        let authority = uri.authority().ok_or(Failure::Url)?;
        if uri.scheme_str() != Some("https") || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(Failure::Url);
        }
        let (host, port) = (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(HTTPS_PORT));
        Ok(Self { uri, host, port })
    }

    /// Returns the host as resolvers and certificates take it: an IPv6 address has no brackets there.
    fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    fn broken(&self, error: impl std::fmt::Display, is_sent: bool) -> Failure {
        let reason = error.to_string().chars().filter(|c| !c.is_control()).take(REASON).collect();
        Failure::Connection { host: self.host.clone(), reason, is_sent }
    }

    fn request(&self, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Result<Request<Full<Bytes>>, Failure> {
        let path = self.uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
        let authority = self.uri.authority().map(ToString::to_string).unwrap_or_default();
        let host = HeaderValue::from_str(&authority).map_err(|_| Failure::Url)?;
        let request = Request::builder().method(Method::POST).uri(path).header(HOST, host);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        request.body(Full::new(Bytes::from(body))).map_err(|_| Failure::Url)
    }
}

/// Sends a request and checks the answer. `networks`: those of the policy; `at`: the time of the attempt, in seconds
/// since 1970. The caller limits the time.
pub async fn post(
    target: &Target,
    tls: ClientConfig,
    networks: &Networks,
    at: i64,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
) -> Result<(), Failure> {
    let request = target.request(headers, body)?;
    let stream = connect(target, &addresses(target, networks).await?).await?;
    let name = ServerName::try_from(target.name().to_owned()).map_err(|_| Failure::Url)?;
    let secured = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    let secured = secured.map_err(|error| target.broken(error, false))?;
    let mut http = hyper::client::conn::http1::Builder::new();
    let opened = http.max_buf_size(HEAD).handshake(TokioIo::new(secured)).await;
    let (mut sender, connection) = opened.map_err(|error| target.broken(error, false))?;
    // It ends with this function, whatever it still waits for.
    let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(|error| target.broken(error, true))?;
    judge(answer.status(), answer.headers(), at, &target.host)
}

fn judge(status: StatusCode, headers: &HeaderMap, at: i64, host: &str) -> Result<(), Failure> {
    let (host, number) = (host.to_owned(), status.as_u16());
    if status.is_success() {
        Ok(())
    } else if status.is_redirection() {
        Err(Failure::Redirect { host, status: number })
    } else {
        let asks = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        let asked = headers.get(RETRY_AFTER).filter(|_| asks).and_then(|value| value.to_str().ok());
        Err(Failure::Status { host, status: number, retry_after: asked.and_then(|value| retry_after(value, at)) })
    }
}

/// Reads seconds or a date, and returns the seconds from then. Source: RFC 9110, section 10.2.3.
fn retry_after(value: &str, at: i64) -> Option<u64> {
    let date = || DateTimeParser::new().parse_timestamp(value.trim()).ok();
    let until_date = || date().and_then(|date| u64::try_from(date.as_second().saturating_sub(at)).ok());
    value.trim().parse().ok().or_else(until_date)
}

/// Returns the addresses of a host that a webhook may be sent to.
async fn addresses(target: &Target, networks: &Networks) -> Result<Vec<SocketAddr>, Failure> {
    let host = || target.host.clone();
    let resolved = tokio::net::lookup_host((target.name(), target.port)).await;
    let resolved: Vec<_> = resolved.map_err(|_| Failure::Name { host: host() })?.collect();
    if resolved.is_empty() {
        return Err(Failure::Name { host: host() });
    }
    let allowed: Vec<_> = resolved.into_iter().filter(|found| networks.allow(found.ip())).collect();
    if allowed.is_empty() { Err(Failure::Address { host: host() }) } else { Ok(allowed) }
}

async fn connect(target: &Target, addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut last = target.broken("it has no address", false);
    for address in addresses.iter().take(ADDRESSES) {
        last = match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => target.broken(error.kind(), false),
            Err(_) => target.broken("no connection in time", false),
        };
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_needs_https_and_a_host() {
        for (url, expected) in [
            ("https://hooks.example.com/a?token=b", Some(("hooks.example.com", 443))),
            ("https://Hooks.Example.com:8443", Some(("hooks.example.com", 8443))),
            ("https://[2606:4700::1111]/a", Some(("2606:4700::1111", 443))),
            ("http://hooks.example.com/", None),
            ("hooks.example.com", None),
            ("https://", None),
            ("https://user:password@hooks.example.com/", None),
            ("https://hooks.example.com/\u{1b}[31m", None),
            ("/a", None),
            ("", None),
        ] {
            let found = Target::parse(url).ok();
            assert_eq!(found.as_ref().map(|found| (found.name(), found.port)), expected, "{url}");
        }
    }

    #[test]
    fn a_time_to_wait_is_seconds_or_a_date() {
        for (value, expected) in [
            ("600", Some(600)),
            (" 7 ", Some(7)),
            ("Thu, 01 Jan 1970 00:20:00 GMT", Some(200)),
            ("Thu, 01 Jan 1970 00:10:00 GMT", None),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, 1_000), expected, "{value}");
        }
    }

    #[tokio::test]
    async fn every_spelling_of_a_private_address_is_refused() {
        for host in ["127.0.0.1", "[::1]", "[::ffff:169.254.169.254]", "2130706433", "0x7f.1", "localhost", "10.0.0.1"]
        {
            let target = Target::parse(&format!("https://{host}/")).unwrap();
            let found = addresses(&target, &Networks::default()).await;
            let is_refused = matches!(found, Err(Failure::Address { .. } | Failure::Name { .. }));
            assert!(is_refused, "{host}: {found:?}");
        }
    }
}
