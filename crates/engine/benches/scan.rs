//! Measures a scan of very many keys: memory, time and requests. Prints a page of Markdown, which is kept as
//! `bench/SCAN.md`; `make scan-bench` writes it, `make scan-bench HUGE=1` with 100 million keys.
//!
//! Each row runs in its own process, since the peak of memory is that of a process. The listings are computed in that
//! process too, so both memory and processor time include work that a service does in reality.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement that cannot continue fails")]

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/world/mod.rs"]
mod world;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use migration_core::size::ByteSize;
use migration_engine::hash::Hashing;
use migration_engine::scan::{ScanOutcome, SenderName, send};
use migration_engine::{Ports, Process, Runtime};
use migration_ledger::view;
use migration_testkit::{KeyShape, MemoryLedger, SinkQueue, SyntheticStore, TestClock};

const MILLION: u64 = 1_000_000;
/// Number of keys in the rows that compare one range with many.
const COMPARED: u64 = 4 * MILLION;
const RANGES: usize = 16;
const LATENCY: u64 = 20;

/// Parameters of a measurement.
#[derive(Clone, Copy)]
struct Case {
    shape: usize,
    keys: u64,
    ranges: usize,
    /// Latency of each request, in milliseconds.
    latency: u64,
    /// Number of patterns in the ignore list.
    patterns: u64,
}

/// Results of a measurement.
struct Cost {
    seconds: f64,
    /// Peak of the process's resident memory, in KiB.
    peak: u64,
    /// Requests to the source.
    requests: u64,
    /// Requests to the source that look for keys to split at.
    probes: u64,
    /// Number of ranges, and the largest range's share of the keys.
    ranges: u64,
    largest: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().position(|argument| argument == "case") {
        Some(place) => println!("{}", measure(Case::parse(&arguments[place + 1..])).line()),
        None => report(arguments.iter().any(|argument| argument == "huge")),
    }
}

fn report(huge: bool) {
    println!("# What a scan costs\n");
    println!(
        "Written by `make scan-bench`; with 100 million keys by `make scan-bench HUGE=1`. The listings of both sides"
    );
    println!(
        "are computed by the process that is measured. The destination has 90 % of the keys. {} cores.\n",
        cores()
    );
    println!("## Memory and speed\n\nNo latency, {RANGES} ranges in flight, keys by date.\n");
    println!("| keys | peak memory | seconds | keys a second | requests to the source | probes among them | ranges |");
    println!("|---|---|---|---|---|---|---|");
    let sizes = [MILLION, 10 * MILLION, 100 * MILLION];
    for keys in sizes.into_iter().take(if huge { 3 } else { 2 }) {
        let cost = run(Case { shape: 2, keys, ranges: RANGES, latency: 0, patterns: 0 });
        println!(
            "| {} million | {:.1} MiB | {:.1} | {:.0} | {} | {} | {} |",
            keys / MILLION,
            number(cost.peak) / 1024.0,
            cost.seconds,
            number(keys) / cost.seconds,
            cost.requests,
            cost.probes,
            cost.ranges
        );
    }
    println!("\n## Ignore lists\n");
    println!("A million keys, as above; patterns of four kinds, none of which matches.\n");
    println!("| patterns | seconds | peak memory |\n|---|---|---|");
    for patterns in [0, 100, 10_000] {
        let cost = run(Case { shape: 2, keys: MILLION, ranges: RANGES, latency: 0, patterns });
        println!("| {patterns} | {:.1} | {:.1} MiB |", cost.seconds, number(cost.peak) / 1024.0);
    }
    println!("\n## One range against {RANGES}\n");
    println!(
        "{} million keys; every request takes {LATENCY} ms. The seconds are those of a clock that stands while the",
        COMPARED / MILLION
    );
    println!("process works: they show what ranges do about latency, on any machine.\n");
    println!("| keys | 1 range | {RANGES} ranges | times as fast | probes | ranges | largest range | peak memory |");
    println!("|---|---|---|---|---|---|---|---|");
    for (shape, name) in KeyShape::ALL.iter().enumerate() {
        let case = Case { shape, keys: COMPARED, ranges: 1, latency: LATENCY, patterns: 0 };
        let (one, many) = (run(case), run(Case { ranges: RANGES, ..case }));
        println!(
            "| {name:?} | {:.1} s | {:.1} s | {:.1} | {} | {} | {:.1} % of the keys | {:.1} MiB |",
            one.seconds,
            many.seconds,
            one.seconds / many.seconds,
            many.probes,
            many.ranges,
            many.largest * 100.0,
            number(many.peak) / 1024.0
        );
    }
}

/// Measures in a separate process.
fn run(case: Case) -> Cost {
    std::io::stdout().flush().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap()).args(case.arguments()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Cost::parse(text.trim())
}

impl Case {
    fn arguments(self) -> Vec<String> {
        let Self { shape, keys, ranges, latency, patterns } = self;
        let numbers = [shape as u64, keys, ranges as u64, latency, patterns];
        std::iter::once("case".to_owned()).chain(numbers.iter().map(ToString::to_string)).collect()
    }

    fn parse(arguments: &[String]) -> Self {
        let at = |place: usize| arguments[place].parse::<u64>().unwrap();
        let small = |place: usize| usize::try_from(at(place)).unwrap();
        Self { shape: small(0), keys: at(1), ranges: small(2), latency: at(3), patterns: at(4) }
    }
}

impl Cost {
    fn line(&self) -> String {
        let Self { seconds, peak, requests, probes, ranges, largest } = self;
        format!("{seconds} {peak} {requests} {probes} {ranges} {largest}")
    }

    fn parse(line: &str) -> Self {
        let numbers: Vec<&str> = line.split(' ').collect();
        let at = |place: usize| numbers[place].parse().unwrap();
        let (seconds, largest) = (numbers[0].parse().unwrap(), numbers[5].parse().unwrap());
        Self { seconds, peak: at(1), requests: at(2), probes: at(3), ranges: at(4), largest }
    }
}

fn measure(case: Case) -> Cost {
    let mut builder = if case.latency == 0 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        // A clock that stands still while the process works, so that it shows only waits, on a busy machine too.
        let mut one = tokio::runtime::Builder::new_current_thread();
        one.start_paused(true);
        one
    };
    builder.enable_time().build().unwrap().block_on(scan(case))
}

async fn scan(case: Case) -> Cost {
    let latency = Duration::from_millis(case.latency);
    let source = SyntheticStore::new(KeyShape::ALL[case.shape], case.keys).with_latency(latency);
    let destination = source.uncounted().without_every(10);
    let (queue, ledger) = (SinkQueue::default(), MemoryLedger::new());
    let ports = Ports::new(source.clone(), destination, queue.clone(), ledger.clone());
    let mut config = world::tiny_config();
    config.transfer.multipart_threshold = ByteSize::mib(16);
    config.transfer.split_threshold = ByteSize::mib(64);
    config.transfer.memory_limit = ByteSize::mib(16);
    // There are no workers.
    config.backlog_seconds = None;
    let clock = Arc::new(TestClock::following_tokio(1_700_000_000_000));
    config.ignore = ignore_patterns(case.patterns);
    let process = Process::new(ports, world::valid(config), Runtime::new("bench", clock));
    let process = process.with_hashing(Hashing::inline()).with_ranges_in_flight(case.ranges);
    let name = SenderName { started_by: "bench".into(), new_run: "run".into() };
    let began = tokio::time::Instant::now();
    let sent = send(Arc::new(process), &name).await.unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let ScanOutcome::Sent { run, counts } = sent else { panic!("{sent:?}") };
    assert_eq!((counts.objects, counts.in_place), (case.keys / 10, case.keys - case.keys / 10));
    assert_eq!(counts.batches, queue.messages());
    let ranges = view::ranges(&ledger, world::JOB, &run).await.unwrap();
    let largest = ranges.iter().map(|range| range.counts.objects + range.counts.in_place).max().unwrap_or_default();
    let traffic = source.traffic();
    Cost {
        seconds,
        peak: peak(),
        requests: traffic.requests,
        probes: traffic.probes,
        ranges: ranges.len() as u64,
        largest: number(largest) / number(case.keys),
    }
}

/// Creates patterns that begin, end or contain a unique text, or end with a class.
fn ignore_patterns(patterns: u64) -> Vec<String> {
    let pattern = |n: u64| match n % 4 {
        0 => format!("{}/none/{n:05}/*", world::SOURCE),
        1 => format!("*.x{n:05}"),
        2 => format!("*/tmp-{n:05}/?"),
        _ => format!("{}/none-{n:05}[ab]", world::SOURCE),
    };
    (0..patterns).map(pattern).collect()
}

/// Returns the peak of this process's resident memory, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[allow(clippy::cast_precision_loss, reason = "for display")]
fn number(n: u64) -> f64 {
    n as f64
}
