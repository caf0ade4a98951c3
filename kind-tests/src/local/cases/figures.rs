//! Memory, time to the first answer, and the size of the state.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use md5::{Digest as _, Md5};
use migration_aws::SystemClock;
use migration_core::ports::{Attributes, ObjectStore as _, PutRequest, Tags, WriteCondition};
use migration_local::store::{BucketSettings, LocalStore, StoreSettings};
use migration_s3_server::{Credentials, Server, ServerSettings};
use serde_json::json;

use crate::local::case::Case;
use crate::local::job::{Side, manifest};
use crate::local::listing;
use crate::programs::Program;
use crate::report::human;
use crate::seeded;
use crate::tree::upload::seed;
use crate::wait::until;
use crate::wire::cases::size;
use crate::wire::services::{KEYS, Kind};

const FROM: &str = "figures-from";
const TO: &str = "figures-to";
const LIMIT: Duration = Duration::from_mins(20);
const INTERVAL: Duration = Duration::from_millis(10);
/// Size of each of the large objects, unless `LARGE_SIZE` is set.
const LARGE: u64 = 256 << 20;
/// `transfer.memoryLimit` of the run of large objects.
const MEMORY_LIMIT: u64 = 64 << 20;
/// What a program may use besides: its code, connections and state.
const BESIDES: u64 = 64 << 20;
/// Keys of the plan, unless `KEYS` is set.
const PLANNED: u64 = 1_000_000;
const MOST_OF_PLAN: u64 = 64 << 20;
/// Tiny objects, for the size of the state.
const TINY: u64 = 100_000;
const HELPS: usize = 20;
const MOST_OF_HELP: Duration = Duration::from_millis(20);

/// A run of large objects stays within its memory limit and 64 MiB.
pub async fn memory_of_a_run(case: &mut Case) -> anyhow::Result<()> {
    let source = case.server(Kind::VersityGw, "source").await?;
    let destination = case.server(Kind::VersityGw, "destination").await?;
    let large = size("LARGE_SIZE", LARGE)?;
    seed(&source.s3(), FROM, &[]).await?;
    seed(&destination.s3(), TO, &[]).await?;
    for number in 0..4 {
        seeded::put_large(&source.s3(), FROM, &format!("large-{number}"), large, number).await?;
    }
    let (from, to) = (source.endpoint(), destination.endpoint());
    let sides = (Side::new(&from, source.keys(), FROM), Side::new(&to, destination.keys(), TO));
    let transfer = json!({"transfer": {"memoryLimit": "64Mi"}, "verify": {"mode": "Full", "method": "Listing"}});
    case.write("job.yaml", &manifest("large", &sides.0, &sides.1, transfer)?)?;
    let begun = Instant::now();
    let program = case.start(&["run", "job.yaml", "--plain"])?;
    let peak = peak_of(program).await?;
    let seconds = begun.elapsed().as_secs_f64();
    case.note(format!("4 objects of {} with memoryLimit 64Mi: peak RSS {} in {seconds:.1} s", human(large), mib(peak)));
    ensure!(peak <= MEMORY_LIMIT + BESIDES, "the peak is over {}", mib(MEMORY_LIMIT + BESIDES));
    Ok(())
}

/// `--help` takes less than 20 ms.
pub async fn time_of_help(case: &mut Case) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for _ in 0..HELPS {
        let begun = Instant::now();
        let shown = case.s3migrate(&["--help"], LIMIT).await?;
        times.push(begun.elapsed());
        shown.expect(0)?;
    }
    times.sort_unstable();
    let median = times[HELPS / 2];
    case.note(format!("--help: median {:.1?}, from {:.1?} to {:.1?}", median, times[0], times[HELPS - 1]));
    ensure!(median < MOST_OF_HELP, "the median is {median:?}");
    Ok(())
}

/// A plan of a million keys takes no more memory than one of few.
pub async fn memory_of_a_plan(case: &mut Case) -> anyhow::Result<()> {
    let count = std::env::var("PLANNED").map_or(Ok(PLANNED), |text| text.parse()).context("failed to read PLANNED")?;
    let (source, destination) = (listing::bucket(count, true), listing::bucket(count, false));
    let missing = (0..count).filter(|place| !destination.has(*place)).count();
    let (source, destination) = (listing::serve(source).await?, listing::serve(destination).await?);
    let (from, to) = (format!("http://{}", source.address), format!("http://{}", destination.address));
    let sides = (Side::new(&from, KEYS, FROM), Side::new(&to, KEYS, TO));
    case.write("plan.yaml", &manifest("plan", &sides.0, &sides.1, json!({}))?)?;
    let begun = Instant::now();
    let program = case.start(&["plan", "plan.yaml", "--output", "json"])?;
    let log = case.file(&format!("{}.log", program.name()));
    let peak = peak_of(program).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let printed = std::fs::read_to_string(log).context("failed to read the plan")?;
    ensure!(printed.contains(&missing.to_string()), "the plan does not have {missing} objects: {printed}");
    case.note(format!("plan of {count} keys, {missing} of them missing: peak RSS {} in {seconds:.1} s", mib(peak)));
    ensure!(peak <= MOST_OF_PLAN, "the peak is over {}", mib(MOST_OF_PLAN));
    Ok(())
}

/// The size of the state file of a run of many tiny objects.
pub async fn size_of_the_state(case: &mut Case) -> anyhow::Result<()> {
    let (source, destination) = (memory(FROM).await?, memory(TO).await?);
    let (from, to) = (source.server.url(), destination.server.url());
    fill(&source.store).await?;
    let sides = (Side::new(&from, KEYS, FROM), Side::new(&to, KEYS, TO));
    let transfer = json!({"transfer": {"filesPerWorker": 32}});
    case.write("tiny.yaml", &manifest("tiny", &sides.0, &sides.1, transfer)?)?;
    let begun = Instant::now();
    let program = case.start(&["run", "tiny.yaml", "--plain"])?;
    let peak = peak_of(program).await?;
    let seconds = begun.elapsed();
    let copied = destination.store.keys(TO).len() as u64;
    ensure!(copied == TINY, "{copied} of {TINY} objects were copied");
    let state = bytes_under(&case.file("state"))?;
    case.note(format!(
        "{TINY} tiny objects in {:.1} s, peak RSS {}: state of {}, thus {} per million objects",
        seconds.as_secs_f64(),
        mib(peak),
        human(state),
        human(state * (1_000_000 / TINY))
    ));
    Ok(())
}

/// A service in memory, in this process.
struct Memory {
    store: LocalStore,
    server: Server,
}

async fn memory(bucket: &str) -> anyhow::Result<Memory> {
    let store = LocalStore::in_memory(Arc::new(SystemClock), StoreSettings::default());
    store.create_bucket(bucket, BucketSettings::default());
    let credentials = vec![Credentials { access_key: KEYS.0.into(), secret_key: KEYS.1.into() }];
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = ServerSettings { address, credentials, store: store.clone(), domains: Vec::new() };
    Ok(Memory { store, server: Server::start(settings).await? })
}

async fn fill(store: &LocalStore) -> anyhow::Result<()> {
    for number in 0..TINY {
        let body = bytes::Bytes::from(number.to_string());
        let (attributes, condition) = (Attributes::default(), WriteCondition::Any);
        let key = format!("directory-{:02}/object-{number:08}.json", number / 2_000);
        let put = PutRequest {
            bucket: FROM,
            key: &key,
            md5: Md5::digest(&body).into(),
            body,
            attributes: &attributes,
            tags: &Tags::default(),
            condition: &condition,
        };
        store.put(put).await.with_context(|| format!("failed to put {key}"))?;
    }
    Ok(())
}

/// Waits until a program has ended well; returns the peak of its resident memory in bytes.
async fn peak_of(mut program: Program) -> anyhow::Result<u64> {
    let mut peak = 0;
    let name = program.name().to_owned();
    until(&format!("{name} to end"), LIMIT, INTERVAL, async || {
        // Fails once it has ended.
        peak = program.peak_memory().unwrap_or_default().max(peak);
        Ok(program.check_running().is_err().then_some(()))
    })
    .await?;
    program.finished(LIMIT).await?;
    Ok(peak)
}

fn bytes_under(directory: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory).with_context(|| format!("failed to read {}", directory.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { bytes_under(&entry.path())? } else { metadata.len() };
    }
    Ok(sum)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
