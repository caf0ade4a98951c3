//! One scenario, broken once at each of its calls in every way.

use std::time::Duration;

use migration_core::error::ErrorClass;
use migration_core::ports::Operation;
use migration_testkit::{ETagStyle, Fault, Header, Lie, Named, Refusal, Scope, Told};

use crate::histories::lies::{COMPLETIONS, PARTS};
use crate::histories::{Habit, History, Liar, Setup, Step, Violation};

/// Ways to break a call.
pub const FAULTS: [(&str, Fault); 10] = [
    ("killed before any call", Fault::Crash),
    ("killed after any call", Fault::CrashAfter),
    ("any call fails", Fault::Fail(ErrorClass::Transient)),
    ("any call times out before its effect", Fault::Fail(ErrorClass::NoAnswer)),
    ("any call times out after its effect", Fault::FailAfter(ErrorClass::NoAnswer)),
    ("any call is throttled", Fault::Fail(ErrorClass::Throttled)),
    ("any call meets a conflict", Fault::Fail(ErrorClass::Conflict)),
    ("any answer is lost", Fault::FailAfter(ErrorClass::Transient)),
    ("any body is cut short", Fault::Truncate(10)),
    ("any call stalls for longer than a lease", Fault::Delay(Duration::from_secs(400))),
];

/// Objects at the source: empty, small, large, large and uploaded in parts, distributed.
const OBJECTS: [(&str, u64, bool); 6] = [
    ("a", 20, false),
    ("b/", 0, false),
    ("b/c +%41é", 130, false),
    ("d", 200, true),
    ("e//f", 96, false),
    ("z", 64, false),
];

/// A service that lies while the scenario is broken. An object may then fail twice.
#[derive(Clone, Copy, Debug)]
pub struct Lying {
    pub name: &'static str,
    setup: Setup,
}

const fn lying(name: &'static str, liar: Liar, lie: Lie, scope: Scope) -> Lying {
    let habit = Some(Habit { liar, lie, scope, fails: false });
    Lying { name, setup: Setup { habit, ..Setup::PLAIN } }
}

const READS: &[Operation] = &[Operation::GetObject, Operation::HeadObject];

/// Lies of services while calls break.
pub const LIES: [Lying; 15] = [
    lying("a proxy answers 404 for the source", Liar::Source, Lie::Absent, Scope::always().on(READS).every(4)),
    lying(
        "a proxy answers 404 for the destination",
        Liar::Destination,
        Lie::Absent,
        Scope::always().on(READS).every(3),
    ),
    lying("proxies answer pages", Liar::Destination, Lie::Page, Scope::always().every(9)),
    damaged_parts(),
    lying("If-Match of reads is ignored", Liar::Source, Lie::IfMatchIgnored(Named::Own), Scope::always()),
    without_checksums(lying(
        "If-Match of reads is ignored, and nobody keeps checksums",
        Liar::Source,
        Lie::IfMatchIgnored(Named::Own),
        Scope::always(),
    )),
    lying("reads are mixed", Liar::Source, Lie::Mixed, Scope::always().first(6)),
    lying("ETags of the source are no digests", Liar::Source, Lie::ETags(ETagStyle::FalseDigest), Scope::always()),
    lying(
        "ETags of the destination are in upper case",
        Liar::Destination,
        Lie::ETags(ETagStyle::UpperCase),
        Scope::always(),
    ),
    lying(
        "completions ignore If-None-Match",
        Liar::Destination,
        Lie::ConditionIgnored(Header::IfNoneMatch),
        Scope::always().on(COMPLETIONS),
    ),
    lying(
        "completions are answered NoSuchUpload",
        Liar::Destination,
        Lie::RefuseAfter(Refusal::NO_SUCH_UPLOAD),
        Scope::always().on(COMPLETIONS).first(2),
    ),
    lying(
        "completions are answered and not done",
        Liar::Destination,
        Lie::NotDone,
        Scope::always().on(COMPLETIONS).first(2),
    ),
    lying(
        "completions are answered and done later",
        Liar::Destination,
        Lie::DoneLater(Duration::from_millis(900)),
        Scope::always().on(COMPLETIONS).first(2),
    ),
    lying("lists of parts leave some out", Liar::Destination, Lie::PartsHidden, Scope::always()),
    lying(
        "ETags of the destination only look like digests",
        Liar::Destination,
        Lie::ETags(ETagStyle::FalseDigest),
        Scope::always(),
    ),
];

/// A service without checksums that stores every fifth part with a flipped bit and shows that in its ETag.
const fn damaged_parts() -> Lying {
    let scope = Scope::always().on(PARTS).every(5);
    without_checksums(lying("parts are stored damaged", Liar::Destination, Lie::Damaged(Told::Stored), scope))
}

const fn without_checksums(Lying { name, setup }: Lying) -> Lying {
    Lying { name, setup: Setup { no_checksums: true, ..setup } }
}

/// Creates the scenario with this many workers, and with the step `broken`. Without a seed, requests have no latency,
/// and the workers begin when everything is sent.
fn scenario(workers: usize, seed: Option<u64>, broken: Step, setup: Setup) -> History {
    let put = |(key, size, in_parts)| Step::Put { key, size: Some(size), in_parts };
    let mut steps: Vec<Step> = OBJECTS.into_iter().map(put).collect();
    let start = std::iter::repeat_n(Step::StartWorker, workers);
    match seed {
        Some(_) => steps.extend(std::iter::once(broken).chain(start).chain([Step::Scan])),
        None => steps.extend([broken, Step::Scan, Step::Wait(Duration::from_secs(1))].into_iter().chain(start)),
    }
    steps.push(Step::Settle);
    History { seed: seed.unwrap_or_default(), setup, steps }
}

/// Size of a sweep.
#[derive(Debug, Default)]
pub struct Swept {
    pub points: u64,
    pub calls: u64,
}

/// Breaks the scenario at every call. Returns the number of points, or the first point with a violation.
pub fn sweep(workers: usize, seed: Option<u64>, fault: Fault) -> Result<Swept, (u64, Violation)> {
    sweep_in(workers, seed, fault, Setup::default())
}

/// Sweeps while services lie.
pub fn sweep_lying(lying: Lying, workers: usize, seed: Option<u64>, fault: Fault) -> Result<Swept, (u64, Violation)> {
    sweep_in(workers, seed, fault, lying.setup)
}

fn sweep_in(workers: usize, seed: Option<u64>, fault: Fault, setup: Setup) -> Result<Swept, (u64, Violation)> {
    let mut swept = Swept::default();
    loop {
        let point = swept.points + 1;
        let history = scenario(workers, seed, Step::Break { after: point, fault }, setup);
        let figures = history.run().map_err(|violation| (point, violation))?;
        if setup.habit.is_some() && figures.lies == 0 {
            return Err((point, Violation::new("told", "the service did not lie")));
        }
        if figures.injected == 0 {
            return Ok(swept);
        }
        if figures.failed > 0 {
            return Err((point, Violation::new("failed", "one fault made an object fail")));
        }
        swept.points = point;
        swept.calls += figures.calls;
    }
}

/// Lets a foreign writer overwrite an object of the source, with as many bytes, before every call.
pub fn overwrite(workers: usize, seed: Option<u64>) -> Result<Swept, (u64, Violation)> {
    overwrite_in(workers, seed, Setup::default())
}

/// Overwrites before every call while services lie.
pub fn overwrite_lying(lying: Lying, workers: usize, seed: Option<u64>) -> Result<Swept, (u64, Violation)> {
    overwrite_in(workers, seed, lying.setup)
}

fn overwrite_in(workers: usize, seed: Option<u64>, setup: Setup) -> Result<Swept, (u64, Violation)> {
    let mut swept = Swept::default();
    for (key, size, _) in OBJECTS.into_iter().filter(|(_, size, _)| *size > 0) {
        let calls = scenario(workers, seed, Step::Wait(Duration::ZERO), setup).run().map_err(|found| (0, found))?.calls;
        for after in 1..=calls {
            let history = scenario(workers, seed, Step::OverwriteAt { key, after }, setup);
            let figures = history
                .run()
                .map_err(|found| (after, Violation::new(found.check, format!("{key}, {size}: {found}"))))?;
            swept.points += 1;
            swept.calls += figures.calls;
        }
    }
    Ok(swept)
}
