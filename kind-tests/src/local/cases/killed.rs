//! A run that is killed at many moments.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::local::case::{Case, Place, bucket};
use crate::local::job::{Side, manifest};
use crate::programs::Program;
use crate::proxy::log::Event;
use crate::report::human;
use crate::tree::upload::seed;
use crate::tree::{Amount, bytes_of, select};
use crate::wait::until;
use crate::wire::cases::size;
use crate::wire::services::{Kind, Server};

/// Bytes of the tree, unless `TREE_SIZE` is set; a half of it is one object.
const SIZE: u64 = 400_000_000;
const FILES: usize = 2_000;
/// Number of kills, unless `KILLS` is set.
const KILLS: usize = 50;
const FILES_AT_ONCE: u64 = 4;
const PARTS_AT_ONCE: u64 = 4;
/// Part size, and the size from which an object is sent in parts.
const PART: u64 = 5 << 20;
/// Time from the answer of a service until what it proves is in the state file, on a busy machine.
const RECORDED: Duration = Duration::from_millis(1_500);
/// Status of a write whose Content-MD5 is wrong, and how many there may be: one tests if the service rejects it, and
/// another one if a kill came before the answer was recorded.
const REJECTED: u16 = 400;
const MOST_REJECTED: u32 = 3;
const LIMIT: Duration = Duration::from_mins(10);
const INTERVAL: Duration = Duration::from_millis(2);
const FROM: &str = "killed-from";
const TO: &str = "killed-to";
/// Name of the destination in the log.
const SIDE: &str = "destination";

/// A tree of real files with a large one is moved by a program that is killed 50 times, at moments spread over its
/// bytes; then it runs to its end.
pub async fn killed_50_times(case: &mut Case) -> anyhow::Result<()> {
    let source = case.server(Kind::MiniStack, "source").await?;
    let destination = case.server(Kind::VersityGw, "destination").await?;
    let total = prepare(case, &source, &destination).await?;
    let kills = draw(case, total)?;
    let mut killed = Vec::new();
    for progress in kills {
        killed.push(kill_at(case, progress).await.with_context(|| format!("at kill {}", killed.len() + 1))?);
    }
    let last = case.log.next();
    let ended = case.s3migrate(&["run", "job.yaml", "--plain"], LIMIT).await?;
    ended.expect(0)?;
    let rest = case.log.since(last, None).iter().filter(|e| e.side == SIDE).map(|e| e.received).sum();
    case.note(format!("the last run moved the other {}", human(rest)));
    sent_twice(case, &killed, total)?;
    let open = destination.s3().list_multipart_uploads().bucket(TO).send().await.context("failed to list uploads")?;
    ensure!(open.uploads().is_empty(), "uploads were left open: {:?}", open.uploads());
    let checked = case.check("tree", Place::new(&source, FROM), Place::new(&destination, TO), &[])?;
    case.note(checked);
    Ok(())
}

/// Puts the tree, without the keys that a service over files does not take, and writes the manifest. Returns the total
/// size.
async fn prepare(case: &mut Case, source: &Server, destination: &Server) -> anyhow::Result<u64> {
    let bytes = size("TREE_SIZE", SIZE)?;
    let mut objects = select::tree(Amount { files: FILES, bytes: bytes / 2, large: bytes / 2 })?;
    objects.retain(|object| !object.key.contains("awkward/"));
    seed(&source.s3(), FROM, &objects).await?;
    bucket(destination, TO).await?;
    let from = case.counted("source", source).await?;
    let to = case.counted(SIDE, destination).await?;
    let sides = (Side::new(&from, source.keys(), FROM), Side::new(&to, destination.keys(), TO));
    let transfer = json!({"transfer": {
        "partSize": "5Mi", "multipartThreshold": "5Mi", "filesPerWorker": FILES_AT_ONCE, "partsPerFile": PARTS_AT_ONCE,
    }});
    case.write("job.yaml", &manifest("killed", &sides.0, &sides.1, transfer)?)?;
    let total = bytes_of(&objects);
    let in_parts = objects.iter().filter(|object| object.size >= PART).count();
    case.note(format!("{} objects, {}, {in_parts} of them in parts", objects.len(), human(total)));
    Ok(total)
}

/// Draws at which progress in bytes the program is killed.
fn draw(case: &mut Case, total: u64) -> anyhow::Result<Vec<u64>> {
    let number = std::env::var("KILLS").map_or(Ok(KILLS), |text| text.parse()).context("failed to read KILLS")?;
    let seed = std::env::var("SEED").map_or_else(|_| Ok(rand::random()), |text| text.parse());
    let seed: u64 = seed.context("failed to read SEED")?;
    let mut chance = StdRng::seed_from_u64(seed);
    let mut drawn: Vec<u64> = (0..number).map(|_| chance.random_range(0..total / 100 * 97)).collect();
    drawn.sort_unstable();
    case.note(format!("killed {number} times; SEED={seed} gives the same moments"));
    Ok(drawn)
}

/// What a killed process had under way.
struct Killed {
    /// Numbers of its requests.
    requests: Range<usize>,
    /// Announced bytes of its writes that were not answered.
    in_flight: u64,
    /// Bytes of parts answered so shortly before that their record may have been lost.
    unrecorded: u64,
}

/// Starts the program, and kills it once it has made a request and so many bytes are at the destination or on their
/// way there.
async fn kill_at(case: &mut Case, progress: u64) -> anyhow::Result<Killed> {
    let begun = case.log.next();
    let mut program = case.start(&["run", "job.yaml", "--plain"])?;
    until(&format!("{progress} bytes to be moved"), LIMIT, INTERVAL, async || {
        program.check_running()?;
        Ok((case.log.next() > begun && case.log.look(0, |events| moved(events, begun)) >= progress).then_some(()))
    })
    .await?;
    kill(case, program, begun)
}

fn kill(case: &Case, program: Program, begun: usize) -> anyhow::Result<Killed> {
    program.freeze()?;
    let at = case.log.next();
    let open: Vec<usize> =
        writes(&case.log.since(begun, None)).filter(|e| e.status.is_none()).map(|e| e.number).collect();
    program.kill()?;
    let events = case.log.since(begun, None);
    let late = |event: &&Event| event.number >= at || open.contains(&event.number);
    let in_flight = writes(&events).filter(late).map(|event| event.announced).sum();
    let since = Some(SystemTime::now() - RECORDED);
    let recent = |event: &&Event| event.request.part.is_some() && is_done(event) && event.answered >= since;
    let unrecorded = writes(&events).filter(|event| !late(event)).filter(recent).map(|event| event.announced).sum();
    Ok(Killed { requests: begun..begun + events.len(), in_flight, unrecorded })
}

/// Requests that write content at the destination.
fn writes(events: &[Event]) -> impl Iterator<Item = &Event> {
    let is_write = |operation: &str| ["PutObject", "UploadPart"].contains(&operation);
    events.iter().filter(move |event| event.side == SIDE && is_write(&event.request.operation))
}

fn is_done(event: &Event) -> bool {
    event.status == Some(200)
}

/// Returns the content of a request that has arrived, without the framing of chunks.
fn content(event: &Event) -> u64 {
    event.received.min(event.announced)
}

/// Identity of what one request writes: an object, or one of its parts.
type Piece = (String, Option<u32>);

fn piece(event: &Event) -> Piece {
    (event.request.key.clone(), event.request.part)
}

/// Returns the bytes that are at the destination, once each, and those on their way since a request.
fn moved(events: &[Event], since: usize) -> u64 {
    let there: BTreeMap<Piece, u64> = writes(events).filter(|e| is_done(e)).map(|e| (piece(e), e.announced)).collect();
    let on_the_way = writes(events).filter(|event| event.number >= since && event.status.is_none()).map(content);
    there.values().sum::<u64>() + on_the_way.sum::<u64>()
}

/// Fails if a kill cost more than what was in flight: bytes of writes that did not end, and of pieces that were sent
/// again though they were there.
fn sent_twice(case: &mut Case, killed: &[Killed], total: u64) -> anyhow::Result<()> {
    let events = case.log.since(0, None);
    let process = |event: &Event| killed.iter().position(|killed| killed.requests.contains(&event.number));
    let mut cost = vec![0; killed.len() + 1];
    let mut there: BTreeMap<Piece, usize> = BTreeMap::new();
    let (mut sent, mut rejected) = (0, 0);
    for event in writes(&events) {
        let number = process(event).unwrap_or(killed.len());
        sent += content(event);
        if event.status == Some(REJECTED) {
            rejected += 1;
        } else if !is_done(event) {
            cost[number] += content(event);
        } else if let Some(before) = there.insert(piece(event), number) {
            cost[before] += content(event);
        }
    }
    let list: Vec<String> =
        killed.iter().zip(&cost).map(|(killed, cost)| format!("{} of {}", mib(*cost), mib(killed.in_flight))).collect();
    case.note(format!("MiB sent twice, of those in flight, per kill: {}", list.join(", ")));
    let all: u64 = cost.iter().sum();
    let (in_flight, unrecorded) = (killed.iter().map(|k| k.in_flight).sum(), killed.iter().map(|k| k.unrecorded).sum());
    let most = FILES_AT_ONCE * PARTS_AT_ONCE * PART;
    case.note(format!(
        "{} sent for {}: {} twice; {} were in flight at the kills, {} had been answered in the {} ms before; most parts in \
         flight: {} per kill",
        human(sent), human(total), human(all), human(in_flight), human(unrecorded), RECORDED.as_millis(), human(most)
    ));
    ensure!(cost[killed.len()] == 0, "the run that was not killed sent {} twice", cost[killed.len()]);
    ensure!(rejected <= MOST_REJECTED, "{rejected} writes were rejected");
    ensure!(sent >= total, "the proxies saw {sent} of {total} bytes");
    for (number, (killed, cost)) in killed.iter().zip(&cost).enumerate() {
        let allowed = most.min(killed.in_flight + killed.unrecorded);
        ensure!(*cost <= allowed, "kill {} cost {cost} bytes, and accounts for {allowed}", number + 1);
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "one digit is shown")]
fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
