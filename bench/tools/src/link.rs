//! A link between two hosts: TCP connections with a delay and with one rate for all of them together.
//!
//! A chunk is sent on when the link has had time for it and half of the round trip is over since. What a connection is
//! given waits in the link's queue; while that is full, nothing is read, so that the sender is slowed down as by a
//! network. A connection costs a round trip before its first byte, as the handshake of TCP does.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::accept::{listen, next};
use crate::counts::{self, Counts};

/// Most bytes of a chunk.
const CHUNK: usize = 64 << 10;
/// Most chunks under way on a connection in one direction: 16 MiB, more than the window of a connection.
const UNDER_WAY: usize = 256;
/// How far the link may be booked ahead before senders wait.
const QUEUE: Duration = Duration::from_millis(50);
/// Header that names a request of the AWS JSON protocol.
const TARGET: &[u8] = b"x-amz-target:";

/// What the link is like.
#[derive(Debug, Args)]
pub struct Settings {
    /// Port of this machine to listen on.
    #[arg(long)]
    port: u16,
    /// Port of this machine to connect to.
    #[arg(long)]
    to: u16,
    /// Round trip, in milliseconds.
    #[arg(long, default_value_t = 0)]
    round_trip: u64,
    /// Bytes a second in each direction, of all connections together. By default as many as the machine passes.
    #[arg(long)]
    rate: Option<u64>,
    /// Port that tells how many requests passed, by the header X-Amz-Target.
    #[arg(long)]
    counts: Option<u16>,
}

/// Passes connections on until the process is ended.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let listener = listen("port", settings.port).await?;
    let counts = Counts::default();
    if let Some(port) = settings.counts {
        let counts = counts.clone();
        counts::tell(port, move || counts.json()).await?;
    }
    let round_trip = Duration::from_millis(settings.round_trip);
    let lane = || Lane { delay: round_trip / 2, rate: settings.rate, free: Arc::default() };
    let (up, down) = (lane(), lane());
    loop {
        let stream = next(&listener).await;
        let counted = settings.counts.is_some().then(|| counts.clone());
        let (up, down) = (up.clone(), down.clone());
        tokio::spawn(async move {
            if let Err(error) = pass(stream, settings.to, round_trip, (up, down), counted).await {
                eprintln!("a connection broke: {error:#}");
            }
        });
    }
}

async fn pass(
    stream: TcpStream,
    to: u16,
    round_trip: Duration,
    (up, down): (Lane, Lane),
    counts: Option<Counts>,
) -> anyhow::Result<()> {
    tokio::time::sleep(round_trip).await;
    let service = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, to))).await;
    let service = service.context("failed to connect to the service")?;
    service.set_nodelay(true).context("failed to set TCP_NODELAY")?;
    let ((from_client, to_client), (from_service, to_service)) = (stream.into_split(), service.into_split());
    let (ended_up, ended_down) = tokio::join!(
        up.pass(from_client, to_service, counts.map(Targets::new)),
        down.pass(from_service, to_client, None)
    );
    ended_up.and(ended_down)
}

/// One direction of the link.
#[derive(Clone, Debug)]
struct Lane {
    delay: Duration,
    rate: Option<u64>,
    /// When the link has sent all that it was given.
    free: Arc<Mutex<Option<Instant>>>,
}

impl Lane {
    /// Passes one direction of a connection on, to its end.
    async fn pass(&self, from: OwnedReadHalf, to: OwnedWriteHalf, targets: Option<Targets>) -> anyhow::Result<()> {
        let (sent, received) = mpsc::channel(UNDER_WAY);
        let (read, written) = tokio::join!(self.read(from, sent, targets), write(received, to));
        read.and(written)
    }

    async fn read(
        &self,
        mut from: OwnedReadHalf,
        sent: mpsc::Sender<(Instant, Bytes)>,
        mut targets: Option<Targets>,
    ) -> anyhow::Result<()> {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            if from.read_buf(&mut buffer).await.context("failed to read")? == 0 {
                return Ok(());
            }
            let chunk = buffer.split().freeze();
            if let Some(targets) = &mut targets {
                targets.see(&chunk);
            }
            let gone = self.book(chunk.len(), Instant::now());
            // The other side is gone: so is the connection.
            if sent.send((gone + self.delay, chunk)).await.is_err() {
                return Ok(());
            }
            if let Some(begin) = gone.checked_sub(QUEUE) {
                sleep_until(begin).await;
            }
        }
    }

    /// Books the link for a chunk; returns when it is gone.
    fn book(&self, len: usize, now: Instant) -> Instant {
        let Some(rate) = self.rate else { return now };
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = free.map_or(now, |free| free.max(now));
        let takes = Duration::from_nanos(len as u64 * 1_000_000_000 / rate.max(1));
        *free.insert(begins + takes)
    }
}

async fn write(mut received: mpsc::Receiver<(Instant, Bytes)>, mut to: OwnedWriteHalf) -> anyhow::Result<()> {
    while let Some((due, chunk)) = received.recv().await {
        if due > Instant::now() {
            sleep_until(due).await;
        }
        to.write_all(&chunk).await.context("failed to write")?;
    }
    to.shutdown().await.context("failed to end a connection")
}

/// Finds the requests of a connection by their header.
#[derive(Debug)]
struct Targets {
    counts: Counts,
    /// The last bytes, in which a header may begin.
    rest: Vec<u8>,
}

impl Targets {
    fn new(counts: Counts) -> Self {
        Self { counts, rest: Vec::new() }
    }

    fn see(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
        let mut at = 0;
        while let Some((name, end)) = target(&self.rest[at..]) {
            self.counts.add(Cow::Owned(name), 1);
            at += end;
        }
        let begun = begun(&self.rest[at..]);
        self.rest.drain(..at + begun);
    }
}

/// Returns the first target of these bytes, and where it ends.
fn target(bytes: &[u8]) -> Option<(String, usize)> {
    let start = header(bytes)? + TARGET.len();
    let len = bytes[start..].iter().position(|byte| *byte == b'\r')?;
    Some((String::from_utf8_lossy(&bytes[start..start + len]).trim().to_owned(), start + len))
}

fn header(bytes: &[u8]) -> Option<usize> {
    bytes.windows(TARGET.len()).position(|window| window.eq_ignore_ascii_case(TARGET))
}

/// Returns where a header may have begun that is not whole yet.
fn begun(bytes: &[u8]) -> usize {
    header(bytes).unwrap_or_else(|| bytes.len().saturating_sub(TARGET.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_counted_wherever_chunks_end() {
        let request = b"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nhost: a\r\n\r\n{}";
        let all: Vec<u8> = request.iter().copied().cycle().take(request.len() * 3).collect();
        for size in [1, 7, 50, 1_000] {
            let mut targets = Targets::new(Counts::default());
            all.chunks(size).for_each(|chunk| targets.see(chunk));
            assert_eq!(targets.counts.json(), r#"{"AmazonSQS.ReceiveMessage":3}"#, "{size}");
            assert!(targets.rest.len() < TARGET.len(), "{size}");
        }
    }

    #[test]
    fn chunks_follow_each_other_at_the_rate() {
        let lane = Lane { delay: Duration::ZERO, rate: Some(1_000), free: Arc::default() };
        let now = Instant::now();
        assert_eq!(lane.book(500, now), now + Duration::from_millis(500));
        assert_eq!(lane.clone().book(500, now), now + Duration::from_secs(1), "of another connection");
        let later = now + Duration::from_secs(5);
        assert_eq!(lane.book(100, later), later + Duration::from_millis(100), "an idle link saves nothing up");
    }
}
