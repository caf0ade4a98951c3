//! Plants each deliberate bug and runs the suites: each bug must turn at least one check red, and without any all must
//! be green. Built with `--cfg planted_defects` only.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::histories::{History, Violation};
use migration_core::planted::{ALL, Defect, plant};
use migration_testkit::Fault;

/// Histories that a defect has to show itself in, if no scenario and no sweep finds it.
const HISTORIES: u64 = 1_000;
/// Histories that are played with nothing planted.
const SOUND: u64 = 300;

/// What found a defect, and after how much.
struct Catch {
    by: String,
    found: Violation,
}

/// What turns red under a defect, and is green without it: what is red anyway proves nothing.
fn red<T>(defect: Option<Defect>, run: impl Fn() -> Result<T, Violation>) -> Option<Violation> {
    plant(defect);
    let found = run().err();
    plant(None);
    found.filter(|_| defect.is_none() || run().is_ok())
}

fn named(defect: Option<Defect>) -> Option<Catch> {
    let red =
        crate::scenarios::ALL.iter().find_map(|(name, run)| Some((name, red(defect, || crate::scenarios::run(*run))?)));
    red.map(|(name, found)| Catch { by: format!("scenario: {name}"), found })
}

fn played(defect: Option<Defect>, histories: u64) -> Option<Catch> {
    let red = (1..=histories).find_map(|seed| Some((seed, red(defect, || History::of(seed).run())?)));
    red.map(|(seed, found)| Catch { by: format!("history {seed}"), found })
}

fn swept(defect: Option<Defect>) -> Option<Catch> {
    let sweep = |fault| {
        crate::sweep::sweep(1, None, fault)
            .map_err(|(point, found)| Violation::new(found.check, format!("call {point}: {found}")))
    };
    let red = crate::sweep::FAULTS.iter().find_map(|(name, fault)| Some((name, red(defect, || sweep(*fault))?)));
    red.map(|(name, found)| Catch { by: format!("sweep: {name}"), found })
}

/// Those that are about what services answer: histories and sweeps in which services lie have to find them too. Not among
/// them: `OneAbilityForAllConditions`, since order is not asked where conditions are ignored; a scenario has it.
const ABOUT_LIES: [Defect; 4] =
    [Defect::AnswersETagIgnored, Defect::NotFoundIsAbsence, Defect::UnprovenPartAdopted, Defect::PartNotVerified];

/// What finds a defect where services lie.
fn under_lies(defect: Defect) -> Option<Catch> {
    let history = (1..=HISTORIES).find_map(|seed| Some((seed, red(Some(defect), || History::lying(seed).run())?)));
    let history = history.map(|(seed, found)| Catch { by: format!("lying history {seed}"), found });
    history.or_else(|| {
        let sweep = |lying| {
            let told = |(point, found): (u64, Violation)| Violation::new(found.check, format!("call {point}: {found}"));
            crate::sweep::sweep_lying(lying, 1, None, Fault::CrashAfter)
                .and_then(|_| crate::sweep::overwrite_lying(lying, 1, None))
                .map_err(told)
        };
        let mut lies = crate::sweep::LIES.into_iter();
        lies.find_map(|lying| {
            let found = red(Some(defect), || sweep(lying))?;
            Some(Catch { by: format!("sweep where {}", lying.name), found })
        })
    })
}

#[test]
fn each_planted_defect_about_answers_is_found_where_services_lie() {
    std::panic::set_hook(Box::new(|_| {}));
    let caught = ABOUT_LIES.map(|defect| (defect, under_lies(defect)));
    let _ = std::panic::take_hook();
    for (defect, catch) in &caught {
        let (by, check) = catch.as_ref().map_or(("nothing", ""), |catch| (catch.by.as_str(), catch.found.check));
        println!("| {defect:?} | {by} | {check} |");
    }
    let missed: Vec<Defect> = caught.iter().filter(|(_, catch)| catch.is_none()).map(|row| row.0).collect();
    assert!(missed.is_empty(), "no history and no sweep with services that lie finds {missed:?}");
}

/// The first that catches it: a scenario, a history, or the sweep.
fn catch(defect: Option<Defect>, histories: u64) -> Option<Catch> {
    named(defect).or_else(|| played(defect, histories)).or_else(|| swept(defect))
}

#[test]
fn every_planted_defect_turns_a_check_red() {
    // What the planted engine panics with is no news.
    std::panic::set_hook(Box::new(|_| {}));
    let sound = catch(None, SOUND);
    let sound = sound.map(|caught| format!("{}: {}", caught.by, caught.found));
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(defect) = ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let caught = catch(Some(*defect), HISTORIES);
                    rows.lock().unwrap().push((*defect, caught, began.elapsed()));
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let rows = rows.into_inner().unwrap();
    println!("| defect | caught by | check | time |\n|---|---|---|---|");
    for (defect, caught, time) in &rows {
        let (by, check) = caught.as_ref().map_or(("nothing", ""), |caught| (caught.by.as_str(), caught.found.check));
        println!("| {defect:?} | {by} | {check} | {time:.1?} |");
    }
    assert_eq!(sound, None, "red without a defect");
    let missed: Vec<Defect> = rows.iter().filter(|(_, caught, _)| caught.is_none()).map(|row| row.0).collect();
    assert!(missed.is_empty(), "nothing finds {missed:?}");
}
