use futures::StreamExt;
use migration_api::status::PendingEvent;
use migration_engine::log_context::{self, Field};
use serde_json::json;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::job_controller::tests::api_server::ApiServer;

fn parcel(server: &ApiServer, namespace: &str, uid: &str, to: Receiver) -> Parcel {
    let event: PendingEvent = serde_json::from_value(json!({
        "id": "e", "event": "Complete", "time": "2026-01-01T00:00:00Z", "message": "m", "deliveries": [],
    }))
    .unwrap();
    Parcel {
        means: server.context().means(),
        about: About { namespace: namespace.into(), name: uid.into(), uid: uid.into() },
        notify: serde_json::from_value(json!({})).unwrap(),
        queue_credentials: None,
        event,
        to,
        at: 0,
    }
}

fn begin(courier: &Courier, server: &ApiServer, namespace: &str, uid: &str) -> Option<Slot> {
    match courier.begin(&parcel(server, namespace, uid, Receiver::Webhook)) {
        Begun::Now(slot) => Some(slot),
        Begun::Before | Begun::Full => None,
    }
}

#[tokio::test]
async fn attempts_are_bounded_and_one_namespace_leaves_room_for_others() {
    let (courier, server) = (Courier::default(), ApiServer::start());
    let mut slots = Vec::new();
    for number in 0..MOST_OF_NAMESPACE {
        slots.push(begin(&courier, &server, "a", &format!("a-{number}")).unwrap());
    }
    assert!(matches!(courier.begin(&parcel(&server, "a", "a-9", Receiver::Webhook)), Begun::Full));
    for number in MOST_OF_NAMESPACE..MOST {
        slots.push(begin(&courier, &server, &format!("n-{number}"), &format!("n-{number}")).unwrap());
    }
    slots.push(begin(&courier, &server, "z", "z-1").expect("each namespace has room for one"));
    assert!(matches!(courier.begin(&parcel(&server, "z", "z-2", Receiver::Webhook)), Begun::Full));
    slots.remove(0);
    slots.remove(0);
    assert!(begin(&courier, &server, "a", "a-9").is_some(), "the room of one that ended is free");
    drop(slots);
    assert!(courier.state().namespaces.is_empty());
}

#[tokio::test]
async fn a_receiver_gets_one_event_of_a_job_at_a_time() {
    let (courier, server) = (Courier::default(), ApiServer::start());
    let slot = begin(&courier, &server, "a", "u").unwrap();
    assert!(matches!(courier.begin(&parcel(&server, "a", "u", Receiver::Webhook)), Begun::Before));
    assert!(matches!(courier.begin(&parcel(&server, "a", "u", Receiver::Sns)), Begun::Now(_)));
    let (id, to) = ("e".into(), Receiver::Webhook);
    slot.end(Outcome { id, to, error: None, retry_after: None, waits_for_person: false });
    let outcomes = courier.outcomes("u");
    assert_eq!(outcomes.len(), 1);
    assert!(courier.is_waiting("u", 0));
    assert!(begin(&courier, &server, "a", "u").is_none(), "the status does not have the outcome yet");
    courier.settle("u", &outcomes);
    courier.set_due("u", Some(7));
    assert_eq!([6, 7].map(|now| courier.is_waiting("u", now)), [false, true]);
    assert!(begin(&courier, &server, "a", "u").is_some());
    courier.set_due("u", None);
    assert!(courier.state().jobs.is_empty(), "nothing of it is kept");
}

#[tokio::test]
async fn a_job_is_woken_when_an_attempt_ended_however_it_did() {
    let (courier, server) = (Courier::default(), ApiServer::start());
    let mut woken = Box::pin(courier.woken());
    // No receiver is named: the attempt fails at once.
    assert!(courier.send(parcel(&server, "a", "u", Receiver::Webhook)));
    assert_eq!(woken.next().await, Some(("a".to_owned(), "u".to_owned())));
    assert!(courier.outcomes("u")[0].error.as_ref().is_some_and(|error| error.contains("receiver")));
    assert_eq!(Box::pin(courier.woken()).next().await, None, "only the first call gets them");
}

#[tokio::test]
async fn a_job_without_room_is_woken_when_there_is_some() {
    let (courier, server) = (Courier::default(), ApiServer::start());
    let mut woken = Box::pin(courier.woken());
    let mut slots: Vec<_> =
        (0..MOST_OF_NAMESPACE).map(|number| begin(&courier, &server, "a", &format!("a-{number}")).unwrap()).collect();
    for _ in 0..3 {
        for uid in ["b-1", "b-2"] {
            assert!(!courier.send(parcel(&server, "a", uid, Receiver::Webhook)));
            courier.set_due(uid, Some(15_000));
        }
    }
    for uid in ["b-1", "b-2"] {
        assert!(!courier.is_waiting(uid, 0), "it is not reconciled while there is no room");
        drop(slots.pop());
        let job = tokio::time::timeout(std::time::Duration::from_secs(5), woken.next()).await.unwrap();
        assert_eq!(job, Some(("a".to_owned(), uid.to_owned())));
        assert!(courier.is_waiting(uid, 0));
    }
    drop(slots);
    assert_eq!(futures::FutureExt::now_or_never(woken.next()), None, "each is woken once");
}

/// What the log names beside a line.
type Names = Vec<(&'static str, Field)>;

/// Keeps what the log names beside each line of this module.
#[derive(Clone, Default)]
struct Named(Arc<Mutex<Vec<Names>>>);

impl Subscriber for Named {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "operator::notify::courier"
    }

    fn event(&self, _event: &Event<'_>) {
        self.0.lock().unwrap().push(log_context::current().map(|scope| scope.fields()).unwrap_or_default());
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[tokio::test]
async fn lines_of_a_delivery_name_the_job() {
    let named = Named::default();
    let _guard = tracing::subscriber::set_default(named.clone());
    let (courier, server) = (Courier::default(), ApiServer::start());
    let mut woken = Box::pin(courier.woken());
    // No receiver is named: the attempt fails at once.
    assert!(courier.send(parcel(&server, "a", "u", Receiver::Webhook)));
    woken.next().await.unwrap();
    let job = |name: &str| vec![("job", Field::Text(name.to_owned()))];
    assert_eq!(*named.0.lock().unwrap(), [job("a/u")]);
    // Nobody listens: the job that waits for room is named, and not the one whose room it is.
    drop(woken);
    let mut slots: Vec<_> =
        (0..MOST_OF_NAMESPACE).map(|number| begin(&courier, &server, "a", &format!("a-{number}")).unwrap()).collect();
    assert!(!courier.send(parcel(&server, "a", "b", Receiver::Webhook)));
    slots.pop();
    assert_eq!(named.0.lock().unwrap().last(), Some(&job("a/b")));
}
