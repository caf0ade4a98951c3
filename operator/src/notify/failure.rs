//! Why a delivery failed.

use migration_core::error::ErrorClass;

/// Why a delivery failed. The texts stand in the status: they name the host of a webhook and nothing else of its URL,
/// and no address that its name resolves to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A Secret or ConfigMap does not exist, or lacks the key.
    #[error("failed to find key {key} of {kind} {name} in this namespace: create it")]
    NoValue {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The API server did not answer.
    #[error("failed to read {kind} {name}: the API server did not answer")]
    NotRead {
        /// The kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The API server refused the read.
    #[error(
        "failed to read {kind} {name}: the API server refused it with the status {status}; look at the operator's role"
    )]
    ReadRefused {
        /// The kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The status.
        status: u16,
    },
    /// A Secret or ConfigMap lacks the label that the policy asks for.
    #[error("failed to use {kind} {name}: it lacks the label {label}, which the operator's policy asks for")]
    Unlabelled {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The label.
        label: String,
    },
    /// The Secret of the URL holds none.
    #[error(
        "failed to read the URL of the webhook: it must begin with https:// and have a host, and no user or password"
    )]
    Url,
    /// The Secret of the keys holds something else.
    #[error("failed to read the signing key: its Secret must hold whsec_ and the base64 of 24 to 64 random bytes")]
    Key,
    /// The certificates can't be used.
    #[error("failed to use the certificates of webhook.caBundle: {0}")]
    Certificates(String),
    /// The policy does not list the host.
    #[error("failed to send to {host}: it is not among those that policy.webhookHosts allows")]
    Host {
        /// The host.
        host: String,
    },
    /// The policy does not list the endpoint of the topic.
    #[error("failed to send to the endpoint of the topic: it is not among those that policy.endpoints allows")]
    Endpoint,
    /// The topic has no credentials, and the policy does not list it.
    #[error(
        "failed to publish to the topic: the operator does not use its own identity on it; name a Secret in \
         spec.notify.sns.credentials, or have the topic added to policy.ownIdentity.topics"
    )]
    Identity,
    /// The name of the host has no address.
    #[error("failed to resolve {host}: correct the URL, or look at the cluster's DNS")]
    Name {
        /// The host.
        host: String,
    },
    /// All addresses of the host are refused.
    #[error(
        "failed to send to {host}: none of its addresses is on the public internet or in policy.webhookNetworks, which \
         the person who installed the operator sets"
    )]
    Address {
        /// The host.
        host: String,
    },
    /// No connection, or it broke.
    #[error("failed to reach {host}: {reason}")]
    Connection {
        /// The host.
        host: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time.
    #[error("failed to get an answer from {receiver} within {seconds} s")]
    Time {
        /// The receiver: a host, or the topic.
        receiver: String,
        /// The time.
        seconds: u64,
    },
    /// A redirect.
    #[error(
        "failed to deliver to {host}: it answered {status}, and redirects are not followed; write the URL it leads to"
    )]
    Redirect {
        /// The host.
        host: String,
        /// The status.
        status: u16,
    },
    /// An answer other than 2xx.
    #[error("failed to deliver to {host}: it answered {status}")]
    Status {
        /// The host.
        host: String,
        /// The status.
        status: u16,
        /// The time for which it asks, in seconds.
        retry_after: Option<u64>,
    },
    /// SNS refused.
    #[error("failed to publish to the topic: {code} ({class:?})")]
    Topic {
        /// The service's code.
        code: String,
        /// Its class.
        class: ErrorClass,
    },
    /// The specification names no such receiver any more.
    #[error("failed to find the receiver in the specification")]
    NoReceiver,
}

impl Failure {
    /// Returns the time for which the receiver asks before the next attempt, in seconds.
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
