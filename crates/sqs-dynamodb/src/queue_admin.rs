//! Creation, inspection and deletion of queues.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::QueueAttributeName;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use migration_aws::Access;
use migration_aws::error::{Api, invalid_response, service_error};
use migration_core::error::{ErrorClass, ServiceError, ServiceFault};
use migration_core::events::{PolicyError, QueuePolicy, Senders};
use serde_json::Value;

use crate::shared::Shared;
use crate::sqs;

const LOOK_UP: &str = "look up queue";
const ATTRIBUTES: &str = "get queue attributes";
const CREATE: &str = "create queue";
const SET_ATTRIBUTES: &str = "set queue attributes";
const LIST_TAGS: &str = "list queue tags";
const TAG: &str = "tag queue";
const DELETE: &str = "delete queue";

/// Creates, inspects and deletes queues. Clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct QueueAdmin {
    client: Shared<Client>,
}

/// Desired state of a queue and its dead letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Name of the queue: 1 … 80 letters, digits, `-` and `_`.
    pub name: String,
    /// Name of the dead letter queue.
    pub dead_letter_name: String,
    /// Default visibility time-out; up to 12 h, whole seconds.
    pub visibility: Duration,
    /// Retention of messages in both queues; 60 s … 14 d, whole seconds.
    pub retention: Duration,
    /// Receives after which the queue itself moves a message to the dead letters; 1 … 1,000.
    pub max_receives: u32,
    /// Tags of both queues.
    pub tags: BTreeMap<String, String>,
}

/// URLs of a queue and its dead letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueUrls {
    /// URL of the queue.
    pub url: String,
    /// URL of the dead letter queue.
    pub dead_letter_url: String,
}

type Attributes = HashMap<QueueAttributeName, String>;

impl QueueAdmin {
    /// Creates a client for the queues of one account and region. Sends no request.
    pub async fn new(access: &Access) -> Self {
        Self::with(Shared::alone(access, sqs::client).await)
    }

    pub(crate) fn with(client: Shared<Client>) -> Self {
        Self { client }
    }

    /// Creates both queues if they are absent, and corrects attributes and tags that differ.
    pub async fn ensure(&self, spec: &QueueSpec) -> Result<QueueUrls, ServiceError> {
        let times = times(spec);
        let dead_letter_url = self.ensure_one(&spec.dead_letter_name, &times, &spec.tags).await?;
        let arn = self.attribute(&dead_letter_url, QueueAttributeName::QueueArn).await?;
        let arn = arn.ok_or_else(|| invalid_response(ATTRIBUTES, "the dead letter queue has no ARN"))?;
        let mut wanted = times;
        wanted.insert(QueueAttributeName::RedrivePolicy, redrive_policy(&arn, spec.max_receives));
        let url = self.ensure_one(&spec.name, &wanted, &spec.tags).await?;
        Ok(QueueUrls { url, dead_letter_url })
    }

    /// Returns the URL of a queue by name; `None` if it does not exist.
    pub async fn find(&self, name: &str) -> Result<Option<String>, ServiceError> {
        let found = self.client.get_queue_url().queue_name(name).send().await;
        present(found.map_err(|error| told(LOOK_UP, &error)))?
            .map(|output| output.queue_url.ok_or_else(|| invalid_response(LOOK_UP, "the response has no URL")))
            .transpose()
    }

    /// Checks that a queue exists and can be read. Returns the URL of its dead letter queue; `None` if it has none.
    pub async fn dead_letter_url(&self, url: &str) -> Result<Option<String>, ServiceError> {
        let Some(policy) = self.attribute(url, QueueAttributeName::RedrivePolicy).await? else { return Ok(None) };
        let unreadable = || invalid_response(ATTRIBUTES, format!("the redrive policy {policy:?} names no queue"));
        let (account, name) = dead_letter_target(&policy).ok_or_else(unreadable)?;
        let found = self.client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account).send().await;
        let output = found.map_err(|error| told("look up dead letter queue", &error))?;
        Ok(Some(output.queue_url.ok_or_else(|| invalid_response(LOOK_UP, "the response has no URL"))?))
    }

    /// Deletes a queue and its dead letter queue by name. Absent queues are no error.
    pub async fn delete(&self, name: &str, dead_letter_name: &str) -> Result<(), ServiceError> {
        for name in [name, dead_letter_name] {
            let Some(url) = self.find(name).await? else { continue };
            let deleted = self.client.delete_queue().queue_url(url).send().await;
            present(deleted.map_err(|error| told(DELETE, &error)))?;
        }
        Ok(())
    }

    /// Returns the ARN of a queue, if the service tells it.
    pub async fn arn(&self, url: &str) -> Result<Option<String>, ServiceError> {
        self.attribute(url, QueueAttributeName::QueueArn).await
    }

    /// Lets S3 send the events of buckets to a queue, or no longer, by one statement of its policy; all others stay.
    /// `job` is the UID of the queue's job. Returns the queue's ARN, if the service tells it. Sends no change if the policy
    /// is so already.
    pub async fn set_senders(
        &self,
        url: &str,
        job: &str,
        senders: Option<&Senders>,
    ) -> Result<Option<String>, ServiceError> {
        // Services that know no policies refuse a request that names the attribute.
        let attributes = self.attributes(url, vec![QueueAttributeName::All]).await?;
        let Some(queue_arn) = attributes.get(&QueueAttributeName::QueueArn) else { return Ok(None) };
        let current = attributes.get(&QueueAttributeName::Policy).map(String::as_str);
        let merged = QueuePolicy { job, queue_arn, senders }.merge(current);
        let refused = |error: PolicyError| {
            ServiceError::new(ErrorClass::Refused, SET_ATTRIBUTES, "PolicyUnreadable", error.to_string())
        };
        if let Some(policy) = merged.map_err(refused)? {
            let set = self.client.set_queue_attributes().queue_url(url).attributes(QueueAttributeName::Policy, policy);
            set.send().await.map_err(|error| told(SET_ATTRIBUTES, &error))?;
        }
        Ok(Some(queue_arn.clone()))
    }

    async fn ensure_one(
        &self,
        name: &str,
        wanted: &Attributes,
        tags: &BTreeMap<String, String>,
    ) -> Result<String, ServiceError> {
        if let Some(url) = self.find(name).await? {
            self.amend(&url, wanted, tags).await?;
            return Ok(url);
        }
        let create = self.client.create_queue().queue_name(name).set_attributes(Some(wanted.clone()));
        let create = create.set_tags(Some(tags.clone().into_iter().collect()));
        match create.send().await.map_err(|error| told(CREATE, &error)) {
            Ok(output) => output.queue_url.ok_or_else(|| invalid_response(CREATE, "the response has no URL")),
            // Another client created it in the meantime, with other attributes.
            Err(error) if error.class == ErrorClass::Conflict => {
                let url = self.find(name).await?.ok_or(error)?;
                self.amend(&url, wanted, tags).await?;
                Ok(url)
            }
            Err(error) => Err(error),
        }
    }

    async fn amend(&self, url: &str, wanted: &Attributes, tags: &BTreeMap<String, String>) -> Result<(), ServiceError> {
        let current = self.attributes(url, wanted.keys().cloned().collect()).await?;
        let changed = differing(&current, wanted);
        if !changed.is_empty() {
            let set = self.client.set_queue_attributes().queue_url(url).set_attributes(Some(changed));
            set.send().await.map_err(|error| told(SET_ATTRIBUTES, &error))?;
        }
        let listed = self.client.list_queue_tags().queue_url(url).send().await;
        let listed = listed.map_err(|error| told(LIST_TAGS, &error))?.tags.unwrap_or_default();
        if tags.iter().any(|(name, value)| listed.get(name) != Some(value)) {
            let tag = self.client.tag_queue().queue_url(url).set_tags(Some(tags.clone().into_iter().collect()));
            tag.send().await.map_err(|error| told(TAG, &error))?;
        }
        Ok(())
    }

    async fn attribute(&self, url: &str, name: QueueAttributeName) -> Result<Option<String>, ServiceError> {
        Ok(self.attributes(url, vec![name.clone()]).await?.remove(&name))
    }

    async fn attributes(&self, url: &str, names: Vec<QueueAttributeName>) -> Result<Attributes, ServiceError> {
        let get = self.client.get_queue_attributes().queue_url(url).set_attribute_names(Some(names));
        let output = get.send().await.map_err(|error| told(ATTRIBUTES, &error))?;
        Ok(output.attributes.unwrap_or_default())
    }
}

fn told<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> ServiceError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    service_error(Api::Sqs, operation, error)
}

/// Maps "not found" to `None`.
fn present<T>(answer: Result<T, ServiceError>) -> Result<Option<T>, ServiceError> {
    match answer {
        Err(error) if error.class == ErrorClass::Service(ServiceFault::NotFound) => Ok(None),
        answer => answer.map(Some),
    }
}

fn times(spec: &QueueSpec) -> Attributes {
    HashMap::from([
        (QueueAttributeName::VisibilityTimeout, spec.visibility.as_secs().to_string()),
        (QueueAttributeName::MessageRetentionPeriod, spec.retention.as_secs().to_string()),
    ])
}

fn redrive_policy(arn: &str, max_receives: u32) -> String {
    serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": max_receives }).to_string()
}

/// Returns the account and the name of the queue that a redrive policy targets.
fn dead_letter_target(policy: &str) -> Option<(String, String)> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    // arn:partition:sqs:region:account:name
    let mut parts = policy.get("deadLetterTargetArn")?.as_str()?.splitn(6, ':').skip(4).map(ToOwned::to_owned);
    Some((parts.next()?, parts.next().filter(|name| !name.is_empty())?))
}

/// Returns the wanted attributes whose current value differs.
fn differing(current: &Attributes, wanted: &Attributes) -> Attributes {
    let same = |name: &QueueAttributeName, wanted: &str| {
        let Some(current) = current.get(name) else { return false };
        match name {
            QueueAttributeName::RedrivePolicy => redrive_target(current) == redrive_target(wanted),
            _ => current == wanted,
        }
    };
    wanted
        .iter()
        .filter(|(name, value)| !same(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Returns target and count of a redrive policy, so that spacing and order don't matter; services write the count as a
/// number or as a string.
fn redrive_target(policy: &str) -> Option<(String, String)> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let count = policy.get("maxReceiveCount")?;
    let count = count.as_str().map_or_else(|| count.to_string(), ToOwned::to_owned);
    Some((policy.get("deadLetterTargetArn")?.as_str()?.to_owned(), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws-cn:sqs:cn-north-1:123456789012:jobs-dead";

    fn wanted() -> Attributes {
        HashMap::from([
            (QueueAttributeName::VisibilityTimeout, "900".to_owned()),
            (QueueAttributeName::RedrivePolicy, redrive_policy(ARN, 60)),
        ])
    }

    #[test]
    fn an_equal_queue_is_left_alone() {
        let mut current = wanted();
        current.insert(QueueAttributeName::QueueArn, "other".into());
        let text = format!(r#"{{"maxReceiveCount": "60", "deadLetterTargetArn": "{ARN}"}}"#);
        current.insert(QueueAttributeName::RedrivePolicy, text);
        assert_eq!(differing(&current, &wanted()), Attributes::new());
    }

    #[test]
    fn only_what_differs_is_set() {
        for (name, value) in [
            (QueueAttributeName::VisibilityTimeout, "30".to_owned()),
            (QueueAttributeName::RedrivePolicy, redrive_policy(ARN, 61)),
            (QueueAttributeName::RedrivePolicy, redrive_policy("arn:aws:sqs:r:1:other", 60)),
        ] {
            let mut current = wanted();
            current.insert(name.clone(), value);
            let expected = HashMap::from([(name.clone(), wanted()[&name].clone())]);
            assert_eq!(differing(&current, &wanted()), expected);
        }
        assert_eq!(differing(&Attributes::new(), &wanted()), wanted());
    }

    #[test]
    fn the_dead_letter_queue_is_the_policys() {
        let expected = Some(("123456789012".to_owned(), "jobs-dead".to_owned()));
        assert_eq!(dead_letter_target(&redrive_policy(ARN, 5)), expected);
        for policy in ["", "{}", r#"{"deadLetterTargetArn": "arn:aws:sqs:r:1"}"#] {
            assert_eq!(dead_letter_target(policy), None, "{policy}");
        }
    }
}
