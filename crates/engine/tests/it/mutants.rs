//! Activates each mutant and runs the suites: each must fail at least one check, and without a mutant all must pass.
//! Built with `--cfg mutants` only.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::histories::{History, Violation};
use migration_core::mutants::{ALL, Mutant, activate};
use migration_testkit::Fault;

/// Histories in which a mutant must show, if no scenario and no sweep catches it.
const HISTORIES: u64 = 1_000;
/// Histories played without a mutant.
const SOUND: u64 = 300;

/// The check that caught a mutant, and after how many histories.
struct Catch {
    by: String,
    found: Violation,
}

/// Returns the violation under a mutant, if the run passes without one: a run that always fails proves nothing.
fn red<T>(mutant: Option<Mutant>, run: impl Fn() -> Result<T, Violation>) -> Option<Violation> {
    activate(mutant);
    let found = run().err();
    activate(None);
    found.filter(|_| mutant.is_none() || run().is_ok())
}

fn named(mutant: Option<Mutant>) -> Option<Catch> {
    let red =
        crate::scenarios::ALL.iter().find_map(|(name, run)| Some((name, red(mutant, || crate::scenarios::run(*run))?)));
    red.map(|(name, found)| Catch { by: format!("scenario: {name}"), found })
}

fn played(mutant: Option<Mutant>, histories: u64) -> Option<Catch> {
    let red = (1..=histories).find_map(|seed| Some((seed, red(mutant, || History::of(seed).run())?)));
    red.map(|(seed, found)| Catch { by: format!("history {seed}"), found })
}

fn swept(mutant: Option<Mutant>) -> Option<Catch> {
    let sweep = |fault| {
        crate::sweep::sweep(1, None, fault)
            .map_err(|(point, found)| Violation::new(found.check, format!("call {point}: {found}")))
    };
    let red = crate::sweep::FAULTS.iter().find_map(|(name, fault)| Some((name, red(mutant, || sweep(*fault))?)));
    red.map(|(name, found)| Catch { by: format!("sweep: {name}"), found })
}

/// Mutants about answers of services, which histories and sweeps with lying services must catch too. Not among them:
/// `OneAbilityForAllConditions`, since order is not checked if conditions are ignored; a scenario catches it.
const ABOUT_LIES: [Mutant; 4] =
    [Mutant::AnswersETagIgnored, Mutant::NotFoundIsAbsence, Mutant::UnprovenPartAdopted, Mutant::PartNotVerified];

/// Returns what catches a mutant with lying services.
fn under_lies(mutant: Mutant) -> Option<Catch> {
    let history = (1..=HISTORIES).find_map(|seed| Some((seed, red(Some(mutant), || History::lying(seed).run())?)));
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
            let found = red(Some(mutant), || sweep(lying))?;
            Some(Catch { by: format!("sweep where {}", lying.name), found })
        })
    })
}

#[test]
fn each_mutant_about_answers_is_found_where_services_lie() {
    std::panic::set_hook(Box::new(|_| {}));
    let caught = ABOUT_LIES.map(|mutant| (mutant, under_lies(mutant)));
    let _ = std::panic::take_hook();
    for (mutant, catch) in &caught {
        let (by, check) = catch.as_ref().map_or(("nothing", ""), |catch| (catch.by.as_str(), catch.found.check));
        println!("| {mutant:?} | {by} | {check} |");
    }
    let missed: Vec<Mutant> = caught.iter().filter(|(_, catch)| catch.is_none()).map(|row| row.0).collect();
    assert!(missed.is_empty(), "no history and no sweep with services that lie finds {missed:?}");
}

/// Returns the first that catches it: a scenario, a history, or the sweep.
fn catch(mutant: Option<Mutant>, histories: u64) -> Option<Catch> {
    named(mutant).or_else(|| played(mutant, histories)).or_else(|| swept(mutant))
}

#[test]
fn every_mutant_turns_a_check_red() {
    // Panics of the mutated engine are expected.
    std::panic::set_hook(Box::new(|_| {}));
    let sound = catch(None, SOUND);
    let sound = sound.map(|caught| format!("{}: {}", caught.by, caught.found));
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(mutant) = ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let caught = catch(Some(*mutant), HISTORIES);
                    rows.lock().unwrap().push((*mutant, caught, began.elapsed()));
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let rows = rows.into_inner().unwrap();
    println!("| mutant | caught by | check | time |\n|---|---|---|---|");
    for (mutant, caught, time) in &rows {
        let (by, check) = caught.as_ref().map_or(("nothing", ""), |caught| (caught.by.as_str(), caught.found.check));
        println!("| {mutant:?} | {by} | {check} | {time:.1?} |");
    }
    assert_eq!(sound, None, "red without a mutant");
    let missed: Vec<Mutant> = rows.iter().filter(|(_, caught, _)| caught.is_none()).map(|row| row.0).collect();
    assert!(missed.is_empty(), "nothing finds {missed:?}");
}
