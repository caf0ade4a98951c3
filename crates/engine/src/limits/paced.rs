//! Bodies that pass at a limited rate.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use migration_core::error::ServiceError;
use migration_core::ports::ByteStream;

use super::bandwidth::{Bandwidth, InFlight};

/// The rest of a body.
struct Rest {
    body: ByteStream,
    /// What arrived and has not passed yet: at most one chunk of the service.
    held: Bytes,
    in_flight: InFlight,
}

/// Returns a body whose bytes pass as the limit allows. Nothing is read ahead of them.
pub(super) fn paced(body: ByteStream, bandwidth: &Arc<Bandwidth>) -> ByteStream {
    let rest = Rest { body, held: Bytes::new(), in_flight: bandwidth.enter() };
    stream::unfold(rest, |mut rest| async move { rest.next().await.map(|piece| (piece, rest)) }).boxed()
}

impl Rest {
    async fn next(&mut self) -> Option<Result<Bytes, ServiceError>> {
        while self.held.is_empty() {
            match self.body.next().await? {
                Ok(chunk) => self.held = chunk,
                Err(error) => return Some(Err(error)),
            }
        }
        let size = self.in_flight.pass(self.held.len()).await;
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
            let (len, time, pause) = read(paced(body(vec![0, 1 << 19, 0, 1 << 19]), &bandwidth)).await;
            assert!(len == 1 << 20 && is_about(time, seconds), "{limit}: {len} bytes in {time:?}");
            assert!(pause < Duration::from_secs(2), "{limit}: {pause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_bodies_share_the_rate_and_none_stalls() {
        let bandwidth = bandwidth("8k", "00:00:00");
        let bodies = (0..64).map(|_| read(paced(body(vec![16 << 10]), &bandwidth)));
        let results = join_all(bodies).await;
        let time = results.iter().map(|(_, time, _)| *time).max().unwrap_or_default();
        assert!(is_about(time, 128.0), "{time:?}");
        let pause = results.iter().map(|(_, _, pause)| *pause).max().unwrap_or_default();
        assert!(pause < STALLED / 2, "{pause:?}");
        // Bodies that have ended don't take a share.
        assert!(is_about(read(paced(body(vec![8 << 10]), &bandwidth)).await.1, 1.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_timetable_takes_effect_within_a_body() {
        // 60 s at 8 KiB/s, then 64 KiB/s for 1 MiB - 480 KiB.
        let faster = bandwidth("00:00,8k 10:00,64k", "09:59:00");
        let (_, time, _) = read(paced(body(vec![1 << 20]), &faster)).await;
        assert!(is_about(time, 60.0 + 8.5), "{time:?}");
        let off = bandwidth("00:00,8k 10:00,off", "09:59:00");
        assert!(is_about(read(paced(body(vec![1 << 20]), &off)).await.1, 60.0));
        // The first body takes no time, and the second one begins in the same minute.
        let slower = bandwidth("00:00,off 10:00,8k", "09:59:59");
        assert!(is_about(read(paced(body(vec![1 << 30]), &slower)).await.1, 0.0));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(is_about(read(paced(body(vec![80 << 10]), &slower)).await.1, 10.0));
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_go_on_when_a_fast_limit_becomes_a_slow_one() {
        let bandwidth = bandwidth("00:00,30M 10:00,64k", "09:59:59");
        let bodies = (0..16).map(|_| read(paced(body(vec![1 << 20; 3]), &bandwidth)));
        let results = join_all(bodies).await;
        let pause = results.iter().map(|(_, _, pause)| *pause).max().unwrap_or_default();
        assert!(pause < STALLED / 2, "{pause:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_passes_at_once() {
        let bandwidth = bandwidth("8k", "00:00:00");
        let error = ServiceError::new(ErrorClass::Transient, "get object", "Broken", "no");
        let chunks = vec![Ok(Bytes::from_static(b"abc")), Err(error.clone())];
        let results: Vec<_> = paced(stream::iter(chunks).boxed(), &bandwidth).collect().await;
        assert_eq!(results, [Ok(Bytes::from_static(b"abc")), Err(error)]);
    }
}
