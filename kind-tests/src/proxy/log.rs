//! Log of the proxies' requests, with delays, refusals and hooks.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::classify::Request;
use super::delays::Delays;
use super::refusals::Refusals;

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

/// A client without a service: its requests are not answered, and their connections are closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Client address.
    pub peer: IpAddr,
    /// Beginning of the service's name in `x-amz-target`.
    pub target: String,
}

/// Bytes of bodies that were sent over time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Bucket of the requests.
    pub bucket: String,
    /// Operation of the requests.
    pub operation: String,
    /// Bytes by the time at which they were sent: the number of [`SLOT_MS`] since 1970. Times without bytes are left out.
    #[serde(default)]
    pub slots: BTreeMap<u64, u64>,
}

/// Resolution of a [`Flow`], in milliseconds.
pub const SLOT_MS: u64 = 100;

impl Flow {
    fn add(&mut self, bytes: u64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let slot = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / SLOT_MS;
        *self.slots.entry(slot).or_default() += bytes;
    }

    /// Returns the most bytes that were sent in any window of a length; 0 if there were none.
    pub fn most_in(&self, window: Duration) -> u64 {
        let slots = u64::try_from(window.as_millis()).unwrap_or(u64::MAX) / SLOT_MS;
        let sum = |first: &u64| self.slots.range(*first..first.saturating_add(slots)).map(|(_, bytes)| bytes).sum();
        self.slots.keys().map(sum).max().unwrap_or_default()
    }
}

/// Requests, refusals and delays of all proxies of one process.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// What is refused.
    pub refusals: Refusals,
    /// What is delayed.
    pub delays: Delays,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<Event>,
    cuts: Vec<Cut>,
    flow: Option<Flow>,
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

    /// Records bytes of a response's body as they are sent.
    pub fn sent(&self, number: usize, bytes: u64) {
        self.with(|state| {
            let Some(event) = state.events.get_mut(number) else { return };
            event.sent += bytes;
            let Request { bucket, operation, .. } = &event.request;
            let flow = state.flow.as_mut().filter(|flow| (&flow.bucket, &flow.operation) == (bucket, operation));
            if let Some(flow) = flow {
                flow.add(bytes);
            }
        });
    }

    /// Begins to record when the bodies of an operation on a bucket are sent, in place of another one.
    pub fn set_flow(&self, flow: Flow) {
        self.with(|state| state.flow = Some(flow));
    }

    /// Returns when bodies were sent.
    pub fn flow(&self) -> Option<Flow> {
        self.with(|state| state.flow.clone())
    }

    /// Sets the clients that are cut off; none ends all cuts.
    pub fn set_cuts(&self, cuts: Vec<Cut>) {
        self.with(|state| state.cuts = cuts);
    }

    /// Returns true if a client is cut off from the service that a request is for.
    pub fn is_cut(&self, peer: IpAddr, target: &str) -> bool {
        self.with(|state| state.cuts.iter().any(|cut| cut.peer == peer && target.starts_with(&cut.target)))
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
    fn a_client_is_cut_off_from_one_service() {
        let log = Log::default();
        log.set_cuts(vec![Cut { peer: PEER, target: "DynamoDB".into() }]);
        assert!(log.is_cut(PEER, "DynamoDB_20120810.Query"));
        assert!(!log.is_cut(PEER, "AmazonSQS.ReceiveMessage"));
        assert!(!log.is_cut(IpAddr::V4(std::net::Ipv4Addr::BROADCAST), "DynamoDB_20120810.Query"));
        log.set_cuts(Vec::new());
        assert!(!log.is_cut(PEER, "DynamoDB_20120810.Query"));
    }

    #[test]
    fn bytes_are_recorded_by_time_for_one_operation_on_a_bucket() {
        let log = Log::default();
        let numbers = ["a", "b", "a"].map(|bucket| log.arrived("source", PEER, request(bucket), 0));
        log.sent(numbers[0], 7);
        log.set_flow(Flow { bucket: "a".into(), operation: "PutObject".into(), ..Flow::default() });
        for number in numbers {
            log.sent(number, 5);
        }
        assert_eq!(log.flow().unwrap().slots.values().sum::<u64>(), 10);
        assert_eq!(log.since(0, Some("a")).iter().map(|event| event.sent).collect::<Vec<_>>(), [12, 5]);
    }

    #[test]
    fn the_most_in_a_window_may_begin_anywhere() {
        for (slots, expected) in [
            (&[][..], 0),
            (&[(5, 4)], 4),
            (&[(5, 4), (9, 3), (10, 2)], 7),
            (&[(5, 4), (9, 3), (10, 6)], 9),
            (&[(5, 4), (100, 3)], 4),
        ] {
            let flow = Flow { slots: slots.iter().copied().collect(), ..Flow::default() };
            assert_eq!(flow.most_in(Duration::from_millis(5 * SLOT_MS)), expected, "{slots:?}");
        }
    }
}
