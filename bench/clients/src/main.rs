//! Measures ways to send S3's requests that carry bytes, each on the same work: GETs of whole objects, and PUTs of as
//! many, in small and in middle size. Run by `make bench-clients`.

mod by_sdk;
mod common_runtime;
mod direct;
mod way;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use tokio::task::JoinSet;

use self::way::{Body, Target, Way};

/// Measures one way to send requests. Prints seconds and seconds of processor as JSON.
#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Who sends the requests.
    #[arg(long)]
    way: Name,
    /// URL of the service. Keys are in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    #[arg(long)]
    endpoint: String,
    /// Bucket with the objects `0`, `1`, …
    #[arg(long)]
    source: String,
    /// Bucket to write to.
    #[arg(long)]
    destination: String,
    /// Number of objects.
    #[arg(long)]
    objects: u32,
    /// Size of each, in bytes.
    #[arg(long)]
    size: usize,
    /// Objects at once.
    #[arg(long, default_value_t = 16)]
    in_flight: u32,
}

/// A way to send requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// The AWS SDK for Rust, with its defaults.
    Sdk,
    /// The SDK without what can be left out.
    SlimSdk,
    /// The AWS Common Runtime, by `mountpoint-s3-client`.
    CommonRuntime,
    /// `S3Store` of `migration-aws`.
    Direct,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let target = Target {
        endpoint: arguments.endpoint.clone(),
        source: arguments.source.clone(),
        destination: arguments.destination.clone(),
    };
    match arguments.way {
        Name::Sdk => measure(by_sdk::BySdk::as_it_is(target).await, &arguments).await,
        Name::SlimSdk => measure(by_sdk::BySdk::slim(target)?, &arguments).await,
        Name::CommonRuntime => measure(common_runtime::CommonRuntime::new(target)?, &arguments).await,
        Name::Direct => measure(direct::Direct::new(target).await?, &arguments).await,
    }
}

/// Does the work and prints what it took. What is done once, such as connecting, is done before.
async fn measure<W: Way>(way: W, arguments: &Arguments) -> anyhow::Result<()> {
    let (way, size) = (Arc::new(way), arguments.size);
    let first = way.get("0").await.context("failed to read the first object")?;
    check_size(&first, size)?;
    let body = Body::new(first.concat().into());
    work(&way, &body, arguments.in_flight, arguments).await?;
    let (began, cpu) = (Instant::now(), processor()?);
    work(&way, &body, arguments.objects, arguments).await?;
    let (seconds, cpu) = (began.elapsed(), processor()?.saturating_sub(cpu));
    println!("{}", serde_json::json!({ "seconds": seconds.as_secs_f64(), "cpu": cpu.as_secs_f64() }));
    Ok(())
}

/// Reads and writes objects, so many at once.
async fn work<W: Way>(way: &Arc<W>, body: &Body, objects: u32, arguments: &Arguments) -> anyhow::Result<()> {
    let (next, mut tasks) = (Arc::new(AtomicU32::new(0)), JoinSet::new());
    for _ in 0..arguments.in_flight {
        let (way, body, next, size) = (way.clone(), body.clone(), next.clone(), arguments.size);
        tasks.spawn(async move {
            loop {
                let object = next.fetch_add(1, Ordering::Relaxed);
                if object >= objects {
                    return anyhow::Ok(());
                }
                let key = object.to_string();
                check_size(&way.get(&key).await.with_context(|| format!("failed to read {key}"))?, size)?;
                let etag = way.put(&key, &body).await.with_context(|| format!("failed to write {key}"))?;
                ensure!(etag == body.etag, "the service has something else as {key}: {etag:?}");
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Fails if a body has another size.
fn check_size(chunks: &[Bytes], size: usize) -> anyhow::Result<()> {
    let len: usize = chunks.iter().map(Bytes::len).sum();
    ensure!(len == size, "the body has {len} bytes, and {size} were expected");
    Ok(())
}

/// Returns the time of the processor that this process took so far: fields 14 and 15 of `/proc/self/stat`, in ticks of
/// 10 ms.
fn processor() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("failed to read the processor time")?;
    // The name in field 2 may contain spaces; it ends with the last parenthesis.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let ticks: u64 = fields.take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
