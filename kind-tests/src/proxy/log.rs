//! Log of the proxies' requests, with delays and hooks.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::classify::Request;

/// A request that arrived at a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number of the request over all proxies, from 0.
    pub number: usize,
    /// Service of the request, as in [`crate::environment`].
    pub side: String,
    /// Client address: the pod's own.
    pub peer: IpAddr,
    /// Operation and subject.
    #[serde(flatten)]
    pub request: Request,
    /// Status of the response; `None` before the response, or if the client disconnected first.
    pub status: Option<u16>,
    /// Time of the response; `None` without a status.
    #[serde(default)]
    pub answered: Option<SystemTime>,
    /// Headers of the response that need actions of their own.
    #[serde(default)]
    pub shown: BTreeMap<String, String>,
    /// Bytes of content that the client announced, without chunked framing and trailers.
    #[serde(default)]
    pub announced: u64,
    /// Bytes of the body received from the client.
    pub received: u64,
    /// Bytes of the response's body sent to the client.
    pub sent: u64,
}

impl Event {
    /// Creates the entry of a request that has just arrived.
    pub fn new(number: usize, side: &str, peer: IpAddr, request: Request, announced: u64) -> Self {
        Self {
            number,
            side: side.to_owned(),
            peer,
            request,
            status: None,
            answered: None,
            shown: BTreeMap::new(),
            announced,
            received: 0,
            sent: 0,
        }
    }
}

/// A moment in the life of a request at a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The request has arrived and is not forwarded yet.
    Arrived,
    /// The service has responded, and the client has received nothing yet.
    Answered,
}

/// A function that runs at each moment of each request, before the request continues.
#[derive(Clone)]
pub struct Hook(Arc<Hooked>);

type Hooked = dyn Fn(Moment, &Event) -> BoxFuture<'static, ()> + Send + Sync;

impl Hook {
    /// Creates a hook from a function.
    pub fn new(f: impl Fn(Moment, &Event) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// Client connections of a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Connections opened.
    pub opened: u64,
    /// Connections closed in the middle of a request or response.
    pub broken: u64,
}

/// A delay before requests are forwarded, as on a slow network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// Bucket of the requests.
    pub bucket: String,
    /// Operation of the requests.
    pub operation: String,
    /// Delay in milliseconds.
    pub millis: u64,
}

/// Requests and delays of all proxies of one process.
#[derive(Clone, Debug, Default)]
pub struct Log {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    delays: Vec<Delay>,
    hook: Option<Hook>,
    connections: Connections,
}

impl Log {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // Every change leaves the state consistent, so a poisoned lock can be used.
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records a request as it arrives; returns its number.
    pub fn arrived(&self, side: &str, peer: IpAddr, request: Request, announced: u64) -> usize {
        self.with(|state| {
            let number = state.events.len();
            state.events.push(Event::new(number, side, peer, request, announced));
            number
        })
    }

    /// Runs the hook for a moment of a request.
    pub async fn reached(&self, moment: Moment, number: usize) {
        let work = self.with(|state| {
            let event = state.events.get(number)?;
            state.hook.as_ref().map(|hook| (hook.0)(moment, event))
        });
        if let Some(work) = work {
            work.await;
        }
    }

    /// Sets or removes the hook.
    pub fn set_hook(&self, hook: Option<Hook>) {
        self.with(|state| state.hook = hook);
    }

    /// Runs a closure on the requests starting at a number, without copying them.
    pub fn look<T>(&self, number: usize, look: impl FnOnce(&[Event]) -> T) -> T {
        self.with(|state| look(state.events.get(number..).unwrap_or_default()))
    }

    /// Counts a client connection.
    pub fn connected(&self) {
        self.with(|state| state.connections.opened += 1);
    }

    /// Counts a client connection that was closed too early.
    pub fn broke(&self) {
        self.with(|state| state.connections.broken += 1);
    }

    /// Returns the number of client connections so far.
    pub fn connections(&self) -> Connections {
        self.with(|state| state.connections)
    }

    /// Records the response to a request.
    pub fn answered(&self, number: usize, status: u16) {
        self.update(number, |event| {
            event.status = Some(status);
            event.answered = Some(SystemTime::now());
        });
    }

    /// Changes the entry of a request.
    pub fn update(&self, number: usize, change: impl FnOnce(&mut Event)) {
        self.with(|state| state.events.get_mut(number).map(change));
    }

    /// Returns the requests starting at a number, optionally of one bucket.
    pub fn since(&self, number: usize, bucket: Option<&str>) -> Vec<Event> {
        self.with(|state| {
            let events = state.events.iter().skip(number);
            events.filter(|e| bucket.is_none_or(|b| e.request.bucket == b)).cloned().collect()
        })
    }

    /// Returns the number that the next request will get.
    pub fn next(&self) -> usize {
        self.with(|state| state.events.len())
    }

    /// Sets the delay of an operation on a bucket; 0 removes it.
    pub fn set_delay(&self, delay: Delay) {
        self.with(|state| {
            state.delays.retain(|d| (&d.bucket, &d.operation) != (&delay.bucket, &delay.operation));
            if delay.millis > 0 {
                state.delays.push(delay);
            }
        });
    }

    /// Returns the delay of a request.
    pub fn delay(&self, request: &Request) -> Option<Duration> {
        self.with(|state| {
            let mut delays = state.delays.iter();
            let found = delays.find(|d| d.bucket == request.bucket && d.operation == request.operation);
            found.map(|d| Duration::from_millis(d.millis))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn request(bucket: &str) -> Request {
        Request { operation: "PutObject".into(), bucket: bucket.into(), key: "k".into(), ..Request::default() }
    }

    #[test]
    fn events_are_found_by_number_and_bucket() {
        let log = Log::default();
        log.arrived("source", PEER, request("a"), 0);
        let second = log.arrived("source", PEER, request("b"), 0);
        log.answered(second, 200);
        assert_eq!(log.next(), 2);
        assert_eq!(log.since(1, None).len(), 1);
        assert_eq!(log.since(0, Some("b"))[0].status, Some(200));
        assert!(log.since(1, Some("a")).is_empty());
    }

    #[tokio::test]
    async fn a_hook_sees_each_moment_until_it_is_taken_away() {
        let (log, seen) = (Log::default(), Arc::new(Mutex::new(Vec::new())));
        log.set_hook(Some(Hook::new({
            let seen = seen.clone();
            move |moment, event| {
                let (seen, number) = (seen.clone(), event.number);
                Box::pin(async move { seen.lock().unwrap().push((moment, number)) })
            }
        })));
        let number = log.arrived("source", PEER, request("a"), 0);
        log.reached(Moment::Arrived, number).await;
        log.reached(Moment::Answered, number).await;
        log.set_hook(None);
        log.reached(Moment::Answered, number).await;
        assert_eq!(*seen.lock().unwrap(), [(Moment::Arrived, number), (Moment::Answered, number)]);
    }

    #[test]
    fn a_delay_is_set_and_taken_away() {
        let log = Log::default();
        let delay = |millis| Delay { bucket: "a".into(), operation: "PutObject".into(), millis };
        log.set_delay(delay(5));
        assert_eq!(log.delay(&request("a")), Some(Duration::from_millis(5)));
        assert_eq!(log.delay(&request("b")), None);
        log.set_delay(delay(0));
        assert_eq!(log.delay(&request("a")), None);
    }
}
