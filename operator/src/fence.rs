//! Keeps a process from writing when it can no longer prove that it is the leader.
//!
//! This is the first of two guards. It stops a process that was frozen, or cut off from the API server, before it
//! sends. What it had sent already, or sends in the same moment, changes nothing by the second: each write carries what
//! it was decided by (docs/ownership.md, "Writes of an earlier leader").

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hyper::{Method, Request};
use kube::Client;
use kube::client::Body;
use tower::{BoxError, service_fn};

/// A moment by two clocks. Neither suffices: the monotonic one stands still while a machine is suspended, and the wall
/// clock may be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Moment of the monotonic clock.
    pub monotonic: Instant,
    /// Moment of the wall clock.
    pub wall: SystemTime,
}

impl Moment {
    /// Returns the present moment.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// Returns how long ago this was: the longer time of both clocks.
    pub fn age(self, now: Self) -> Duration {
        // A moment in the future by the wall clock is one of a clock that was set back.
        let wall = now.wall.duration_since(self.wall).unwrap_or_default();
        now.monotonic.saturating_duration_since(self.monotonic).max(wall)
    }
}

/// A write that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to write: this process is not the leader any more")]
pub struct NotLeader;

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nobody else writes.
    Open,
    /// The Lease was renewed at this moment, and may be relied on for this time.
    Until(Moment, Duration),
    Closed,
}

/// Whether this process may write. Clones are the same fence.
#[derive(Clone, Debug)]
pub struct Fence(Arc<Mutex<State>>);

impl Fence {
    /// Creates a fence that is always open, for a process without others beside it.
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(State::Open)))
    }

    /// Creates a fence that is open for a time after the Lease was renewed.
    pub fn of_lease(renewed: Moment, time: Duration) -> Self {
        Self(Arc::new(Mutex::new(State::Until(renewed, time))))
    }

    /// Records that the Lease was renewed. A fence that has closed stays closed: the process exits.
    pub fn renew(&self, renewed: Moment) {
        let mut state = self.state();
        if let State::Until(before, time) = *state {
            *state = match left(before, time, Moment::now()) {
                Some(_) => State::Until(renewed, time),
                None => State::Closed,
            };
        }
    }

    /// Closes the fence.
    pub fn close(&self) {
        *self.state() = State::Closed;
    }

    /// Returns for how long the fence stays open, unless the Lease is renewed. None if it is closed.
    pub fn left(&self) -> Option<Duration> {
        match *self.state() {
            State::Open => Some(Duration::MAX),
            State::Until(renewed, time) => left(renewed, time, Moment::now()),
            State::Closed => None,
        }
    }

    /// Fails if this process may not write.
    pub fn check(&self) -> Result<(), NotLeader> {
        self.left().map(drop).ok_or(NotLeader)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn left(renewed: Moment, time: Duration, now: Moment) -> Option<Duration> {
    time.checked_sub(renewed.age(now)).filter(|left| !left.is_zero())
}

/// Returns a client that sends reads always, and everything else only while the fence is open.
pub fn fenced(client: Client, fence: Fence) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request: Request<Body>| {
        let (client, fence) = (client.clone(), fence.clone());
        async move {
            if request.method() != Method::GET {
                fence.check()?;
            }
            Ok::<_, BoxError>(client.send(request).await?)
        }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::tests::api_server::ApiServer;
    use crate::job_controller::tests::stored;
    use kube::Api;
    use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
    use migration_api::MigrationJob;
    use serde_json::json;

    const TIME: Duration = Duration::from_secs(8);

    fn ago(monotonic: u64, wall: i64) -> Moment {
        let now = Moment::now();
        let seconds = Duration::from_secs(wall.unsigned_abs());
        let wall = if wall < 0 { now.wall + seconds } else { now.wall - seconds };
        Moment { monotonic: now.monotonic.checked_sub(Duration::from_secs(monotonic)).unwrap(), wall }
    }

    #[test]
    fn a_fence_is_open_while_the_lease_is_young_by_both_clocks() {
        for (name, renewed, is_open) in [
            ("just now", ago(0, 0), true),
            ("a while ago", ago(6, 6), true),
            ("too long ago", ago(9, 9), false),
            ("frozen: both clocks went on", ago(600, 600), false),
            ("suspended: the monotonic clock stood still", ago(1, 600), false),
            ("the wall clock was set back", ago(9, -3600), false),
            ("the wall clock was set back a moment ago", ago(1, -3600), true),
        ] {
            assert_eq!(Fence::of_lease(renewed, TIME).check().is_ok(), is_open, "{name}");
        }
    }

    #[test]
    fn a_fence_that_has_closed_stays_closed() {
        let late = Fence::of_lease(ago(9, 9), TIME);
        late.renew(Moment::now());
        assert_eq!(late.check(), Err(NotLeader), "another process may have led in between");
        let closed = Fence::of_lease(Moment::now(), TIME);
        closed.close();
        closed.renew(Moment::now());
        assert_eq!(closed.left(), None);
        let renewed = Fence::of_lease(ago(6, 6), TIME);
        renewed.renew(Moment::now());
        assert!(renewed.left().unwrap() > Duration::from_secs(6));
    }

    #[tokio::test]
    async fn without_the_lease_a_client_reads_and_writes_nothing() {
        let server = ApiServer::start();
        server.put(&stored(|_| ()));
        let fence = Fence::of_lease(Moment::now(), TIME);
        let api: Api<MigrationJob> = Api::namespaced(fenced(server.client.clone(), fence.clone()), "media");
        let change = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
        api.patch("photos", &PatchParams::default(), &change).await.unwrap();
        fence.close();
        server.take_sent();
        let job = api.get("photos").await.unwrap();
        assert_eq!(server.take_sent().len(), 1);
        for (name, error) in [
            ("patch", api.patch("photos", &PatchParams::default(), &change).await.err()),
            ("status", api.patch_status("photos", &PatchParams::default(), &change).await.err()),
            ("create", api.create(&PostParams::default(), &job).await.err()),
            ("delete", api.delete("photos", &DeleteParams::default()).await.err()),
        ] {
            let text = error.unwrap().to_string();
            assert!(text.contains("not the leader any more"), "{name}: {text}");
        }
        assert!(server.take_sent().is_empty());
    }
}
