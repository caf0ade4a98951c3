use hyper::Method;
use serde_json::{Value, json};

use super::*;
use crate::job_controller::tests::api_server::{ApiServer, Fault};

const TIMES: Times = Times {
    lease_seconds: 3,
    renew_seconds: 1,
    deadline: Duration::from_millis(1_800),
    look: Duration::from_millis(200),
};
const PATH: &str = "/leases/operator";
const LONG: Duration = Duration::from_secs(20);

fn election(identity: &str) -> Election {
    Election { namespace: "media".into(), lease: "operator".into(), identity: identity.into(), times: TIMES }
}

async fn win(server: &ApiServer, identity: &str) -> Term {
    let stop = CancellationToken::new();
    tokio::time::timeout(LONG, election(identity).win(&server.client, &stop)).await.unwrap().unwrap()
}

fn lease(server: &ApiServer) -> Value {
    server.get(PATH).unwrap()["spec"].clone()
}

#[test]
fn only_the_holder_has_a_time_of_renewal() {
    let of = |spec: Value| -> Lease { serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap() };
    let held = of(json!({"holderIdentity": "a", "renewTime": "2026-01-01T00:00:07.000000Z"}));
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_607);
    assert_eq!(renewed_by(&held, "a"), Some(at));
    assert_eq!(renewed_by(&held, "b"), None);
    for spec in [json!({}), json!({"holderIdentity": "", "renewTime": "2026-01-01T00:00:07.000000Z"})] {
        assert_eq!((renewed_by(&of(spec.clone()), ""), holder(&of(spec))), (None, None));
    }
    assert_eq!(renewed_by(&of(json!({"holderIdentity": "a"})), "a"), None);
    assert_eq!(renewed_by(&Lease::default(), "a"), None);
}

#[tokio::test]
async fn one_leads_and_when_it_releases_the_lease_the_standby_does_at_once() {
    let server = ApiServer::start();
    let first = win(&server, "a").await;
    assert_eq!(lease(&server)["holderIdentity"], "a");
    let (client, stop) = (server.client.clone(), CancellationToken::new());
    let standby = tokio::spawn(async move { election("b").win(&client, &stop).await.map(|term| term.fence().check()) });
    // It is renewed for longer than it is valid.
    let kept = tokio::time::timeout(Duration::from_secs(4), first.keep()).await;
    assert!(kept.is_err(), "{kept:?}");
    assert!(first.fence().check().is_ok() && !standby.is_finished());
    let fence = first.fence();
    first.release().await;
    assert!(fence.check().is_err());
    let released = std::time::Instant::now();
    let won = tokio::time::timeout(LONG, standby).await.unwrap().unwrap();
    assert_eq!(won, Some(Ok(())));
    assert!(released.elapsed() < Duration::from_secs(TIMES.lease_seconds), "it did not wait for the end of the Lease");
    assert_eq!(lease(&server)["holderIdentity"], "b");
}

#[tokio::test]
async fn a_lease_whose_holder_is_gone_is_taken_when_it_ends() {
    let server = ApiServer::start();
    drop(win(&server, "a").await);
    let gone = std::time::Instant::now();
    let term = win(&server, "b").await;
    let taken = gone.elapsed();
    assert!(term.fence().check().is_ok());
    let bounds = Duration::from_secs(TIMES.lease_seconds - 1)..Duration::from_secs(TIMES.lease_seconds + 2);
    assert!(bounds.contains(&taken), "{taken:?}");
}

#[tokio::test]
async fn a_process_that_finds_its_own_old_lease_renews_it_and_leads() {
    let server = ApiServer::start();
    drop(win(&server, "a").await);
    let mut old = server.get(PATH).unwrap();
    for time in ["acquireTime", "renewTime"] {
        old["spec"][time] = json!("2026-01-01T00:00:00.000000Z");
    }
    server.put(&old);
    let term = win(&server, "a").await;
    assert!(term.fence().check().is_ok());
    let kept = tokio::time::timeout(2 * TIMES.deadline, term.keep()).await;
    assert!(kept.is_err(), "{kept:?}");
}

#[tokio::test]
async fn a_leader_that_cannot_renew_writes_nothing_and_ends_before_another_may_lead() {
    let server = ApiServer::start();
    let term = win(&server, "a").await;
    for method in [Method::GET, Method::PATCH] {
        server.fail(method, PATH, Fault::Lost, 1_000);
    }
    let began = std::time::Instant::now();
    let error = tokio::time::timeout(LONG, term.keep()).await.unwrap();
    assert!(matches!(error, LeaderError::Deadline { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(TIMES.lease_seconds));
    assert!(term.fence().check().is_err());
    assert!(error.to_string().contains("Lease operator within 1.8 s: exiting"), "{error}");
}

#[tokio::test]
async fn a_leader_whose_lease_another_process_holds_ends() {
    let server = ApiServer::start();
    let term = win(&server, "a").await;
    let mut taken = server.get(PATH).unwrap();
    taken["spec"]["holderIdentity"] = json!("b");
    server.put(&taken);
    let error = tokio::time::timeout(LONG, term.keep()).await.unwrap();
    assert!(matches!(error, LeaderError::Taken { .. }), "{error}");
    assert!(term.fence().check().is_err());
}

#[tokio::test]
async fn a_standby_that_is_stopped_ends_without_the_lease() {
    let server = ApiServer::start();
    let _first = win(&server, "a").await;
    let stop = CancellationToken::new();
    stop.cancel();
    assert!(election("b").win(&server.client, &stop).await.is_none());
}
