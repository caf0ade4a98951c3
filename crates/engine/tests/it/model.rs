//! Random histories against a reference model. Whatever foreign writers, queue, network and deaths do, only whole
//! contents of the source become visible, nothing is acknowledged that is not present, everything is counted once, and
//! when the history comes to rest the destination equals the source.
//!
//! | variable | meaning |
//! |---|---|
//! | `MODEL_HISTORIES` | histories of each test; 10,000 by default, a fifth of that where the queue loses messages |
//! | `MODEL_CALLS` | prints the calls of a history that fails, if it is set |
//! | `MODEL_SEED` | the first seed; one history only, unless `MODEL_HISTORIES` is given too |
//!
//! A seed is another history in each of the tests, so set the variables with the name of one test.

use std::collections::BTreeMap;
use std::io::{Write as _, stderr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::histories::{Figures, History, Violation};

/// Histories of most tests.
const HISTORIES: u64 = 10_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// The first history that failed each check with each habit of a service, and how many did.
type Failures = BTreeMap<(&'static str, String), (History, Violation, u64)>;

#[test]
fn random_histories_end_well() {
    let (sum, count) = all_end_well(History::of, HISTORIES);
    // Several deaths and conflicts of one object may use up its tries; the next run transfers it.
    assert!(sum.given_up <= count.div_ceil(1_000), "objects were given up in {} of {count} histories", sum.given_up);
}

#[test]
fn random_histories_with_services_that_lie_end_well() {
    let (sum, count) = all_end_well(History::lying, HISTORIES);
    assert!(count < 1_000 || sum.lied >= count / 4 * 3, "services lied in {} of {count} histories", sum.lied);
}

#[test]
fn random_histories_whose_queue_forgets_end_well() {
    all_end_well(History::forgetting, HISTORIES / 5);
}

fn all_end_well(history_of: fn(u64) -> History, histories: u64) -> (Figures, u64) {
    let seed = variable("MODEL_SEED");
    let count = variable("MODEL_HISTORIES").unwrap_or(if seed.is_some() { 1 } else { histories });
    let (first, next, began) = (seed.unwrap_or(1), AtomicU64::new(0), Instant::now());
    let (sum, failures) = (Mutex::new(Figures::default()), Mutex::new(Failures::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let history = history_of(first + number);
                    match history.run() {
                        Ok(figures) => sum.lock().unwrap().add(figures),
                        Err(found) => {
                            let mut all = failures.lock().unwrap();
                            let kind = (found.check, history.habit());
                            all.entry(kind).or_insert((history, found, 0)).2 += 1;
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    for (history, violation, times) in failures.values() {
        println!("MODEL_SEED={} and {} more: {violation}", history.seed, times - 1);
        let least = history.shrink(violation);
        println!("{least}which gives {}", least.run().err().map(|found| found.to_string()).unwrap_or_default());
    }
    // Bypasses the test harness, which captures the output of passing tests.
    let sum = sum.into_inner().unwrap();
    let played = format!("{count} histories from seed {first}: {sum:?} in {:?}\n", began.elapsed());
    stderr().write_all(played.as_bytes()).unwrap();
    assert!(failures.is_empty(), "{} of {count} histories failed", failures.values().map(|all| all.2).sum::<u64>());
    (sum, count)
}
