//! Bytes of a multipart object that were sent more than once.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{is, succeeded};
use crate::proxy::log::Event;

/// Cost of the parts of one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Number of parts.
    pub parts: u64,
    /// Requests that sent a part.
    pub requests: u64,
    /// Bytes of content received in these requests.
    pub bytes: u64,
    /// Bytes of content in successful requests for parts already uploaded.
    pub twice: u64,
}

/// Sums up all requests that sent a part.
pub fn sent(events: &[Event]) -> Sent {
    let mut parts: BTreeMap<u32, u64> = BTreeMap::new();
    let mut sum = Sent::default();
    for event in events.iter().filter(|e| is(e, "UploadPart")) {
        sum.requests += 1;
        sum.bytes += content(event);
        let there = parts.entry(event.request.part.unwrap_or_default()).or_default();
        if succeeded(event) {
            if *there > 0 {
                sum.twice += event.announced;
            }
            *there += 1;
        }
    }
    sum.parts = parts.len() as u64;
    sum
}

/// Returns the parts that were sent but not answered yet.
pub fn in_flight(events: &[Event]) -> InFlight {
    let open = events.iter().filter(|e| is(e, "UploadPart") && e.status.is_none());
    open.fold(InFlight::default(), |sum, e| InFlight { parts: sum.parts + 1, bytes: sum.bytes + e.announced })
}

/// Returns the bytes of distinct parts uploaded since a time.
pub fn there_since(events: &[Event], since: SystemTime) -> u64 {
    let parts = events.iter().filter(|e| is(e, "UploadPart") && succeeded(e) && e.answered >= Some(since));
    parts.map(|e| (e.request.part, e.announced)).collect::<BTreeMap<_, _>>().values().sum()
}

/// Parts being sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Number of parts.
    pub parts: u64,
    /// Bytes of these parts, including those not sent yet.
    pub bytes: u64,
}

/// Returns the bytes of distinct parts that are uploaded.
pub fn there(events: &[Event]) -> u64 {
    let parts = events.iter().filter(|e| is(e, "UploadPart") && succeeded(e));
    parts.map(|e| (e.request.part, e.announced)).collect::<BTreeMap<_, _>>().values().sum()
}

/// Returns the bytes of content, without signatures and trailers of chunks.
fn content(event: &Event) -> u64 {
    event.received.min(event.announced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::classify::Request;
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    fn part(number: u32, status: Option<u16>, received: u64) -> Event {
        let (operation, bucket, key) = ("UploadPart".into(), "b".into(), "k".into());
        let request = Request { operation, bucket, key, part: Some(number), ..Request::default() };
        let answered = status.map(|_| SystemTime::UNIX_EPOCH + Duration::from_secs(number.into()));
        Event {
            status,
            answered,
            received,
            ..Event::new(0, "destination w", IpAddr::V4(Ipv4Addr::LOCALHOST), request, 10)
        }
    }

    #[test]
    fn bytes_are_counted_once_each() {
        let events = [part(1, Some(200), 12), part(2, None, 4), part(2, Some(200), 10), part(2, Some(200), 10)];
        assert_eq!(sent(&events), Sent { parts: 2, requests: 4, bytes: 34, twice: 10 });
        assert_eq!(in_flight(&events), InFlight { parts: 1, bytes: 10 });
        assert_eq!(there(&events), 20);
        assert_eq!(there_since(&events, SystemTime::UNIX_EPOCH + Duration::from_secs(2)), 10);
    }
}
