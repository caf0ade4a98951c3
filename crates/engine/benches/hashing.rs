//! Measures the hashing stage against the `md-5` crate, in one run, so that the ratios hold on a busy machine too.
//!
//! `cargo bench -p migration-engine --bench hashing`, with `--no-default-features` to measure without lanes. MB/s are
//! by the clock. CPU is of the whole process, senders included, with CRC-64 except where only MD5 is named.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use md5::{Digest, Md5};
use migration_engine::hash::{HashStream, Hashing, digest};
use tokio::runtime::{Builder, Runtime};

const GIB: u64 = 1 << 30;
const CHUNK: usize = 64 << 10;
/// Bytes hashed in each row, by all streams together.
const BYTES: u64 = GIB;
/// Lengths of chunks as received from a socket, in bytes; none is a multiple of MD5's block.
const RAGGED: [usize; 7] = [8_191, 16_379, 65_521, 131_071, 24_571, 262_139, 399_989];

/// Cost of a row.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu: f64,
}

/// Rate at which the streams of a row send, together.
#[derive(Clone, Copy)]
enum Pace {
    AsFastAsHashed,
    BytesPerSecond(f64),
}

fn main() -> std::io::Result<()> {
    let buffer: Bytes = (0..4_u32 << 20).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let reference = measure(|| {
        let mut md5 = Md5::new();
        each_chunk(&buffer, |chunk| md5.update(chunk));
        black_box(md5.finalize());
    });
    println!("{:<44} {:>7} {:>6} {:>10} {:>6}", "", "MB/s", "ratio", "CPU-s/GiB", "ratio");
    print("md-5 crate, one stream, only MD5", reference, reference);
    let held = measure(|| {
        each_chunk(&buffer, |chunk| {
            black_box(digest(chunk));
        });
    });
    print("digest(), bodies of 64 KiB", held, reference);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    for streams in [1, 2, 4, 8, 16, 24, 32] {
        let cost = staged(&runtime, &buffer, 1, streams, &[CHUNK], Pace::AsFastAsHashed);
        print(&format!("stage, {streams} streams"), cost, reference);
    }
    let cost = staged(&runtime, &buffer, 1, 16, &RAGGED, Pace::AsFastAsHashed);
    print("stage, 16 streams, ragged chunks of 8-400 KiB", cost, reference);
    let cost = staged(&runtime, &buffer, 2, 16, &[CHUNK], Pace::AsFastAsHashed);
    print("two stages, 8 streams each", cost, reference);
    for rate in [200, 400, 800] {
        let pace = Pace::BytesPerSecond(f64::from(rate) * 1e6);
        let cost = staged(&runtime, &buffer, 1, 16, &[CHUNK], pace);
        print(&format!("stage, 16 streams, {rate} MB/s come in"), cost, reference);
    }
    Ok(())
}

fn each_chunk(buffer: &Bytes, mut hash: impl FnMut(&[u8])) {
    let chunks = buffer.chunks_exact(CHUNK).cycle();
    chunks.take(usize::try_from(BYTES).unwrap_or(usize::MAX) / CHUNK).for_each(&mut hash);
}

fn staged(runtime: &Runtime, buffer: &Bytes, stages: usize, streams: usize, chunks: &[usize], pace: Pace) -> Cost {
    let stages: Vec<_> = (0..stages).map(|_| Hashing::new()).collect();
    let share = BYTES / streams as u64;
    measure(|| {
        let begin = Instant::now();
        let senders: Vec<_> = (0..streams)
            .map(|n| {
                let (stream, buffer, chunks) = (stages[n % stages.len()].stream(), buffer.clone(), chunks.to_vec());
                runtime.spawn(async move {
                    let pace = match pace {
                        Pace::AsFastAsHashed => None,
                        // Interleaved, as the chunks of many sockets arrive.
                        Pace::BytesPerSecond(rate) => {
                            let offset = Duration::from_secs_f64(seconds((n * CHUNK) as u64) / rate);
                            Some((begin + offset, rate / share_of(streams)))
                        }
                    };
                    send(stream, &buffer, n, share, &chunks, pace).await;
                })
            })
            .collect();
        let ended = runtime.block_on(join_all(senders));
        assert!(ended.iter().all(Result::is_ok), "a sender panicked");
    })
}

fn share_of(streams: usize) -> f64 {
    f64::from(u32::try_from(streams).unwrap_or(u32::MAX))
}

/// Sends one stream's share, from its own offset in the buffer.
async fn send(
    mut stream: HashStream,
    buffer: &Bytes,
    n: usize,
    share: u64,
    chunks: &[usize],
    pace: Option<(Instant, f64)>,
) {
    let mut lens = chunks.iter().copied().cycle().skip(n);
    let (mut sent, mut at) = (0_u64, n * CHUNK % (buffer.len() / 2));
    while sent < share {
        let len = lens.next().unwrap_or(CHUNK).min(usize::try_from(share - sent).unwrap_or(CHUNK));
        at = if at + len > buffer.len() { 0 } else { at };
        stream.update(buffer.slice(at..at + len)).await;
        (sent, at) = (sent + len as u64, at + len);
        if let Some((begin, rate)) = pace {
            let due = begin + Duration::from_secs_f64(seconds(sent) / rate);
            tokio::time::sleep_until(due.into()).await;
        }
    }
    black_box(stream.finish().await);
}

/// Returns the time that this many bytes take at one byte per second.
#[allow(clippy::cast_precision_loss, reason = "a few GiB are exact")]
fn seconds(bytes: u64) -> f64 {
    bytes as f64
}

fn measure(run: impl FnOnce()) -> Cost {
    let (clock, cpu) = (Instant::now(), cpu_seconds());
    run();
    Cost { seconds: clock.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu }
}

/// Returns the processor time of this process so far: fields 14 and 15 of `/proc/self/stat`, in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in field 2 may contain spaces; it ends with the last parenthesis.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    fields.take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn print(name: &str, cost: Cost, reference: Cost) {
    let (rate, cpu) = (seconds(BYTES) / cost.seconds / 1e6, cost.cpu * seconds(GIB) / seconds(BYTES));
    let (faster, cheaper) = (reference.seconds / cost.seconds, reference.cpu / cost.cpu);
    println!("{name:<44} {rate:>7.0} {faster:>5.2}x {cpu:>10.2} {cheaper:>5.1}x");
}
