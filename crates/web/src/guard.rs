//! Who may ask for what.

use std::future::Future;

use hyper::StatusCode;
use sha2::{Digest, Sha256};

use crate::view::JobName;

/// What a request would read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The list of jobs of a namespace, or of all.
    Jobs {
        /// The namespace.
        namespace: Option<&'a str>,
    },
    /// One job, with its failures.
    Job(&'a JobName),
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no token, or one that nobody vouches for.
    #[error("a valid token is missing")]
    Unauthenticated,
    /// Its user may not read this.
    #[error("{0}")]
    Forbidden(String),
    /// It can't be told whether the token is valid, or what its user may read.
    #[error("{0}")]
    Unavailable(String),
}

impl Refusal {
    /// Returns the status of the answer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Decides who may ask. Every request for data is asked for, before anything of a job is read.
pub trait Guard: Send + Sync + 'static {
    /// Admits the bearer of a token to what a request would read.
    fn admit(&self, token: &str, wanted: Wanted<'_>) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Returns true if requests may be sent to the host that this `Host` header names.
    fn is_host(&self, host: &str) -> bool;

    /// Status of the page itself where a request has no token. The page has no data: its script asks for it with a token.
    fn page_without_token(&self) -> StatusCode;
}

/// Admits whoever has the token of this process, on the machine itself. Keeps a digest of the token, and compares
/// digests, so that the time of an answer tells nothing.
#[derive(Clone, Debug)]
pub struct LoopbackGuard {
    digest: [u8; 32],
    port: u16,
}

impl LoopbackGuard {
    /// Creates the guard of a page at a port of the loopback interface.
    pub fn new(token: &str, port: u16) -> Self {
        Self { digest: Sha256::digest(token).into(), port }
    }
}

impl Guard for LoopbackGuard {
    async fn admit(&self, token: &str, _: Wanted<'_>) -> Result<(), Refusal> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if digest == self.digest { Ok(()) } else { Err(Refusal::Unauthenticated) }
    }

    /// Knows the names of the loopback interface only: a foreign site whose name was made to lead here is refused.
    fn is_host(&self, host: &str) -> bool {
        let Some((name, port)) = host.rsplit_once(':') else { return false };
        let is_loopback = name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "[::1]");
        is_loopback && port.parse() == Ok(self.port)
    }

    /// A browser opens the page before its script has the token, which is in the part of the address that is not sent.
    fn page_without_token(&self) -> StatusCode {
        StatusCode::OK
    }
}

/// Returns the token of an `Authorization` header.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    // Longer ones than any issuer makes are not worth a request.
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= 16_384).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_token_of_the_process_is_admitted() {
        let guard = LoopbackGuard::new("secret", 80);
        let wanted = Wanted::Jobs { namespace: None };
        assert_eq!(guard.admit("secret", wanted).await, Ok(()));
        for token in ["", "Secret", "secret ", "secretsecret"] {
            assert_eq!(guard.admit(token, wanted).await, Err(Refusal::Unauthenticated), "{token}");
        }
        assert!(!format!("{guard:?}").contains("secret"));
    }

    #[test]
    fn foreign_names_are_no_host_of_the_loopback_interface() {
        let guard = LoopbackGuard::new("secret", 8_000);
        for (host, expected) in [
            ("127.0.0.1:8000", true),
            ("localhost:8000", true),
            ("LOCALHOST:8000", true),
            ("[::1]:8000", true),
            ("localhost:8001", false),
            ("localhost", false),
            ("evil.example:8000", false),
            ("localhost.evil.example:8000", false),
            ("127.0.0.1.nip.io:8000", false),
            ("evil@localhost:8000", false),
            ("", false),
        ] {
            assert_eq!(guard.is_host(host), expected, "{host}");
        }
    }

    #[test]
    fn a_token_is_what_follows_the_scheme() {
        for (header, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            assert_eq!(bearer(header), token, "{header}");
        }
        assert_eq!(bearer(&format!("Bearer {}", "a".repeat(16_385))), None);
    }
}
