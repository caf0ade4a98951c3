//! Notifications: from a transition of the status to a receiver, which fails, is dead, or is somewhere else.

mod mended;
mod receivers;

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use hyper::Method;
use migration_api::ConditionType;
use migration_api::status::{NotificationsStatus, PendingEvent};
use migration_core::ports::Clock as _;
use serde_json::json;

use super::api_server::{ApiServer, Fault, NOW};
use super::*;
use crate::job_controller::JobController;
use crate::policy::Policy;
use receivers::{Dead, KEY, Topic, Web};

/// What all tests of the receivers' addresses need.
const LOOPBACK: &str = "webhookNetworks: [127.0.0.0/8]";
/// What tests of topics need.
const LISTED: &str = "endpoints: ['http://sqs', 'http://127.0.0.1:*']";
/// After this time in milliseconds, a problem is announced.
const SETTLED: i64 = 61_000;

/// An operator with jobs whose Secrets of source and queue do not exist: so they are degraded.
struct World {
    server: ApiServer,
    controller: JobController,
    woken: Pin<Box<dyn Stream<Item = (String, String)> + Send>>,
}

impl World {
    fn start(policy: &str) -> Self {
        let server = ApiServer::start();
        let certificate = include_str!("../../../../crates/aws/tests/it/fixtures/ca.pem");
        for (kind, name, data) in [
            ("ConfigMap", "authorities", json!({"ca.pem": certificate})),
            ("Secret", "hook", json!({"key": receivers::base64(KEY)})),
            ("Secret", "mail", json!({"AWS_ACCESS_KEY_ID": "QUtJQQ==", "AWS_SECRET_ACCESS_KEY": "cw=="})),
        ] {
            let mut object = foreign("v1", kind, name);
            object["data"] = data;
            server.put(&object);
        }
        Self::over(server, policy)
    }

    /// Another operator over the same cluster.
    fn over(server: ApiServer, policy: &str) -> Self {
        let policy: Policy = serde_yaml::from_str(policy).unwrap();
        let controller = JobController::new(server.context().with_policy(policy));
        let woken = Box::pin(controller.context.courier.woken());
        Self { server, controller, woken }
    }

    fn put(&self, name: &str, notify: Value) {
        self.server.put(&stored(|job| {
            (job.metadata.name, job.metadata.uid) = (Some(name.to_owned()), Some(format!("u-{name}")));
            job.spec.notify = Some(serde_json::from_value(notify).unwrap());
        }));
    }

    fn job(&self, name: &str) -> MigrationJob {
        serde_json::from_value(self.server.get(&format!("/migrationjobs/{name}")).unwrap()).unwrap()
    }

    async fn reconcile(&self, name: &str) -> Option<Duration> {
        self.controller.reconcile(&self.job(name)).await.unwrap()
    }

    /// Lets the job be degraded for long enough: its notification is recorded, and an attempt begins.
    async fn announce(&self, name: &str) {
        self.reconcile(name).await;
        self.server.clock.set(self.server.clock.now() + SETTLED);
        self.reconcile(name).await;
    }

    /// Waits for the end of an attempt, and lets the job take its outcome.
    async fn attempted(&mut self, name: &str) {
        let woken = tokio::time::timeout(Duration::from_mins(1), self.woken.next()).await;
        assert_eq!(woken.unwrap().map(|(_, woken)| woken).as_deref(), Some(name));
        self.reconcile(name).await;
    }

    fn notifications(&self, name: &str) -> NotificationsStatus {
        self.job(name).status.unwrap().notifications.unwrap()
    }

    fn pending(&self, name: &str) -> PendingEvent {
        self.notifications(name).pending[0].clone()
    }

    fn last_error(&self, name: &str) -> String {
        self.pending(name).deliveries[0].last_error.clone().unwrap()
    }

    fn notified(&self, name: &str) -> (bool, String) {
        let status = self.job(name).status.unwrap();
        let (holds, condition) = status.condition(ConditionType::Notified).unwrap();
        (holds, condition.reason.clone())
    }
}

fn webhook(url: &str) -> Value {
    json!({"webhook": {
        "url": url,
        "signingKey": {"secretKeyRef": {"name": "hook", "key": "key"}},
        "caBundle": {"configMapKeyRef": {"name": "authorities", "key": "ca.pem"}},
    }})
}

#[tokio::test]
async fn a_receiver_that_fails_nine_times_gets_the_event_the_tenth_time() {
    let web = Web::start(|number| if number < 9 { 503 } else { 204 }).await;
    let mut world = World::start(LOOPBACK);
    world.put("photos", webhook(&web.url("/hooks?token=t")));
    world.announce("photos").await;
    for failures in 1..=9 {
        world.attempted("photos").await;
        let delivery = world.pending("photos").deliveries[0].clone();
        assert_eq!(delivery.attempts, failures);
        assert_eq!(world.notified("photos"), (false, "NotificationsRetried".to_owned()));
        let next = delivery.next_attempt_at.0.as_millisecond();
        world.server.clock.set(next - 1_000);
        world.reconcile("photos").await;
        assert_eq!(web.got().len(), usize::try_from(failures).unwrap(), "it is not tried before its time");
        world.server.clock.set(next);
        world.reconcile("photos").await;
    }
    world.attempted("photos").await;
    assert!(world.notifications("photos").pending.is_empty());
    assert_eq!(world.notified("photos"), (true, "NotificationsDelivered".to_owned()));
    let got = web.got();
    assert_eq!(got.len(), 10);
    for request in &got {
        request.verify(KEY).unwrap();
        assert!(request.verify(&KEY.replace('M', "N")).is_err(), "another key");
        assert_eq!((request.id(), request.path.as_str()), (got[0].id(), "/hooks?token=t"));
        assert_eq!(request.header("content-type"), "application/cloudevents+json; charset=utf-8");
        assert_eq!(request.body, got[0].body, "the same event");
    }
    let times: Vec<i64> = got.iter().map(|request| request.header("webhook-timestamp").parse().unwrap()).collect();
    assert!(times.is_sorted() && times[0] == (NOW + SETTLED) / 1_000, "{times:?}");
    let event: Value = serde_json::from_slice(&got[0].body).unwrap();
    assert_eq!((&event["id"], &event["data"]["event"]), (&got[0].id().into(), &"Degraded".into()));
    assert_eq!(event["data"]["reason"], "SecretMissing");
    let metrics = world.controller.context.metrics.text().unwrap();
    let labels = r#"job_namespace="media",job_name="photos",receiver="webhook",result"#;
    for (result, number) in [("delivered", 1), ("failed", 9), ("given_up", 0)] {
        let line = format!(r#"s3migration_notifications_total{{{labels}="{result}"}} {number}"#);
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    world.server.take_writes();
    world.reconcile("photos").await;
    assert!(world.server.take_writes().is_empty(), "then nothing is written any more");
}

#[tokio::test]
async fn a_dead_receiver_delays_nothing() {
    let (dead, web) = (Dead::start().await, Web::start(|_| 200).await);
    let mut world = World::start(LOOPBACK);
    world.put("dead", webhook(&dead.url()));
    world.put("photos", webhook(&web.url("/")));
    world.announce("dead").await;
    dead.connected().await;
    world.announce("photos").await;
    world.attempted("photos").await;
    assert_eq!(web.got().len(), 1);
    assert!(world.notifications("photos").pending.is_empty());
    assert_eq!(world.pending("dead").deliveries[0].attempts, 0, "its attempt is still under way");
    let again = world.reconcile("dead").await.unwrap();
    assert!(again <= Duration::from_secs(15), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_receiver_has_ten_seconds() {
    let dead = Dead::start().await;
    let mut world = World::start(LOOPBACK);
    world.put("photos", webhook(&dead.url()));
    world.announce("photos").await;
    let begin = tokio::time::Instant::now();
    world.attempted("photos").await;
    assert!(begin.elapsed() <= Duration::from_secs(11), "{:?}", begin.elapsed());
    assert_eq!(world.last_error("photos"), "failed to get an answer from 127.0.0.11 within 10 s");
}

#[tokio::test]
async fn an_operator_that_ended_loses_no_event_and_repeats_it_with_its_identifier() {
    let web = Web::start(|_| 200).await;
    let world = World::start("webhookNetworks: []");
    world.put("photos", webhook(&web.url("/")));
    world.announce("photos").await;
    let id = world.pending("photos").id;
    let World { server, controller, .. } = world;
    drop(controller);
    let mut next = World::over(server, LOOPBACK);
    next.reconcile("photos").await;
    next.attempted("photos").await;
    assert!(next.notifications("photos").pending.is_empty());
    assert_eq!(web.got().iter().map(|got| got.id().to_owned()).collect::<Vec<_>>(), std::slice::from_ref(&id));
    // The write of the outcome is lost with the operator: the next one sends it again.
    let mut job = next.server.get("/migrationjobs/photos").unwrap();
    job["status"]["notifications"]["pending"] = json!([{
        "id": id, "event": "Degraded", "time": "2026-01-01T00:01:00Z", "message": "m",
        "deliveries": [{"to": "Webhook", "attempts": 0, "nextAttemptAt": "2026-01-01T00:01:00Z"}],
    }]);
    next.server.put(&job);
    let mut third = World::over(next.server, LOOPBACK);
    third.reconcile("photos").await;
    third.attempted("photos").await;
    assert_eq!(web.got().iter().map(|got| got.id().to_owned()).collect::<Vec<_>>(), [id.clone(), id]);
}

#[tokio::test]
async fn what_is_no_delivery_is_told_without_the_url() {
    let redirecting = Web::start(|_| 307).await;
    let web = Web::start(|_| 500).await;
    let untrusted = json!({"webhook": {
        "url": web.url("/token"), "signingKey": {"secretKeyRef": {"name": "hook", "key": "key"}},
    }});
    let other_key = json!({"webhook": {
        "url": web.url("/token"), "signingKey": {"secretKeyRef": {"name": "mail", "key": "AWS_ACCESS_KEY_ID"}},
    }});
    let no_secret = json!({"webhook": {
        "urlFrom": {"secretKeyRef": {"name": "none", "key": "url"}},
        "signingKey": {"secretKeyRef": {"name": "hook", "key": "key"}},
    }});
    for (policy, notify, requests, expected) in [
        (LOOPBACK, webhook(&redirecting.url("/token")), 1, "answered 307, and redirects are not followed"),
        (LOOPBACK, webhook(&web.url("/token")), 1, "failed to deliver to 127.0.0.11: it answered 500"),
        ("{}", webhook(&web.url("/token")), 0, "failed to send to 127.0.0.11: none of its addresses is on the public"),
        (LOOPBACK, untrusted, 0, "failed to reach 127.0.0.11: invalid peer certificate"),
        (LOOPBACK, other_key, 0, "failed to read the signing key"),
        (LOOPBACK, no_secret, 0, "failed to find key of this name of Secret none"),
    ] {
        let before = redirecting.got().len() + web.got().len();
        let mut world = World::start(policy);
        world.put("photos", notify);
        world.announce("photos").await;
        world.attempted("photos").await;
        assert!(world.last_error("photos").contains(expected), "{}", world.last_error("photos"));
        assert_eq!(redirecting.got().len() + web.got().len() - before, requests, "{expected}");
        let shown =
            serde_json::to_string(&world.job("photos").status).unwrap() + &format!("{:?}", world.server.events());
        assert!(!shown.contains("token"), "{shown}");
    }
}

#[tokio::test]
async fn a_url_from_a_secret_is_used_and_not_shown() {
    let web = Web::start(|number| if number == 0 { 404 } else { 200 }).await;
    let mut world = World::start(LOOPBACK);
    let mut secret = foreign("v1", "Secret", "address");
    secret["data"] = json!({"url": receivers::base64(&format!("{}\n", web.url("/T0KEN")))});
    world.server.put(&secret);
    let mut notify = webhook("");
    notify["webhook"].as_object_mut().unwrap().remove("url");
    notify["webhook"]["urlFrom"] = json!({"secretKeyRef": {"name": "address", "key": "url"}});
    world.put("photos", notify);
    world.announce("photos").await;
    world.attempted("photos").await;
    let shown = serde_json::to_string(&world.job("photos").status).unwrap() + &format!("{:?}", world.server.events());
    assert!(!shown.contains("T0KEN") && shown.contains("it answered 404"), "{shown}");
    assert_eq!(web.got()[0].path, "/T0KEN");
}

#[tokio::test]
async fn hostile_words_steer_nothing_also_where_a_reconciliation_fails() {
    let web = Web::start(|_| 200).await;
    let mut world = World::start(LOOPBACK);
    world.server.fail(Method::GET, "/pods", Fault::Refused(403, "<b>\u{1b}[31m\r\n\u{202e}\"}"), 9);
    world.put("photos", webhook(&web.url("/")));
    for now in [NOW, NOW + SETTLED] {
        world.server.clock.set(now);
        assert!(world.controller.reconcile(&world.job("photos")).await.is_err());
    }
    let woken = tokio::time::timeout(Duration::from_mins(1), world.woken.next()).await;
    assert!(woken.unwrap().is_some());
    let got = web.got();
    let event: Value = serde_json::from_slice(&got[0].body).unwrap();
    let message = event["data"]["message"].as_str().unwrap();
    assert_eq!(message, r#"failed to list Pods: <b>\u{1b}[31m\r\n\u{202e}"}"#);
    assert!(!got[0].body.iter().any(u8::is_ascii_control));
}

#[tokio::test]
async fn a_topic_gets_a_subject_a_text_and_the_order_of_its_group() {
    let topic = Topic::start().await;
    let mut world = World::start(LISTED);
    world.put(
        "photos",
        json!({"sns": {
            "topicArn": "arn:aws:sns:eu-west-1:123456789012:migrations.fifo", "endpoint": topic.endpoint,
            "credentials": {"secretRef": {"name": "mail"}},
        }}),
    );
    world.announce("photos").await;
    let id = world.pending("photos").id;
    world.attempted("photos").await;
    assert!(world.notifications("photos").pending.is_empty(), "{:?}", world.notifications("photos"));
    let got = topic.got();
    assert_eq!(got.len(), 1);
    for (name, value) in [
        ("Action", "Publish"),
        ("TopicArn", "arn:aws:sns:eu-west-1:123456789012:migrations.fifo"),
        ("Subject", "MigrationJob media/photos: degraded"),
        ("MessageGroupId", "u-photos"),
        ("MessageDeduplicationId", &id),
    ] {
        assert_eq!(got[0].get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(got[0]["Message"].contains("Secret from of spec.source.credentials does not exist"), "{:?}", got[0]);
}

#[tokio::test]
async fn a_topic_that_refuses_says_how_and_the_operators_identity_needs_permission() {
    let topic = Topic::refusing().await;
    for (credentials, expected) in [
        (json!({"secretRef": {"name": "mail"}}), "failed to publish to the topic: AuthorizationError"),
        (json!({"secretRef": {"name": "none"}}), "failed to find key of this name of Secret none"),
    ] {
        let mut world = World::start(LISTED);
        world.put(
            "photos",
            json!({"sns": {
                "topicArn": "arn:aws:sns:eu-west-1:123456789012:migrations", "endpoint": topic.endpoint,
                "credentials": credentials,
            }}),
        );
        world.announce("photos").await;
        world.attempted("photos").await;
        assert!(world.last_error("photos").contains(expected), "{}", world.last_error("photos"));
    }
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_is_told_from_an_api_server_that_is_silent() {
    let mut world = World::start(LOOPBACK);
    world.server.fail(Method::GET, "/secrets/hook", Fault::Refused(403, "forbidden"), 9);
    world.put("photos", webhook("https://127.0.0.11/"));
    world.announce("photos").await;
    world.attempted("photos").await;
    let expected = "failed to read Secret hook: the API server refused it with the status 403";
    assert!(world.last_error("photos").starts_with(expected), "{}", world.last_error("photos"));
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it_but_not_for_a_redirect() {
    for (status, expected) in [(429, 600..=600), (307, 0..=5)] {
        let web = Web::start(move |_| status).await;
        let mut world = World::start(LOOPBACK);
        world.put("photos", webhook(&web.url("/")));
        world.announce("photos").await;
        world.attempted("photos").await;
        let next = world.pending("photos").deliveries[0].next_attempt_at.0.as_second();
        let delay = next - world.server.clock.now() / 1_000;
        assert!(expected.contains(&delay), "{status}: {delay} s");
    }
}

#[tokio::test]
async fn what_the_policy_does_not_list_is_not_sent_to() {
    let (topic, web) = (Topic::start().await, Web::start(|_| 200).await);
    let mut world = World::start("webhookNetworks: [127.0.0.0/8]\nwebhookHosts: [other.example]\nendpoints: ['*']");
    let mut secret = foreign("v1", "Secret", "address");
    secret["data"] = json!({"url": receivers::base64(&web.url("/"))});
    world.server.put(&secret);
    let mut from_secret = webhook("");
    from_secret["webhook"].as_object_mut().unwrap().remove("url");
    from_secret["webhook"]["urlFrom"] = json!({"secretKeyRef": {"name": "address", "key": "url"}});
    let arn = "arn:aws:sns:eu-west-1:123456789012:migrations";
    let own = json!({"sns": {"topicArn": arn, "endpoint": topic.endpoint}});
    for (name, notify, expected) in [
        ("host", from_secret, "failed to send to 127.0.0.11: it is not among those that policy.webhookHosts allows"),
        ("identity", own, "failed to publish to the topic: the operator does not use its own identity on it"),
    ] {
        world.server.put(&stored(|job| {
            (job.metadata.name, job.metadata.uid) = (Some(name.to_owned()), Some(format!("u-{name}")));
            job.spec.notify = Some(serde_json::from_value(notify).unwrap());
            job.spec.queue.credentials = None;
        }));
        world.announce(name).await;
        world.attempted(name).await;
        assert!(world.last_error(name).starts_with(expected), "{}", world.last_error(name));
    }
    assert_eq!((topic.got().len(), web.got().len()), (0, 0));
}
