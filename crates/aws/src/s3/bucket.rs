//! Settings of buckets.

use std::sync::{Arc, OnceLock};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::types::{
    BucketVersioningStatus, Event, EventBridgeConfiguration, FilterRule as S3FilterRule, FilterRuleName,
    LambdaFunctionConfiguration, NotificationConfiguration, NotificationConfigurationFilter, QueueConfiguration,
    S3KeyFilter, TopicConfiguration,
};
use aws_smithy_types::error::operation::BuildError;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::events::{FilterRule, NotificationConfig, NotificationEntry, NotificationTarget};

use crate::error::words::OwnSuccess;
use crate::error::{Api, invalid_request, no_answer, service_error};

const GET: &str = "get bucket notifications";
const PUT: &str = "put bucket notifications";
const VERSIONING: &str = "get bucket versioning";

pub(super) async fn notifications(client: &Client, bucket: &str) -> Result<NotificationConfig, ServiceError> {
    let body = Body::default();
    let get = client.get_bucket_notification_configuration().bucket(bucket);
    let output = get.customize().interceptor(body.clone()).send().await;
    let output = output.map_err(|error| service_error(Api::S3, GET, &error))?;
    body.check()?;
    let entry = |target, id: Option<&str>, arn: &str, events: &[Event], filter| NotificationEntry {
        target,
        id: id.map(ToOwned::to_owned),
        arn: arn.to_owned(),
        events: events.iter().map(|event| event.as_str().to_owned()).collect(),
        filter: rules(filter),
    };
    let topics = output.topic_configurations().iter();
    let topics = topics.map(|t| entry(NotificationTarget::Topic, t.id(), t.topic_arn(), t.events(), t.filter()));
    let queues = output.queue_configurations().iter();
    let queues = queues.map(|q| entry(NotificationTarget::Queue, q.id(), q.queue_arn(), q.events(), q.filter()));
    let functions = output.lambda_function_configurations().iter();
    let functions =
        functions.map(|f| entry(NotificationTarget::Function, f.id(), f.lambda_function_arn(), f.events(), f.filter()));
    Ok(NotificationConfig {
        entries: topics.chain(queues).chain(functions).collect(),
        event_bridge: output.event_bridge_configuration().is_some(),
    })
}

fn rules(filter: Option<&NotificationConfigurationFilter>) -> Vec<FilterRule> {
    let rules = filter.and_then(NotificationConfigurationFilter::key).map(S3KeyFilter::filter_rules);
    let rule = |rule: &S3FilterRule| {
        let name = rule.name()?.as_str().to_owned();
        Some(FilterRule { name, value: rule.value().unwrap_or_default().to_owned() })
    };
    rules.unwrap_or_default().iter().filter_map(rule).collect()
}

pub(super) async fn put_notifications(
    client: &Client,
    bucket: &str,
    config: &NotificationConfig,
) -> Result<(), ServiceError> {
    let config = configuration(config).map_err(|error| invalid_request(PUT, error.to_string()))?;
    let put = client.put_bucket_notification_configuration().bucket(bucket).notification_configuration(config);
    let sent = put.customize().interceptor(OwnSuccess::Empty).send().await;
    sent.map(|_| ()).map_err(|error| service_error(Api::S3, PUT, &error))
}

fn configuration(config: &NotificationConfig) -> Result<NotificationConfiguration, BuildError> {
    let mut all = NotificationConfiguration::builder();
    if config.event_bridge {
        all = all.event_bridge_configuration(EventBridgeConfiguration::builder().build());
    }
    for entry in &config.entries {
        let NotificationEntry { target, id, arn, events, filter } = entry;
        let (id, filter) = (id.clone(), key_filter(filter));
        let events: Vec<_> = events.iter().map(|event| Event::from(event.as_str())).collect();
        all = match target {
            NotificationTarget::Topic => {
                let topic = TopicConfiguration::builder().set_id(id).topic_arn(arn).set_events(Some(events));
                all.topic_configurations(topic.set_filter(filter).build()?)
            }
            NotificationTarget::Queue => {
                let queue = QueueConfiguration::builder().set_id(id).queue_arn(arn).set_events(Some(events));
                all.queue_configurations(queue.set_filter(filter).build()?)
            }
            NotificationTarget::Function => {
                let function = LambdaFunctionConfiguration::builder().set_id(id).lambda_function_arn(arn);
                let function = function.set_events(Some(events)).set_filter(filter).build()?;
                all.lambda_function_configurations(function)
            }
        };
    }
    Ok(all.build())
}

fn key_filter(rules: &[FilterRule]) -> Option<NotificationConfigurationFilter> {
    let rules = rules.iter().map(|FilterRule { name, value }| {
        // S3 returns `Prefix` and documents `prefix`.
        let name = FilterRuleName::from(name.to_ascii_lowercase().as_str());
        S3FilterRule::builder().name(name).value(value).build()
    });
    let rules: Vec<_> = rules.collect();
    if rules.is_empty() {
        return None;
    }
    let key = S3KeyFilter::builder().set_filter_rules(Some(rules)).build();
    Some(NotificationConfigurationFilter::builder().key(key).build())
}

pub(super) async fn keeps_versions(client: &Client, bucket: &str) -> Result<bool, ServiceError> {
    let output = client.get_bucket_versioning().bucket(bucket).send().await;
    let output = output.map_err(|error| service_error(Api::S3, VERSIONING, &error))?;
    Ok(output.status() == Some(&BucketVersioningStatus::Enabled))
}

/// Elements of a notification configuration that the SDK knows, at any depth.
/// Source: `GetBucketNotificationConfiguration` in the S3 API reference.
const KNOWN: [&str; 15] = [
    "NotificationConfiguration",
    "TopicConfiguration",
    "QueueConfiguration",
    "CloudFunctionConfiguration",
    "EventBridgeConfiguration",
    "Id",
    "Topic",
    "Queue",
    "CloudFunction",
    "Event",
    "Filter",
    "S3Key",
    "FilterRule",
    "Name",
    "Value",
];

/// The body of a response, as it arrived: the SDK reads an empty body as an empty configuration, and ignores elements that
/// it does not know.
#[derive(Clone, Debug, Default)]
struct Body(Arc<OnceLock<Vec<u8>>>);

impl Intercept for Body {
    fn name(&self) -> &'static str {
        "Body"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Requests are sent once, so there is one response.
        let _ = self.0.set(context.response().body().bytes().unwrap_or_default().to_vec());
        Ok(())
    }
}

impl Body {
    /// Rejects a body that is no notification configuration, or that holds something that writing it back would lose.
    fn check(&self) -> Result<(), ServiceError> {
        let body = String::from_utf8_lossy(self.0.get().map(Vec::as_slice).unwrap_or_default());
        let names = elements(&body);
        if names.first() != Some(&"NotificationConfiguration") {
            return Err(no_answer(GET, "notification configuration"));
        }
        let Some(unknown) = names.iter().find(|name| !KNOWN.contains(name)) else { return Ok(()) };
        let message =
            format!("the configuration has an element {unknown} that this program does not know and would lose");
        Err(ServiceError::new(ErrorClass::Refused, GET, "UnknownElement", message))
    }
}

/// Returns the names of the elements of a document, without namespaces. Text in a document has no `<`.
fn elements(document: &str) -> Vec<&str> {
    let tags = document.split('<').skip(1).filter(|tag| !tag.starts_with(['/', '?', '!']));
    let names = tags.filter_map(|tag| tag.split(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).next());
    names.map(|name| name.rsplit(':').next().unwrap_or(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_lost_is_noticed() {
        let check = |document: &str| {
            let body = Body::default();
            body.0.set(document.as_bytes().to_vec()).unwrap();
            body.check().err().map(|error| (error.class, error.message))
        };
        let document = |inner: &str| {
            format!(
                "<?xml version=\"1.0\"?>\n<NotificationConfiguration xmlns=\"x\">{inner}</NotificationConfiguration>"
            )
        };
        let known = "<QueueConfiguration><Id>a &lt;b&gt;</Id><Queue>q</Queue><Event>e</Event><Filter><S3Key><FilterRule>\
                     <Name>Prefix</Name><Value/></FilterRule></S3Key></Filter></QueueConfiguration><EventBridgeConfiguration/>";
        for fine in [known, ""] {
            assert_eq!(check(&document(fine)), None);
        }
        assert_eq!(check("<NotificationConfiguration/>"), None);
        let (class, message) = check(&document("<PipeConfiguration><Id>a</Id></PipeConfiguration>")).unwrap();
        assert!(class == ErrorClass::Refused && message.contains("PipeConfiguration"), "{message}");
        for other in ["", "<html><body/></html>", "{}"] {
            assert_eq!(check(other).unwrap().0, ErrorClass::NoAnswer, "{other:?} is no configuration");
        }
    }

    #[test]
    fn every_kind_of_entry_is_written() {
        let entry = |target| NotificationEntry {
            target,
            id: None,
            arn: "arn".into(),
            events: vec!["s3:New:Type".into()],
            filter: vec![FilterRule { name: "Prefix".into(), value: "p".into() }],
        };
        let targets = [NotificationTarget::Topic, NotificationTarget::Queue, NotificationTarget::Function];
        let config = NotificationConfig { entries: targets.map(entry).into(), event_bridge: true };
        let built = configuration(&config).unwrap();
        assert!(built.event_bridge_configuration().is_some());
        assert_eq!(built.topic_configurations()[0].events()[0].as_str(), "s3:New:Type");
        let filter = built.queue_configurations()[0].filter().unwrap().key().unwrap().filter_rules()[0].clone();
        assert_eq!(filter.name(), Some(&FilterRuleName::Prefix));
        assert_eq!(built.lambda_function_configurations().len(), 1);
    }
}
