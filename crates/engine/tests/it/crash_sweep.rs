//! Breaks every call of a scenario with empty, small and large objects once in every way, with one worker and with two.
//! The run must still end complete with the destination equal to the source; nothing is acknowledged that is not
//! present, nothing is counted twice, no upload of ours stays open, and no memory stays reserved. Also with processes
//! that die while a service lies.

use std::io::{Write as _, stderr};
use std::time::Instant;

use crate::sweep::{FAULTS, LIES, Swept, overwrite, overwrite_lying, sweep, sweep_lying};
use migration_testkit::Fault;

/// Seeds that determine the duration of requests.
const SEEDS: [u64; 2] = [1, 2];

/// Workers and seeds for lying services: one worker without latency, and two whose requests overlap.
const UNDER_LIES: [(usize, Option<u64>); 2] = [(1, None), (2, Some(1))];

/// Runs with one worker and with two, with requests without latency and with overlapping ones.
fn everywhere(name: &str, run: impl Fn(usize, Option<u64>) -> Result<Swept, (u64, crate::histories::Violation)>) {
    let began = Instant::now();
    let mut sum = Swept::default();
    for workers in [1, 2] {
        for seed in [None].into_iter().chain(SEEDS.map(Some)) {
            let swept = run(workers, seed)
                .unwrap_or_else(|(point, found)| panic!("{name}, {workers} workers, {seed:?}, call {point}: {found}"));
            assert!(swept.points > 50, "{name}: the scenario makes {} calls only", swept.points);
            sum.points += swept.points;
            sum.calls += swept.calls;
        }
    }
    // Bypasses the test harness, which captures the output of passing tests.
    let swept = format!("{name}: {} points, {} calls, {:?}\n", sum.points, sum.calls, began.elapsed());
    stderr().write_all(swept.as_bytes()).unwrap();
}

fn fault(place: usize) {
    let (name, fault): (&str, Fault) = FAULTS[place];
    everywhere(name, |workers, seed| sweep(workers, seed, fault));
}

macro_rules! sweeps {
    ($($name:ident: $place:literal)*) => {
        $(#[test]
        fn $name() {
            fault($place);
        })*
    };
}

sweeps! {
    killed_before_any_call: 0
    killed_after_any_call: 1
    any_call_fails: 2
    any_call_times_out_before_its_effect: 3
    any_call_times_out_after_its_effect: 4
    any_call_is_throttled: 5
    any_call_meets_a_conflict: 6
    any_answer_is_lost: 7
    any_body_is_cut_short: 8
    any_call_stalls_for_longer_than_a_lease: 9
}

#[test]
fn a_source_object_is_overwritten_with_as_many_bytes_before_any_call() {
    everywhere("overwritten before any call", overwrite);
}

/// Breaks the calls under each lie.
fn under_lies(
    what: &str,
    run: impl Fn(crate::sweep::Lying, usize, Option<u64>) -> Result<Swept, (u64, crate::histories::Violation)>,
) {
    let began = Instant::now();
    let mut sum = Swept::default();
    let mut red = Vec::new();
    for lying in LIES {
        for (workers, seed) in UNDER_LIES {
            match run(lying, workers, seed) {
                Ok(swept) => {
                    assert!(swept.points > 50, "{what}, {}: {} calls only", lying.name, swept.points);
                    sum.points += swept.points;
                    sum.calls += swept.calls;
                }
                Err((point, found)) => {
                    red.push(format!("{}, {workers} workers, {seed:?}, call {point}: {found}", lying.name));
                }
            }
        }
    }
    // Bypasses the test harness, which captures the output of passing tests.
    let swept = format!("{what} under lies: {} points, {} calls, {:?}\n", sum.points, sum.calls, began.elapsed());
    stderr().write_all(swept.as_bytes()).unwrap();
    assert!(red.is_empty(), "{what}: {red:#?}");
}

#[test]
fn killed_before_any_call_under_lies() {
    under_lies("killed before any call", |lying, workers, seed| sweep_lying(lying, workers, seed, Fault::Crash));
}

#[test]
fn killed_after_any_call_under_lies() {
    under_lies("killed after any call", |lying, workers, seed| sweep_lying(lying, workers, seed, Fault::CrashAfter));
}

#[test]
fn a_source_object_is_overwritten_before_any_call_under_lies() {
    under_lies("overwritten before any call", overwrite_lying);
}
