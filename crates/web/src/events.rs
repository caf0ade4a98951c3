//! Server-sent events: the state of something whenever it has changed.

use std::io;
use std::time::Duration;

use futures::stream::{self, Stream};
use hyper::body::{Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::board::{Change, Seen};

/// Least interval between two events of a stream.
const GAP: Duration = Duration::from_millis(500);
/// Interval at which a stream without events shows that it is alive.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Duration of a stream. The client then asks again, and whether it may is decided again.
const LONGEST: Duration = Duration::from_mins(5);

struct State<F> {
    look: F,
    changes: watch::Receiver<Change>,
    /// When the client has to hear something, whatever has changed.
    alive_at: Instant,
    until: Instant,
    is_over: bool,
    /// Held as long as the stream is open.
    _permit: OwnedSemaphorePermit,
}

/// Returns a stream that sends what `look` finds new, at the beginning and then whenever something has changed. Sends a
/// comment while there is nothing new. Ends after some minutes; with the event `gone` once `look` finds nothing at all;
/// and with the event `end` after the last change.
pub fn events<F>(
    changes: watch::Receiver<Change>,
    permit: OwnedSemaphorePermit,
    look: F,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static
where
    F: FnMut() -> Seen + Send + 'static,
{
    let now = Instant::now();
    let (alive_at, until) = (now + ALIVE_EVERY, now + LONGEST);
    let state = State { look, changes, alive_at, until, is_over: false, _permit: permit };
    stream::unfold(state, |mut state| async move {
        let text = state.next().await?;
        state.alive_at = Instant::now() + ALIVE_EVERY;
        Some((Ok(Frame::data(Bytes::from(text))), state))
    })
}

impl<F: FnMut() -> Seen> State<F> {
    /// Waits for the next event. Returns `None` at the end.
    async fn next(&mut self) -> Option<String> {
        while !self.is_over {
            // Read before the look, so that a change during it leads to another one.
            let change = *self.changes.borrow_and_update();
            match (self.look)() {
                // JSON has no line breaks outside of texts, and escapes those inside.
                Seen::News(news) => return Some(format!("data: {news}\n\n")),
                Seen::Gone => {
                    self.is_over = true;
                    return Some("event: gone\ndata: {}\n\n".to_owned());
                }
                Seen::Same => {}
            }
            if change.is_last {
                self.is_over = true;
                return Some("event: end\ndata: {}\n\n".to_owned());
            }
            let changed = async {
                sleep(GAP).await;
                self.changes.changed().await.is_ok()
            };
            tokio::select! {
                // The board outlives its streams, as long as the process does.
                is_open = changed => self.is_over = !is_open,
                // At a fixed time: changes of other things come more often, and must not put it off.
                () = sleep_until(self.alive_at) => return Some(": alive\n\n".to_owned()),
                () = sleep_until(self.until) => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::sync::Semaphore;

    struct Followed {
        changes: watch::Sender<Change>,
        value: Arc<AtomicU64>,
        streams: Arc<Semaphore>,
    }

    impl Followed {
        fn new() -> Self {
            let streams = Arc::new(Semaphore::new(1));
            Self { changes: watch::Sender::default(), value: Arc::default(), streams }
        }

        fn follow(&self) -> impl Stream<Item = String> + Unpin {
            let permit = self.streams.clone().try_acquire_owned().unwrap();
            let (value, mut sent) = (self.value.clone(), None);
            let look = move || match value.load(Ordering::Relaxed) {
                9.. => Seen::Gone,
                now if sent.replace(now) == Some(now) => Seen::Same,
                now => Seen::News(now.to_string()),
            };
            let events = events(self.changes.subscribe(), permit, look);
            Box::pin(events.map(|frame| String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap()))
        }

        fn set(&self, value: u64, is_last: bool) {
            self.value.store(value, Ordering::Relaxed);
            self.changes.send_modify(|change| *change = Change { number: change.number + 1, is_last });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_sent_once_and_the_last_one_ends_the_stream() {
        let followed = Followed::new();
        let mut events = followed.follow();
        assert_eq!(events.next().await.unwrap(), "data: 0\n\n");
        followed.set(1, false);
        assert_eq!(events.next().await.unwrap(), "data: 1\n\n");
        followed.set(1, false);
        assert_eq!(events.next().await.unwrap(), ": alive\n\n", "what is the same is not sent again");
        followed.set(2, true);
        assert_eq!(events.next().await.unwrap(), "data: 2\n\n");
        assert_eq!(events.next().await.unwrap(), "event: end\ndata: {}\n\n");
        assert_eq!(followed.streams.available_permits(), 0);
        assert_eq!(events.next().await, None);
        assert_eq!(followed.streams.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_news_shows_that_it_is_alive_whatever_else_changes() {
        let followed = Followed::new();
        let mut events = followed.follow();
        assert_eq!(events.next().await.unwrap(), "data: 0\n\n");
        let begun = Instant::now();
        let others = async {
            loop {
                sleep(Duration::from_secs(1)).await;
                followed.set(0, false);
            }
        };
        tokio::select! {
            () = others => {}
            heard = events.next() => assert_eq!(heard.unwrap(), ": alive\n\n"),
        }
        assert_eq!(begun.elapsed(), ALIVE_EVERY, "clients take a longer silence for the end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_in_time_and_with_what_it_follows() {
        let followed = Followed::new();
        let begun = Instant::now();
        assert!(followed.follow().count().await > 10);
        assert!(begun.elapsed() <= LONGEST + GAP, "{:?}", begun.elapsed());
        followed.set(9, false);
        let all: Vec<_> = followed.follow().collect().await;
        assert_eq!(all, ["event: gone\ndata: {}\n\n"]);
    }
}
