//! One attempt to deliver an event.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use migration_api::notify::{Notify, SnsTopic, Webhook};
use migration_api::services::KeyCredentials;
use migration_api::status::{PendingEvent, Receiver};
use migration_aws::{Access, CredentialSource, http, is_amazon};
use migration_sqs_dynamodb::{Clients, Publication};
use tokio::time::Instant;

use super::failure::Failure;
use super::message::{self, About};
use super::network::Networks;
use super::secrets::Named;
use super::signature;
use super::webhook::{self, Target};
use crate::fence::Fence;
use crate::policy::{Listed, Policy};

/// The time of an attempt, from the first read of a Secret to the head of the answer.
const TIME: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("s3-migration-operator/", env!("CARGO_PKG_VERSION"));

/// What deliveries need.
#[derive(Clone)]
pub struct Means {
    /// The API server, for Secrets.
    pub client: Client,
    /// Clients of SNS.
    pub clients: Arc<Clients>,
    /// What is allowed.
    pub policy: Policy,
    /// Whether this operator leads. Only then is anything sent.
    pub fence: Fence,
}

/// One event for one receiver.
pub struct Parcel {
    /// What its delivery needs.
    pub means: Means,
    /// The job.
    pub about: About,
    /// `spec.notify`.
    pub notify: Notify,
    /// `spec.queue.credentials`.
    pub queue_credentials: Option<KeyCredentials>,
    /// The event.
    pub event: PendingEvent,
    /// The receiver.
    pub to: Receiver,
    /// The time of the attempt, in seconds since 1970.
    pub at: i64,
}

/// Tries to deliver an event.
pub async fn deliver(parcel: &Parcel) -> Result<(), Failure> {
    let end = Instant::now() + TIME;
    match parcel.to {
        Receiver::Webhook => send(parcel, parcel.notify.webhook.as_ref().ok_or(Failure::NoReceiver)?, end).await,
        Receiver::Sns => publish(parcel, parcel.notify.sns.as_ref().ok_or(Failure::NoReceiver)?, end).await,
    }
}

async fn send(parcel: &Parcel, hook: &Webhook, end: Instant) -> Result<(), Failure> {
    let (named, policy) = (parcel.named(), &parcel.means.policy);
    let url = match (&hook.url, &hook.url_from) {
        (Some(url), _) => url.clone(),
        (None, Some(from)) => within(parcel, end, named.value(&from.secret_key_ref)).await?,
        (None, None) => return Err(Failure::NoReceiver),
    };
    let target = Target::parse(&url)?;
    if !policy.allows(Listed::WebhookHosts, &target.host) {
        return Err(Failure::Host { host: target.host });
    }
    let keys = within(parcel, end, named.value(&hook.signing_key.secret_key_ref)).await?;
    let keys = signature::keys(&keys).ok_or(Failure::Key)?;
    let pem = match &hook.ca_bundle {
        Some(bundle) => within(parcel, end, named.certificates(bundle)).await?,
        None => None,
    };
    let tls = http::trusting(pem.as_deref()).map_err(Failure::Certificates)?;
    let (body, id, at) = (message::cloud_event(&parcel.about, &parcel.event), &parcel.event.id, parcel.at);
    let headers = vec![
        ("content-type", "application/cloudevents+json; charset=utf-8".to_owned()),
        ("user-agent", USER_AGENT.to_owned()),
        ("webhook-id", id.clone()),
        ("webhook-timestamp", at.to_string()),
        ("webhook-signature", signature::signature(&keys, id, at, &body)),
    ];
    let networks = Networks { more: policy.webhook_networks(), refused: policy.webhook_refused_networks() };
    let late = Failure::Time { receiver: target.host.clone(), seconds: TIME.as_secs() };
    tokio::time::timeout_at(end, webhook::post(&target, tls, &networks, at, headers, body)).await.map_err(|_| late)?
}

async fn publish(parcel: &Parcel, topic: &SnsTopic, end: Instant) -> Result<(), Failure> {
    let access = access(parcel, topic, end).await?;
    let hides = access.credentials == CredentialSource::Pod && !is_amazon(access.endpoint.as_deref());
    let (about, event) = (&parcel.about, &parcel.event);
    let publication = Publication {
        subject: message::subject(about, event),
        text: message::text(about, event),
        ordered: topic.is_fifo().then(|| (about.uid.clone(), event.id.clone())),
    };
    let late = || Failure::Time { receiver: "the topic".to_owned(), seconds: TIME.as_secs() };
    let published =
        async { parcel.means.clients.topic(&access, topic.topic_arn.clone()).await.publish(publication).await };
    let refused = match tokio::time::timeout_at(end, published).await.map_err(|_| late())? {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // Whom the author named with the operator's identity, its words are not shown to the author.
    let code = if hides { "NotShown".to_owned() } else { refused.code };
    Err(Failure::Topic { code, class: refused.class })
}

/// Returns how the topic is reached: at an endpoint of AWS or one that the policy lists, since it is this process that
/// connects to it; with its own credentials, else with those of the queue, else with the operator's identity if the policy
/// lists the topic.
async fn access(parcel: &Parcel, topic: &SnsTopic, end: Instant) -> Result<Access, Failure> {
    let policy = &parcel.means.policy;
    let endpoint = topic.endpoint.as_deref();
    let is_amazon = is_amazon(endpoint) && endpoint.is_none_or(|endpoint| endpoint.starts_with("https://"));
    if !is_amazon && !endpoint.is_some_and(|one| policy.lists(Listed::Endpoints, one.trim_end_matches('/'))) {
        return Err(Failure::Endpoint);
    }
    let credentials = match topic.credentials.as_ref().or(parcel.queue_credentials.as_ref()) {
        Some(keys) => {
            let named = parcel.named();
            CredentialSource::Static(within(parcel, end, named.credentials(&keys.secret_ref.name)).await?)
        }
        None if policy.allows(Listed::OwnIdentityTopics, &topic.topic_arn) => CredentialSource::Pod,
        None => return Err(Failure::Identity),
    };
    Ok(Access { region: topic.region().to_owned(), endpoint: topic.endpoint.clone(), credentials })
}

/// Ends a read with its attempt.
async fn within<T>(
    parcel: &Parcel,
    end: Instant,
    read: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = Failure::NotRead { kind: "objects of", name: parcel.about.namespace.clone() };
    tokio::time::timeout_at(end, read).await.map_err(|_| late)?
}

impl Parcel {
    fn named(&self) -> Named<'_> {
        Named { client: &self.means.client, namespace: &self.about.namespace, policy: &self.means.policy }
    }
}
