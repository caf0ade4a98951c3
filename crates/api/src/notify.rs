//! Notifications: which events of a job are announced, and to whom.

use std::fmt;

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::services::{CaBundle, KeyCredentials, SecretKey, endpoint_rule};

/// Who is told about the end of runs, and about problems. Each notification is recorded in the status and tried again
/// for a day until its receiver has it; the job does not wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.webhook) || has(self.sns)").message(
    "notify names no receiver: write webhook, sns or both, or remove notify",
))]
pub struct Notify {
    /// Events to announce. All by default:
    /// - `Complete`, `PartiallyFailed`, `Failed`: how a run ended; with `verify.mode: Full`, after the verification.
    /// - `Degraded`: the condition Degraded has held for a minute.
    /// - `Recovered`: it has not held for a minute.
    #[serde(default = "all_events")]
    #[schemars(length(min = 1, max = 5))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, a == b))").message(
        "notify.events names an event twice: write each once",
    ))]
    pub events: Vec<NotifyEvent>,

    /// Web service that takes each event as a signed CloudEvent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,

    /// Topic of Amazon SNS, which sends each event on, for example as mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sns: Option<SnsTopic>,
}

impl Notify {
    /// Returns the Secrets and ConfigMaps that receivers name: whether it is a Secret, its name, and the field.
    pub fn objects(&self) -> Vec<(bool, &str, &'static str)> {
        let mut found = Vec::new();
        if let Some(Webhook { url: _, url_from, signing_key, ca_bundle }) = &self.webhook {
            found.extend(url_from.as_ref().map(|from| (true, from.secret_key_ref.name.as_str(), "webhook.urlFrom")));
            found.push((true, signing_key.secret_key_ref.name.as_str(), "webhook.signingKey"));
            let bundle = ca_bundle.as_ref();
            let secret = bundle.and_then(|bundle| bundle.secret_key_ref.as_ref());
            found.extend(secret.map(|key| (true, key.name.as_str(), "webhook.caBundle")));
            let map = bundle.and_then(|bundle| bundle.config_map_key_ref.as_ref());
            found.extend(map.map(|key| (false, key.name.as_str(), "webhook.caBundle")));
        }
        let keys = self.sns.as_ref().and_then(|topic| topic.credentials.as_ref());
        found.extend(keys.map(|keys| (true, keys.secret_ref.name.as_str(), "sns.credentials")));
        found
    }
}

fn all_events() -> Vec<NotifyEvent> {
    NotifyEvent::ALL.to_vec()
}

/// An event of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NotifyEvent {
    /// A run ended with every object in place.
    Complete,
    /// A run ended, and some objects are not in place.
    PartiallyFailed,
    /// A run failed.
    Failed,
    /// The job cannot work as specified.
    Degraded,
    /// The job is not degraded any more.
    Recovered,
}

impl NotifyEvent {
    /// All events.
    pub const ALL: [Self; 5] = [Self::Complete, Self::PartiallyFailed, Self::Failed, Self::Degraded, Self::Recovered];

    /// Returns the name, as in `spec.notify.events`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "Complete",
            Self::PartiallyFailed => "PartiallyFailed",
            Self::Failed => "Failed",
            Self::Degraded => "Degraded",
            Self::Recovered => "Recovered",
        }
    }
}

impl fmt::Display for NotifyEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A web service. Each event is sent as a POST of a CloudEvent in JSON, with the headers of Standard Webhooks by which
/// the receiver verifies it. Any answer 2xx is a delivery; redirects are not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.url) != has(self.urlFrom)").message(
    "webhook takes exactly one of url and urlFrom: write url, or urlFrom.secretKeyRef where the URL holds a token",
))]
pub struct Webhook {
    /// URL of the service, `https://` only. It must be at an address of the public internet, unless the person who
    /// installed the operator allows its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new(
        "self.matches('^https://[A-Za-z0-9._-]+(:[0-9]{1,5})?([/?][A-Za-z0-9._~:/?@!$&()*+,;=%-]*)?$')",
    ).message(
        "not the URL of a webhook: write https://, host and, if needed, port, path and query, without user and password, \
         such as https://hooks.example.com/migrations",
    ))]
    pub url: Option<String>,

    /// Source of the URL, if it holds a token. Read for each delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretValue>,

    /// Key that signs each event (HMAC-SHA256). The Secret holds `whsec_` and the base64 of 24 to 64 random bytes; for a
    /// change of keys up to four of these, separated by spaces or line breaks, each of which signs.
    pub signing_key: SecretValue,

    /// Certificates in PEM to trust in addition to the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
}

impl Webhook {
    /// Returns the host of a URL that the schema accepts, in lower case.
    pub fn host(url: &str) -> Option<String> {
        let host = url.strip_prefix("https://")?.split([':', '/', '?']).next()?;
        Some(host.to_ascii_lowercase())
    }
}

/// A value in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretValue {
    /// Key of a Secret in the job's namespace.
    pub secret_key_ref: SecretKey,
}

/// A topic of Amazon SNS. Its region is that of its ARN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnsTopic {
    /// ARN of the topic. Events of a job form one message group of a FIFO topic.
    #[schemars(length(min = 20, max = 400))]
    #[x_kube(validation = Rule::new(
        "self.matches('^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}([.]fifo)?$')",
    ).message(
        "not the ARN of an SNS topic: write it as SNS shows it, such as arn:aws:sns:eu-central-1:123456789012:migrations",
    ))]
    pub topic_arn: String,

    /// URL of the service if it is not the AWS endpoint of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint_rule())]
    pub endpoint: Option<String>,

    /// Credentials that may call sns:Publish. Absent = those of `queue.credentials`; without these, the operator's own
    /// identity, if the person who installed the operator allows that for the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<KeyCredentials>,
}

impl SnsTopic {
    /// Returns the region of the topic. Source: "Amazon Resource Names" in the IAM user guide.
    pub fn region(&self) -> &str {
        self.topic_arn.split(':').nth(3).unwrap_or_default()
    }

    /// Returns true if the topic keeps the order of its messages.
    pub fn is_fifo(&self) -> bool {
        self.topic_arn.rsplit_once('.').is_some_and(|(_, ending)| ending == "fifo")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_in_the_region_of_its_arn() {
        let topic = |arn: &str| SnsTopic { topic_arn: arn.into(), endpoint: None, credentials: None };
        let fifo = topic("arn:aws-cn:sns:cn-north-1:123456789012:a.fifo");
        assert_eq!((fifo.region(), fifo.is_fifo()), ("cn-north-1", true));
        assert!(!topic("arn:aws:sns:eu-west-1:123456789012:fifo").is_fifo());
    }

    #[test]
    fn the_host_of_a_url_is_between_its_scheme_and_its_port() {
        for (url, host) in [
            ("https://Hooks.example.com", "hooks.example.com"),
            ("https://hooks.example.com:8443/a", "hooks.example.com"),
            ("https://hooks.example.com?a=https://b", "hooks.example.com"),
        ] {
            assert_eq!(Webhook::host(url).as_deref(), Some(host));
        }
    }

    #[test]
    fn all_events_are_announced_by_default() {
        let notify: Notify = serde_yaml::from_str("{}").unwrap();
        assert_eq!(notify.events, NotifyEvent::ALL);
    }
}
