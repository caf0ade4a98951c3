//! One very large object, and workers that are killed while they copy it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use migration_core::size::ByteSize;

use super::resent::{self, InFlight};
use super::{is, size, succeeded};
use crate::cases::crash_recovery::RECORDED_EVERY;
use crate::programs::Program;
use crate::proxy::log::Event;
use crate::report::human;
use crate::seeded;
use crate::wait::until;
use crate::wire::case::{Case, Service};
use crate::wire::config::SOURCE;

const KEY: &str = "large/object";
/// Bytes of the object, unless `LARGE_SIZE` is set.
const SIZE: u64 = 5_000_000_000;
const LIMIT: Duration = Duration::from_mins(30);
const INTERVAL: Duration = Duration::from_millis(5);
/// Memory that no worker with `memoryLimit: 64Mi` may exceed.
const MEMORY: u64 = 128 << 20;
/// Percentages of the object at which its worker is killed.
const KILLS: [u64; 3] = [10, 45, 90];
/// Percentages at which one of four workers is killed.
const KILLS_OF_FOUR: [u64; 2] = [25, 60];

/// One worker with little memory is killed and restarted three times.
pub async fn large_object_in_little_memory(case: &mut Case) -> anyhow::Result<()> {
    case.settings.memory_limit = "64Mi".into();
    let size = prepare(case).await?;
    let (mut lost, mut peaks) = (Vec::new(), Vec::new());
    for percent in KILLS {
        let mut worker = case.start_worker().await?;
        until_there(case, size / 100 * percent, std::slice::from_mut(&mut worker)).await?;
        let (killed, peak) = kill(case, worker)?;
        case.note(format!("killed at {percent} % with {} parts in flight", killed.in_flight.parts));
        lost.push(killed);
        peaks.push(peak);
    }
    let mut workers = [case.start_worker().await?];
    case.complete(&mut workers, LIMIT).await?;
    peaks.push(workers[0].peak_memory()?);
    let events = case.log.since(0, None);
    let peaks_seen: Vec<String> = peaks.iter().map(|peak| human(*peak)).collect();
    case.note(format!("peak RSS of the workers: {}", peaks_seen.join(", ")));
    sent_again(case, &events, size, &lost)?;
    completed_once(&events)?;
    case.no_open_uploads().await?;
    let checked = case.check()?;
    case.note(checked);
    ensure!(peaks.iter().all(|peak| *peak < MEMORY), "a worker used more than {}", human(MEMORY));
    Ok(())
}

/// Four workers copy one object, and two of them are killed.
pub async fn huge_object_by_four_workers(case: &mut Case) -> anyhow::Result<()> {
    let share = self::size("LARGE_SIZE", SIZE)? / 5;
    case.settings.split_threshold = Some(ByteSize::mib((share >> 20).max(1)).to_string());
    let size = prepare(case).await?;
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(case.start_worker().await?);
    }
    let mut lost = Vec::new();
    for percent in KILLS_OF_FOUR {
        until_there(case, size / 100 * percent, &mut workers).await?;
        let worker = workers.swap_remove(busiest(case, &workers)?);
        let name = worker.name().to_owned();
        let (killed, _) = kill(case, worker)?;
        case.note(format!("{name} killed at {percent} % with {} parts in flight", killed.in_flight.parts));
        lost.push(killed);
    }
    case.complete(&mut workers, LIMIT).await?;
    let events = case.log.since(0, None);
    let by_worker = parts_by_worker(&events);
    let shares: Vec<String> = by_worker.iter().map(|(worker, parts)| format!("{worker}: {parts} parts")).collect();
    case.note(shares.join(", "));
    sent_again(case, &events, size, &lost)?;
    completed_once(&events)?;
    case.no_open_uploads().await?;
    let checked = case.check()?;
    case.note(checked);
    ensure!(by_worker.len() == 4, "only {} workers sent parts", by_worker.len());
    Ok(())
}

/// Puts the object and scans; returns its size.
async fn prepare(case: &mut Case) -> anyhow::Result<u64> {
    let size = self::size("LARGE_SIZE", SIZE)?;
    seeded::put_large(&case.source.s3(), SOURCE, KEY, size, 4).await?;
    case.send().await?;
    Ok(size)
}

/// Waits until so many bytes are at the destination.
async fn until_there(case: &Case, bytes: u64, workers: &mut [Program]) -> anyhow::Result<()> {
    until(&format!("{bytes} bytes to be sent"), LIMIT, INTERVAL, async || {
        workers.iter_mut().try_for_each(Program::check_running)?;
        Ok((case.log.look(0, resent::there) >= bytes).then_some(()))
    })
    .await
}

/// Bytes that may be sent again after a worker was killed.
struct Lost {
    in_flight: InFlight,
    /// Bytes of uploaded parts that no ledger record covers yet.
    unproved: u64,
}

/// Kills a worker; returns what may be sent again, and the worker's peak memory.
fn kill(case: &Case, worker: Program) -> anyhow::Result<(Lost, u64)> {
    worker.freeze()?;
    let side = Service::Destination.of(worker.name());
    let peak = worker.peak_memory()?;
    // Requests that arrive or are answered after the stop count as in flight.
    let mine = |events: &[Event]| -> Vec<Event> { events.iter().filter(|e| e.side == side).cloned().collect() };
    let before = case.log.look(0, mine);
    worker.kill()?;
    let mut open: Vec<Event> = before.iter().filter(|e| e.status.is_none()).cloned().collect();
    open.extend(case.log.look(0, mine).into_iter().skip(before.len()).map(|e| Event { status: None, ..e }));
    let since = SystemTime::now() - RECORDED_EVERY;
    Ok((Lost { in_flight: resent::in_flight(&open), unproved: resent::there_since(&before, since) }, peak))
}

/// Returns the index of the worker with the most parts in flight.
fn busiest(case: &Case, workers: &[Program]) -> anyhow::Result<usize> {
    let parts = |worker: &Program| {
        let side = Service::Destination.of(worker.name());
        case.log.look(0, |events| {
            events.iter().filter(|e| e.side == side && is(e, "UploadPart") && e.status.is_none()).count()
        })
    };
    let busiest = workers.iter().enumerate().max_by_key(|(_, worker)| parts(worker));
    busiest.map(|(place, _)| place).context("there is no worker")
}

/// Fails if more was sent again than was in flight at the kills or sent since the last record of verified parts
/// (docs/transfer.md, "Resume").
fn sent_again(case: &mut Case, events: &[Event], size: u64, lost: &[Lost]) -> anyhow::Result<()> {
    let sent = resent::sent(events);
    let again = sent.bytes.saturating_sub(size);
    let in_flight: u64 = lost.iter().map(|l| l.in_flight.bytes).sum();
    let unproved: u64 = lost.iter().map(|l| l.unproved).sum();
    case.note(format!(
        "{} in {} parts by {} requests: {} sent again, {} of it for parts that were there; at the kills {} were in flight, \
         and {} had been sent in the last {} s",
        human(size),
        sent.parts,
        sent.requests,
        human(again),
        human(sent.twice),
        human(in_flight),
        human(unproved),
        RECORDED_EVERY.as_secs()
    ));
    ensure!(sent.bytes >= size, "the proxies saw {} of {size} bytes", sent.bytes);
    let allowed = in_flight + unproved;
    ensure!(again <= allowed, "{again} bytes were sent again, and the kills account for {allowed}");
    Ok(())
}

fn completed_once(events: &[Event]) -> anyhow::Result<()> {
    let completions = events.iter().filter(|e| is(e, "CompleteMultipartUpload") && succeeded(e)).count();
    ensure!(completions == 1, "{completions} completions succeeded");
    Ok(())
}

/// Returns the number of parts that each worker uploaded.
fn parts_by_worker(events: &[Event]) -> BTreeMap<String, usize> {
    let mut parts: BTreeMap<String, BTreeSet<Option<u32>>> = BTreeMap::new();
    for event in events.iter().filter(|e| is(e, "UploadPart") && succeeded(e)) {
        let worker = event.side.split(' ').nth(1).unwrap_or_default();
        parts.entry(worker.to_owned()).or_default().insert(event.request.part);
    }
    parts.into_iter().map(|(worker, parts)| (worker, parts.len())).collect()
}
