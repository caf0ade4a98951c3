//! Why a delivery failed.

use migration_core::error::{ErrorClass, ServiceFault};

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
    #[error("failed to send to the endpoint of the topic: it is not among those that policy.endpoints lists")]
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
        "failed to send to {host}: none of its addresses is on the public internet or in policy.webhookNetworks without being \
         in policy.webhookRefusedNetworks; the person who installed the operator sets both"
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
        /// The request was on its way.
        is_sent: bool,
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

    /// Returns true if a person has to mend something of which nothing tells when it is mended: a Secret, a ConfigMap, the
    /// cluster's DNS or network. Either nothing was sent, or the receiver refused the key.
    pub const fn waits_for_person(&self) -> bool {
        match self {
            Self::NoValue { .. }
            | Self::NotRead { .. }
            | Self::ReadRefused { .. }
            | Self::Unlabelled { .. }
            | Self::Url
            | Self::Key
            | Self::Certificates(_)
            | Self::Host { .. }
            | Self::Endpoint
            | Self::Identity
            | Self::Name { .. }
            | Self::Address { .. } => true,
            Self::Connection { is_sent, .. } => !*is_sent,
            Self::Status { status, .. } => matches!(*status, 401 | 403),
            Self::Topic { class, .. } => refuses_keys(*class),
            Self::Time { .. } | Self::Redirect { .. } | Self::NoReceiver => false,
        }
    }
}

const fn refuses_keys(class: ErrorClass) -> bool {
    use ServiceFault::{AccessDenied, CredentialsExpired, CredentialsInvalid, CredentialsMissing};
    matches!(
        class,
        ErrorClass::AccessDenied
            | ErrorClass::SignatureMismatch
            | ErrorClass::Service(AccessDenied | CredentialsExpired | CredentialsInvalid | CredentialsMissing)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_waited_for_where_nothing_was_sent_or_the_key_was_refused() {
        let host = || "h".to_owned();
        let connection = |is_sent| Failure::Connection { host: host(), reason: String::new(), is_sent };
        let status = |status| Failure::Status { host: host(), status, retry_after: None };
        let topic = |class| Failure::Topic { code: String::new(), class };
        for (failure, expected) in [
            (Failure::NoValue { kind: "Secret", name: "s".to_owned(), key: "k".to_owned() }, true),
            (Failure::ReadRefused { kind: "Secret", name: "s".to_owned(), status: 403 }, true),
            (Failure::Key, true),
            (Failure::Host { host: host() }, true),
            (Failure::Address { host: host() }, true),
            (Failure::Endpoint, true),
            (connection(false), true),
            (connection(true), false),
            (status(401), true),
            (status(403), true),
            (status(404), false),
            (status(503), false),
            (topic(ErrorClass::AccessDenied), true),
            (topic(ErrorClass::Service(ServiceFault::CredentialsInvalid)), true),
            (topic(ErrorClass::Service(ServiceFault::NotFound)), false),
            (topic(ErrorClass::Throttled), false),
            (Failure::Time { receiver: host(), seconds: 10 }, false),
            (Failure::Redirect { host: host(), status: 307 }, false),
        ] {
            assert_eq!(failure.waits_for_person(), expected, "{failure:?}");
        }
    }
}
