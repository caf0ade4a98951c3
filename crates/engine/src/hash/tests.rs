//! Every path gives the reference's digests, releases its queued bytes, and never hangs.

use bytes::Bytes;
use futures::future::join_all;
use md5::Digest as _;
use proptest::prelude::*;

use super::{Digests, HashStream, Hashing, crc64, digest};

/// MD5 by the `md-5` crate; the CRC is tested against a bitwise one in its own module.
fn reference(content: &[u8]) -> Digests {
    Digests { md5: md5::Md5::digest(content).into(), crc64: crc64::of(content), len: content.len() as u64 }
}

async fn hash(mut stream: HashStream, chunks: &[Vec<u8>]) -> Digests {
    for chunk in chunks {
        stream.update(chunk.clone().into()).await;
        tokio::task::yield_now().await;
    }
    stream.finish().await
}

async fn assert_all_right(hashing: &Hashing, streams: &[Vec<Vec<u8>>]) {
    let digests = join_all(streams.iter().map(|chunks| hash(hashing.stream(), chunks))).await;
    for (digests, chunks) in digests.into_iter().zip(streams) {
        let content = chunks.concat();
        assert_eq!(digests, reference(&content));
        assert_eq!(digests, digest(&content));
    }
    assert_eq!(hashing.queued_bytes(), 0);
}

#[tokio::test]
async fn bodies_in_memory_have_the_same_digests_in_lanes_and_alone() {
    for hashing in [Hashing::new(), Hashing::inline()] {
        let lens = (0..20).map(|n| super::STAGED_FROM * n / 4 + n);
        let bodies: Vec<Bytes> = lens.map(|len| content(len, 3).into()).collect();
        let digests = join_all(bodies.iter().map(|body| hashing.digest(body))).await;
        for (digests, body) in digests.iter().zip(&bodies) {
            assert_eq!(*digests, reference(body), "{} bytes", body.len());
        }
        assert_eq!(hashing.queued_bytes(), 0);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Chunks of a stream: empty ones, some about the size of a block, some of many blocks.
fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let len =
        prop_oneof![1 => Just(0_usize), 4 => 1..200_usize, 2 => (1..9_usize).prop_map(|n| n * 64), 2 => 1..9000_usize];
    let chunk = (len, any::<u8>()).prop_map(|(len, seed)| content(len, seed));
    prop::collection::vec(chunk, 0..12)
}

fn content(len: usize, seed: u8) -> Vec<u8> {
    let mut value = u32::from(seed) | 0x100;
    std::iter::repeat_with(|| {
        value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        value.to_be_bytes()[0]
    })
    .take(len)
    .collect()
}

proptest! {
    #[test]
    fn streams_have_the_digests_of_the_reference(streams in prop::collection::vec(chunks(), 1..=20)) {
        runtime().block_on(assert_all_right(&Hashing::new(), &streams));
    }

    #[test]
    fn held_bytes_have_the_digests_of_the_reference(content in prop::collection::vec(any::<u8>(), 0..1000)) {
        prop_assert_eq!(digest(&content), reference(&content));
    }
}

#[tokio::test]
async fn published_digests() {
    let hashing = Hashing::new();
    let empty = hashing.stream().finish().await;
    assert_eq!(hex(&empty), ("d41d8cd98f00b204e9800998ecf8427e".to_owned(), 0, 0));
    let mut stream = hashing.stream();
    stream.update(Bytes::from_static(b"message ")).await;
    stream.update(Bytes::new()).await;
    stream.update(Bytes::from_static(b"digest")).await;
    let (md5, _, len) = hex(&stream.finish().await);
    assert_eq!((md5.as_str(), len), ("f96b697d7cb7938d525a2f31aaf161d0", 14));
}

fn hex(digests: &Digests) -> (String, u64, u64) {
    let md5 = migration_core::etag::ETag::of_content(&digests.md5);
    (md5.as_str().to_owned(), digests.crc64, digests.len)
}

#[tokio::test]
async fn an_update_counts_though_its_future_was_dropped() {
    let mut stream = Hashing::new().stream();
    drop(stream.update(Bytes::from_static(b"abc")));
    stream.update(Bytes::from_static(b"def")).await;
    assert_eq!(stream.finish().await, reference(b"abcdef"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_a_stage() {
    let hashing = Hashing::new();
    let tasks = (0..40_u8).map(|seed| {
        let stream = hashing.stream();
        tokio::spawn(async move {
            let chunks: Vec<_> = (0..20).map(|n| content(usize::from(seed) * 701 + n * 4099, seed)).collect();
            (hash(stream, &chunks).await, chunks.concat())
        })
    });
    for task in join_all(tasks).await {
        let (digests, content) = task.unwrap();
        assert_eq!(digests, reference(&content));
    }
    assert_eq!(hashing.queued_bytes(), 0);
}

/// Tests of the stage only. The worker is stepped by hand, so that nothing depends on time.
#[cfg(feature = "lanes")]
mod staged {
    use std::sync::Arc;

    use futures::poll;

    use super::super::lanes::Lanes;
    use super::super::stage::{Stage, Worker};
    use super::super::{HashLimits, Path};
    use super::*;

    const LIMITS: HashLimits = HashLimits { total: 4096, stream: 1024 };

    /// Returns `None` if the machine has no lanes.
    fn stalled() -> Option<(Hashing, Worker)> {
        let (stage, worker) = Stage::new(LIMITS, Lanes::detect()?);
        Some((Hashing { stage: Some(stage) }, worker))
    }

    fn bytes(len: usize) -> Bytes {
        content(len, 1).into()
    }

    #[tokio::test]
    async fn a_full_stream_waits_until_some_is_hashed() {
        let Some((hashing, mut worker)) = stalled() else { return };
        let mut stream = hashing.stream();
        let mut update = Box::pin(stream.update(bytes(1025)));
        assert!(poll!(&mut update).is_pending());
        assert_eq!(hashing.queued_bytes(), 1024);
        assert!(poll!(&mut update).is_pending());
        assert!(worker.step());
        update.await;
        assert_eq!(hashing.queued_bytes(), 1);
        let mut finish = Box::pin(stream.finish());
        assert!(poll!(&mut finish).is_pending());
        assert!(worker.step());
        assert_eq!(finish.await, reference(&bytes(1025)));
    }

    #[tokio::test]
    async fn all_streams_wait_when_all_room_is_taken() {
        let Some((hashing, mut worker)) = stalled() else { return };
        let mut streams: Vec<_> = (0..5).map(|_| hashing.stream()).collect();
        for stream in &mut streams[..4] {
            stream.update(bytes(1024)).await;
        }
        assert_eq!(hashing.queued_bytes(), 4096);
        {
            let mut update = Box::pin(streams[4].update(bytes(1)));
            assert!(poll!(&mut update).is_pending());
            assert!(worker.step());
            update.await;
        }
        let finishes = join_all(streams.into_iter().map(HashStream::finish));
        let run = std::thread::spawn(move || while worker.step() {});
        let digests = finishes.await;
        assert!(digests[..4].iter().all(|digests| *digests == reference(&bytes(1024))));
        assert_eq!(digests[4], reference(&bytes(1)));
        assert_eq!(hashing.queued_bytes(), 0);
        drop(hashing);
        run.join().unwrap();
    }

    #[tokio::test]
    async fn a_dropped_stream_frees_what_it_queued() {
        let Some((hashing, mut worker)) = stalled() else { return };
        let chunk = bytes(4096);
        let mut waiting = hashing.stream();
        {
            let mut update = Box::pin(waiting.update(chunk.clone()));
            assert!(poll!(&mut update).is_pending());
        }
        let mut finishing = hashing.stream();
        finishing.update(chunk.slice(..100)).await;
        let mut finish = Box::pin(finishing.finish());
        assert!(poll!(&mut finish).is_pending());
        assert_eq!(hashing.queued_bytes(), 1124);
        assert!(!chunk.is_unique());
        drop((waiting, finish));
        assert_eq!(hashing.queued_bytes(), 0);
        assert!(chunk.is_unique(), "the bytes are released");
        // All of the room is free again.
        let mut streams: Vec<_> = (0..4).map(|_| hashing.stream()).collect();
        for stream in &mut streams {
            let mut update = Box::pin(stream.update(chunk.slice(..1024)));
            assert!(poll!(&mut update).is_ready());
        }
        assert!(worker.step());
    }

    #[test]
    fn a_stream_dropped_while_it_is_hashed_frees_what_it_queued() {
        let Some(lanes) = Lanes::detect() else { return };
        let mut queue = super::super::queue::Queue::new(LIMITS, lanes);
        let room = Arc::new(tokio::sync::Semaphore::new(0));
        let now = std::time::Instant::now();
        queue.push(1, &room, bytes(500), now);
        let super::super::queue::Next::Batch(mut jobs) = queue.next(now) else { panic!("a lone stream does not wait") };
        queue.push(1, &room, bytes(300), now);
        queue.cancel(1).announce();
        assert_eq!(queue.queued(), 800, "the batch holds some of it");
        lanes.hash(&mut jobs);
        let settled = queue.settle(jobs);
        assert_eq!((settled.freed, queue.queued()), (800, 0));
    }

    #[tokio::test]
    async fn streams_go_on_by_themselves_when_the_thread_is_gone() {
        let Some((hashing, mut worker)) = stalled() else { return };
        let mut hashed = hashing.stream();
        hashed.update(bytes(700)).await;
        assert!(worker.step());
        let mut finishing = hashing.stream();
        finishing.update(bytes(300)).await;
        let mut finish = Box::pin(finishing.finish());
        assert!(poll!(&mut finish).is_pending());
        let mut waiting = hashing.stream();
        let mut update = Box::pin(waiting.update(bytes(5000)));
        assert!(poll!(&mut update).is_pending());
        let mut dropped = hashing.stream();
        dropped.update(bytes(10)).await;

        drop(worker);
        assert_eq!(finish.await, reference(&bytes(300)));
        update.await;
        assert_eq!(waiting.finish().await, reference(&bytes(5000)));
        hashed.update(bytes(1)).await;
        assert_eq!(hashed.finish().await, reference(&[bytes(700), bytes(1)].concat()));
        drop(dropped);
        assert_eq!(hashing.queued_bytes(), 0);
        let new = hashing.stream();
        assert!(matches!(new.md5, Path::Inline(_)));
        assert_eq!(hash(new, &[vec![7]]).await, reference(&[7]));
    }

    #[test]
    fn a_panic_of_the_thread_loses_nothing() {
        let Some((hashing, worker)) = stalled() else { return };
        let mut stream = hashing.stream();
        runtime().block_on(stream.update(bytes(1000)));
        let thread = std::thread::spawn(move || {
            let _worker = worker;
            panic!("as a defect of the lanes would");
        });
        assert!(thread.join().is_err());
        assert_eq!(runtime().block_on(stream.finish()), reference(&bytes(1000)));
    }

    #[test]
    fn the_thread_ends_with_the_last_stream() {
        let Some((hashing, mut worker)) = stalled() else { return };
        let stream = hashing.stream();
        let run = std::thread::spawn(move || while worker.step() {});
        drop(hashing);
        assert_eq!(runtime().block_on(hash(stream, &[vec![1, 2, 3]])), reference(&[1, 2, 3]));
        run.join().unwrap();
    }

    proptest! {
        #[test]
        fn one_by_one_has_the_digests_of_the_reference(streams in prop::collection::vec(chunks(), 1..=20)) {
            runtime().block_on(assert_all_right(&Hashing { stage: None }, &streams));
        }

        /// Limits below one chunk, so that pieces wait everywhere.
        #[test]
        fn little_room_changes_nothing(streams in prop::collection::vec(chunks(), 1..=20)) {
            let Some(lanes) = Lanes::detect() else { return Ok(()) };
            let limits = HashLimits { total: 2000, stream: 500 };
            let hashing = Hashing { stage: Some(Stage::start(limits, lanes).unwrap()) };
            runtime().block_on(assert_all_right(&hashing, &streams));
        }
    }
}
