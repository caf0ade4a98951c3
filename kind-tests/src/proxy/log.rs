//! What passed through a proxy, and what it is asked to do on the way: delays, and hooks of the process that it runs in.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::classify::Request;

/// One request that arrived at a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts the requests of all proxies from 0.
    pub number: usize,
    /// Which service it was for, as in [`crate::environment`].
    pub side: String,
    /// The address that it came from: a pod's own.
    pub peer: IpAddr,
    /// What it asked for.
    #[serde(flatten)]
    pub request: Request,
    /// The answer's status; none while there is no answer, or where the caller went away before.
    pub status: Option<u16>,
    /// When the answer came; none where there is no status.
    #[serde(default)]
    pub answered: Option<SystemTime>,
    /// Bytes of content that the caller announced; what chunked encodings and trailers add is not among them.
    #[serde(default)]
    pub announced: u64,
    /// Bytes of the body that the caller sent, as far as they came.
    pub received: u64,
    /// Bytes of the answer's body, as far as they went.
    pub sent: u64,
}

impl Event {
    /// A request that has just arrived.
    pub fn new(number: usize, side: &str, peer: IpAddr, request: Request, announced: u64) -> Self {
        Self {
            number,
            side: side.to_owned(),
            peer,
            request,
            status: None,
            answered: None,
            announced,
            received: 0,
            sent: 0,
        }
    }
}

/// A moment of a request at a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has come, and is not passed on yet.
    Arrived,
    /// The service has answered, and the caller has nothing of the answer yet.
    Answered,
}

/// What is done at each moment of each request, before it goes on.
#[derive(Clone)]
pub struct Hook(Arc<Hooked>);

type Hooked = dyn Fn(Moment, &Event) -> BoxFuture<'static, ()> + Send + Sync;

impl Hook {
    /// A hook that calls a function.
    pub fn new(f: impl Fn(Moment, &Event) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// Connections of a proxy's callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Opened.
    pub opened: u64,
    /// Of these, ended in the middle of a request or an answer.
    pub broken: u64,
}

/// Requests that a proxy lets wait before it passes them on, as a slow network would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// The bucket of the requests.
    pub bucket: String,
    /// Their operation.
    pub operation: String,
    /// How long each waits.
    pub millis: u64,
}

/// The requests and delays of all proxies of one process.
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
        // The state is whole after every change, whatever a thread that held it did afterwards.
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a request as it arrives, and gives its number.
    pub fn arrived(&self, side: &str, peer: IpAddr, request: Request, announced: u64) -> usize {
        self.with(|state| {
            let number = state.events.len();
            state.events.push(Event::new(number, side, peer, request, announced));
            number
        })
    }

    /// Does what is hooked to a moment of a request.
    pub async fn reached(&self, moment: Moment, number: usize) {
        let work = self.with(|state| {
            let event = state.events.get(number)?;
            state.hook.as_ref().map(|hook| (hook.0)(moment, event))
        });
        if let Some(work) = work {
            work.await;
        }
    }

    /// Sets what is done at each moment of each request.
    pub fn set_hook(&self, hook: Option<Hook>) {
        self.with(|state| state.hook = hook);
    }

    /// Looks at the requests from a number on, without copies.
    pub fn look<T>(&self, number: usize, look: impl FnOnce(&[Event]) -> T) -> T {
        self.with(|state| look(state.events.get(number..).unwrap_or_default()))
    }

    /// Notes a caller's connection.
    pub fn connected(&self) {
        self.with(|state| state.connections.opened += 1);
    }

    /// Notes that a caller's connection ended in the middle of something.
    pub fn broke(&self) {
        self.with(|state| state.connections.broken += 1);
    }

    /// The callers' connections so far.
    pub fn connections(&self) -> Connections {
        self.with(|state| state.connections)
    }

    /// Notes a request's answer.
    pub fn answered(&self, number: usize, status: u16) {
        self.update(number, |event| {
            event.status = Some(status);
            event.answered = Some(SystemTime::now());
        });
    }

    /// Changes what is noted of a request.
    pub fn update(&self, number: usize, change: impl FnOnce(&mut Event)) {
        self.with(|state| state.events.get_mut(number).map(change));
    }

    /// The requests from a number on, of one bucket where it is given.
    pub fn since(&self, number: usize, bucket: Option<&str>) -> Vec<Event> {
        self.with(|state| {
            let events = state.events.iter().skip(number);
            events.filter(|e| bucket.is_none_or(|b| e.request.bucket == b)).cloned().collect()
        })
    }

    /// The number that the next request will get.
    pub fn next(&self) -> usize {
        self.with(|state| state.events.len())
    }

    /// Sets the delay of an operation on a bucket; 0 takes it away.
    pub fn set_delay(&self, delay: Delay) {
        self.with(|state| {
            state.delays.retain(|d| (&d.bucket, &d.operation) != (&delay.bucket, &delay.operation));
            if delay.millis > 0 {
                state.delays.push(delay);
            }
        });
    }

    /// How long a request waits.
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
        Request { operation: "PutObject".into(), bucket: bucket.into(), key: "k".into(), part: None }
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
