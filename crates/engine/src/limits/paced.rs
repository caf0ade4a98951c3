//! Bodies that pass at a limited rate.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use migration_core::error::ServiceError;
use migration_core::ports::ByteStream;

use super::bandwidth::{Bandwidth, InFlight};
use super::stopping::Stopping;

/// The rest of a body.
struct Rest {
    body: ByteStream,
    /// What arrived and has not passed yet: at most one chunk of the service.
    held: Bytes,
    /// Bytes that have not passed.
    left: u64,
    in_flight: InFlight,
    stopping: Stopping,
}

/// Returns a body of `len` bytes, which pass as the limit allows. Nothing is read ahead of them. Fails, and so does the
/// body, when the process has to stop and they would not all pass in time.
pub(super) fn paced(
    body: ByteStream,
    len: u64,
    bandwidth: &Arc<Bandwidth>,
    stopping: &Stopping,
) -> Result<ByteStream, ServiceError> {
    let in_flight = bandwidth.enter();
    in_flight.check(len, stopping)?;
    let rest = Rest { body, held: Bytes::new(), left: len, in_flight, stopping: stopping.clone() };
    Ok(stream::unfold(rest, |mut rest| async move { rest.next().await.map(|piece| (piece, rest)) }).boxed())
}

impl Rest {
    async fn next(&mut self) -> Option<Result<Bytes, ServiceError>> {
        while self.held.is_empty() {
            match self.body.next().await? {
                Ok(chunk) => self.held = chunk,
                Err(error) => return Some(Err(error)),
            }
        }
        let size = match self.in_flight.pass(self.held.len(), self.left, &self.stopping).await {
            Ok(size) => size,
            Err(error) => {
                // It ends here.
                (self.body, self.held) = (stream::empty().boxed(), Bytes::new());
                return Some(Err(error));
            }
        };
        self.left = self.left.saturating_sub(size as u64);
        Some(Ok(self.held.split_to(size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use futures::future::join_all;
    use migration_core::error::ErrorClass;
    use migration_core::timetable::{Timetable, Unit};
    use migration_testkit::TestClock;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use crate::limits::pacer::Pacer;
    use crate::limits::{Fleet, Times, UTC};

    /// Pause of a body after which the adapters and services take it for dead.
    const STALLED: Duration = Duration::from_secs(20);

    /// A limit that begins on Wednesday, 2026-12-02, at this time.
    fn bandwidth(timetable: &str, time: &str) -> Arc<Bandwidth> {
        let number = |place: usize| time[place..place + 2].parse::<i64>().unwrap();
        let begin = 1_796_169_600 + (number(0) * 60 + number(3)) * 60 + number(6);
        let clock = Arc::new(TestClock::following_tokio(begin * 1_000));
        let times = Times { started: Instant::now(), clock, local: UTC };
        let timetable = Timetable::parse(timetable, Unit::Bytes).unwrap();
        Arc::new(Bandwidth::new(Arc::new(Pacer::new(timetable, times, Fleet::Alone, Arc::default()))))
    }

    fn body(chunks: Vec<usize>) -> ByteStream {
        stream::iter(chunks).map(|len| Ok(Bytes::from(vec![7; len]))).boxed()
    }

    /// Returns a body that passes while the process need not stop.
    fn passing(body: ByteStream, bandwidth: &Arc<Bandwidth>) -> ByteStream {
        paced(body, 0, bandwidth, &Stopping::new(CancellationToken::new(), Duration::ZERO)).unwrap()
    }

    /// Reads a body to its end, and returns its length, the time it took, and its longest pause.
    async fn read(mut body: ByteStream) -> (usize, Duration, Duration) {
        let begin = Instant::now();
        let (mut len, mut pause, mut last) = (0, Duration::ZERO, begin);
        while let Some(piece) = body.next().await {
            len += piece.unwrap().len();
            pause = pause.max(last.elapsed());
            last = Instant::now();
        }
        (len, begin.elapsed(), pause)
    }

    /// The first tenth of a second may pass at once.
    fn is_about(time: Duration, seconds: f64) -> bool {
        (seconds * 0.97 - 0.1..=seconds * 1.03 + 0.1).contains(&time.as_secs_f64())
    }

    #[tokio::test(start_paused = true)]
    async fn one_body_has_the_whole_rate() {
        for (limit, seconds) in [("8k", 128.0), ("64k", 16.0), ("1M", 1.0), ("1G", 0.0), ("off", 0.0)] {
            let bandwidth = bandwidth(limit, "00:00:00");
            // Pieces of a megabyte, as some services send them, and some that are empty.
            let (len, time, pause) = read(passing(body(vec![0, 1 << 19, 0, 1 << 19]), &bandwidth)).await;
            assert!(len == 1 << 20 && is_about(time, seconds), "{limit}: {len} bytes in {time:?}");
            assert!(pause < Duration::from_secs(2), "{limit}: {pause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_bodies_share_the_rate_and_none_stalls() {
        let bandwidth = bandwidth("8k", "00:00:00");
        let bodies = (0..64).map(|_| read(passing(body(vec![16 << 10]), &bandwidth)));
        let results = join_all(bodies).await;
        let time = results.iter().map(|(_, time, _)| *time).max().unwrap_or_default();
        assert!(is_about(time, 128.0), "{time:?}");
        let pause = results.iter().map(|(_, _, pause)| *pause).max().unwrap_or_default();
        assert!(pause < STALLED / 2, "{pause:?}");
        // Bodies that have ended don't take a share.
        assert!(is_about(read(passing(body(vec![8 << 10]), &bandwidth)).await.1, 1.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_timetable_takes_effect_within_a_body() {
        // 60 s at 8 KiB/s, then 64 KiB/s for 1 MiB - 480 KiB.
        let faster = bandwidth("00:00,8k 10:00,64k", "09:59:00");
        let (_, time, _) = read(passing(body(vec![1 << 20]), &faster)).await;
        assert!(is_about(time, 60.0 + 8.5), "{time:?}");
        let off = bandwidth("00:00,8k 10:00,off", "09:59:00");
        assert!(is_about(read(passing(body(vec![1 << 20]), &off)).await.1, 60.0));
        // The first body takes no time, and the second one begins in the same minute.
        let slower = bandwidth("00:00,off 10:00,8k", "09:59:59");
        assert!(is_about(read(passing(body(vec![1 << 30]), &slower)).await.1, 0.0));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(is_about(read(passing(body(vec![80 << 10]), &slower)).await.1, 10.0));
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_go_on_when_a_fast_limit_becomes_a_slow_one() {
        let bandwidth = bandwidth("00:00,30M 10:00,64k", "09:59:59");
        let bodies = (0..16).map(|_| read(passing(body(vec![1 << 20; 3]), &bandwidth)));
        let results = join_all(bodies).await;
        let pause = results.iter().map(|(_, _, pause)| *pause).max().unwrap_or_default();
        assert!(pause < STALLED / 2, "{pause:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_passes_at_once() {
        let bandwidth = bandwidth("8k", "00:00:00");
        let error = ServiceError::new(ErrorClass::Transient, "get object", "Broken", "no");
        let chunks = vec![Ok(Bytes::from_static(b"abc")), Err(error.clone())];
        let results: Vec<_> = passing(stream::iter(chunks).boxed(), &bandwidth).collect().await;
        assert_eq!(results, [Ok(Bytes::from_static(b"abc")), Err(error)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_goes_on_after_the_stop_if_it_ends_in_time() {
        // Two bodies of 8 s end after 16 s. If there is less time, the first one to see it gives way to the other.
        for (grace, whole) in [(17, 2), (15, 1), (7, 0)] {
            let (bandwidth, stop) = (bandwidth("8k", "00:00:00"), CancellationToken::new());
            let stopping = Stopping::new(stop.clone(), Duration::from_secs(grace));
            let two = || paced(body(vec![64 << 10]), 64 << 10, &bandwidth, &stopping).unwrap();
            let bodies = [two(), two()];
            stop.cancel();
            let ends = join_all(bodies.map(StreamExt::collect::<Vec<_>>)).await;
            let (ended, broken): (Vec<_>, Vec<_>) = ends.iter().partition(|pieces| pieces.iter().all(Result::is_ok));
            assert_eq!(ended.len(), whole, "in {grace} s");
            assert!(ended.iter().all(|pieces| pieces.iter().flatten().map(Bytes::len).sum::<usize>() == 64 << 10));
            let is_stopped = |error: &ServiceError| error.class == ErrorClass::Stopped;
            assert!(broken.iter().all(|pieces| matches!(pieces.last(), Some(Err(error)) if is_stopped(error))));
            // No other body begins if it would not end.
            tokio::time::sleep(Duration::from_secs(grace)).await;
            assert!(paced(body(vec![1]), 1, &bandwidth, &stopping).is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_waits_ends_with_the_share() {
        let (bandwidth, stop) = (bandwidth("8k", "00:00:00"), CancellationToken::new());
        let stopping = Stopping::new(stop.clone(), Duration::from_secs(100));
        let passing = paced(body(vec![64 << 10]), 64 << 10, &bandwidth, &stopping).unwrap();
        stop.cancel();
        let lose = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            bandwidth.pacer().set(0, migration_core::pace::Validity::Unlimited);
        };
        let begin = Instant::now();
        let (pieces, ()) = tokio::join!(passing.collect::<Vec<_>>(), lose);
        assert!(matches!(pieces.last(), Some(Err(error)) if error.class == ErrorClass::Stopped));
        assert!(begin.elapsed() <= Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}
