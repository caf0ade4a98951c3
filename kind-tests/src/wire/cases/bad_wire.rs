//! A tree copied over connections that are reset, stall, slow down and are cut.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{is, size, succeeded};
use crate::proxy::log::{Event, Log};
use crate::report::human;
use crate::tree::upload::put_all;
use crate::tree::{Amount, Object, bytes_of, select};
use crate::wait::until;
use crate::wire::case::{Case, Service};
use crate::wire::config::SOURCE;
use crate::wire::tools::toxics::{Fault, Stream, Toxiproxy};

/// Bytes of the tree, unless `TREE_SIZE` is set.
const SIZE: u64 = 1_000_000_000;
const FILES: usize = 3_000;
const LIMIT: Duration = Duration::from_mins(30);
const INTERVAL: Duration = Duration::from_millis(50);
/// Longest duration of one weather, even if little is copied.
const LONGEST: Duration = Duration::from_secs(12);
/// The weather changes after each of this many shares of the tree.
const SPELLS: u64 = 40;

/// Faults of connections in one period, with the shares of connections that they apply to.
type Weather = &'static [(Fault, Stream, f64)];

/// Applied in turn, repeatedly.
const WEATHERS: [(&str, Weather); 8] = [
    ("resets", &[(Fault::Reset(200), Stream::Downstream, 0.3), (Fault::Reset(500), Stream::Upstream, 0.2)]),
    ("slices", &[(Fault::Slice(700, 20), Stream::Downstream, 1.0), (Fault::Slice(700, 20), Stream::Upstream, 1.0)]),
    ("delays", &[(Fault::Delay(60, 50), Stream::Downstream, 1.0), (Fault::Delay(20, 15), Stream::Upstream, 1.0)]),
    ("stalls of answers", &[(Fault::Stall(3_000), Stream::Downstream, 0.25)]),
    ("bandwidth", &[(Fault::Slow(4_000), Stream::Downstream, 1.0), (Fault::Slow(4_000), Stream::Upstream, 1.0)]),
    ("answers cut", &[(Fault::Cut(300_000), Stream::Downstream, 0.5)]),
    ("requests cut", &[(Fault::Cut(300_000), Stream::Upstream, 0.5)]),
    ("stalls of requests", &[(Fault::Stall(3_000), Stream::Upstream, 0.25)]),
];

/// Everything arrives undamaged.
pub async fn bad_wire(case: &mut Case) -> anyhow::Result<()> {
    let size = size("TREE_SIZE", SIZE)?;
    let objects = select::tree(Amount { files: FILES, bytes: size / 10 * 7, large: size / 10 * 3 })?;
    case.settings.ignore = select::ignore_patterns(SOURCE);
    put_all(&case.source.s3(), SOURCE, &objects).await?;
    case.break_connections().await?;
    let mut workers = [case.start_worker().await?, case.start_worker().await?];
    case.send().await?;
    let toxiproxy = case.toxiproxy.as_ref().context("there is no Toxiproxy")?;
    let kept: Vec<Object> = objects.into_iter().filter(|o| !select::ignored(&o.key)).collect();
    let mut seen = BTreeMap::new();
    tokio::select! {
        ended = case.complete(&mut workers, LIMIT) => ended.map(drop)?,
        failed = change_weather(toxiproxy, &case.log, bytes_of(&kept), &mut seen) => failed?,
    }
    toxiproxy.mend().await?;
    report(case, &kept, &seen);
    ensure!(seen.len() == WEATHERS.len(), "the tree was copied before every fault had occurred: {seen:?}");
    ensure!(case.log.connections().broken > 0, "no connection was broken");
    let checked = case.check()?;
    case.note(checked);
    Ok(())
}

/// Changes the weather as the copy progresses, for ever; counts the periods of each.
async fn change_weather(
    toxiproxy: &Toxiproxy,
    log: &Log,
    total: u64,
    seen: &mut BTreeMap<&'static str, u32>,
) -> anyhow::Result<()> {
    for (name, weather) in WEATHERS.iter().cycle() {
        for (fault, stream, share) in *weather {
            toxiproxy.add(*fault, *stream, *share).await?;
        }
        *seen.entry(*name).or_default() += 1;
        let goal = log.look(0, written) + total / SPELLS;
        let moved =
            until("bytes to move", LONGEST, INTERVAL, async || Ok((log.look(0, written) >= goal).then_some(())));
        // A time-out changes the weather too.
        let _ = moved.await;
        toxiproxy.mend().await?;
    }
    Ok(())
}

/// Returns the bytes that have arrived at the destination.
fn written(events: &[Event]) -> u64 {
    let writes = events.iter().filter(|e| is(e, "PutObject") || is(e, "UploadPart"));
    writes.filter(|e| succeeded(e)).map(|e| e.announced).sum()
}

fn report(case: &mut Case, objects: &[Object], seen: &BTreeMap<&'static str, u32>) {
    let events = case.log.since(0, None);
    let connections = case.log.connections();
    case.note(format!("{} objects, {}", objects.len(), human(bytes_of(objects))));
    let spells: Vec<String> = seen.iter().map(|(name, times)| format!("{name} {times} times")).collect();
    case.note(format!("faults: {}", spells.join(", ")));
    case.note(format!(
        "{} of {} connections broke in the middle of a request or an answer",
        connections.broken, connections.opened
    ));
    for side in [Service::Source, Service::Destination] {
        let mine: Vec<&Event> = events.iter().filter(|e| side.has(e)).collect();
        let failed = mine.iter().filter(|e| e.status.is_none_or(|status| status >= 500)).count();
        case.note(format!(
            "{}: {} requests, {failed} of them without a good answer, {} beyond one each",
            side.name(),
            mine.len(),
            beyond(&mine, objects)
        ));
    }
}

/// Counts the requests on objects beyond the minimum: one per operation on a key, and one GET per part of a large
/// object.
fn beyond(events: &[&Event], objects: &[Object]) -> u64 {
    let mut counts: BTreeMap<(&str, &str, Option<u32>), u64> = BTreeMap::new();
    for event in events.iter().filter(|e| !e.request.key.is_empty()) {
        let request = &event.request;
        *counts.entry((&request.key, &request.operation, request.part)).or_default() += 1;
    }
    let sizes: BTreeMap<&str, u64> = objects.iter().map(|o| (o.key.as_str(), o.size)).collect();
    let fewest = |key: &str, operation: &str| match sizes.get(key) {
        Some(size) if operation == "GetObject" && *size > THRESHOLD => size.div_ceil(THRESHOLD),
        _ => 1,
    };
    counts.iter().map(|((key, operation, _), n)| n.saturating_sub(fewest(key, operation))).sum()
}

/// Objects above this size are copied in parts of this size: the default of `transfer.multipartThreshold`, and the part
/// size chosen for such objects.
const THRESHOLD: u64 = 16 << 20;
