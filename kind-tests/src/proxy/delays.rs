//! Delays of requests, as on a slow network or by a service that does not answer.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::classify::Request;

/// A delay before requests are forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// Bucket of the requests.
    pub bucket: String,
    /// Operation of the requests.
    pub operation: String,
    /// Delay in milliseconds.
    pub millis: u64,
}

/// A delay that no test lives to see the end of, in milliseconds: requests are held until it is taken away.
pub const HELD_MS: u64 = 24 * 3_600_000;

/// The delays of all proxies of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Delays(Arc<watch::Sender<Vec<Delay>>>);

/// A request that may have to wait.
#[derive(Debug)]
pub struct Waiting {
    bucket: String,
    operation: String,
    arrived: Instant,
    delays: watch::Receiver<Vec<Delay>>,
}

impl Delays {
    /// Sets the delay of an operation on a bucket; 0 removes it. It counts for requests that wait, too.
    pub fn set(&self, delay: Delay) {
        self.0.send_modify(|delays| {
            delays.retain(|d| (&d.bucket, &d.operation) != (&delay.bucket, &delay.operation));
            if delay.millis > 0 {
                delays.push(delay);
            }
        });
    }

    /// Returns a request that has just arrived.
    pub fn arrived(&self, request: &Request) -> Waiting {
        let (bucket, operation) = (request.bucket.clone(), request.operation.clone());
        Waiting { bucket, operation, arrived: Instant::now(), delays: self.0.subscribe() }
    }
}

impl Waiting {
    /// Waits until the delay is over that is set for the request, now or meanwhile.
    pub async fn wait(mut self) {
        while let Some(left) = self.left() {
            tokio::select! {
                () = sleep(left) => return,
                changed = self.delays.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Returns how long the request still has to wait.
    fn left(&mut self) -> Option<Duration> {
        let delays = self.delays.borrow_and_update();
        let is_its = |delay: &&Delay| (&delay.bucket, &delay.operation) == (&self.bucket, &self.operation);
        let delay = Duration::from_millis(delays.iter().find(is_its)?.millis);
        delay.checked_sub(self.arrived.elapsed()).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(millis: u64) -> Delay {
        Delay { bucket: "a".into(), operation: "PutObject".into(), millis }
    }

    fn request(bucket: &str) -> Request {
        Request { operation: "PutObject".into(), bucket: bucket.into(), ..Request::default() }
    }

    /// Checks the time since `began`. The clock of a test stands still while work is done; timers end on whole milliseconds.
    fn assert_elapsed(began: Instant, millis: u64, what: &str) {
        let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap();
        assert!((millis..millis + 5).contains(&elapsed), "{what}: {elapsed} ms instead of {millis}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_is_of_one_operation_on_a_bucket() {
        let delays = Delays::default();
        delays.set(delay(500));
        let began = Instant::now();
        delays.arrived(&request("b")).wait().await;
        assert_elapsed(began, 0, "another bucket");
        delays.arrived(&request("a")).wait().await;
        assert_elapsed(began, 500, "the bucket");
        delays.set(delay(0));
        delays.arrived(&request("a")).wait().await;
        assert_elapsed(began, 500, "without the delay");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_goes_on_when_the_delay_is_shortened_or_taken_away() {
        for (later, expected) in [(0, 100), (50, 100), (300, 300)] {
            let delays = Delays::default();
            delays.set(delay(HELD_MS));
            let (began, held) = (Instant::now(), delays.arrived(&request("a")));
            let shorten = async {
                sleep(Duration::from_millis(100)).await;
                delays.set(delay(later));
            };
            tokio::join!(held.wait(), shorten);
            assert_elapsed(began, expected, &format!("shortened to {later} ms"));
        }
    }
}
