//! A topic of Amazon SNS, for notifications.

use aws_sdk_sns::Client;
use aws_sdk_sns::config::Builder;
use migration_aws::error::{Api, no_answer, service_error};
use migration_aws::sdk::SdkConfig;
use migration_aws::{Access, CredentialSource};
use migration_core::error::ServiceError;

use crate::guard::Guard;
use crate::shared::Shared;

const PUBLISH: &str = "publish message";

/// A topic. Clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct SnsTopic {
    client: Shared<Client>,
    arn: String,
}

/// A message for the subscribers of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The subject of mails: up to 100 printable ASCII characters. Source: `Publish` in the SNS API reference.
    pub subject: String,
    /// The text: up to 256 KiB. Source: the same.
    pub text: String,
    /// For a FIFO topic: the group whose messages keep their order, and what identifies the message for five minutes.
    pub ordered: Option<(String, String)>,
}

pub(crate) fn client(config: &SdkConfig, access: &Access, guard: &Guard) -> Client {
    let mut config = Builder::from(config).interceptor(guard.clone());
    if let Some(endpoint) = &access.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if access.credentials == CredentialSource::Anonymous {
        config = config.allow_no_auth();
    }
    Client::from_conf(config.build())
}

impl SnsTopic {
    pub(crate) fn with(client: Shared<Client>, arn: String) -> Self {
        Self { client, arn }
    }

    /// Publishes a message.
    pub async fn publish(&self, publication: Publication) -> Result<(), ServiceError> {
        let Publication { subject, text, ordered } = publication;
        let request = self.client.publish().topic_arn(&self.arn).subject(subject).message(text);
        let (group, id) = ordered.unzip();
        let request = request.set_message_group_id(group).set_message_deduplication_id(id);
        let answer = request.send().await.map_err(|error| service_error(Api::Sns, PUBLISH, &error))?;
        // Whatever stands in front of the service and answers 200 names no message.
        answer.message_id().map(drop).ok_or_else(|| no_answer(PUBLISH, "message id"))
    }
}
